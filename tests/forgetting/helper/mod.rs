//! Needles, and the memory in which they are looked for.

pub mod core;
pub mod findings;
pub mod look;
pub mod memory;
pub mod needle;

pub use findings::Findings;

pub use crate::scenario::{PATIENCE, seen};

use std::io::Write;
use std::thread;

/// Says why a test was skipped, past the capture of a test's output.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    // Where nobody reads stderr, nobody needs to know.
    let _ = writeln!(std::io::stderr(), "{name}: skipped: {why}");
}

/// How often a story is told: once, or as `SESAME_RUNS` says.
pub fn runs() -> usize {
    let asked = std::env::var("SESAME_RUNS").ok();
    asked.map_or(1, |runs| runs.parse().unwrap())
}
