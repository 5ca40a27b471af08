//! The threads of chat between the terminal and the editor. One reads keys and carries out what
//! they ask for; the other handles the terminal when the process is stopped or its window changes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroize;

use super::clock;
use super::command::{self, ParsedLine, too_long};
use super::completion_names::CompletionNames;
use super::editor::{Editor, Wish};
use super::grammar::Grammar;
use super::input_sender::{Gone, InputSender, Local, ParsedInput};
use super::keys::{Key, KeyReader, PASTE_START};
use super::screen::SharedScreen;
use super::writer::{FREEZE_PATIENCE, may_be_tried_again};
use crate::channels::{Control, PanicRequest};
use crate::mesh::{Command, Request, Tag, Text};
use crate::sys::stream::Input;
use crate::sys::{console, signals};

/// The most bytes that one read takes.
const CHUNK: usize = 4096;
/// How long after ESC the rest of a key's sequence may come, for ESC to mean Alt with that key.
const SEQUENCE: Duration = Duration::from_millis(500);
/// How often to check whether a shell has given the terminal back.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Bytes that were read, their keys, and the editor.
struct Typing {
    reader: KeyReader,
    editor: Editor,
    /// Bytes that were read, and how many of them were turned into keys.
    bytes: Vec<u8>,
    at: usize,
    /// Keys that the editor has not got yet: one byte may complete two.
    keys: Vec<Key>,
    /// The end was asked for: only a panic, and another Ctrl-C, count.
    ending: bool,
}

/// What the threads of chat and a panic share.
pub(super) struct Keys {
    typing: Mutex<Typing>,
    /// Set by a panic: keys are kept for the time after it.
    capturing: AtomicBool,
    /// Whether the terminal has the modes that the editor needs.
    ours: AtomicBool,
    shared: Arc<SharedScreen>,
    names: CompletionNames,
    prompt: &'static str,
}

impl Keys {
    /// Before the first key. `handed_over` was typed during a panic.
    pub(super) fn new(
        shared: Arc<SharedScreen>,
        names: CompletionNames,
        decoy: bool,
        handed_over: &[u8],
    ) -> Self {
        let prompt = if decoy { "[decoy] > " } else { "> " };
        Self {
            typing: Mutex::new(Typing {
                reader: KeyReader::new(),
                editor: Editor::new(prompt),
                bytes: handed_over.to_vec(),
                at: 0,
                keys: Vec::new(),
                ending: false,
            }),
            capturing: AtomicBool::new(false),
            ours: AtomicBool::new(false),
            shared,
            names,
            prompt,
        }
    }

    /// From now on keys have no effect. Returns the keys that were read already, as bytes. Pasted
    /// text is left out, because it could no longer be told from a command, and so is the rest of a
    /// line that had begun. What is still to come of a paste remains a paste.
    pub(super) fn capture(&self) -> Vec<u8> {
        self.capturing.store(true, Ordering::SeqCst);
        let deadline = clock::now() + FREEZE_PATIENCE;
        loop {
            match self.typing.try_lock() {
                Ok(mut typing) => return typing.rest(),
                Err(TryLockError::Poisoned(typing)) => return typing.into_inner().rest(),
                Err(TryLockError::WouldBlock) if clock::now() >= deadline => return Vec::new(),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Puts a message that could not be sent back into the editor, unless other text is being typed
    /// by now. Returns false if it can only be recalled.
    pub(super) fn put_back(&self, message: &str) -> bool {
        let line = as_typed(message);
        let mut typing = self.lock();
        typing.editor.remember(&line);
        if typing.ending || !typing.editor.put_back(&line) {
            return false;
        }
        self.shared.show(typing.editor.block());
        true
    }

    /// The screen that the editor and the output share.
    pub(super) fn shared_screen(&self) -> Arc<SharedScreen> {
        Arc::clone(&self.shared)
    }

    /// The terminal belongs to this program again.
    fn go_on(&self) {
        // First, because the thread that handles keys may hold the lock until the typed text is on
        // the terminal.
        self.shared.appear();
        // If the process was stopped during a paste, part of that may have gone to the shell.
        self.lock().reader.interrupt();
        self.ours.store(true, Ordering::SeqCst);
    }

    fn is_capturing(&self) -> bool {
        self.capturing.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Typing> {
        self.typing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives keys to the editor up to one that asks for an action. `None` if there are no more.
    fn next(&self) -> Option<Wish> {
        let mut typing = self.lock();
        let typing = &mut *typing;
        let wish = loop {
            if self.is_capturing() {
                return None;
            }
            let Some(key) = typing.next_key() else {
                break None;
            };
            self.shared.count_all_read();
            let interrupts = typing.ending && key == Key::Ctrl('C');
            let wish = typing.editor.press(key, &self.names);
            if interrupts {
                break Some(Wish::Quit);
            }
            if wish != Wish::Nothing {
                break Some(wish);
            }
        };
        if !typing.ending {
            self.shared.show(typing.editor.block());
        }
        wish
    }

    /// Handles a panic key.
    fn panic(&self, control: &mpsc::UnboundedSender<Control>) {
        if !self.capturing.swap(true, Ordering::SeqCst) {
            // An engine that is gone has nothing left to forget.
            let _ = control.send(Control::Panic(PanicRequest::default()));
        }
    }
}

impl Typing {
    fn next_key(&mut self) -> Option<Key> {
        loop {
            if !self.keys.is_empty() {
                return Some(self.keys.remove(0));
            }
            let Some(byte) = self.bytes.get(self.at) else {
                self.bytes.zeroize();
                self.at = 0;
                return None;
            };
            self.at += 1;
            self.reader.push(*byte, &mut self.keys);
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut within = !self.editor.line().text().is_empty();
        while let Some(key) = self.next_key() {
            match key {
                Key::Enter if within => within = false,
                Key::Enter => rest.push(b'\r'),
                Key::Char(c) if !within => {
                    rest.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => {}
            }
        }
        if self.reader.is_in_paste() {
            rest.extend_from_slice(PASTE_START);
        }
        rest
    }
}

/// A message in a form in which it can be typed.
fn as_typed(message: &str) -> String {
    if message.starts_with('/') {
        format!("/{message}")
    } else {
        message.into()
    }
}

/// Reads keys and handles lines, for the reading thread.
pub(super) struct LineHandler {
    /// The terminal's input.
    pub input: Input,
    /// How lines are parsed.
    pub grammar: Grammar,
    /// Where commands go.
    pub sender: InputSender,
    /// Where panic keys go.
    pub control: mpsc::UnboundedSender<Control>,
}

impl LineHandler {
    /// Reads keys until the terminal is gone or the receiver of commands is. After the user has
    /// ended the run, only a panic counts.
    pub(super) fn run(self, keys: &Keys) {
        // The receiver of commands ends the run, so there is no one to report this to.
        let _: Result<(), Gone> = self.read_all(keys);
        keys.shared.leave();
    }

    fn read_all(&self, keys: &Keys) -> Result<(), Gone> {
        loop {
            while let Some(wish) = keys.next() {
                self.act(wish, keys)?;
            }
            if keys.is_capturing() {
                return Ok(());
            }
            if !self.read(keys) {
                return self.quit(keys);
            }
        }
    }

    /// Waits for bytes and reads them. Returns false if there will be none.
    fn read(&self, keys: &Keys) -> bool {
        let may_be_escape = keys.lock().reader.may_be_escape();
        let patience = may_be_escape.then_some(SEQUENCE);
        if !self.input.wait(patience) {
            if may_be_escape {
                keys.lock().reader.nothing_followed();
            }
            return true;
        }
        if !keys.ours.load(Ordering::SeqCst) || !console::is_in_foreground() {
            // Keys typed now are for the shell.
            thread::sleep(LOOK_UP);
            return true;
        }
        let mut typing = keys.lock();
        // The read does not wait, since there are bytes. The lock is held, so that a panic finds
        // everything that was read.
        let mut chunk = [0; CHUNK];
        let read = match self.input.read(&mut chunk) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) if may_be_tried_again(&error) => return true,
            Err(_) => return false,
        };
        if !keys.is_capturing() {
            typing.bytes.extend_from_slice(&chunk[..read]);
        }
        chunk.zeroize();
        true
    }

    fn act(&self, wish: Wish, keys: &Keys) -> Result<(), Gone> {
        let ending = keys.lock().ending;
        match wish {
            Wish::Panic => keys.panic(&self.control),
            // The signal stops at least this process, where `Keeper` handles it.
            Wish::Suspend => console::suspend(),
            // As a signal, which is what Ctrl-C is in other programs.
            Wish::Quit if ending => signals::send(signals::INTERRUPT),
            _ if ending => {}
            Wish::Quit => return self.quit(keys),
            Wish::Accept => return self.accept(keys),
            Wish::ClearScreen => keys.shared.clear(false),
            Wish::List(found) => return self.tell(Local::Choices(found)),
            Wish::Tell(what) => return self.tell(Local::Trouble(what.into())),
            Wish::Nothing => {}
        }
        Ok(())
    }

    /// Handles Enter.
    fn accept(&self, keys: &Keys) -> Result<(), Gone> {
        let mut typing = keys.lock();
        let pasted = typing.editor.line().begins_pasted();
        let text = typing.editor.line().text().to_owned();
        // A pasted line may end with a line feed.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.is_empty() {
            drop(typing.editor.take());
            drop(typing);
            if self.grammar.audience.may_leave(clock::now()) {
                return self.quit(keys);
            }
            return Ok(());
        }
        let parsed = if pasted {
            command::message(line)
        } else {
            command::parse(line)
        };
        let is_message = matches!(parsed, Ok(ParsedLine::Command(Command::Send { .. })));
        if (is_message || pasted) && line.len() > Text::MAX {
            drop(typing);
            return self.tell(Local::Mistake(Tag::default(), too_long()));
        }
        if is_message && !self.grammar.audience.is_anybody() {
            drop(typing);
            return self.tell(Local::Kept);
        }
        if is_message && !self.sender.has_room(line.len()) {
            // A thread that waited for room here would read no panic key.
            drop(typing);
            let full =
                "not sent: too many messages are waiting; Enter sends the line when there is room";
            return self.tell(Local::Trouble(full.into()));
        }
        drop(typing.editor.take());
        // Lines in the history have the form in which they can be typed.
        typing.editor.remember(&match pasted {
            true => as_typed(line),
            false => line.into(),
        });
        let committed = format!("{}{line}", keys.prompt);
        keys.shared.commit(committed, typing.editor.block());
        let (mut input, now) = (ParsedInput::default(), clock::now());
        self.grammar
            .put(Tag::default(), now, parsed, line.len(), &mut input);
        let clears = |(local, _): &(Local, usize)| matches!(local, Local::Clear);
        if input.locals.iter().any(clears) {
            input.locals.clear();
            typing.editor.forget();
            keys.shared.clear(true);
        }
        if input.panic.is_some() {
            keys.capturing.store(true, Ordering::SeqCst);
        }
        let quit = |request: &Request| matches!(request.command, Command::Quit);
        if input.ordered.iter().any(quit) {
            typing.ending = true;
            keys.shared.leave();
        }
        drop(typing);
        self.sender.deliver(input)
    }

    fn quit(&self, keys: &Keys) -> Result<(), Gone> {
        keys.lock().ending = true;
        keys.shared.leave();
        let mut input = ParsedInput::default();
        input.push_quit(clock::now(), &self.grammar.counters);
        self.sender.deliver(input)
    }

    fn tell(&self, local: Local) -> Result<(), Gone> {
        let mut input = ParsedInput::default();
        input.tell(local);
        self.sender.deliver(input)
    }
}

/// Takes the terminal, and restores its modes after each stop.
pub(super) struct Keeper {
    keys: Arc<Keys>,
    events: console::Events,
}

impl Keeper {
    /// Takes the terminal, if this process may, and handles the signals from now on.
    ///
    /// # Errors
    /// There is no terminal, or a handler cannot be set.
    pub(super) fn new(keys: Arc<Keys>) -> io::Result<Self> {
        let events = console::Events::begin()?;
        let keeper = Self { keys, events };
        if console::is_in_foreground() {
            console::take()?;
            keeper.keys.ours.store(true, Ordering::SeqCst);
        } else {
            keeper.keys.shared.hide();
        }
        Ok(keeper)
    }

    /// Goes on until the process ends. No other thread runs the handlers.
    pub(super) fn run(self) {
        // This is not known to fail. If it did, the chat would only miss stops and new sizes.
        let _ = self.events.take_here();
        loop {
            let ours = self.keys.ours.load(Ordering::SeqCst);
            let patience = (!ours).then_some(LOOK_UP);
            let happened = self.events.wait(patience);
            if happened.resized {
                self.keys.shared.resized();
            }
            if happened.goes_on {
                self.lend();
            }
            if happened.is_to_stop {
                self.stop();
            }
            if !self.keys.ours.load(Ordering::SeqCst) && console::is_in_foreground() {
                self.take();
            }
        }
    }

    /// Stops the process, with the terminal as it was before.
    fn stop(&self) {
        if !console::can_be_stopped() {
            // No shell could continue this process.
            return;
        }
        self.keys.shared.hide();
        self.lend();
        if console::is_in_foreground() {
            console::lend();
        }
        self.events.stop();
    }

    /// Another program may have used the terminal, or is using it.
    fn lend(&self) {
        self.keys.ours.store(false, Ordering::SeqCst);
        if !console::is_in_foreground() {
            self.keys.shared.hide();
        }
    }

    fn take(&self) {
        // If the terminal is gone, the reading thread finds out.
        let _ = console::take();
        self.keys.go_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::screen::Screen;
    use crate::front::writer::{Gate, Writer};

    fn keys(bytes: &[u8]) -> Keys {
        let shared = Arc::new(SharedScreen::new());
        Keys::new(shared, CompletionNames::default(), false, bytes)
    }

    #[test]
    fn keys_after_a_panic_are_kept_for_the_next_image() {
        let keys = keys("\x1b[24~/é\r\x1b[200~p\r\x1b[201~z".as_bytes());
        assert_eq!(keys.next(), Some(Wish::Panic));
        assert_eq!(keys.capture(), "/é\rz".as_bytes());
        assert_eq!(keys.next(), None);
    }

    #[test]
    fn a_line_begun_before_a_panic_is_dropped_to_its_end() {
        let keys = keys(b"half\x1b[24~ a line\rnext");
        assert_eq!(keys.next(), Some(Wish::Panic));
        assert_eq!(keys.capture(), b"next");
    }

    #[test]
    fn rest_of_a_paste_that_a_panic_cut_stays_pasted() {
        let before = keys(b"x\x1b[200~one\r");
        assert_eq!(before.next(), None);
        let mut left = before.capture();
        left.extend_from_slice(b"/quit\r\x1b[201~\r");
        let after = keys(&left);
        assert_eq!(after.next(), Some(Wish::Accept));
        let typing = after.lock();
        assert_eq!(typing.editor.line().text(), "/quit\n");
        assert!(typing.editor.line().begins_pasted());
    }

    #[test]
    fn keys_typed_during_a_stop_do_not_block() {
        let keys = Arc::new(keys(b""));
        let gate = Arc::new(Gate::new(false));
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = Writer::new(writer.into(), Arc::clone(&gate));
        let _screen = Screen::start(writer, keys.shared_screen(), gate, false).unwrap();
        keys.shared.hide();
        let (typist, begun) = (Arc::clone(&keys), Arc::new(AtomicBool::new(false)));
        let begins = Arc::clone(&begun);
        let typed = thread::spawn(move || {
            let typing = typist.lock();
            begins.store(true, Ordering::SeqCst);
            for _ in 0..100 {
                let next = typing.editor.block();
                typist.shared.commit("line".into(), next);
            }
        });
        while !begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        keys.go_on();
        typed.join().unwrap();
        let mut out = [0; 4096];
        assert!(io::Read::read(&mut reader, &mut out).unwrap() > 0);
    }

    #[test]
    fn keys_at_the_end_of_a_run_only_panic() {
        let keys = keys(b"x\x03\x18\x10");
        keys.lock().ending = true;
        assert_eq!(keys.next(), Some(Wish::Quit));
        assert_eq!(keys.next(), Some(Wish::Panic));
    }

    #[test]
    fn bytes_that_were_read_are_wiped() {
        let keys = keys(b"typed");
        assert_eq!(keys.next(), None);
        assert!(keys.lock().bytes.is_empty());
    }

    #[test]
    fn unsent_message_returns_in_a_form_that_can_be_typed() {
        let keys = keys(b"");
        assert!(keys.put_back("/quit"));
        assert_eq!(keys.lock().editor.line().text(), "//quit");
        assert!(!keys.put_back("other"));
    }
}
