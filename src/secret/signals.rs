//! Signals without handlers. The handled ones are blocked in every thread from the first lines of
//! `main` on and for good: each waits in the kernel until one thread takes it, and one that nobody
//! has taken outlives an exec. So there is no moment in which a signal is neither pending nor taken.
#![allow(unsafe_code)]
#![cfg(unix)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// What asks for a panic.
pub const PANIC: i32 = libc::SIGUSR1;

/// What asks for the end of a run.
const ENDS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];

/// The signals that end this run: those that were not ignored when it started (`nohup`). The program
/// never changes what a signal does, and an exec keeps what is ignored.
pub fn that_end() -> impl Iterator<Item = i32> {
    ENDS.into_iter().filter(|signal| !is_ignored(*signal))
}

/// Blocks the handled signals in this thread and in those that it starts from now on.
///
/// # Errors
/// The system's; there is no reason known for one.
pub(super) fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK, &handled())
}

/// Waits for a handled signal and takes it.
pub fn wait() -> i32 {
    let handled = handled();
    loop {
        let mut signal = 0;
        // SAFETY: the set is initialised, and the kernel fills the number.
        if unsafe { libc::sigwait(&raw const handled, &raw mut signal) } == 0 {
            return signal;
        }
    }
}

/// Whether a signal waits to be taken.
pub fn is_pending(signal: i32) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the kernel fills the set, which is read only if it did.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0 && libc::sigismember(set.as_ptr(), signal) == 1
    }
}

/// Takes a signal if it waits. No other thread may take any meanwhile.
pub fn take(signal: i32) -> bool {
    let pending = is_pending(signal);
    if pending {
        let set = set_of([signal].into_iter());
        let mut taken = 0;
        // SAFETY: as in `wait`. It returns at once, for the signal is pending.
        unsafe { libc::sigwait(&raw const set, &raw mut taken) };
    }
    pending
}

/// Sends this process a signal, which waits until it is taken.
pub fn send(signal: i32) {
    // SAFETY: neither call takes a pointer. A process may always send itself a signal.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Ends the process by a signal that ends a run, so that its parent sees a death by that signal.
/// Returns where that does not happen: for any other number, and in the first process of a container,
/// which such a signal does not reach.
pub fn die_of(signal: i32) {
    if that_end().any(|end| end == signal) {
        send(signal);
        // It can only fail for arguments that are not given here.
        let _ = mask(libc::SIG_UNBLOCK, &set_of([signal].into_iter()));
    }
}

fn handled() -> libc::sigset_t {
    set_of(that_end().chain([PANIC]))
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
