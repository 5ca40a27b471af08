//! Windows.

pub(super) mod argument_list;
pub mod clock;
pub mod console;
mod console_input;
mod console_output;
pub mod file;
pub mod harden;
pub mod hidden_entry;
pub mod interface;
mod keeper;
pub mod limits;
pub mod local_socket;
pub mod memory;
mod native;
mod polling;
pub mod reexec;
mod rights;
pub mod routes;
pub mod sandbox;
pub mod signals;
pub mod socket;
mod state_pipe;
pub mod stream;
pub mod waiter;
