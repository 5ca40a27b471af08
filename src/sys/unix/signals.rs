//! Signals. Those that end a run or ask for a panic have no handlers. They are blocked in every
//! thread from the first lines of `main` on and for good: each waits in the kernel until one thread
//! takes it, and one that was not taken outlives an exec. So at every moment a signal is either
//! pending or taken. Those of a chat's terminal have handlers, in one thread only.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use nix::libc;

pub use crate::sys::awaited::Received;

/// The signal that asks for a panic.
pub const PANIC: i32 = libc::SIGUSR1;

/// The signal that Ctrl-C sends in other programs.
pub const INTERRUPT: i32 = libc::SIGINT;

/// The signal of [`wake`]. The kernel keeps one pending signal of each number, so it must be one that
/// means nothing else; no timer of this process sends it.
const WAKE: i32 = libc::SIGVTALRM;

/// The signals that ask for the end of a run.
const ENDS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];

/// The signals that end this run: those that were not ignored when it started (`nohup`). The
/// program never changes how a signal is handled, and an exec keeps ignored signals ignored.
pub fn that_end() -> impl Iterator<Item = i32> {
    ENDS.into_iter().filter(|signal| !is_ignored(*signal))
}

/// Blocks the handled signals in this thread and in those that it starts from now on.
///
/// # Errors
/// The system's; none is known.
pub(super) fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK, &handled())
}

/// Waits for a handled signal and takes it.
pub fn wait() -> Received {
    let handled = handled();
    loop {
        let mut number = 0;
        // SAFETY: the set is initialised, and the system fills the number.
        if unsafe { libc::sigwait(&raw const handled, &raw mut number) } == 0 {
            return match number {
                WAKE => Received::Wake,
                number => Received::Request(number),
            };
        }
    }
}

/// Has [`wait`] return once more.
pub fn wake() {
    send(WAKE);
}

/// Whether a signal waits to be taken.
pub fn is_pending(signal: i32) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the kernel fills the set, which is read only if it did.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0 && libc::sigismember(set.as_ptr(), signal) == 1
    }
}

/// A pending signal that ends this run, if there is one.
pub fn pending_end() -> Option<i32> {
    that_end().find(|end| is_pending(*end))
}

/// Sends this process a signal, which waits until it is taken.
pub fn send(signal: i32) {
    // SAFETY: neither call takes a pointer. A process may always send itself a signal.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Ends the process by a signal that ends a run, so that its parent sees a death by that signal.
/// Returns if that does not happen: for any other number, and in the first process of a container,
/// where such a signal has no effect.
pub fn die_of(signal: i32) {
    if that_end().any(|end| end == signal) {
        send(signal);
        // It fails only for arguments that are not used here.
        let _ = mask(libc::SIG_UNBLOCK, &set_of([signal].into_iter()));
    }
}

fn handled() -> libc::sigset_t {
    set_of(that_end().chain([PANIC, WAKE]))
}

fn set_of(signals: impl Iterator<Item = i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set; the others take numbers of signals that exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks or unblocks some signals in this thread and in those that it starts from now on.
///
/// # Errors
/// The system's; none is known.
pub(super) fn mask_all(how: libc::c_int, signals: &[libc::c_int]) -> io::Result<()> {
    mask(how, &set_of(signals.iter().copied()))
}

fn mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, set, ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed; the kernel fills the struct, which is read only if it did.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
