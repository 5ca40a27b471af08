//! What is specific to Linux.

pub mod argument_list;
pub mod harden;
pub mod program;
#[cfg(target_os = "linux")]
pub mod sandbox;
