//! What a restart after a panic needs, and what it hands over, on every system.

use std::net::TcpListener;

use zeroize::Zeroizing;

/// What [`reserve`](super::reexec::reserve) got hold of for the time when it is too late to ask.
#[derive(Debug, Default)]
pub struct Reserved {
    /// The descriptor of the program that a panic executes, open for as long as the process lives.
    /// `None` on Windows, where the keeper starts the program.
    pub program: Option<i32>,
    /// What could not be reserved, one line each.
    pub failed: Vec<String>,
}

/// What the previous image, or worker, handed over.
pub struct Inherited {
    /// The state.
    pub state: Zeroizing<Vec<u8>>,
    /// The listening sockets, in the order in which they were handed over.
    pub listeners: Vec<TcpListener>,
}
