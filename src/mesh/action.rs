//! What the engine asks the I/O layer to do with connections.

use std::time::Instant;

use super::conn_id::ConnId;
use crate::proto::{Address, DisplayName};

/// One thing that the I/O layer has to do.
pub enum Action {
    /// Open TCP and TLS to this address. Answer with
    /// [`Engine::handle_connected`](super::Engine::handle_connected) or
    /// [`Engine::handle_closed`](super::Engine::handle_closed) and the same id.
    Dial {
        /// The id of the new connection.
        conn: ConnId,
        /// The host and port to connect to.
        addr: Address,
    },
    /// Resolve this name, which came from a peer and not from the user. Answer with
    /// [`Engine::handle_looked_up`](super::Engine::handle_looked_up) or
    /// [`Engine::handle_closed`](super::Engine::handle_closed) and the same id.
    LookUp {
        /// The id of the new connection.
        conn: ConnId,
        /// A DNS name.
        name: String,
    },
    /// Make TLS for a connection whose bytes a circuit carries; there is no socket. What TLS wants to
    /// send goes to [`Engine::handle_records`](super::Engine::handle_records). Answer with
    /// [`Engine::handle_circuit_connected`](super::Engine::handle_circuit_connected) or
    /// [`Engine::handle_closed`](super::Engine::handle_closed) and the same id.
    StartCircuit {
        /// The id of the new connection.
        conn: ConnId,
        /// Whether this end dials, and so is the TLS client.
        dials: bool,
    },
    /// These bytes of TLS have arrived over the circuit of this connection.
    TakeRecords {
        /// The connection.
        conn: ConnId,
        /// The next bytes of the stream, cut anywhere.
        bytes: Vec<u8>,
    },
    /// No more bytes come over the circuit of this connection. Process what has come, and answer
    /// with [`Engine::handle_closed`](super::Engine::handle_closed).
    EndRecords {
        /// The connection.
        conn: ConnId,
    },
    /// Write these whole cells. Without `at`, write them at once. With `at`, write one cell, as one
    /// record in one write, at that moment and not before, and only after everything earlier was
    /// sent completely. When everything has left, call
    /// [`Engine::handle_sent`](super::Engine::handle_sent).
    Transmit {
        /// The connection to write on.
        conn: ConnId,
        /// One or more cells of 1,024 bytes.
        bytes: Vec<u8>,
        /// The moment of a paced cell.
        at: Option<Instant>,
    },
    /// Process what an accepted connection has received: once, in answer to
    /// [`Engine::handle_waiting`](super::Engine::handle_waiting), or from now on without asking.
    Admit {
        /// The connection that is admitted.
        conn: ConnId,
        /// True: from now on without asking. False: once.
        freely: bool,
    },
    /// End the connection.
    Close {
        /// The connection to end.
        conn: ConnId,
        /// Whether to send first what is still queued.
        how: Close,
    },
    /// Save this user's new display name.
    SaveName(DisplayName),
}

/// How the I/O layer ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once; unsent bytes are dropped. The engine has already forgotten the connection.
    Abort,
    /// Send everything that was transmitted, then a FIN, and drop what still arrives. Answer with
    /// [`Engine::handle_closed`](super::Engine::handle_closed).
    Flush,
}

/// Why the I/O layer lost a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// TCP or TLS could not be set up; the text is one line for the user.
    Failed(String),
    /// The connection broke, or the other end closed it.
    Ended,
}
