//! `src/net`.

pub use crate::clock;

#[path = "../../../src/net/pacer.rs"]
pub mod pacer;
