//! What asks this process to end, or to panic. Windows calls a handler in a thread of its own: that
//! only puts the request into a queue, where it waits until one thread takes it. What nobody has
//! taken is handed to the process that follows a panic. The numbers are those of Unix, which the
//! exit status is made of.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

pub use crate::sys::awaited::Received;

/// What Ctrl-C and Ctrl-Break ask for.
pub const INTERRUPT: i32 = 2;
/// What a window that closes, a logoff and a shutdown ask for.
const TERMINATE: i32 = 15;
/// What asks for a panic, within this process only.
pub const PANIC: i32 = 10;

struct Queue {
    pending: VecDeque<Received>,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    pending: VecDeque::new(),
});
static CHANGED: Condvar = Condvar::new();

/// The requests that end this run.
pub fn that_end() -> impl Iterator<Item = i32> {
    [TERMINATE, INTERRUPT].into_iter()
}

/// From now on requests wait in the queue.
///
/// # Errors
/// The system's; there is no reason known for one.
pub(super) fn block() -> io::Result<()> {
    // SAFETY: the handler may be called by any thread at any time, and touches only the queue.
    match unsafe { SetConsoleCtrlHandler(Some(handle), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "system" fn handle(event: u32) -> BOOL {
    if matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        send(INTERRUPT);
        return 1;
    }
    send(TERMINATE);
    // Windows ends the process when this returns, and some seconds later in any case.
    loop {
        thread::park();
    }
}

/// Waits for a request and takes it.
pub fn wait() -> Received {
    let mut queue = lock();
    loop {
        match queue.pending.pop_front() {
            Some(received) => return received,
            None => queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Has [`wait`] return once more, after all that waits now.
pub fn wake() {
    push(Received::Wake);
}

/// Whether a request waits to be taken.
pub fn is_pending(signal: i32) -> bool {
    lock().pending.contains(&Received::Request(signal))
}

/// A request that ends this run, and waits to be taken, if there is one.
pub fn pending_end() -> Option<i32> {
    that_end().find(|end| is_pending(*end))
}

/// All that wait, in their order; for the process that follows.
pub(super) fn take_all() -> Vec<i32> {
    lock().pending.drain(..).filter_map(request).collect()
}

/// Takes what asks for a panic, if it waits.
pub(super) fn take_first(wanted: impl Fn(i32) -> bool) -> Option<i32> {
    let mut queue = lock();
    let is = |received: &Received| request(*received).is_some_and(&wanted);
    let at = queue.pending.iter().position(is)?;
    queue.pending.remove(at).and_then(request)
}

fn request(received: Received) -> Option<i32> {
    match received {
        Received::Request(signal) => Some(signal),
        Received::Wake => None,
    }
}

/// Asks this process for something, which waits until it is taken.
pub fn send(signal: i32) {
    push(Received::Request(signal));
}

/// There is no death by a signal: the parent learns it from the exit status.
pub fn die_of(_: i32) {}

fn push(received: Received) {
    let mut queue = lock();
    // One of each kind is enough, as the kernel of Unix has it.
    if !queue.pending.contains(&received) {
        queue.pending.push_back(received);
    }
    CHANGED.notify_all();
}

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}
