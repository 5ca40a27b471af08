//! What differs by operating system, behind one set of names. No layer above asks which system it
//! runs on, and besides [`secret`](crate::secret) only this layer has unsafe code.
//!
//! A name is defined only for systems that keep its promise; elsewhere the build fails, so that no
//! program pretends. `unix` serves Linux, macOS and FreeBSD, and `windows` serves Windows; what is
//! long and specific to Linux is in `linux`.
//!
//! Code above waits for streams and terminals through these names, and does not see how. If a pipe
//! cannot be polled, or a console gives events in place of bytes, a thread can do the waiting
//! behind the same names.
//!
//! The process, from its start to its end:
//!
//! - [`harden`]: the first thing that `main` does.
//! - [`arguments`]: the argument list without the phrase.
//! - [`sandbox`]: the rights that the process gives up before its first connection.
//! - [`signals`]: requests from outside, which wait until they are taken.
//! - [`reexec`]: replaces the process by a fresh one, after a panic.
//!
//! What it uses:
//!
//! - [`clock`]: processor time, and the precision of timers.
//! - [`console`]: the terminal of a line editor: its modes, its size, and stops.
//! - [`file`](mod@file): who owns a file, and who may use it.
//! - [`hidden_entry`]: a terminal that does not show what the user types.
//! - [`interface`]: network interfaces.
//! - [`multicast`]: datagrams to all in a network that wait for them.
//! - [`network`]: the networks to which it is connected, and its addresses there.
//! - [`limits`]: how much of the system this process may use.
//! - [`reason`](fn@reason): the text of a system error.
//! - [`local_socket`]: streams to programs on this computer.
//! - [`memory`]: advice about memory.
//! - [`routes`]: its routers.
//! - [`socket`]: options of sockets, and what the kernel knows about them.
//! - [`stream`]: standard input and output: reading, writing, waiting and hang-ups.
//! - [`waiter`]: waiting for input before the signals thread runs.

pub mod arguments;
mod awaited;
mod hardening;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
pub mod multicast;
pub mod network;
mod reason;
mod restart;
mod scrubbed_arguments;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use hardening::Hardening;
pub use reason::reason;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use system::argument_list;
pub use system::{
    clock, console, file, harden, hidden_entry, interface, limits, local_socket, memory, reexec,
    routes, sandbox, signals, socket, stream, waiter,
};
