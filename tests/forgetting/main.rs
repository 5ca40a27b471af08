//! What the memory of a real process still holds, read from outside by this one: the phrase after
//! the start, messages after their acknowledgement, everything after a panic. Each needle is first
//! found where it must be, so that not finding it means something.
#![cfg(target_os = "linux")]
// A failed expectation is a failed test, in the helpers too, and an end of patience needs a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod descriptors;
mod dumps;
mod helper;
mod panic;
#[path = "../helper/mod.rs"]
mod scenario;
mod speed;
mod start;
mod target;
mod typed;
