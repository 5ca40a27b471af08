//! What the process gives up once it has read what it was started with.

use std::path::PathBuf;

use crate::sys::Hardening;

/// Windows has no sandbox that a running process could enter; what [`harden`](super::harden::harden)
/// has set holds from the start. The report is empty.
pub fn enter(_own: Vec<PathBuf>, _read: Vec<PathBuf>, _program: Option<i32>) -> Hardening {
    Hardening::default()
}
