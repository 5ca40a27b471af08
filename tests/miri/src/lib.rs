//! The layers of sesame that do no I/O, with their unit tests, for Miri: an interpreter that ends a test
//! where the program reaches outside of what it owns, reads what nobody has written, or shares memory
//! between threads without order.
//!
//! The files are those of `src`, without a change. Miri has no system calls for memory, so `region` is
//! the stand-in in `region/`, and `sys` the one below.

#![allow(
    dead_code,
    reason = "the files are here as a whole, and what is above them is not"
)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

#[path = "../../../src/mesh/mod.rs"]
pub mod mesh;
#[path = "../../../src/proto/mod.rs"]
pub mod proto;
#[path = "../../../src/sys/reason.rs"]
mod reason;
#[path = "../../../src/secret/mod.rs"]
pub mod secret;

/// Stands for `src/sys`.
pub mod sys {
    pub use crate::reason::reason;

    /// Memory that the system would protect.
    pub mod memory {
        use std::ptr::NonNull;

        /// There is nothing to keep it from.
        pub fn keep_in_process(_: NonNull<u8>, _: usize) {}

        /// All pages are alike.
        pub fn prefer_large_pages(_: NonNull<u8>, _: usize) {}

        /// Nothing limits it.
        pub fn lock_limit() -> Option<u64> {
            None
        }
    }
}
