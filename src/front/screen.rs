//! The terminal that the line editor and the output share: text appears above the line being
//! typed, and is handed over when it has been painted, not when it waits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcsetattr,
};
use rustyline::ExternalPrinter;

use super::clock;
use super::writer::{Gate, WriteError, Writer, wait_writable};

/// Clears the screen, then the scrollback: some terminals scroll out what they clear.
pub(super) const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";
/// Ends bracketed paste, and takes the prompt away.
const END: &[u8] = b"\x1b[?2004l\r\x1b[K";
/// How often a writer that waits looks up.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a terminal that takes nothing holds up the end of a run.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

static SAVED: OnceLock<Termios> = OnceLock::new();

/// Remembers how the terminal was before the line editor changed it.
pub(super) fn save_terminal() {
    if let Ok(modes) = tcgetattr(stdin()) {
        let _ = SAVED.set(modes);
    }
}

/// Puts the terminal back into the state that it had before the line editor began, without
/// waiting. Does nothing in a run without an editor. May be called from any thread, also while the
/// process is about to be replaced.
pub fn restore_terminal() {
    if let Some(modes) = SAVED.get() {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
        write_at_once(END);
    }
}

/// Clears the terminal and its scrollback, if it takes that without waiting.
pub fn clear_terminal() {
    if SAVED.get().is_some() {
        write_at_once(CLEAR);
    }
}

/// Throws away what was typed and not read: it must not reach the shell.
pub(super) fn discard_typed() {
    if isatty(stdin()) {
        // A terminal that is gone has nothing typed.
        let _ = tcflush(stdin(), QueueSelector::IFlush);
    }
}

fn write_at_once(bytes: &[u8]) {
    if wait_writable(&stdout(), Duration::ZERO) {
        let _ = rustix::io::write(stdout(), bytes);
    }
}

/// Whether the line editor holds the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It does not, and will soon again.
    Between,
    /// It does.
    Editing,
    /// It does not, and never will again.
    Gone,
}

struct Inner {
    phase: Phase,
    paintings: u64,
    /// How many editors there were before this one, and the paintings of those.
    earlier: u64,
    painted_by_earlier: u64,
    /// What prints above the line of this editor, until it is fetched.
    printer: Option<Printer>,
}

/// What became of a text that an editor was given.
enum Fate {
    /// It is on the terminal.
    Painted,
    /// It went away with the editor, and there is another.
    Replaced,
    /// It went away with the editor.
    Lost,
}

/// What an editor prints with above its line.
pub(super) type Printer = Box<dyn ExternalPrinter + Send>;

/// Who holds the terminal. Shared by the editor and the screen.
pub(super) struct Stage {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Stage {
    /// Before the editor's first line.
    pub fn new() -> Self {
        let inner = Mutex::new(Inner {
            phase: Phase::Between,
            paintings: 0,
            earlier: 0,
            painted_by_earlier: 0,
            printer: None,
        });
        Self {
            inner,
            changed: Condvar::new(),
        }
    }

    /// The editor takes the terminal. Waits for text that is being written.
    pub fn begin(&self) {
        self.enter(Phase::Editing);
    }

    /// The editor gives it back for a moment.
    pub fn pause(&self) {
        self.enter(Phase::Between);
    }

    /// The editor gives it back for good.
    pub fn leave(&self) {
        self.enter(Phase::Gone);
    }

    /// The editor has painted prompt and line, and with it all text that it had been given.
    pub fn painted(&self) {
        self.lock().paintings += 1;
        self.changed.notify_all();
    }

    /// Another editor has taken the place of the one before, while no line is being typed. Text
    /// that went away with that one is printed again.
    pub fn replaced(&self, printer: Printer) {
        let mut inner = self.lock();
        inner.earlier += 1;
        inner.painted_by_earlier = inner.paintings;
        inner.printer = Some(printer);
        drop(inner);
        self.changed.notify_all();
    }

    /// What became of a text that the editor was given, or was not. Waits until it is known.
    fn fate(&self, paintings: u64, earlier: u64, given: bool) -> Fate {
        let mut inner = self.lock();
        loop {
            let replaced = inner.earlier != earlier;
            let now = if replaced {
                inner.painted_by_earlier
            } else {
                inner.paintings
            };
            if given && now > paintings {
                return Fate::Painted;
            }
            if replaced {
                return Fate::Replaced;
            }
            if !given || inner.phase == Phase::Gone {
                return Fate::Lost;
            }
            let waiting = self.changed.wait(inner);
            inner = waiting.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Slot {
    job: Option<String>,
    result: Option<Result<(), WriteError>>,
}

/// One text at a time on its way to the terminal.
#[derive(Default)]
struct Desk {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes above the line being typed. The printing has a thread of its own, since the editor can be
/// busy without end, within an unfinished paste for instance, and the end of a run must not wait
/// for that.
pub(super) struct Screen {
    desk: Arc<Desk>,
    gate: Arc<Gate>,
}

impl Screen {
    /// Starts the printing thread. `writer` is for the time when no line is being typed.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        printer: Printer,
        writer: Writer,
        stage: Arc<Stage>,
        gate: Arc<Gate>,
    ) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let mut press = Press {
            printer,
            writer,
            stage,
        };
        let shared = Arc::clone(&desk);
        thread::Builder::new()
            .name("screen".into())
            .spawn(move || press.run(&shared))?;
        Ok(Self { desk, gate })
    }

    /// Returns when the text is on the terminal. While it is not, `is_over` is asked now and then
    /// whether the run is over, and if so, the wait ends soon.
    ///
    /// # Errors
    /// Why it may not be on the terminal.
    pub fn write(
        &mut self,
        bytes: &[u8],
        is_over: &mut dyn FnMut() -> bool,
    ) -> Result<(), WriteError> {
        let mut slot = self.desk.lock();
        slot.job = Some(String::from_utf8_lossy(bytes).into_owned());
        self.desk.changed.notify_all();
        let mut patience: Option<Instant> = None;
        loop {
            if let Some(result) = slot.result.take() {
                return result;
            }
            if self.gate.is_shut() {
                return Err(WriteError::Shut);
            }
            if is_over() {
                let now = clock::now();
                if now >= *patience.get_or_insert(now + LAST_PATIENCE) {
                    return Err(WriteError::GivenUp);
                }
            }
            slot = match self.desk.changed.wait_timeout(slot, LOOK_UP) {
                Ok((slot, _)) => slot,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

struct Press {
    printer: Printer,
    writer: Writer,
    stage: Arc<Stage>,
}

impl Press {
    fn run(&mut self, desk: &Desk) {
        let mut slot = desk.lock();
        loop {
            if let Some(text) = slot.job.take() {
                drop(slot);
                let result = self.print(text);
                slot = desk.lock();
                slot.result = Some(result);
                desk.changed.notify_all();
            } else {
                slot = desk
                    .changed
                    .wait(slot)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn print(&mut self, text: String) -> Result<(), WriteError> {
        loop {
            let mut inner = self.stage.lock();
            if let Some(printer) = inner.printer.take() {
                self.printer = printer;
            }
            if inner.phase != Phase::Editing {
                // With the lock held, so that no line begins in the middle of the text.
                return self.writer.write(text.as_bytes(), &mut || false);
            }
            let (paintings, earlier) = (inner.paintings, inner.earlier);
            drop(inner);
            let printed = self.printer.print(text.clone()).is_ok();
            match self.stage.fate(paintings, earlier, printed) {
                Fate::Painted => return Ok(()),
                Fate::Replaced => {}
                Fate::Lost => break,
            }
        }
        // The editor went away with the text.
        self.writer.write(text.as_bytes(), &mut || false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;

    use super::*;

    /// Stands for the editor: takes texts, and paints when told.
    struct Editor(mpsc::Sender<String>);

    impl ExternalPrinter for Editor {
        fn print(&mut self, text: String) -> rustyline::Result<()> {
            self.0
                .send(text)
                .map_err(|_| io::Error::from(io::ErrorKind::Other).into())
        }
    }

    fn screen() -> (Screen, Arc<Stage>, mpsc::Receiver<String>, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let gate = Arc::new(Gate::new(false));
        let writer = Writer::new(Arc::new(writer), Arc::clone(&gate));
        let (texts_in, texts) = mpsc::channel();
        let stage = Arc::new(Stage::new());
        let screen =
            Screen::start(Box::new(Editor(texts_in)), writer, Arc::clone(&stage), gate).unwrap();
        (screen, stage, texts, reader)
    }

    #[test]
    fn a_text_is_handed_over_when_it_has_been_painted() {
        let (mut screen, stage, texts, _reader) = screen();
        stage.begin();
        let writing = thread::spawn(move || screen.write(b"hello\n", &mut || false).is_ok());
        assert_eq!(texts.recv().unwrap(), "hello\n");
        thread::sleep(Duration::from_millis(60));
        assert!(!writing.is_finished());
        stage.painted();
        assert!(writing.join().unwrap());
    }

    #[test]
    fn without_a_line_being_typed_it_is_written_directly() {
        let (mut screen, stage, _texts, mut reader) = screen();
        let mut out = [0; 6];
        screen.write(b"one\n", &mut || false).unwrap();
        stage.leave();
        screen.write(b"2\n", &mut || false).unwrap();
        reader.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"one\n2\n");
    }

    #[test]
    fn a_text_that_went_away_with_the_editor_is_written_after_it() {
        let (mut screen, stage, texts, mut reader) = screen();
        stage.begin();
        let writing = thread::spawn(move || screen.write(b"late\n", &mut || false).is_ok());
        assert_eq!(texts.recv().unwrap(), "late\n");
        stage.leave();
        assert!(writing.join().unwrap());
        let mut out = [0; 5];
        reader.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"late\n");
    }

    #[test]
    fn a_text_that_went_away_with_a_replaced_editor_is_printed_by_the_next() {
        let (mut screen, stage, texts, _reader) = screen();
        stage.begin();
        let writing = thread::spawn(move || screen.write(b"late\n", &mut || false).is_ok());
        assert_eq!(texts.recv().unwrap(), "late\n");
        // Without a pause in between, in which the text would be written directly.
        let (texts_in, texts) = mpsc::channel();
        stage.replaced(Box::new(Editor(texts_in)));
        assert_eq!(texts.recv().unwrap(), "late\n");
        assert!(!writing.is_finished());
        stage.painted();
        assert!(writing.join().unwrap());
    }

    #[test]
    fn the_end_of_a_run_does_not_wait_for_a_busy_editor() {
        let (mut screen, stage, _texts, _reader) = screen();
        stage.begin();
        assert!(matches!(
            screen.write(b"x\n", &mut || true),
            Err(WriteError::GivenUp)
        ));
    }
}
