//! What differs by operating system, behind one set of names. Nothing above this layer asks which
//! system it runs on.
//!
//! A name is defined only for systems that keep its promise: elsewhere the build fails, and no
//! program pretends. `unix` serves Linux, macOS and FreeBSD; what only one of them has is inside it.
//!
//! - [`clock`]: processor time, and the precision of timers.
//! - [`interface`]: network interfaces.
//! - [`limits`]: how much of the system this process may use.
//! - [`socket`]: options of sockets, and what the kernel knows about them.

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::{clock, interface, limits, socket};
