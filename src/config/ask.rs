//! Asking for the passphrase on the terminal, with echo off.
//!
//! Echo is off before the question is shown, so that a script that answers at once does not see its
//! answer; line editing and signals are off too, so that Ctrl-C gives the terminal back as it was.
//! When the process is stopped, by Ctrl-Z or a signal, and goes on, echo is off again, and the
//! question is asked anew: what was typed before is no part of the answer.
//! Bytes are read one by one: what was typed ahead after the passphrase stays for the line editor.

use std::fs::File;

use zeroize::Zeroizing;

use super::early::Early;
use crate::exit::Failure;

const ADVICE: &str = "use --phrase-fd, --phrase-file or --phrase";

/// Asks on the terminal of this process, even where stdin is not it.
///
/// # Errors
/// Wrong usage where there is no terminal or no answer; SIGINT's status for Ctrl-C; a panic that is
/// the end.
#[cfg(unix)]
pub fn on_terminal(decoy: bool, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::{self, IsTerminal};
    use std::os::fd::AsFd;
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .or_else(|error| {
            // In a container stdin may be a terminal that is not the controlling one.
            if !io::stdin().is_terminal() {
                return Err(error);
            }
            Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
        });
    match terminal {
        Ok(terminal) => on(&terminal, decoy, early),
        Err(_) => Err(Failure::usage(
            "cannot ask for the passphrase: no terminal",
            ADVICE,
        )),
    }
}

#[cfg(not(unix))]
pub fn on_terminal(_: bool, _: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Err(Failure::usage(
        "cannot ask for the passphrase on this system",
        "use --phrase-file or --phrase",
    ))
}

#[cfg(not(unix))]
pub fn on(_: &File, decoy: bool, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    on_terminal(decoy, early)
}

#[cfg(unix)]
pub use unix::on;

#[cfg(unix)]
mod unix {
    use std::cell::Cell;
    use std::io::{self, Read, Write};
    use std::mem;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
    use nix::sys::termios::{self, FlushArg, LocalFlags, SetArg, Termios};
    use nix::unistd::Pid;

    use super::{ADVICE, Early, Failure, File, Zeroizing};
    use crate::config::wait::{Waiter, Woken};
    use crate::proto::phrase::LONGEST_LINE;

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
    /// Clears the screen, then the scrollback.
    const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

    /// A terminal that shows nothing of what is typed, until this is dropped.
    struct EchoOff<'a> {
        terminal: &'a File,
        before: Termios,
        /// It is not as it was before.
        hides: Cell<bool>,
    }

    impl<'a> EchoOff<'a> {
        fn new(terminal: &'a File) -> nix::Result<Self> {
            let before = termios::tcgetattr(terminal)?;
            let hidden = Self {
                terminal,
                before,
                hides: Cell::new(false),
            };
            hidden.hide()?;
            Ok(hidden)
        }

        fn hide(&self) -> nix::Result<()> {
            let mut hidden = self.before.clone();
            hidden.local_flags.remove(
                LocalFlags::ECHO
                    | LocalFlags::ECHONL
                    | LocalFlags::ICANON
                    | LocalFlags::ISIG
                    | LocalFlags::IEXTEN,
            );
            hidden.control_chars[termios::SpecialCharacterIndices::VMIN as usize] = 1;
            hidden.control_chars[termios::SpecialCharacterIndices::VTIME as usize] = 0;
            self.hides.set(true);
            // Drain, not flush: a script may have typed ahead.
            termios::tcsetattr(self.terminal, SetArg::TCSADRAIN, &hidden)
        }

        /// After a stop: hides again. What the user has set meanwhile is what will be given back.
        /// Gives whether there was anything to hide.
        fn hide_again(&mut self) -> nix::Result<bool> {
            let modes = termios::tcgetattr(self.terminal)?;
            // A shell that leaves the modes as they are leaves this program's own.
            let shows = modes
                .local_flags
                .intersects(LocalFlags::ECHO | LocalFlags::ICANON);
            if shows {
                self.before = modes;
            }
            self.hide()?;
            Ok(shows)
        }

        /// Gives the terminal back, for a while or at the end. In the background it is the shell's
        /// already, and who touches it there is stopped, and does not come to its end.
        fn show(&self) {
            let group = rustix::termios::tcgetpgrp(self.terminal);
            let is_ours = group.map_or(true, |group| group == rustix::process::getpgrp());
            if !self.hides.replace(false) || !is_ours {
                return;
            }
            // The newline that Enter did not show. Nothing can be done where the terminal is gone.
            let mut terminal = self.terminal;
            let _ = terminal.write_all(b"\n");
            let _ = termios::tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
        }

        /// Clears screen and scrollback, if the terminal takes that without waiting.
        fn clear(&self) {
            let mut terminal = self.terminal;
            let mut ready = [PollFd::new(
                std::os::fd::AsFd::as_fd(terminal),
                PollFlags::POLLOUT,
            )];
            if poll(&mut ready, PollTimeout::ZERO) == Ok(1) {
                let _ = terminal.write_all(CLEAR);
            }
        }

        /// Throws away what was typed and not read, so that it does not reach the shell.
        fn discard_typed(&self) {
            let _ = termios::tcflush(self.terminal, FlushArg::TCIFLUSH);
        }
    }

    impl Drop for EchoOff<'_> {
        fn drop(&mut self) {
            self.show();
        }
    }

    /// Holds SIGTSTP and SIGCONT back, until this is dropped: the terminal has to be right first.
    struct Held {
        before: SigSet,
    }

    impl Held {
        fn signals() -> SigSet {
            [Signal::SIGTSTP, Signal::SIGCONT].into_iter().collect()
        }

        fn new() -> nix::Result<Self> {
            let before = Self::signals().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            Ok(Self { before })
        }

        /// Stops the process as SIGTSTP does, if that stops it; returns when it goes on.
        fn stop(&self) -> nix::Result<()> {
            raise(Signal::SIGTSTP)?;
            let stop = SigSet::from(Signal::SIGTSTP);
            stop.thread_unblock()?;
            stop.thread_block()
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.before.thread_set_mask();
        }
    }

    /// Asks on this terminal.
    ///
    /// # Errors
    /// Wrong usage where there is no answer; SIGINT's status for Ctrl-C, or that of a signal; a panic
    /// that is the end.
    pub fn on(terminal: &File, decoy: bool, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let broken = |error: io::Error| {
            Failure::usage(format!("cannot ask for the passphrase: {error}"), ADVICE)
        };
        let system = |error: nix::Error| broken(error.into());
        let question: &[u8] = if decoy {
            b"[decoy] Passphrase: "
        } else {
            b"Passphrase: "
        };
        let held = Held::new().map_err(system)?;
        let mut hidden = EchoOff::new(terminal).map_err(system)?;
        let mut terminal = hidden.terminal;
        // stdin as a terminal may be open for reading only; then the question is not seen.
        let _ = terminal.write_all(question);
        let waiter = Waiter::at_terminal();
        let mut answer = Answer::new();
        let mut byte = Zeroizing::new([0]);
        let mut asked_again = false;
        loop {
            let woken = waiter.wait(terminal)?;
            let key = match woken {
                Woken::Input => match terminal.read(&mut *byte) {
                    Ok(0) => return Err(Failure::usage("no passphrase entered", ADVICE)),
                    Ok(_) => answer.key(byte[0]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::More,
                    Err(error) => return Err(broken(error)),
                },
                Woken::Stop => Next::Stop,
                Woken::Panic => Next::Panic,
                Woken::GoOn => {
                    let shown = hidden.hide_again().map_err(system)?;
                    // What the end of a stop of its own was told about already.
                    if shown || !std::mem::take(&mut asked_again) {
                        answer = Answer::new();
                        let _ = terminal.write_all(b"\r");
                        let _ = terminal.write_all(question);
                    }
                    Next::More
                }
            };
            match key {
                Next::More => {}
                Next::Enter => return Ok(answer.line),
                Next::Interrupt => return Err(Failure::signal(2)),
                Next::NoAnswer => return Err(Failure::usage("no passphrase entered", ADVICE)),
                Next::Panic => {
                    // First of all what is on the disk: the terminal may take nothing.
                    let left = early.forget();
                    waiter.leave_panic();
                    answer = Answer::new();
                    if early.clears_terminal() {
                        hidden.clear();
                    }
                    early.go_on(&left).inspect_err(|_| hidden.discard_typed())?;
                    let _ = terminal.write_all(question);
                }
                Next::Stop => {
                    answer = Answer::new();
                    hidden.show();
                    if woken == Woken::Input {
                        // A key is for all that the terminal would send it to.
                        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
                    }
                    held.stop().map_err(system)?;
                    // A shell that ends what is stopped lets it go on, in the background.
                    waiter.look_for_end()?;
                    hidden.hide_again().map_err(system)?;
                    let _ = terminal.write_all(question);
                    asked_again = true;
                }
            }
        }
    }

    /// What a key means for the loop.
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

    /// Where in an escape sequence (an arrow key) the typing is.
    enum Escape {
        Outside,
        Begun,
        Inside,
    }

    /// What has been typed so far.
    struct Answer {
        line: Zeroizing<Vec<u8>>,
        escape: Escape,
        /// How much of F12 came last.
        f12: usize,
        /// Ctrl-X came last.
        chord: bool,
    }

    impl Answer {
        fn new() -> Self {
            // Room for all of it at once: a vector that grows leaves its earlier self behind.
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
                // The last byte of a sequence; anything else ends one that was none.
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
                // What is too long is read to its end all the same, or it would end up in the
                // shell; one byte too many is enough to be told so.
                b'\t' | b' '.. if self.line.len() <= LONGEST_LINE => self.line.push(byte),
                _ => {}
            }
            Next::More
        }

        /// Takes the last character back, all of its bytes.
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
        fn arrow_keys_and_paste_marks_are_no_part_of_it() {
            assert_eq!(
                typed(b"a\x1b[Ab\x1bOPc\x1b[1;5Cd\x1b[200~e\x1b[201~\n"),
                ("abcde".into(), Next::Enter)
            );
            assert_eq!(typed(b"a\x1b\n"), ("a".into(), Next::Enter));
        }

        #[test]
        fn it_can_be_left() {
            assert_eq!(typed(b"ab\x03").1, Next::Interrupt);
            assert_eq!(typed(b"ab\x1acd").1, Next::Stop);
            assert_eq!(typed(b"\x04").1, Next::NoAnswer);
            for panic in [b"ab\x1b[24~".as_slice(), b"\x1b\x1b[24~", b"a\x18\x10"] {
                assert_eq!(typed(panic).1, Next::Panic);
            }
            assert_eq!(typed(b"\x1b[2424~\x18a\x10").1, Next::More);
        }

        #[test]
        fn too_much_is_read_and_not_kept() {
            let mut keys = vec![b'x'; 5000];
            keys.push(b'\n');
            let (line, end) = typed(&keys);
            assert_eq!((line.len(), end), (LONGEST_LINE + 1, Next::Enter));
        }
    }
}
