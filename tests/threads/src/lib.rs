//! Files of sesame whose threads share memory, with the threads, locks and atomics of loom in place of
//! the standard library's. `tests/` has models: a few threads each, which loom runs in every order and
//! with every value that an atomic may have.
//!
//! The files are those of `src`, without a change: this crate calls `std` what is in `std/`. What they
//! need of other files is here as a simple stand-in.

#![allow(
    dead_code,
    reason = "the files are here as a whole, and the models use parts of them"
)]

extern crate std_on_loom as std;

pub use std::virtual_time;

/// Stands for `src/sys`.
pub mod sys {
    /// Timers.
    pub mod clock {
        /// Virtual time is exact.
        pub fn make_timers_exact() {}
    }

    pub mod stream;
}

pub mod exit;
pub mod mesh;

/// Stands for `src/channels.rs`.
pub mod channels {
    /// As there.
    pub const READ_AHEAD: usize = 1 << 20;
}

pub mod net;

/// `src/front`, whose parts are private: the models are beside them.
pub mod front;

/// The one place that reads the clock.
pub mod clock {
    pub use crate::virtual_time::now;
}
