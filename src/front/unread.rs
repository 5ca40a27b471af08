//! Input that was read and not parsed, which the input thread and a panic share.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use zeroize::Zeroize;

use super::clock;
use super::grammar::Grammar;
use super::input_sender::ParsedInput;
use super::lines::{Leftover, Lines};
use super::options::{FrontendOptions, Mode};
use super::writer::{FREEZE_PATIENCE, may_be_tried_again};
use crate::channels::READ_AHEAD;
use crate::mesh::Text;
use crate::sys::stream::Input;

/// The most bytes that one read takes.
pub(super) const CHUNK: usize = 64 * 1024;
/// The most bytes of a line of JSON (USAGE.md, "JSON mode").
const MAX_JSON_LINE: usize = 512 * 1024;
/// How many chunks are read at the end to find a panic: as much as the read-ahead.
const LAST_CHUNKS: usize = READ_AHEAD / CHUNK;
/// How many bytes are parsed before they are handed over.
pub(super) const PARSED_AT_ONCE: usize = 64 * 1024;

/// Input that a panic has to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadInput {
    /// Complete lines that were read and not parsed.
    pub lines: Vec<u8>,
    /// The rest of a line whose beginning was read comes next on stdin, and has to be dropped.
    pub begun: bool,
    /// That beginning was part of a message.
    pub lost_message: bool,
    /// Nothing was read from stdin yet: it may begin with a byte order mark.
    pub at_start: bool,
}

/// Sets a flag for as long as it lives.
struct Parsing<'a>(&'a AtomicBool);

impl<'a> Parsing<'a> {
    fn begin(mark: &'a AtomicBool) -> Self {
        mark.store(true, Ordering::SeqCst);
        Self(mark)
    }
}

impl Drop for Parsing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// What the input thread and a panic share.
pub(super) struct Unread {
    /// Locked while input is read or parsed. A read should not wait, since poll has found input;
    /// but another process may have taken it meanwhile.
    lines: Mutex<Lines>,
    /// A panic came, from the input or from elsewhere: nothing more is read or parsed.
    stopped: AtomicBool,
    /// Lines are being parsed, which never waits.
    parsing: AtomicBool,
    /// Whether lines are messages, and if so, whether those that begin with a slash are too.
    messages: Option<bool>,
}

impl Unread {
    /// With the input that a panic handed over, if any, ahead of stdin.
    pub(super) fn new(options: &FrontendOptions, before: Option<&UnreadInput>) -> Self {
        let limit = if options.mode == Mode::Json {
            MAX_JSON_LINE
        } else {
            Text::MAX
        };
        let mut lines = Lines::new(options.cut, limit);
        if options.mode == Mode::Json {
            lines = lines.of_json();
        }
        if let Some(before) = before {
            lines.go_on(&before.lines, before.begun, before.at_start);
        }
        Self {
            lines: Mutex::new(lines),
            stopped: AtomicBool::new(false),
            parsing: AtomicBool::new(false),
            messages: match options.mode {
                Mode::Plain => Some(options.literal),
                Mode::Json | Mode::Chat => None,
            },
        }
    }

    /// Ends reading and parsing, and takes what was read and not parsed. If a read waits, only the
    /// beginning of a line can be there, and it is lost.
    pub(super) fn take(&self) -> UnreadInput {
        self.stopped.store(true, Ordering::SeqCst);
        let deadline = clock::now() + FREEZE_PATIENCE;
        loop {
            match self.lines.try_lock() {
                Ok(mut lines) => return self.left(lines.take_unread()),
                Err(TryLockError::Poisoned(lines)) => {
                    return self.left(lines.into_inner().take_unread());
                }
                Err(TryLockError::WouldBlock) => {
                    let parses = self.parsing.load(Ordering::SeqCst);
                    if !parses && clock::now() >= deadline {
                        return UnreadInput::default();
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn left(&self, leftover: Leftover) -> UnreadInput {
        let message = |first: u8| self.messages.is_some_and(|all| all || first != b'/');
        UnreadInput {
            lost_message: leftover.begun_with.is_some_and(message),
            lines: leftover.lines,
            begun: leftover.begun,
            at_start: leftover.at_start,
        }
    }

    /// Whether a panic is in the input of a run that is over, as far as can be read without
    /// waiting: the user may have asked for it before the end. Other input no longer counts.
    pub(super) fn holds_panic(&self, input: &Input, grammar: &Grammar) -> bool {
        let mut chunk = vec![0; CHUNK];
        for _ in 0..LAST_CHUNKS {
            while self.parse(grammar).is_some() {}
            if self.is_stopped()
                || !input.wait(Some(Duration::ZERO))
                || !matches!(self.read(input, &mut chunk), Ok(true))
            {
                break;
            }
        }
        // This thread or the reading thread has found it.
        self.is_stopped()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parses until there is enough to hand over. `None` without a whole line.
    pub(super) fn parse(&self, grammar: &Grammar) -> Option<ParsedInput> {
        let mut lines = self.lock();
        let _parsing = Parsing::begin(&self.parsing);
        if self.is_stopped() {
            return None;
        }
        let mut parsed = ParsedInput::default();
        let read_at = clock::now();
        // Lines without cost count too; otherwise a chunk of mistakes would be handed over at once.
        let mut taken = 0;
        while parsed.cost.max(taken) < PARSED_AT_ONCE
            && let Some(line) = lines.next_line()
        {
            taken += line.bytes;
            grammar.read(&line, read_at, &mut parsed);
            if parsed.panic.is_some() {
                // All that follows is for the time after the panic.
                self.stopped.store(true, Ordering::SeqCst);
                break;
            }
        }
        (taken > 0).then_some(parsed)
    }

    /// Reads once; `Ok(true)` if there may be more.
    pub(super) fn read(&self, input: &Input, chunk: &mut [u8]) -> io::Result<bool> {
        let mut lines = self.lock();
        if self.is_stopped() {
            return Ok(false);
        }
        match input.read(chunk) {
            Ok(0) => {
                lines.end();
                Ok(false)
            }
            Ok(read) => {
                lines.push(&chunk[..read]);
                // Input that was handed over must not stay in this buffer until the next read.
                chunk[..read].zeroize();
                Ok(true)
            }
            Err(error) if may_be_tried_again(&error) => Ok(true),
            Err(error) => {
                lines.end();
                Err(error)
            }
        }
    }

    /// Whether the input began with the byte order mark of UTF-16.
    pub(super) fn is_utf16(&self) -> bool {
        self.lock().is_utf16()
    }

    /// Whether a panic came.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_read_that_waits_does_not_hold_up_a_panic() {
        // As if another process had taken the bytes between poll and read.
        let (reader, writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let unread = Arc::new(Unread::new(&FrontendOptions::default(), None));
        let shared = Arc::clone(&unread);
        let reading = thread::spawn(move || shared.read(&input, &mut [0; 16]));
        while unread.lines.try_lock().is_ok() {
            thread::yield_now();
        }
        assert_eq!(unread.take(), UnreadInput::default());
        assert!(!reading.is_finished());
        drop(writer);
        assert!(!reading.join().unwrap().unwrap());
    }
}
