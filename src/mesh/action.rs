//! What the engine wants done with connections.

use std::time::Instant;

use super::conn_id::ConnId;
use crate::proto::{Address, DisplayName};

/// What the I/O layer must do.
pub enum Action {
    /// Open TCP and TLS to this address; answer with [`Engine::handle_connected`](super::Engine::handle_connected) or
    /// [`Engine::handle_closed`](super::Engine::handle_closed) under the same id.
    Dial {
        /// The id of the connection to be.
        conn: ConnId,
        /// Where.
        addr: Address,
    },
    /// Look this name up, which somebody other than the user gave; answer with
    /// [`Engine::handle_looked_up`](super::Engine::handle_looked_up) or [`Engine::handle_closed`](super::Engine::handle_closed) under the same id.
    LookUp {
        /// The id of the connection to be.
        conn: ConnId,
        /// The name.
        name: String,
    },
    /// Write these whole cells. Without `at`: at once. With it, one cell, as one record in one
    /// write, at that moment and not before, and not before everything earlier has wholly been
    /// sent. When all given so far has left, call [`Engine::handle_sent`](super::Engine::handle_sent).
    Transmit {
        /// On which connection.
        conn: ConnId,
        /// A multiple of 1,024 bytes.
        bytes: Vec<u8>,
        /// When.
        at: Option<Instant>,
    },
    /// Work on what has come on an accepted connection: once, in answer to
    /// [`Engine::handle_waiting`](super::Engine::handle_waiting), or from now on without asking.
    Admit {
        /// Which.
        conn: ConnId,
        /// Whether without asking.
        freely: bool,
    },
    /// End the connection.
    Close {
        /// Which.
        conn: ConnId,
        /// How.
        how: Close,
    },
    /// Save the own display name, which is now this.
    SaveName(DisplayName),
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once, with whatever was not sent. The engine has forgotten it.
    Abort,
    /// After what was transmitted, with a FIN; what still comes is dropped. Answered by
    /// [`Engine::handle_closed`](super::Engine::handle_closed).
    Flush,
}

/// Why the I/O layer lost a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// It could not be made; one line for people.
    Failed(String),
    /// It ended.
    Ended,
}
