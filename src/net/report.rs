//! What the drivers of connections tell the engine's task.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::tls_channel::TlsChannel;
#[cfg(doc)]
use crate::mesh::Close;
use crate::mesh::{CloseCause, ConnId};
use crate::proto::handshake::Channel;

/// What a driver tells the engine's task, in the order in which it happened.
pub enum Report {
    /// TLS is up.
    Connected {
        /// The other end.
        remote: SocketAddr,
        /// What binds the handshake to the connection.
        channel: Channel,
        /// For paced cells.
        tls_channel: Arc<TlsChannel>,
    },
    /// Something came that is not worked on before the engine admits it.
    Waits,
    /// What a name stands for.
    LookedUp(Vec<IpAddr>),
    /// Bytes of cells came.
    Bytes(Vec<u8>),
    /// The connection is over, but for one that was ended with [`Close::Abort`].
    Closed(CloseCause),
}

/// That everything ordered so far has left.
pub struct Sent {
    /// On which connection.
    pub conn: ConnId,
    /// How long after its moment the last cell was written; zero where it had none.
    pub lateness: Duration,
}

/// What a turn took.
pub struct Worked {
    /// On which connection.
    pub conn: ConnId,
    /// Of a processor's time.
    pub spent: Duration,
}

/// The ways to the engine's task.
#[derive(Clone)]
pub struct Reporter {
    /// Bounded: a slow engine stops the reading.
    pub reports: mpsc::Sender<(ConnId, Report)>,
    /// At most one an order.
    pub sent: mpsc::UnboundedSender<Sent>,
    /// At most one a turn.
    pub worked: mpsc::UnboundedSender<Worked>,
}

#[cfg(test)]
impl Reporter {
    /// One whose word goes nowhere.
    pub fn to_nobody() -> Self {
        Self {
            reports: mpsc::channel(1).0,
            sent: mpsc::unbounded_channel().0,
            worked: mpsc::unbounded_channel().0,
        }
    }
}
