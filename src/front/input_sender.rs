//! From an input thread to the engine: what overtakes, what keeps its order, and how far the input
//! is read ahead.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::command::{Bell, Mistake};
use super::lines::BadLine;
use super::wait::block_on;
use crate::channels::{Control, PanicRequest, READ_AHEAD, Waiting};
use crate::exit::ExitCounters;
use crate::mesh::{ByeReason, Command, Request, Tag};

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
pub(super) struct ParsedInput {
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

/// How much of the read-ahead chat leaves for commands and answers when it has no room for messages.
const SPARE: usize = 64 * 1024;

/// The least that a line occupies of the read-ahead: an empty one is not free in memory.
const LEAST_COST: usize = 32;

impl ParsedInput {
    /// Puts a command where it belongs. `bytes` is what its line took of the input. A message counts
    /// from here on until the engine has taken it; behind a quit there is none.
    pub fn push(&mut self, request: Request, bytes: usize, counters: &ExitCounters) {
        match request.command {
            Command::Send { .. } => {
                counters.count_parsed();
            }
            Command::Quit => {
                self.quits = true;
                counters.phase.ask_end();
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

    /// Puts the end of the run, which no line of the input asked for.
    pub fn push_quit(&mut self, now: Instant, counters: &ExitCounters) {
        let request = Request {
            tag: Tag::default(),
            read_at: now,
            command: Command::Quit,
        };
        self.push(request, 0, counters);
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

/// An input thread's way out.
pub(super) struct InputSender {
    urgent: mpsc::UnboundedSender<Waiting<Request>>,
    locals: mpsc::UnboundedSender<Waiting<Local>>,
    read_ahead: Arc<Semaphore>,
    ordered: mpsc::UnboundedSender<Waiting<Vec<Request>>>,
    control: mpsc::UnboundedSender<Control>,
}

impl InputSender {
    /// The engine's channels and the output's.
    pub fn new(
        urgent: mpsc::UnboundedSender<Waiting<Request>>,
        ordered: mpsc::UnboundedSender<Waiting<Vec<Request>>>,
        read_ahead: Arc<Semaphore>,
        locals: mpsc::UnboundedSender<Waiting<Local>>,
        control: mpsc::UnboundedSender<Control>,
    ) -> Self {
        Self {
            urgent,
            locals,
            read_ahead,
            ordered,
            control,
        }
    }

    /// Hands parsed input over, and waits while the read-ahead is full.
    ///
    /// # Errors
    /// If nobody takes commands any more.
    pub fn deliver(&self, parsed: ParsedInput) -> Result<(), Gone> {
        if let Some(request) = parsed.panic {
            return self.control.send(Control::Panic(request)).map_err(|_| Gone);
        }
        if parsed.quits {
            self.all_read(ByeReason::Quit)?;
        }
        // Whoever sees the answer to a command knows that what stood before it has been read. Only
        // what has to wait for room is overtaken.
        let room = self.room_now(parsed.cost);
        let ordered = if room.is_some() {
            self.put_ordered(parsed.ordered, room)?;
            Vec::new()
        } else {
            parsed.ordered
        };
        self.put(parsed.urgent, &self.urgent)?;
        self.put(parsed.locals, &self.locals)?;
        if ordered.is_empty() {
            return Ok(());
        }
        let room = Some(self.room(parsed.cost)?);
        self.put_ordered(ordered, room)
    }

    fn put_ordered(
        &self,
        item: Vec<Request>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Gone> {
        if item.is_empty() {
            return Ok(());
        }
        self.ordered
            .send(Waiting { item, permit })
            .map_err(|_| Gone)
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
        let read_ahead = Arc::clone(&self.read_ahead);
        block_on(read_ahead.acquire_many_owned(permits(cost))).map_err(|_| Gone)
    }

    /// Whether a message of so many bytes would not wait, nor what may follow it.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.read_ahead.available_permits() >= bytes + SPARE
    }

    /// So much room, if it is there and nobody waits for it.
    fn room_now(&self, cost: usize) -> Option<OwnedSemaphorePermit> {
        let read_ahead = Arc::clone(&self.read_ahead);
        read_ahead.try_acquire_many_owned(permits(cost)).ok()
    }

    /// The input has ended.
    ///
    /// # Errors
    /// If nobody takes commands any more.
    pub fn end(&self) -> Result<(), Gone> {
        self.all_read(ByeReason::Eof)?;
        self.control.send(Control::EndOfInput).map_err(|_| Gone)
    }

    /// Told ahead of what waits, which may wait for somebody who never comes back.
    fn all_read(&self, reason: ByeReason) -> Result<(), Gone> {
        let told = self.control.send(Control::AllRead(reason));
        told.map_err(|_| Gone)
    }
}

/// The share of the read-ahead for so many bytes. No line is longer than all of it.
fn permits(cost: usize) -> u32 {
    u32::try_from(cost.min(READ_AHEAD)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels;

    fn parsed(commands: Vec<Command>) -> ParsedInput {
        let mut parsed = ParsedInput::default();
        for command in commands {
            let request = Request {
                tag: Tag::default(),
                read_at: Instant::now(),
                command,
            };
            parsed.push(request, 100, &ExitCounters::default());
        }
        parsed
    }

    fn said() -> Command {
        Command::Send {
            text: "m".into(),
            to: None,
        }
    }

    fn channel_sender(
        channels: channels::FrontendChannels,
    ) -> (InputSender, mpsc::UnboundedReceiver<Waiting<Local>>) {
        let (locals_in, locals) = mpsc::unbounded_channel();
        let (urgent, ordered) = (channels.urgent, channels.ordered);
        let sender = InputSender::new(
            urgent,
            ordered,
            channels.read_ahead,
            locals_in,
            channels.control,
        );
        (sender, locals)
    }

    #[test]
    fn what_was_taken_makes_room_whatever_waits_behind_it() {
        let (channels, mut engine, _) = channels::channels();
        let read_ahead = Arc::clone(&channels.read_ahead);
        let all = read_ahead.available_permits();
        let (sender, _locals) = channel_sender(channels);
        for _ in 0..3 {
            sender.deliver(parsed(vec![said()])).unwrap();
        }
        assert_eq!(read_ahead.available_permits(), all - 300);
        drop(engine.ordered.try_recv().ok());
        assert_eq!(read_ahead.available_permits(), all - 200);
    }

    #[test]
    fn what_stands_before_a_question_is_there_when_it_is_answered() {
        let (channels, mut engine, _) = channels::channels();
        let (sender, _locals) = channel_sender(channels);
        let taken = std::thread::spawn(move || {
            let urgent = engine.urgent.blocking_recv();
            urgent.is_some() && engine.ordered.try_recv().is_ok()
        });
        sender
            .deliver(parsed(vec![said(), Command::Whoami]))
            .unwrap();
        assert!(taken.join().unwrap());
    }

    #[test]
    fn room_for_a_message_leaves_some_for_commands() {
        let (channels, _engine, _) = channels::channels();
        let read_ahead = Arc::clone(&channels.read_ahead);
        let (sender, _locals) = channel_sender(channels);
        let left = SPARE + 100;
        let taken = permits(read_ahead.available_permits() - left);
        let _held = read_ahead.try_acquire_many_owned(taken).unwrap();
        assert!(sender.has_room(100) && !sender.has_room(101));
        sender.deliver(parsed(vec![said()])).unwrap();
        assert!(!sender.has_room(1));
        for _ in 0..100 {
            sender.deliver(parsed(vec![Command::Whoami])).unwrap();
        }
    }

    #[test]
    fn a_question_overtakes_what_waits_for_room() {
        let (channels, mut engine, _) = channels::channels();
        let read_ahead = Arc::clone(&channels.read_ahead);
        let (sender, _locals) = channel_sender(channels);
        // Room for the question, and not for the message.
        let taken = permits(read_ahead.available_permits() - 150);
        let held = read_ahead.try_acquire_many_owned(taken).unwrap();
        let parsed = parsed(vec![said(), said(), Command::Whoami]);
        let delivery = std::thread::spawn(move || sender.deliver(parsed).is_ok());
        assert!(engine.urgent.blocking_recv().is_some());
        assert!(engine.ordered.try_recv().is_err());
        drop(held);
        let batch = engine.ordered.blocking_recv();
        assert_eq!(batch.map(|batch| batch.item.len()), Some(2));
        assert!(delivery.join().unwrap());
    }
}
