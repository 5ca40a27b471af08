//! What the drivers of connections tell the engine's task.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::tls_channel::TlsChannel;
#[cfg(doc)]
use crate::mesh::Close;
use crate::mesh::{CloseCause, ConnId, Remote};
use crate::proto::handshake::Channel;

/// What a driver reports to the engine's task, in the order in which it happened.
pub enum Report {
    /// TLS is up.
    Connected {
        /// The other end.
        remote: Remote,
        /// The values that bind the handshake to the connection.
        channel: Channel,
        /// Where paced cells are written.
        tls_channel: Arc<TlsChannel>,
    },
    /// TLS is up on a connection over a circuit. The values bind the handshake to it.
    CircuitConnected(Channel),
    /// TLS wants to send these bytes over the circuit.
    Records(Vec<u8>),
    /// Data arrived that is not processed before the engine admits it.
    Waits,
    /// The addresses of a name, best one first.
    LookedUp(Vec<IpAddr>),
    /// Bytes of cells arrived.
    Bytes(Vec<u8>),
    /// The connection is over. Not reported after [`Close::Abort`].
    Closed(CloseCause),
}

/// Everything ordered so far has left.
pub struct Sent {
    /// The connection on which it left.
    pub conn: ConnId,
    /// How long after its moment the last cell was written; zero if it had none.
    pub lateness: Duration,
}

/// The cost of one turn.
pub struct Worked {
    /// The connection that had the turn.
    pub conn: ConnId,
    /// Processor time.
    pub spent: Duration,
}

/// The channels to the engine's task.
#[derive(Clone)]
pub struct Reporter {
    /// Bounded, so that a slow engine stops the reading.
    pub reports: mpsc::Sender<(ConnId, Report)>,
    /// At most one per order.
    pub sent: mpsc::UnboundedSender<Sent>,
    /// At most one per turn.
    pub worked: mpsc::UnboundedSender<Worked>,
}

#[cfg(test)]
impl Reporter {
    /// A reporter whose reports are dropped.
    pub fn to_nobody() -> Self {
        Self {
            reports: mpsc::channel(1).0,
            sent: mpsc::unbounded_channel().0,
            worked: mpsc::unbounded_channel().0,
        }
    }
}
