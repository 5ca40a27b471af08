//! The bounded channels between a front end and the task that owns the engine, and the counts for
//! the exit status. [`channels`] makes both sides.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::exit::ExitCounters;
use crate::mesh::{ByeReason, Event, Request, Tag};
use crate::proto::PeerId;

/// How many bytes of input are read ahead of the engine (USAGE.md, "Order and flow control").
pub const READ_AHEAD: usize = 1 << 20;

/// A parsed item, with the share of the read-ahead that it occupies until the engine's task takes
/// it. Waiting for such a share is the only way in which the input thread is slowed down, so it
/// still finds a panic behind items that wait.
pub struct Waiting<T> {
    /// A command, or several.
    pub item: T,
    /// Dropped once the item is taken.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// A front end has handed a message over: written and flushed it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// The sender of the message.
    pub peer: PeerId,
    /// Its `seq`; all earlier messages are included.
    pub seq: u64,
}

/// What a front end, or a signal, reports about the run itself.
pub enum Control {
    /// All input has been read: it has ended ([`ByeReason::Eof`]) or contains a quit.
    AllRead(ByeReason),
    /// The input has ended; all of it is in the channels.
    EndOfInput,
    /// The output is closed at its other end.
    OutputClosed,
    /// Forget everything now. May be sent from any thread.
    Panic(PanicRequest),
}

/// A panic, and whether the run is to end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicRequest {
    /// The command's `ref` and line, if a command asked for it.
    pub tag: Tag,
    /// Whether the run ends after it; `None`: as `--on-panic` says.
    pub quit: Option<bool>,
}

/// The front end's side.
pub struct FrontendChannels {
    /// Commands that overtake. Bounded by the read-ahead.
    pub urgent: mpsc::UnboundedSender<Waiting<Request>>,
    /// Commands that keep their order. Bounded by the read-ahead.
    pub ordered: mpsc::UnboundedSender<Waiting<Vec<Request>>>,
    /// One permit per byte of input that is parsed and not yet taken.
    pub read_ahead: Arc<Semaphore>,
    /// Events, in batches.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// Messages that were handed over.
    pub shown: mpsc::UnboundedSender<Vec<Shown>>,
    /// End of input, closed output, panic.
    pub control: mpsc::UnboundedSender<Control>,
    /// Counts for the exit status.
    pub counters: Arc<ExitCounters>,
}

/// The engine's side.
pub struct EngineChannels {
    /// Commands that overtake.
    pub urgent: mpsc::UnboundedReceiver<Waiting<Request>>,
    /// Commands that keep their order.
    pub ordered: mpsc::UnboundedReceiver<Waiting<Vec<Request>>>,
    /// Events, in batches.
    pub events: mpsc::Sender<Vec<Event>>,
    /// Messages that were handed over; bounded by what the engine releases unshown.
    pub shown: mpsc::UnboundedReceiver<Vec<Shown>>,
    /// End of input, closed output, panic.
    pub control: mpsc::UnboundedReceiver<Control>,
    /// Counts for the exit status.
    pub counters: Arc<ExitCounters>,
}

/// Both sides. With the third part, signals can send a [`Control`].
pub fn channels() -> (
    FrontendChannels,
    EngineChannels,
    mpsc::UnboundedSender<Control>,
) {
    let (urgent_in, urgent) = mpsc::unbounded_channel();
    let (ordered_in, ordered) = mpsc::unbounded_channel();
    let (events, events_out) = mpsc::channel(16);
    let (shown_in, shown) = mpsc::unbounded_channel();
    let (control_in, control) = mpsc::unbounded_channel();
    let counters = Arc::new(ExitCounters::default());
    let frontend = FrontendChannels {
        urgent: urgent_in,
        ordered: ordered_in,
        read_ahead: Arc::new(Semaphore::new(READ_AHEAD)),
        events: events_out,
        shown: shown_in,
        control: control_in.clone(),
        counters: Arc::clone(&counters),
    };
    (
        frontend,
        EngineChannels {
            urgent,
            ordered,
            events,
            shown,
            control,
            counters,
        },
        control_in,
    )
}
