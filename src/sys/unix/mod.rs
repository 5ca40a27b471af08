//! Linux, macOS and FreeBSD.

pub(super) mod argument_list;
pub mod clock;
pub mod console;
pub(in crate::sys) mod descriptor;
pub mod file;
pub mod harden;
pub mod hidden_entry;
pub mod interface;
pub mod limits;
pub mod local_socket;
pub mod memory;
mod modes;
pub mod reexec;
pub mod routes;
pub mod sandbox;
pub mod signals;
pub mod socket;
pub mod stream;
pub mod waiter;
