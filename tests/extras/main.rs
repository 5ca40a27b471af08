//! What comes with the program: example programs, service units, the installer and the packages,
//! each used as its page says, with the real binary.
#![cfg(unix)]
// A failed expectation is a failed test, in the helpers too, and an end of patience needs a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod examples;
#[path = "../helper/mod.rs"]
mod helper;
mod install;
mod interop;
mod json_page;
mod package;
mod tools;
mod units;
