//! From an input thread to the engine: which commands overtake, which keep their order, and how far
//! the input is read ahead.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::alert::{Alert, AlertFor};
use super::command::Mistake;
use super::lines::BadLine;
use super::wait::block_on;
use crate::channels::{Control, PanicRequest, READ_AHEAD, Waiting};
use crate::exit::ExitCounters;
use crate::mesh::{ByeReason, Command, Request, Tag};

/// A message from the input to this front end's output.
#[derive(Debug)]
pub(super) enum Local {
    /// A line with a mistake.
    Mistake(Tag, Mistake),
    /// A line that cannot be used.
    BadLine(Tag, BadLine),
    /// The input is UTF-16, and the run ends.
    Utf16,
    /// The list of commands, or what this one does.
    Help(Option<&'static str>),
    /// How others reach this end.
    Invite,
    /// The rest of the long message that was cut last.
    More(Tag),
    /// `/bell` or `/notify`.
    Alert(Tag, Alert, AlertFor),
    /// `/clear`.
    Clear,
    /// The possible completions.
    Choices(Vec<String>),
    /// Chat: a line stays in the editor, since there is no peer to get it.
    Kept,
    /// A problem of the program itself.
    Trouble(String),
}

/// The content of some lines, in order where order counts.
#[derive(Default)]
pub(super) struct ParsedInput {
    /// Commands that keep their order.
    pub ordered: Vec<Request>,
    /// The share of the read-ahead that they occupy.
    pub cost: usize,
    /// Commands that overtake, each with its share.
    pub urgent: Vec<(Request, usize)>,
    /// Messages for the output, each with its share.
    pub locals: Vec<(Local, usize)>,
    /// A panic, and what asked for it.
    pub panic: Option<PanicRequest>,
    /// Whether it contains a quit.
    quits: bool,
}

/// How many bytes of the read-ahead chat leaves for commands and answers when it has no room for
/// messages.
const SPARE: usize = 64 * 1024;

/// The least share of a line, because an empty line also takes memory.
const LEAST_COST: usize = 32;

impl ParsedInput {
    /// Adds a command. `bytes` is the size of its line in the input. A message counts as pending
    /// from here until the engine has taken it; after a quit no message does.
    pub(super) fn push(&mut self, request: Request, bytes: usize, counters: &ExitCounters) {
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

    /// Adds the end of the run, for which no line of the input asked.
    pub(super) fn push_quit(&mut self, now: Instant, counters: &ExitCounters) {
        let request = Request {
            tag: Tag::default(),
            read_at: now,
            command: Command::Quit,
        };
        self.push(request, 0, counters);
    }

    /// Adds a message to the output.
    pub(super) fn tell(&mut self, local: Local) {
        let text = match &local {
            Local::Mistake(_, mistake) => mistake.message.len(),
            Local::Trouble(text) => text.len(),
            Local::Choices(found) => found.iter().map(String::len).sum(),
            Local::BadLine(..)
            | Local::Utf16
            | Local::Help(_)
            | Local::Invite
            | Local::More(_)
            | Local::Alert(..)
            | Local::Clear
            | Local::Kept => 0,
        };
        self.locals.push((local, text.max(LEAST_COST)));
    }
}

/// The receiver of commands is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// The sending side of an input thread.
pub(super) struct InputSender {
    urgent: mpsc::UnboundedSender<Waiting<Request>>,
    locals: mpsc::UnboundedSender<Waiting<Local>>,
    read_ahead: Arc<Semaphore>,
    ordered: mpsc::UnboundedSender<Waiting<Vec<Request>>>,
    control: mpsc::UnboundedSender<Control>,
}

impl InputSender {
    /// Sends to the engine's channels and to the output.
    pub(super) fn new(
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
    /// The receiver of commands is gone.
    pub(super) fn deliver(&self, parsed: ParsedInput) -> Result<(), Gone> {
        if let Some(request) = parsed.panic {
            return self.control.send(Control::Panic(request)).map_err(|_| Gone);
        }
        if parsed.quits {
            self.all_read(ByeReason::Quit)?;
        }
        // The answer to a command means that the lines before it have been read. Commands overtake
        // only those that wait for room.
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

    /// Waits for a share of this size in the read-ahead.
    fn room(&self, cost: usize) -> Result<OwnedSemaphorePermit, Gone> {
        let read_ahead = Arc::clone(&self.read_ahead);
        block_on(read_ahead.acquire_many_owned(permits(cost))).map_err(|_| Gone)
    }

    /// Whether neither a message of this size nor a line after it would wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.read_ahead.available_permits() >= bytes + SPARE
    }

    /// A share of this size, if it is free and no earlier request waits for one.
    fn room_now(&self, cost: usize) -> Option<OwnedSemaphorePermit> {
        let read_ahead = Arc::clone(&self.read_ahead);
        read_ahead.try_acquire_many_owned(permits(cost)).ok()
    }

    /// Reports the end of the input.
    ///
    /// # Errors
    /// The receiver of commands is gone.
    pub(super) fn end(&self) -> Result<(), Gone> {
        self.all_read(ByeReason::Eof)?;
        self.control.send(Control::EndOfInput).map_err(|_| Gone)
    }

    /// Reported ahead of waiting messages, which may wait for a peer that never comes back.
    fn all_read(&self, reason: ByeReason) -> Result<(), Gone> {
        let told = self.control.send(Control::AllRead(reason));
        told.map_err(|_| Gone)
    }
}

/// The share of the read-ahead for this many bytes. No line exceeds all of it.
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
    fn room_of_a_taken_batch_is_free_at_once() {
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
    fn lines_before_a_question_are_read_when_it_is_answered() {
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
    fn question_overtakes_a_message_that_waits_for_room() {
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
