//! The modes of the terminal in chat: taken, given back, and right again after a stop.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use rustix::process::{getpgrp, getppid, getsid};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex,
    Termios, isatty, tcflush, tcgetattr, tcgetpgrp, tcsetattr,
};

use super::screen::CLEAR;
use super::writer::wait_writable;

/// Ends bracketed paste, has long lines wrapped, and takes the prompt away.
const END: &[u8] = b"\x1b[?2004l\x1b[?7h\r\x1b[K";
/// How often, a millisecond apart, it is looked whether the modes are free.
const LOOKS: usize = 20;

/// How the terminal was before the line editor changed it. `None` in a run without an editor.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the terminal for the line editor, at first and after each stop: keys come one by one, and
/// are not shown. What the user has set meanwhile is what will be given back at the end.
///
/// # Errors
/// If it is none.
pub(super) fn take_terminal() -> io::Result<()> {
    let modes = tcgetattr(stdin())?;
    let mut before = before();
    // A shell that leaves the modes as they are leaves this program's own.
    let users = LocalModes::ICANON | LocalModes::ECHO;
    let before = match before.as_mut() {
        Some(before) if !modes.local_modes.intersects(users) => before,
        _ => before.insert(modes),
    };
    Ok(tcsetattr(stdin(), OptionalActions::Now, &raw(before))?)
}

/// Puts the modes back for as long as the process is stopped.
pub(super) fn lend_terminal() {
    if let Some(before) = before().as_ref() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
    }
}

/// Whether this process may read from the terminal and set its modes: a shell may have sent it to
/// the background. Where there is no job control, it always may.
pub(super) fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
}

/// Whether there is a shell that would let a stopped process go on.
pub(super) fn can_be_stopped() -> bool {
    let session = getsid(None).ok();
    let parents = getppid().and_then(|parent| getsid(Some(parent)).ok());
    session.is_some() && session != Some(getpgrp()) && session == parents
}

fn raw(modes: &Termios) -> Termios {
    let mut raw = modes.clone();
    raw.input_modes.remove(
        InputModes::BRKINT
            | InputModes::ICRNL
            | InputModes::INPCK
            | InputModes::ISTRIP
            | InputModes::IXON,
    );
    raw.control_modes.insert(ControlModes::CS8);
    raw.local_modes
        .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

/// Puts the terminal back into the state that it had before the line editor began, without
/// waiting, and throws away what was typed and not read: it was not meant for the shell. Does
/// nothing in a run without an editor. May be called from any thread.
pub fn restore_terminal() {
    give_back(END, true);
}

/// As [`restore_terminal`], for the image of this program that comes next: what was typed is for
/// that. Clears screen and scrollback, as far as the terminal takes that without waiting.
pub(super) fn hand_over_terminal() {
    give_back(&[END, CLEAR].concat(), false);
}

/// Clears the terminal and its scrollback, if it takes that without waiting.
pub fn clear_terminal() {
    if patiently().is_some_and(|before| before.is_some())
        && wait_writable(&stdout(), Duration::ZERO)
    {
        let _ = rustix::io::write(stdout(), CLEAR);
    }
}

/// Throws away what was typed and not read: it must not reach the shell.
pub(super) fn discard_typed() {
    if isatty(stdin()) && is_in_foreground() {
        // A terminal that is gone has nothing typed.
        let _ = tcflush(stdin(), QueueSelector::IFlush);
    }
}

fn give_back(last: &[u8], flush: bool) {
    let Some(before) = patiently() else {
        return;
    };
    let Some(modes) = before.as_ref() else {
        return;
    };
    // A process in the background that did more than the terminal allows would be stopped, in the
    // middle of a panic perhaps.
    let foreground = is_in_foreground();
    if foreground {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    }
    let may_write = || {
        let now = tcgetattr(stdin());
        now.is_ok_and(|now| !now.local_modes.contains(LocalModes::TOSTOP))
    };
    if (foreground || may_write()) && wait_writable(&stdout(), Duration::ZERO) {
        let _ = rustix::io::write(stdout(), last);
    }
    if flush {
        discard_typed();
    }
}

/// The modes, unless somebody holds them for long: a panic must not wait.
fn patiently() -> Option<MutexGuard<'static, Option<Termios>>> {
    for _ in 0..LOOKS {
        match BEFORE.try_lock() {
            Ok(before) => return Some(before),
            Err(TryLockError::Poisoned(before)) => return Some(before.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}
