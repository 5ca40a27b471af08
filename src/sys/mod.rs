//! What differs by operating system, behind one set of names. Nothing above this layer asks which
//! system it runs on, and besides [`secret`](crate::secret) only this layer has unsafe code.
//!
//! A name is defined only for systems that keep its promise: elsewhere the build fails, and no
//! program pretends. `unix` serves Linux, macOS and FreeBSD, and `windows` serves Windows; what is
//! long and Linux's own is in `linux`.
//!
//! Whoever waits for a stream or a terminal does so through these names, and does not see on what it
//! waits: where a pipe cannot be polled, or a console gives events in place of bytes, a thread can
//! stand behind the same names.
//!
//! The process, from its start to its end:
//!
//! - [`harden`]: what `main` does first of all.
//! - [`arguments`]: the argument list without the phrase.
//! - [`sandbox`]: what the process gives up before it meets anybody.
//! - [`signals`]: requests from outside that wait to be taken.
//! - [`reexec`]: replaces the process by a fresh one, after a panic.
//!
//! What it uses:
//!
//! - [`clock`]: processor time, and the precision of timers.
//! - [`console`]: the terminal of a line editor: its modes, its size, and stops.
//! - [`file`](mod@file): who owns a file, and who may use it.
//! - [`hidden_entry`]: a terminal on which something is typed that nobody is to see.
//! - [`interface`]: network interfaces.
//! - [`limits`]: how much of the system this process may use.
//! - [`reason`](fn@reason): what an error of the system says.
//! - [`memory`]: advice about memory.
//! - [`socket`]: options of sockets, and what the kernel knows about them.
//! - [`stream`]: standard input and output: read, written, waited for and hung up on.
//! - [`waiter`]: waiting for input before anybody takes signals.

pub mod arguments;
mod hardening;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
mod reason;
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
    clock, console, file, harden, hidden_entry, interface, limits, memory, reexec, sandbox,
    signals, socket, stream, waiter,
};
