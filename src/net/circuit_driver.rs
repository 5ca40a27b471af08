//! One connection that a circuit carries: TLS without a socket.
//!
//! The engine's task puts what arrives over the circuit into a bounded buffer, and never waits for
//! the driver. What TLS wants to send goes back to it as reports. For these the driver waits until
//! there is room, and meanwhile still takes orders. The engine limits how long a handshake may
//! take.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::admission_wait::{AdmissionGate, AdmissionWait};
use super::circuit_stream::{CircuitStream, ReceiveBuffer};
use super::clock::Alarm;
use super::driver::{DriverEnd, READ, STRANGERS_READ, report_leftover};
use super::record::{Broken, Records};
use super::report::{Report, Reporter};
use super::tls::{Secured, Tls};
use crate::mesh::{Close, CloseCause, ConnId};

/// How many bytes may wait for a stranger's admission: several times what a TLS client's flight or
/// the cells of a handshake take.
const UNADMITTED: usize = 16 * 1024;

/// How many bytes may wait otherwise. A circuit's credit allows far less, so only a peer that does
/// not keep to it sends more.
const ADMITTED: usize = 64 * 1024;

const HANDSHAKE_FAILED: &str = "the TLS handshake through the relay failed: the other end may be another version of sesame, or the relay changed the data";
const ENDED: &str = "the circuit ended during the TLS handshake";
const TOO_MUCH: &str =
    "the TLS handshake through the relay failed: more data came than a handshake has";

type Reports = mpsc::Sender<(ConnId, Report)>;
type Place<'a> = mpsc::Permit<'a, (ConnId, Report)>;

/// What the engine's task tells a driver.
enum Order {
    /// Send these cells, not before this moment.
    Transmit(Vec<u8>, Option<Instant>),
    /// More has arrived than may wait: end the connection, and report it.
    Break,
    /// End the connection.
    Close(Close),
}

/// The engine's task's handle to one driver, which ends when this is dropped.
pub struct CircuitHandle {
    orders: mpsc::UnboundedSender<Order>,
    received: Arc<ReceiveBuffer>,
    gate: Arc<AdmissionGate>,
}

impl CircuitHandle {
    /// Starts the driver of a connection; `dials` says whether this end is the TLS client.
    pub fn start(conn: ConnId, dials: bool, tls: Tls, reporter: Reporter) -> Self {
        let gate = Arc::new(match dials {
            true => AdmissionGate::open(),
            false => AdmissionGate::shut(),
        });
        let received = Arc::new(ReceiveBuffer::default());
        let stream = CircuitStream::new(conn, Arc::clone(&received), reporter.reports.clone());
        let turns = AdmissionWait::new(conn, Arc::clone(&gate), reporter.clone());
        let (orders, orders_out) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let established = async {
                match dials {
                    true => tls.dial_over(stream, &turns).await,
                    false => tls.accept(stream, &turns).await,
                }
            };
            drive(conn, established, &turns, reporter.reports, orders_out).await;
        });
        Self {
            orders,
            received,
            gate,
        }
    }

    /// Hands over bytes that have arrived.
    pub fn take_records(&self, bytes: &[u8]) {
        let most = match self.gate.is_open() {
            true => ADMITTED,
            false => UNADMITTED,
        };
        if !self.received.put(bytes, most) {
            self.order(Order::Break);
        }
    }

    /// Nothing more arrives: the driver ends when it has processed what has.
    pub fn end_records(&self) {
        self.received.end();
    }

    /// Sends whole cells, behind everything earlier and not before `at`.
    pub fn transmit(&self, cells: Vec<u8>, at: Option<Instant>) {
        self.order(Order::Transmit(cells, at));
    }

    /// Admits what has arrived: once, or (`freely`) from now on.
    pub fn admit(&self, freely: bool) {
        self.gate.admit(freely);
    }

    /// Ends the connection.
    pub fn close(&self, how: Close) {
        self.order(Order::Close(how));
    }

    fn order(&self, order: Order) {
        // A driver that has ended reports that by itself.
        let _ = self.orders.send(order);
    }
}

async fn drive(
    conn: ConnId,
    established: impl Future<Output = io::Result<Secured<CircuitStream>>>,
    turns: &AdmissionWait,
    reports: Reports,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    // Nothing can be transmitted before TLS is up.
    let begun = tokio::select! {
        biased;
        order = orders.recv() => Err(order),
        begun = established => Ok(begun),
    };
    let cause = match begun {
        Err(Some(Order::Close(Close::Flush))) => CloseCause::Ended,
        Err(Some(Order::Break)) => CloseCause::Failed(TOO_MUCH.into()),
        Err(_) => return,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            CloseCause::Failed(ENDED.into())
        }
        Ok(Err(_)) => CloseCause::Failed(HANDSHAKE_FAILED.into()),
        Ok(Ok(Secured {
            stream,
            tls,
            channel,
        })) => {
            let connected = Report::CircuitConnected(channel);
            if reports.send((conn, connected)).await.is_err() {
                return;
            }
            let driver = Driver {
                conn,
                stream,
                records: Records::new(tls),
                outgoing: Outgoing::new(),
                turns,
                orders,
            };
            match driver.run(&reports).await {
                DriverEnd::Aborted => return,
                DriverEnd::Closed => CloseCause::Ended,
            }
        }
    };
    // If the receiver is gone, the run is over.
    let _ = reports.send((conn, Report::Closed(cause))).await;
}

/// Cells that still have to leave, in order, each portion with the moment before which it may not.
struct Outgoing {
    cells: VecDeque<(Vec<u8>, Option<Instant>)>,
    alarm: Alarm,
}

impl Outgoing {
    fn new() -> Self {
        Self {
            cells: VecDeque::new(),
            alarm: Alarm::silent(),
        }
    }

    /// Waits until the first cells may leave and there is room to report them; for ever if there
    /// are none. `None` if the run is over. Dropping the future loses nothing.
    async fn room<'a>(&mut self, reports: &'a Reports) -> Option<Place<'a>> {
        match self.cells.front() {
            None => return pending().await,
            Some((_, None)) => {}
            Some((_, at)) => self.alarm.until(*at).await,
        }
        reports.reserve().await.ok()
    }
}

/// A connection with TLS.
struct Driver<'a> {
    conn: ConnId,
    stream: CircuitStream,
    records: Records,
    outgoing: Outgoing,
    turns: &'a AdmissionWait,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Driver<'_> {
    async fn run(mut self, reports: &Reports) -> DriverEnd {
        let leftover = self.records.leftover();
        if let Err(end) = report_leftover(self.conn, leftover, reports).await {
            return end;
        }
        let mut readable = false;
        let mut waits = false;
        let mut admitted = false;
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Transmit(cells, at)) => self.outgoing.cells.push_back((cells, at)),
                    Some(Order::Break) => return DriverEnd::Closed,
                    Some(Order::Close(Close::Flush)) => return self.flush(reports).await,
                    // The run is over if there is no more order.
                    Some(Order::Close(Close::Abort)) | None => return DriverEnd::Aborted,
                },
                () = self.turns.admitted(), if waits => (waits, admitted) = (false, true),
                place = self.outgoing.room(reports) => {
                    let Some(place) = place else { return DriverEnd::Aborted };
                    if self.send_next(place).is_err() {
                        return DriverEnd::Closed;
                    }
                }
                // The driver asks for a place only when there is something to read, so idle links
                // hold none.
                place = reports.reserve(), if readable && !waits => {
                    let Ok(place) = place else { return DriverEnd::Aborted };
                    if self.stream.is_over() {
                        return DriverEnd::Closed;
                    }
                    let free = self.turns.are_free();
                    if !free && !admitted {
                        waits = true;
                        place.send((self.conn, Report::Waits));
                        continue;
                    }
                    readable = false;
                    let most = if free { READ } else { STRANGERS_READ };
                    let (records, stream) = (&mut self.records, &self.stream);
                    let mut open = || records.open(&stream.take(most));
                    let opened = match std::mem::take(&mut admitted) {
                        true => self.turns.take(open),
                        false => open(),
                    };
                    match opened {
                        Ok(plain) if plain.is_empty() => {}
                        Ok(plain) => place.send((self.conn, Report::Bytes(plain))),
                        Err(_) => return DriverEnd::Closed,
                    }
                }
                () = self.stream.readable(), if !readable => readable = true,
            }
        }
    }

    /// Seals the first cells that have to leave, each into its record, and reports them.
    fn send_next(&mut self, place: Place<'_>) -> Result<(), Broken> {
        if let Some((cells, _)) = self.outgoing.cells.pop_front() {
            let sealed = self.records.seal(&cells)?;
            place.send((self.conn, Report::Records(sealed)));
        }
        Ok(())
    }

    /// Sends what was ordered. What still arrives is dropped.
    async fn flush(&mut self, reports: &Reports) -> DriverEnd {
        while !self.outgoing.cells.is_empty() {
            let Some(place) = self.outgoing.room(reports).await else {
                return DriverEnd::Aborted;
            };
            if self.send_next(place).is_err() {
                break;
            }
        }
        DriverEnd::Closed
    }
}

#[cfg(test)]
mod tests;
