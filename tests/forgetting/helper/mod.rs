//! Needles, and the memory in which they are searched.

pub mod core;
pub mod findings;
pub mod look;
pub mod memory;
pub mod needle;

pub use findings::Findings;

pub use crate::scenario::{PATIENCE, seen, skip};

/// How often a test runs: once, or as `SESAME_RUNS` says.
pub fn runs() -> usize {
    let asked = std::env::var("SESAME_RUNS").ok();
    asked.map_or(1, |runs| runs.parse().unwrap())
}
