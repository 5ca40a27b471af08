//! Asks for the passphrase on the terminal, with echo off.
//!
//! Echo is off before the question is shown, so that the answer of a fast script is not shown
//! either. Line editing and signals from keys are off too, so that Ctrl-C can first restore the
//! terminal. When the process is stopped, by Ctrl-Z or a signal, and continues, echo is turned off
//! again and the question is asked again; what was typed before is dropped. Bytes are read one by
//! one, so that what was typed after the passphrase stays for the line editor.

use std::io;
use std::mem;

use zeroize::Zeroizing;

use super::early::Early;
use crate::exit::Failure;
use crate::passphrase;
use crate::proto::phrase::LONGEST_LINE;
use crate::sys::hidden_entry::HiddenEntry;
use crate::sys::reason;
use crate::sys::signals;
use crate::sys::stream::Input;
use crate::sys::waiter::Woken;

const ADVICE: &str = "use --phrase-fd, --phrase-file or --phrase";

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_P: u8 = 0x10;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const CTRL_X: u8 = 0x18;
const CTRL_Z: u8 = 0x1a;
const ESC: u8 = 0x1b;
const DELETE: u8 = 0x7f;
const F12: &[u8] = b"\x1b[24~";
/// Before the question, if there is going to be an offer.
const HINT: &[u8] =
    b"All members type the same passphrase.\r\nEnter by itself offers a new one.\r\n";
/// Around the offer.
const BEFORE_OFFER: &[u8] = b"\r\nA new passphrase, shown only now:\r\n\r\n  ";
const AFTER_OFFER: &[u8] = b"\r\n\r\nEnter takes it; or type another one.\r\n";
/// Clears the screen, then the scrollback.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

/// Asks on the terminal of this process, even if stdin is not a terminal.
///
/// # Errors
/// Wrong usage if there is no terminal or no answer; SIGINT's status for Ctrl-C; a panic that ends
/// the run.
pub(super) fn on_terminal(
    decoy: bool,
    offers: bool,
    early: &Early,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match Input::terminal() {
        Ok(terminal) => on(terminal, decoy, offers, early),
        Err(_) => Err(Failure::usage(
            "cannot ask for the passphrase: no terminal",
            ADVICE,
        )),
    }
}

/// Asks on this terminal. With `offers`, an empty answer gets the offer of a new passphrase, which
/// another empty answer takes.
///
/// # Errors
/// Wrong usage if there is no answer; SIGINT's status for Ctrl-C, or that of a signal; a panic that
/// ends the run.
pub(super) fn on(
    terminal: Input,
    decoy: bool,
    offers: bool,
    early: &Early,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let broken = |error: io::Error| {
        Failure::usage(
            format!("cannot ask for the passphrase: {}", reason(&error)),
            ADVICE,
        )
    };
    let question: &[u8] = if decoy {
        b"[decoy] Passphrase: "
    } else {
        b"Passphrase: "
    };
    let mut entry = HiddenEntry::begin(terminal).map_err(broken)?;
    // If stdin is a terminal, it may be open for reading only; then the question is not shown.
    if offers {
        entry.say(HINT);
    }
    entry.say(question);
    let mut offered: Option<Zeroizing<Vec<u8>>> = None;
    let mut answer = Answer::new();
    let mut byte = Zeroizing::new([0]);
    let mut asked_again = false;
    loop {
        let woken = entry.wait();
        let key = match woken {
            Woken::Input => match entry.read(&mut *byte) {
                Ok(0) => return Err(Failure::usage("no passphrase entered", ADVICE)),
                Ok(_) => answer.key(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::More,
                Err(error) => return Err(broken(error)),
            },
            Woken::Stop => Next::Stop,
            Woken::Panic => Next::Panic,
            Woken::End(signal) => return Err(Failure::signal(signal)),
            Woken::GoOn => {
                let shown = entry.hide_again().map_err(broken)?;
                // Unless the end of its own stop has already done this.
                if shown || !mem::take(&mut asked_again) {
                    offered = None;
                    answer = Answer::new();
                    entry.say(b"\r");
                    entry.say(question);
                }
                Next::More
            }
        };
        match key {
            Next::More => {}
            Next::Enter if offers && answer.line.is_empty() => match offered {
                Some(phrase) => return Ok(phrase),
                None => {
                    offered = Some(offer(&entry)?);
                    entry.say(question);
                }
            },
            Next::Enter => return Ok(answer.line),
            Next::Interrupt => return Err(Failure::signal(signals::INTERRUPT)),
            Next::NoAnswer => return Err(Failure::usage("no passphrase entered", ADVICE)),
            Next::Panic => {
                // First the saved name: the terminal may take no output.
                let left = early.forget();
                entry.leave_panic();
                offered = None;
                answer = Answer::new();
                if early.clears_terminal() {
                    entry.say_at_once(CLEAR);
                }
                early.go_on(&left).inspect_err(|_| entry.discard_typed())?;
                entry.say(question);
            }
            Next::Stop => {
                offered = None;
                answer = Answer::new();
                // A key stops every process to which the terminal would send the signal.
                entry.stop(woken == Woken::Input).map_err(broken)?;
                // A shell that ends a stopped process continues it first, in the background.
                if let Some(signal) = signals::pending_end() {
                    return Err(Failure::signal(signal));
                }
                entry.hide_again().map_err(broken)?;
                entry.say(question);
                asked_again = true;
            }
        }
    }
}

/// Shows a new passphrase, and returns it.
fn offer(entry: &HiddenEntry) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let (phrase, _) = passphrase::random(passphrase::WORDS)?;
    let phrase = Zeroizing::new(phrase.as_bytes().to_vec());
    for part in [BEFORE_OFFER, &phrase, AFTER_OFFER] {
        entry.say(part);
    }
    Ok(phrase)
}

/// What to do after a key.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    More,
    Enter,
    Interrupt,
    NoAnswer,
    Stop,
    /// F12, or Ctrl-X Ctrl-P.
    Panic,
}

/// The position in an escape sequence, such as an arrow key.
enum Escape {
    Outside,
    Begun,
    Inside,
}

/// The answer so far.
struct Answer {
    line: Zeroizing<Vec<u8>>,
    escape: Escape,
    /// How many bytes of F12 came last.
    f12: usize,
    /// Whether Ctrl-X came last.
    chord: bool,
}

impl Answer {
    fn new() -> Self {
        // Reserves everything at once, because a vector that grows leaves its earlier copy in
        // memory.
        Self {
            line: Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1)),
            escape: Escape::Outside,
            f12: 0,
            chord: false,
        }
    }

    fn key(&mut self, byte: u8) -> Next {
        self.f12 = match F12.get(self.f12) {
            Some(next) if *next == byte => self.f12 + 1,
            _ => usize::from(byte == ESC),
        };
        let chord = mem::replace(&mut self.chord, byte == CTRL_X);
        if self.f12 == F12.len() || (chord && byte == CTRL_P) {
            return Next::Panic;
        }
        self.escape = match (&self.escape, byte) {
            (_, ESC) => Escape::Begun,
            (Escape::Begun, b'[' | b'O') => Escape::Inside,
            (Escape::Inside, b' '..=b'?') => Escape::Inside,
            // The last byte of a sequence; any other byte shows that it was not one.
            (Escape::Begun | Escape::Inside, b'@'..=b'~') => {
                self.escape = Escape::Outside;
                return Next::More;
            }
            _ => Escape::Outside,
        };
        match byte {
            _ if !matches!(self.escape, Escape::Outside) => {}
            b'\n' | b'\r' => return Next::Enter,
            CTRL_C => return Next::Interrupt,
            CTRL_Z => return Next::Stop,
            CTRL_D if self.line.is_empty() => return Next::NoAnswer,
            BACKSPACE | DELETE => self.rub_out(),
            CTRL_U => self.line.truncate(0),
            CTRL_W => {
                while self.line.last() == Some(&b' ') {
                    self.line.pop();
                }
                while self.line.last().is_some_and(|b| *b != b' ') {
                    self.line.pop();
                }
            }
            // Reads a text that is too long to its end, because the rest would otherwise reach the
            // shell; keeps one byte beyond the limit, which is enough to see that it is too long.
            b'\t' | b' '.. if self.line.len() <= LONGEST_LINE => self.line.push(byte),
            _ => {}
        }
        Next::More
    }

    /// Removes the last character with all of its bytes.
    fn rub_out(&mut self) {
        while self.line.pop().is_some_and(|b| b & 0xc0 == 0x80) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (String, Next) {
        let mut answer = Answer::new();
        let end = keys
            .iter()
            .map(|key| answer.key(*key))
            .find(|next| *next != Next::More);
        (
            String::from_utf8_lossy(&answer.line).into_owned(),
            end.unwrap_or(Next::More),
        )
    }

    #[test]
    fn keys_edit_the_answer() {
        assert_eq!(typed(b"open\rmore"), ("open".into(), Next::Enter));
        assert_eq!(
            typed("opé\x7fen\n".as_bytes()),
            ("open".into(), Next::Enter)
        );
        assert_eq!(typed(b"\x7f\x08a\n"), ("a".into(), Next::Enter));
        assert_eq!(typed(b"wrong\x15right\n"), ("right".into(), Next::Enter));
        assert_eq!(
            typed(b"one two  \x17three\n"),
            ("one three".into(), Next::Enter)
        );
        assert_eq!(typed(b"a\x04b\n"), ("ab".into(), Next::Enter));
    }

    #[test]
    fn arrow_keys_and_paste_marks_are_not_in_the_answer() {
        assert_eq!(
            typed(b"a\x1b[Ab\x1bOPc\x1b[1;5Cd\x1b[200~e\x1b[201~\n"),
            ("abcde".into(), Next::Enter)
        );
        assert_eq!(typed(b"a\x1b\n"), ("a".into(), Next::Enter));
    }

    #[test]
    fn control_and_panic_keys_leave_the_question() {
        assert_eq!(typed(b"ab\x03").1, Next::Interrupt);
        assert_eq!(typed(b"ab\x1acd").1, Next::Stop);
        assert_eq!(typed(b"\x04").1, Next::NoAnswer);
        for panic in [b"ab\x1b[24~".as_slice(), b"\x1b\x1b[24~", b"a\x18\x10"] {
            assert_eq!(typed(panic).1, Next::Panic);
        }
        assert_eq!(typed(b"\x1b[2424~\x18a\x10").1, Next::More);
    }

    #[test]
    fn answer_that_is_too_long_is_read_and_not_kept() {
        let mut keys = vec![b'x'; 5000];
        keys.push(b'\n');
        let (line, end) = typed(&keys);
        assert_eq!((line.len(), end), (LONGEST_LINE + 1, Next::Enter));
    }
}
