//! What is specific to Linux.

pub(super) mod argument_list;
pub(super) mod harden;
pub(super) mod program;
#[cfg(target_os = "linux")]
pub(super) mod routes;
#[cfg(target_os = "linux")]
pub(super) mod sandbox;
