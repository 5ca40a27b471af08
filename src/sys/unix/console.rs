//! The terminal that a line editor takes and gives back, and what happens to it: another size, a
//! stop of the process, and its end.
#![allow(unsafe_code)]

use std::io::{self, IsTerminal, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{Pid, getpgrp, getpid, getppid, getsid, tcgetpgrp};

use super::modes::{Modes, When};
use super::signals;
use super::stream::{Output, wait_for_any};

/// How often, a millisecond apart, it is looked whether the modes are free.
const LOOKS: usize = 20;

/// How the terminal was before the line editor changed it. `None` in a run without an editor.
static BEFORE: Mutex<Option<Modes>> = Mutex::new(None);

/// Takes the terminal for a line editor, at first and after each stop: keys come one by one, and
/// are not shown. What the user has set meanwhile is what will be given back at the end.
///
/// # Errors
/// If it is none.
pub fn take() -> io::Result<()> {
    let stdin = io::stdin();
    let modes = Modes::of(stdin.as_fd())?;
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    // A shell that leaves the modes as they are leaves this program's own.
    let before = match before.as_mut() {
        Some(before) if !modes.show_typing() => before,
        _ => before.insert(modes),
    };
    before.raw().set(stdin.as_fd(), When::Now)
}

/// Puts the modes back for as long as the process is stopped.
pub fn lend() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = before.as_ref() {
        let _ = before.set(io::stdin().as_fd(), When::Now);
    }
}

/// Puts the terminal back into the state that it had before [`take`], and writes `last`, without
/// waiting. Does nothing where it was not taken, and then gives false. May be called from any thread.
pub fn give_back(last: &[u8]) -> bool {
    let Some(before) = before_soon() else {
        return false;
    };
    let Some(modes) = before.as_ref() else {
        return false;
    };
    // A process in the background that did more than the terminal allows would be stopped, in the
    // middle of a panic perhaps.
    let foreground = is_in_foreground();
    if foreground {
        // A terminal that is gone needs nothing any more.
        let _ = modes.set(io::stdin().as_fd(), When::Now);
    }
    let may_write = || Modes::of(io::stdin().as_fd()).is_ok_and(|now| !now.stop_writers());
    if foreground || may_write() {
        write_at_once(last);
    }
    true
}

/// Writes to the terminal, if it was taken and takes that without waiting.
pub fn write(bytes: &[u8]) {
    if before_soon().is_some_and(|before| before.is_some()) {
        write_at_once(bytes);
    }
}

fn write_at_once(bytes: &[u8]) {
    let stdout = Output::stdout();
    if stdout.wait(Duration::ZERO) {
        let _ = stdout.write(bytes);
    }
}

/// Throws away what was typed and not read: it must not reach the shell.
pub fn discard_typed() {
    let stdin = io::stdin();
    if stdin.is_terminal() && is_in_foreground() {
        // A terminal that is gone has nothing typed.
        let _ = tcflush(&stdin, FlushArg::TCIFLUSH);
    }
}

/// Whether this process may read from the terminal and set its modes: a shell may have sent it to
/// the background. Where there is no job control, it always may.
pub fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
}

/// Columns and rows, as far as the terminal tells.
pub fn size() -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::uninit();
    // SAFETY: the call fills the struct, which is read only if it did.
    let size = unsafe {
        let asked = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr());
        Errno::result(asked).ok()?;
        size.assume_init()
    };
    Some((size.ws_col, size.ws_row))
}

/// What Ctrl-Z does where the terminal itself sees to it: it stops all that the terminal would stop.
pub fn suspend() {
    // It reaches at least this process, where [`Events`] has it.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
}

/// What has happened to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// It has another size.
    pub resized: bool,
    /// The process was stopped, and goes on.
    pub goes_on: bool,
    /// The process is to stop: see [`Events::stop`].
    pub is_to_stop: bool,
}

const EVENTS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH];

/// Keeps the handlers of [`Events`] out of this thread and out of those that it starts from now on.
/// For a handler the kernel puts the registers of the interrupted thread on its stack, where nobody
/// wipes them: the vector registers still hold pieces of the text that the thread copied last.
///
/// # Errors
/// The system's; there is no reason known for one.
pub fn hold_events() -> io::Result<()> {
    signals::mask_all(libc::SIG_BLOCK, &EVENTS.map(|signal| signal as i32))
}

/// Hears of what happens to the terminal.
pub struct Events {
    stop: UnixStream,
    go_on: UnixStream,
    resize: UnixStream,
}

impl Events {
    /// From now on a stop waits until [`Self::stop`] is called.
    ///
    /// # Errors
    /// If a handler cannot be set.
    pub fn begin() -> io::Result<Self> {
        let handle = |signal: Signal| {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal as i32, theirs)?;
            Ok::<_, io::Error>(ours)
        };
        Ok(Self {
            stop: handle(Signal::SIGTSTP)?,
            go_on: handle(Signal::SIGCONT)?,
            resize: handle(Signal::SIGWINCH)?,
        })
    }

    /// Has the handlers run in this thread, which must never hold a text.
    ///
    /// # Errors
    /// The system's; there is no reason known for one.
    pub fn take_here(&self) -> io::Result<()> {
        signals::mask_all(libc::SIG_UNBLOCK, &EVENTS.map(|signal| signal as i32))
    }

    /// Waits until something has happened, or the patience is over.
    pub fn wait(&self, patience: Option<Duration>) -> Happened {
        wait_for_any(
            &mut [&self.stop, &self.go_on, &self.resize].map(readable),
            patience,
        );
        Happened {
            resized: drain(&self.resize),
            goes_on: drain(&self.go_on),
            is_to_stop: drain(&self.stop),
        }
    }

    /// Stops the process; returns when it goes on.
    pub fn stop(&self) {
        drain(&self.go_on);
        // It may be another thread that stops first: this one must not go on meanwhile.
        if kill(getpid(), Signal::SIGSTOP).is_ok() {
            wait_for_any(&mut [readable(&self.go_on)], None);
        }
    }
}

/// Whether there is a shell that would let a stopped process go on.
pub fn can_be_stopped() -> bool {
    let session = getsid(None).ok();
    let parents = getsid(Some(getppid())).ok();
    session.is_some() && session != Some(getpgrp()) && session == parents
}

fn readable(pipe: &UnixStream) -> PollFd<'_> {
    PollFd::new(pipe.as_fd(), PollFlags::POLLIN)
}

/// Takes what a signal has left; whether there was any.
fn drain(mut pipe: &UnixStream) -> bool {
    let mut any = false;
    while pipe.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
        any = true;
    }
    any
}

/// The modes, unless somebody holds them for long: a panic must not wait.
fn before_soon() -> Option<MutexGuard<'static, Option<Modes>>> {
    for _ in 0..LOOKS {
        match BEFORE.try_lock() {
            Ok(before) => return Some(before),
            Err(TryLockError::Poisoned(before)) => return Some(before.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}
