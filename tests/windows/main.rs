//! The program for Windows under wine, as people and pipes use it, with native members of the same mesh.
//! `scripts/windows` builds it, names it in `SESAME_WINDOWS_EXE` and runs this.
//!
//! To Linux a process of wine is a process like any other: it has a process id, stdin and stdout, and
//! memory that can be read. What wine cannot show stands in SECURITY.md and USAGE.md.
#![cfg(target_os = "linux")]
// A failed expectation is a failed test, in the helpers too, and an end of patience needs a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod console;
mod conversation;
mod ends;
// Not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../forgetting/helper/mod.rs"]
mod helper;
mod panic;
mod saved_name;
#[path = "../helper/mod.rs"]
mod scenario;
mod wine;
