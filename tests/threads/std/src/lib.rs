//! The standard library with the threads, locks and atomics of loom, and with a time of its own.

pub use ::std::*;

pub mod virtual_time;

/// Locks and atomics. `Arc` is the real one: loom's has no `Weak`.
pub mod sync {
    pub use ::std::sync::*;
    pub use loom::sync::{Mutex, MutexGuard, atomic};

    pub use crate::virtual_time::Condvar;
}

/// Threads.
pub mod thread {
    pub use loom::thread::*;

    pub use crate::virtual_time::sleep;
}
