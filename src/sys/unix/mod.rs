//! Linux, macOS and FreeBSD.

pub mod argument_list;
pub mod clock;
pub mod descriptor;
pub mod harden;
pub mod interface;
pub mod limits;
pub mod memory;
pub mod reexec;
pub mod sandbox;
pub mod signals;
pub mod socket;
