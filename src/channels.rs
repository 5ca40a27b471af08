//! What joins a front end to the task that owns the engine: bounded channels, and the counts for the
//! exit status. [`channels`] makes both sides.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::exit::ExitCounters;
use crate::mesh::{ByeReason, Event, Request, Tag};
use crate::proto::PeerId;

/// How many bytes of input are read ahead of the engine (USAGE.md, "Order and flow control").
pub const READ_AHEAD: usize = 1 << 20;

/// Something that was parsed, with the share of the read-ahead that it occupies until somebody
/// has taken it: the reader waits for room there alone, and finds a panic behind what waits.
pub struct Waiting<T> {
    /// What waits.
    pub item: T,
    /// Given back when it has been taken.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// That a front end has handed a message over: written and flushed.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Whose message.
    pub peer: PeerId,
    /// Its `seq`, and with it all earlier ones.
    pub seq: u64,
}

/// What a front end, or a signal, says about the run itself.
pub enum Control {
    /// All of the input has been read, since it has ended ([`ByeReason::Eof`]) or has said quit.
    AllRead(ByeReason),
    /// The input has ended; all of it is in the channels.
    EndOfInput,
    /// Nobody reads the output any more.
    OutputClosed,
    /// Forget everything, now. Sent from any thread.
    Panic(PanicRequest),
}

/// What asked for a panic, and how it wants the panic to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicRequest {
    /// The mark of the command, if it was one.
    pub tag: Tag,
    /// Whether the run ends after it. Where it does not say, `--on-panic` does.
    pub quit: Option<bool>,
}

/// The front end's side.
pub struct FrontendChannels {
    /// Commands that overtake. Bounded by the read-ahead.
    pub urgent: mpsc::UnboundedSender<Waiting<Request>>,
    /// Commands that keep their order. Bounded by the read-ahead.
    pub ordered: mpsc::UnboundedSender<Waiting<Vec<Request>>>,
    /// One permit a byte of input that is parsed and not yet taken.
    pub read_ahead: Arc<Semaphore>,
    /// What happened, several at a time.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// What was handed over.
    pub shown: mpsc::UnboundedSender<Vec<Shown>>,
    /// End of input, closed output, panic.
    pub control: mpsc::UnboundedSender<Control>,
    /// For the exit status.
    pub counters: Arc<ExitCounters>,
}

/// The engine's side.
pub struct EngineChannels {
    /// Commands that overtake.
    pub urgent: mpsc::UnboundedReceiver<Waiting<Request>>,
    /// Commands that keep their order.
    pub ordered: mpsc::UnboundedReceiver<Waiting<Vec<Request>>>,
    /// What happened, several at a time.
    pub events: mpsc::Sender<Vec<Event>>,
    /// What was handed over; bounded by what the engine lets out unshown.
    pub shown: mpsc::UnboundedReceiver<Vec<Shown>>,
    /// End of input, closed output, panic.
    pub control: mpsc::UnboundedReceiver<Control>,
    /// For the exit status.
    pub counters: Arc<ExitCounters>,
}

/// The two sides, joined. The third part lets others (signals) send a [`Control`].
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
