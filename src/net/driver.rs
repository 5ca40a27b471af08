//! One connection: one socket, one TLS state, one clock.
//!
//! A driver dials or takes over an accepted socket, makes TLS on it, and then does what the engine
//! orders. The cells to write are in the [`TlsChannel`], which it shares with the engine's task.
//! That task seals paced cells itself, and the [`Pacer`](super::pacer::Pacer) writes them. In the
//! other direction the driver hands cells to the engine's task as they come, and stops reading
//! while that has no room.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admission_wait::{AdmissionGate, AdmissionWait};
use super::dial::Connector;
use super::record::{Broken, OVERHEAD, Records};
use super::report::{Report, Reporter, Sent};
use super::sender::Sender;
use super::tls::{Secured, Tls};
use super::tls_channel::TlsChannel;
use super::{clock, socket};
use crate::mesh::{Close, CloseCause, ConnId, Remote};
use crate::proto::{Address, CELL};

/// How long the end of a connection may take once everything has been ordered.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// How many bytes are read at once.
pub const READ: usize = 32 * 1024;

/// How many bytes are read at once from a stranger, whose handshake has four cells that come one by
/// one.
pub const STRANGERS_READ: usize = 2 * (CELL + OVERHEAD);

/// What the engine's task tells a driver.
pub enum Order {
    /// Report when the cell that was given to the [`TlsChannel`] has been sent.
    Watch,
    /// The [`TlsChannel`] is broken: end the connection, and report it.
    Break,
    /// End the connection.
    Close(Close),
}

/// How a connection begins.
pub enum ConnectionStart {
    /// It is dialled.
    Dial(Address),
    /// It was accepted, from this address.
    Accepted(TcpStream, SocketAddr),
}

/// What the drivers of a run have in common.
#[derive(Clone)]
pub struct Ends {
    /// Makes the connections.
    pub connector: Connector,
    /// Makes TLS on them.
    pub tls: Tls,
    /// How long the other end's kernel may acknowledge nothing.
    pub inactivity: Duration,
}

/// Starts the driver of a connection. It ends on an order, when the connection ends, or when the
/// returned sender is dropped.
pub fn spawn(
    conn: ConnId,
    start: ConnectionStart,
    gate: Arc<AdmissionGate>,
    ends: Ends,
    reporter: Reporter,
) -> mpsc::UnboundedSender<Order> {
    let (orders_in, orders) = mpsc::unbounded_channel();
    let turns = AdmissionWait::new(conn, gate, reporter.clone());
    tokio::spawn(drive(conn, start, turns, ends, reporter, orders));
    orders_in
}

/// Resolves a name from gossip.
pub fn look_up(conn: ConnId, name: String, connector: Connector, reporter: Reporter) {
    tokio::spawn(async move {
        let report = match connector.look_up(name).await {
            Ok(numbers) => Report::LookedUp(numbers),
            Err(error) => Report::Closed(CloseCause::Failed(error.to_string())),
        };
        // If the receiver is gone, the run is over.
        let _ = reporter.reports.send((conn, report)).await;
    });
}

async fn drive(
    conn: ConnId,
    start: ConnectionStart,
    turns: AdmissionWait,
    ends: Ends,
    reporter: Reporter,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    // Only an end can be ordered before TLS is up.
    let begun = tokio::select! {
        biased;
        order = orders.recv() => Err(order),
        begun = establish(start, &turns, &ends) => Ok(begun),
    };
    let cause = match begun {
        Err(Some(Order::Close(Close::Flush))) => CloseCause::Ended,
        Err(_) => return,
        Ok(Err(line)) => CloseCause::Failed(line),
        Ok(Ok((
            Secured {
                stream,
                tls,
                channel,
            },
            remote,
        ))) => {
            let tls_channel = Arc::new(TlsChannel::new(stream, Records::new(tls)));
            let connected = Report::Connected {
                remote,
                channel,
                tls_channel: Arc::clone(&tls_channel),
            };
            if reporter.reports.send((conn, connected)).await.is_err() {
                return;
            }
            let driver = Driver {
                conn,
                sender: Sender::new(Arc::clone(&tls_channel)),
                tls_channel,
                turns,
                orders,
                reporter: reporter.clone(),
            };
            match driver.run().await {
                DriverEnd::Aborted => return,
                DriverEnd::Closed => CloseCause::Ended,
            }
        }
    };
    // If the receiver is gone, the run is over.
    let _ = reporter.reports.send((conn, Report::Closed(cause))).await;
}

/// Makes a connection with TLS from an address or a socket. The error is a line for the user.
async fn establish(
    start: ConnectionStart,
    turns: &AdmissionWait,
    ends: &Ends,
) -> Result<(Secured, Remote), String> {
    let dialled = matches!(start, ConnectionStart::Dial(..));
    let (stream, remote) = match start {
        ConnectionStart::Dial(address) => {
            let connected = ends.connector.connect(&address).await;
            connected.map_err(|error| error.to_string())?
        }
        ConnectionStart::Accepted(stream, remote) => (stream, Remote::Direct(remote)),
    };
    socket::prepare(&stream, ends.inactivity);
    let handshake = async {
        match dialled {
            true => ends.tls.dial(stream).await,
            false => ends.tls.accept(stream, turns).await,
        }
    };
    match timeout(ends.connector.tls_limit(), handshake).await {
        Ok(Ok(secured)) => Ok((secured, remote)),
        Ok(Err(error)) => Err(handshake_failed(&error)),
        Err(_) => Err("no answer to the TLS handshake: the other end may not be sesame".into()),
    }
}

fn handshake_failed(error: &io::Error) -> String {
    match error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
    {
        true => "the TLS handshake failed: the other end is not sesame, or another version of it",
        false => "the connection ended during the TLS handshake: the other end may not be sesame",
    }
    .into()
}

/// How a driver ended.
pub(super) enum DriverEnd {
    /// The engine has already forgotten the connection.
    Aborted,
    /// The engine must still hear of it.
    Closed,
}

/// Reports what the handshake read beyond its own end, if it did.
pub(super) async fn report_leftover(
    conn: ConnId,
    leftover: Result<Vec<u8>, Broken>,
    reports: &mpsc::Sender<(ConnId, Report)>,
) -> Result<(), DriverEnd> {
    let plain = leftover.map_err(|_| DriverEnd::Closed)?;
    if plain.is_empty() {
        return Ok(());
    }
    let sent = reports.send((conn, Report::Bytes(plain))).await;
    sent.map_err(|_| DriverEnd::Aborted)
}

/// The result of reading from a connection.
enum Read {
    /// The content of the records that are complete now, and whether there may be more.
    Some { plain: Vec<u8>, more: bool },
    /// There was no data.
    Nothing,
    /// The connection is over.
    Ended,
}

thread_local! {
    /// What was read, as it came from the network. One for all connections of a thread, since one
    /// of its own for each would be the most that a quiet link takes.
    static WIRE: RefCell<Box<[u8; READ]>> = RefCell::new(Box::new([0; READ]));
}

/// Reads up to `most` bytes once.
fn read(tls_channel: &TlsChannel, most: usize) -> Read {
    WIRE.with_borrow_mut(|wire| read_into(tls_channel, &mut wire[..most]))
}

fn read_into(tls_channel: &TlsChannel, wire: &mut [u8]) -> Read {
    match socket::read(tls_channel.stream(), wire) {
        Ok(0) => Read::Ended,
        Ok(n) => match tls_channel.records().open(&wire[..n]) {
            Ok(plain) => Read::Some {
                plain,
                more: n == wire.len(),
            },
            Err(_) => {
                tls_channel.abort();
                Read::Ended
            }
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
        Err(_) => Read::Ended,
    }
}

/// A connection with TLS.
struct Driver {
    conn: ConnId,
    tls_channel: Arc<TlsChannel>,
    sender: Sender,
    turns: AdmissionWait,
    orders: mpsc::UnboundedReceiver<Order>,
    reporter: Reporter,
}

impl Driver {
    async fn run(mut self) -> DriverEnd {
        let reports = self.reporter.reports.clone();
        let leftover = self.tls_channel.records().leftover();
        if let Err(end) = report_leftover(self.conn, leftover, &reports).await {
            return end;
        }
        let tls_channel = Arc::clone(&self.tls_channel);
        let mut readable = false;
        let mut waits = false;
        let mut admitted = false;
        loop {
            tokio::select! {
                biased;
                sent = self.sender.step() => match sent {
                    Ok(Some(lateness)) => {
                        let _ = self.reporter.sent.send(Sent {
                            conn: self.conn,
                            lateness,
                        });
                    }
                    Ok(None) => {}
                    Err(_) => return DriverEnd::Closed,
                },
                order = self.orders.recv() => match order {
                    Some(Order::Watch) => if self.sender.watch().is_err() {
                        return DriverEnd::Closed;
                    },
                    Some(Order::Break) => return DriverEnd::Closed,
                    Some(Order::Close(Close::Abort)) => {
                        tls_channel.abort();
                        return DriverEnd::Aborted;
                    }
                    Some(Order::Close(Close::Flush)) => {
                        self.flush().await;
                        return DriverEnd::Closed;
                    }
                    // The run is over, and this has to look like the end of any process: the kernel
                    // sends what it has, and a FIN.
                    None => return DriverEnd::Aborted,
                },
                () = self.turns.admitted(), if waits => (waits, admitted) = (false, true),
                // The driver asks for a place only when there is something to read, so idle links
                // hold none.
                place = reports.reserve(), if readable && !waits => {
                    let Ok(place) = place else { return DriverEnd::Aborted };
                    let free = self.turns.are_free();
                    if !free && !admitted {
                        waits = true;
                        place.send((self.conn, Report::Waits));
                        continue;
                    }
                    let most = if free { READ } else { STRANGERS_READ };
                    let read = || read(&tls_channel, most);
                    let read = match std::mem::take(&mut admitted) {
                        true => self.turns.take(read),
                        false => read(),
                    };
                    match read {
                        Read::Some { plain, more } => {
                            readable = more;
                            if !plain.is_empty() {
                                place.send((self.conn, Report::Bytes(plain)));
                            }
                        }
                        Read::Nothing => readable = false,
                        Read::Ended => return DriverEnd::Closed,
                    }
                }
                result = tls_channel.stream().readable(), if !readable => match result {
                    Ok(()) => readable = true,
                    Err(_) => return DriverEnd::Closed,
                },
            }
        }
    }

    /// Writes out what was ordered, then waits until the other end closes too.
    async fn flush(&mut self) {
        let tls_channel = Arc::clone(&self.tls_channel);
        let now = clock::now();
        let last = tls_channel.waits_until().unwrap_or(now);
        let in_time = timeout(last.saturating_duration_since(now) + FLUSH_LIMIT, async {
            loop {
                tls_channel.watch(true);
                if self.sender.is_done() {
                    break;
                }
                if self.sender.step().await.is_err() {
                    return;
                }
            }
            let _ = SockRef::from(tls_channel.stream()).shutdown(std::net::Shutdown::Write);
            self.read_to_end().await;
        });
        let _ = in_time.await;
    }

    async fn read_to_end(&self) {
        let mut dropped = vec![0; READ];
        while self.tls_channel.stream().readable().await.is_ok() {
            match self.tls_channel.stream().try_read(&mut dropped) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
