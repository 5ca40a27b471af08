//! From an input thread to the engine: what overtakes, what keeps its order, and how far the input
//! is read ahead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as queue;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::command::{Bell, Mistake};
use super::lines::BadLine;
use super::wait::block_on;
use crate::mesh::{ByeReason, Command, Request, Tag};
use crate::port::{Batch, Control, PanicRequest, READ_AHEAD, Tally, Waiting};

/// Something that the front end tells its own output.
#[derive(Debug)]
pub(super) enum Local {
    /// A line that asks for nothing.
    Mistake(Tag, Mistake),
    /// A line that can not be used.
    BadLine(Tag, BadLine),
    /// The input is UTF-16, and the run ends.
    Utf16,
    /// `/help`.
    Help,
    /// `/bell`.
    Bell(Tag, Bell),
    /// `/clear`.
    Clear,
    /// What Tab could complete.
    Choices(Vec<String>),
    /// Chat: a line is kept, since nobody is here who would get it.
    Kept,
    /// Something about the program itself.
    Trouble(String),
}

/// What some lines ask for, in their order where it counts.
#[derive(Default)]
pub(super) struct Parcel {
    /// Commands that keep their order.
    pub ordered: Vec<Request>,
    /// How much of the read-ahead they occupy.
    pub cost: usize,
    /// Commands that overtake, each with what it occupies.
    pub urgent: Vec<(Request, usize)>,
    /// For the output, the same.
    pub locals: Vec<(Local, usize)>,
    /// Forget everything: what asked for it.
    pub panic: Option<PanicRequest>,
    /// It holds a quit.
    quits: bool,
}

/// The least that a line occupies of the read-ahead: an empty one is not free in memory.
const LEAST_COST: usize = 32;

impl Parcel {
    /// Puts a command where it belongs. `bytes` is what its line took of the input. A message counts
    /// from here on until the engine has taken it; behind a quit there is none.
    pub fn push(&mut self, request: Request, bytes: usize, tally: &Tally) {
        match request.command {
            Command::Send { .. } => {
                tally.untaken.fetch_add(1, Ordering::Relaxed);
            }
            Command::Quit => {
                self.quits = true;
                tally.quit.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        let cost = bytes.max(LEAST_COST);
        if request.command.keeps_order() {
            self.ordered.push(request);
            self.cost += cost;
        } else {
            self.urgent.push((request, cost));
        }
    }

    /// Puts what the input has to tell.
    pub fn tell(&mut self, local: Local) {
        let text = match &local {
            Local::Mistake(_, mistake) => mistake.message.len(),
            Local::Trouble(text) => text.len(),
            Local::Choices(found) => found.iter().map(String::len).sum(),
            Local::BadLine(..)
            | Local::Utf16
            | Local::Help
            | Local::Bell(..)
            | Local::Clear
            | Local::Kept => 0,
        };
        self.locals.push((local, text.max(LEAST_COST)));
    }
}

/// That nobody takes commands any more.
#[derive(Debug)]
pub(super) struct Gone;

enum Fed {
    Batch(Batch),
    End,
}

/// An input thread's way out.
pub(super) struct Feed {
    urgent: mpsc::UnboundedSender<Waiting<Request>>,
    locals: mpsc::UnboundedSender<Waiting<Local>>,
    read_ahead: Arc<Semaphore>,
    ordered: queue::Sender<Fed>,
    control: mpsc::UnboundedSender<Control>,
}

impl Feed {
    /// Starts the thread that hands over what waits. The channel to the engine counts batches, the
    /// read-ahead bytes: without that thread, many small reads would fill the channel long before
    /// the read-ahead.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        urgent: mpsc::UnboundedSender<Waiting<Request>>,
        ordered: mpsc::Sender<Batch>,
        read_ahead: Arc<Semaphore>,
        locals: mpsc::UnboundedSender<Waiting<Local>>,
        control: mpsc::UnboundedSender<Control>,
    ) -> io::Result<Self> {
        let (waiting, fed) = queue::channel();
        let at_end = control.clone();
        thread::Builder::new()
            .name("feed".into())
            .spawn(move || hand_over(&fed, &ordered, &at_end))?;
        Ok(Self {
            urgent,
            locals,
            read_ahead,
            ordered: waiting,
            control,
        })
    }

    /// Hands a parcel over, and waits while the read-ahead is full.
    ///
    /// # Errors
    /// If nobody takes commands any more.
    pub fn deliver(&self, parcel: Parcel) -> Result<(), Gone> {
        if let Some(request) = parcel.panic {
            return self.control.send(Control::Panic(request)).map_err(|_| Gone);
        }
        if parcel.quits {
            self.all_read(ByeReason::Quit)?;
        }
        self.put(parcel.urgent, &self.urgent)?;
        self.put(parcel.locals, &self.locals)?;
        if parcel.ordered.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            item: parcel.ordered,
            permit: Some(self.room(parcel.cost)?),
        };
        self.ordered.send(Fed::Batch(batch)).map_err(|_| Gone)
    }

    fn put<T>(
        &self,
        items: Vec<(T, usize)>,
        to: &mpsc::UnboundedSender<Waiting<T>>,
    ) -> Result<(), Gone> {
        for (item, cost) in items {
            let permit = Some(self.room(cost)?);
            to.send(Waiting { item, permit }).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Waits for so much room in the read-ahead.
    fn room(&self, cost: usize) -> Result<OwnedSemaphorePermit, Gone> {
        // No line is longer than all of it.
        let cost = u32::try_from(cost.min(READ_AHEAD)).map_err(|_| Gone)?;
        let read_ahead = Arc::clone(&self.read_ahead);
        block_on(read_ahead.acquire_many_owned(cost)).map_err(|_| Gone)
    }

    /// The input has ended.
    ///
    /// # Errors
    /// If nobody takes commands any more.
    pub fn end(&self) -> Result<(), Gone> {
        self.all_read(ByeReason::Eof)?;
        self.ordered.send(Fed::End).map_err(|_| Gone)
    }

    /// Told ahead of what waits, which may wait for somebody who never comes back.
    fn all_read(&self, reason: ByeReason) -> Result<(), Gone> {
        let told = self.control.send(Control::AllRead(reason));
        told.map_err(|_| Gone)
    }
}

/// Each batch goes by itself, so that its share of the read-ahead is free once it has been taken,
/// whatever still waits behind it.
fn hand_over(
    fed: &queue::Receiver<Fed>,
    ordered: &mpsc::Sender<Batch>,
    control: &mpsc::UnboundedSender<Control>,
) {
    for next in fed {
        let handed_over = match next {
            Fed::Batch(batch) => block_on(ordered.send(batch)).is_ok(),
            Fed::End => control.send(Control::EndOfInput).is_ok(),
        };
        if !handed_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port;

    #[test]
    fn what_was_taken_makes_room_whatever_waits_behind_it() {
        let (port, mut mailbox, control) = port::joint();
        let (waiting, fed) = queue::channel();
        let all = port.read_ahead.available_permits();
        for _ in 0..3 {
            let permit = Arc::clone(&port.read_ahead).try_acquire_many_owned(100);
            let batch = Batch {
                item: Vec::new(),
                permit: permit.ok(),
            };
            assert!(waiting.send(Fed::Batch(batch)).is_ok());
        }
        drop(waiting);
        hand_over(&fed, &port.ordered, &control);
        assert_eq!(port.read_ahead.available_permits(), all - 300);
        drop(mailbox.ordered.try_recv().ok());
        assert_eq!(port.read_ahead.available_permits(), all - 200);
    }
}
