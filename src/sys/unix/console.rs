//! The terminal that a line editor takes and gives back, and its events: a new size, a stop of the
//! process, and its end.
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

pub use crate::sys::awaited::Happened;

/// How often to check, a millisecond apart, whether the modes are free.
const LOOKS: usize = 20;

/// The terminal's modes before the line editor changed them. `None` in a run without an editor.
static BEFORE: Mutex<Option<Modes>> = Mutex::new(None);

/// Takes the terminal for a line editor, at first and after each stop: keys come one by one, and
/// are not shown. Modes that the user has set meanwhile are the ones that will be restored at the
/// end.
///
/// # Errors
/// It is not a terminal.
pub fn take() -> io::Result<()> {
    let stdin = io::stdin();
    let modes = Modes::of(stdin.as_fd())?;
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    // A shell that does not touch the modes leaves this program's own.
    let before = match before.as_mut() {
        Some(before) if !modes.show_typing() => before,
        _ => before.insert(modes),
    };
    before.raw().set(stdin.as_fd(), When::Now)
}

/// Restores the modes for as long as the process is stopped.
pub fn lend() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = before.as_ref() {
        let _ = before.set(io::stdin().as_fd(), When::Now);
    }
}

/// Restores the state that the terminal had before [`take`], and writes `last`, without waiting.
/// Returns false and does nothing if the terminal was not taken. May be called from any thread.
pub fn give_back(last: &[u8]) -> bool {
    let Some(before) = before_soon() else {
        return false;
    };
    let Some(modes) = before.as_ref() else {
        return false;
    };
    // If a background process did more than the terminal allows, it would be stopped, perhaps in
    // the middle of a panic.
    let foreground = is_in_foreground();
    if foreground {
        // A terminal that is gone needs nothing more.
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
        // A terminal that is gone has no typed input.
        let _ = tcflush(&stdin, FlushArg::TCIFLUSH);
    }
}

/// Whether this process may read from the terminal and set its modes: a shell may have moved it to
/// the background. Without job control it always may.
pub fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
}

/// Columns and rows, if the terminal reports them.
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

/// Does what Ctrl-Z does in other programs: stops every process that the terminal would stop.
pub fn suspend() {
    // The signal reaches at least this process, where [`Events`] handles it.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
}

const EVENTS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH];

/// Keeps the handlers of [`Events`] out of this thread and out of those that it starts from now on.
/// For a handler, the kernel saves the registers of the interrupted thread on its stack, where they
/// are not wiped: the vector registers may still hold pieces of a text that the thread has just
/// copied.
///
/// # Errors
/// The system's; none is known.
pub fn hold_events() -> io::Result<()> {
    signals::mask_all(libc::SIG_BLOCK, &EVENTS.map(|signal| signal as i32))
}

/// Receives the terminal's events.
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

    /// Lets the handlers run in this thread, which must never hold a text.
    ///
    /// # Errors
    /// The system's; none is known.
    pub fn take_here(&self) -> io::Result<()> {
        signals::mask_all(libc::SIG_UNBLOCK, &EVENTS.map(|signal| signal as i32))
    }

    /// Waits until something has happened, or for this time at most.
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

    /// Stops the process. Returns when it continues.
    pub fn stop(&self) {
        drain(&self.go_on);
        // Another thread may be stopped first: this one must not continue meanwhile.
        if kill(getpid(), Signal::SIGSTOP).is_ok() {
            wait_for_any(&mut [readable(&self.go_on)], None);
            // The caller knows. If it heard of it again, the terminal would be taken twice, and what
            // was painted in between would stay above.
            drain(&self.go_on);
        }
    }
}

/// Whether there is a shell that could continue a stopped process.
pub fn can_be_stopped() -> bool {
    let session = getsid(None).ok();
    let parents = getsid(Some(getppid())).ok();
    session.is_some() && session != Some(getpgrp()) && session == parents
}

fn readable(pipe: &UnixStream) -> PollFd<'_> {
    PollFd::new(pipe.as_fd(), PollFlags::POLLIN)
}

/// Takes what a signal has left. Returns whether there was anything.
fn drain(mut pipe: &UnixStream) -> bool {
    let mut any = false;
    while pipe.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
        any = true;
    }
    any
}

/// The modes, unless another thread holds them for long: a panic must not wait.
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
