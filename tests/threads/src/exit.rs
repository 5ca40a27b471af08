//! `src/exit`.

#[path = "../../../src/exit/counters.rs"]
pub mod counters;
#[path = "../../../src/exit/status.rs"]
pub mod status;
