//! The handles from the engine's task to the drivers of its connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::admission_wait::AdmissionGate;
use super::circuit_driver::CircuitHandle;
use super::dial::Connector;
use super::driver::{self, ConnectionStart, Ends, Order};
use super::report::Reporter;
use super::tls::Tls;
use super::tls_channel::TlsChannel;
use crate::mesh::{Close, ConnId};

/// All drivers.
pub struct Drivers {
    ends: Ends,
    reporter: Reporter,
    handles: BTreeMap<ConnId, DriverHandle>,
}

/// The handles to one driver.
enum DriverHandle {
    Socket(SocketHandle),
    Circuit(CircuitHandle),
}

/// The handles to the driver of a socket.
struct SocketHandle {
    orders: mpsc::UnboundedSender<Order>,
    /// Once TLS is up.
    channel: Weak<TlsChannel>,
    gate: Arc<AdmissionGate>,
}

impl Drivers {
    /// No drivers yet. The connector makes their connections, `inactivity` is how long the other
    /// end's kernel may acknowledge nothing, and they report through the `reporter`.
    pub fn new(connector: Connector, inactivity: Duration, reporter: Reporter) -> Self {
        let tls = Tls::new();
        Self {
            ends: Ends {
                connector,
                tls,
                inactivity,
            },
            reporter,
            handles: BTreeMap::new(),
        }
    }

    /// Starts the driver of a connection.
    pub fn start(&mut self, conn: ConnId, start: ConnectionStart) {
        let gate = Arc::new(match start {
            ConnectionStart::Dial(..) => AdmissionGate::open(),
            ConnectionStart::Accepted(..) => AdmissionGate::shut(),
        });
        let orders = driver::spawn(
            conn,
            start,
            Arc::clone(&gate),
            self.ends.clone(),
            self.reporter.clone(),
        );
        let channel = Weak::new();
        let handle = SocketHandle {
            orders,
            channel,
            gate,
        };
        self.handles.insert(conn, DriverHandle::Socket(handle));
    }

    /// Starts the driver of a connection over a circuit. `dials` says whether this end is the TLS
    /// client.
    pub fn start_circuit(&mut self, conn: ConnId, dials: bool) {
        let (tls, reporter) = (self.ends.tls.clone(), self.reporter.clone());
        let handle = CircuitHandle::start(conn, dials, tls, reporter);
        self.handles.insert(conn, DriverHandle::Circuit(handle));
    }

    /// Hands over what has arrived over the circuit of a connection.
    pub fn take_records(&self, conn: ConnId, bytes: &[u8]) {
        if let Some(DriverHandle::Circuit(handle)) = self.handles.get(&conn) {
            handle.take_records(bytes);
        }
    }

    /// Nothing more arrives over the circuit of a connection.
    pub fn end_records(&self, conn: ConnId) {
        if let Some(DriverHandle::Circuit(handle)) = self.handles.get(&conn) {
            handle.end_records();
        }
    }

    /// Sends cells on a connection over a circuit, not before `at`.
    pub fn transmit_over_circuit(&self, conn: ConnId, cells: Vec<u8>, at: Option<Instant>) {
        if let Some(DriverHandle::Circuit(handle)) = self.handles.get(&conn) {
            handle.transmit(cells, at);
        }
    }

    /// Resolves a name from gossip, for a connection to be.
    pub fn look_up(&self, conn: ConnId, name: String) {
        let connector = self.ends.connector.clone();
        driver::look_up(conn, name, connector, self.reporter.clone());
    }

    /// TLS is up.
    pub fn connected(&mut self, conn: ConnId, channel: &Arc<TlsChannel>) {
        if let Some(DriverHandle::Socket(handle)) = self.handles.get_mut(&conn) {
            handle.channel = Arc::downgrade(channel);
        }
    }

    /// Admits what an accepted connection has received: once, or (`freely`) from now on.
    pub fn admit(&self, conn: ConnId, freely: bool) {
        match self.handles.get(&conn) {
            None => {}
            Some(DriverHandle::Socket(handle)) => handle.gate.admit(freely),
            Some(DriverHandle::Circuit(handle)) => handle.admit(freely),
        }
    }

    /// Ends a connection, and forgets its driver.
    pub fn close(&mut self, conn: ConnId, how: Close) {
        self.order(conn, Order::Close(how));
        if let Some(DriverHandle::Circuit(handle)) = self.handles.get(&conn) {
            handle.close(how);
        }
        self.forget(conn);
    }

    /// Sends an order to the driver of a socket.
    pub fn order(&self, conn: ConnId, order: Order) {
        if let Some(DriverHandle::Socket(handle)) = self.handles.get(&conn) {
            // A driver that has ended reports that by itself.
            let _ = handle.orders.send(order);
        }
    }

    /// The channel that the driver of a socket shares, while its connection has TLS.
    pub fn channel(&self, conn: ConnId) -> Option<Arc<TlsChannel>> {
        match self.handles.get(&conn)? {
            DriverHandle::Socket(handle) => handle.channel.upgrade(),
            DriverHandle::Circuit(_) => None,
        }
    }

    /// Forgets a driver, which gets no more orders.
    pub fn forget(&mut self, conn: ConnId) {
        self.handles.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::mesh::CloseCause;
    use crate::net::report::{Report, Worked};
    use crate::proto::CELL;

    const PATIENCE: Duration = Duration::from_secs(20);
    const CONN: ConnId = ConnId(5);

    /// The drivers of one node, and what they report.
    struct Node {
        drivers: Drivers,
        reports: mpsc::Receiver<(ConnId, Report)>,
        _worked: mpsc::UnboundedReceiver<Worked>,
    }

    impl Node {
        fn new() -> Self {
            let (reports_in, reports) = mpsc::channel(4);
            let (worked_in, worked) = mpsc::unbounded_channel();
            let reporter = Reporter {
                reports: reports_in,
                sent: mpsc::unbounded_channel().0,
                worked: worked_in,
            };
            Self {
                drivers: Drivers::new(Connector::new(None), PATIENCE, reporter),
                reports,
                _worked: worked,
            }
        }

        async fn report(&mut self) -> Report {
            let report = timeout(PATIENCE, self.reports.recv()).await;
            let (conn, report) = report.expect("a report").unwrap();
            assert_eq!(conn, CONN);
            report
        }

        async fn records(&mut self) -> Vec<u8> {
            match self.report().await {
                Report::Records(bytes) => bytes,
                _ => panic!("no records"),
            }
        }
    }

    #[tokio::test]
    async fn orders_reach_the_driver_of_a_circuit() {
        let (mut dialler, mut listener) = (Node::new(), Node::new());
        dialler.drivers.start_circuit(CONN, true);
        listener.drivers.start_circuit(CONN, false);
        assert!(dialler.drivers.channel(CONN).is_none());
        for _ in 0..2 {
            let flight = dialler.records().await;
            listener.drivers.take_records(CONN, &flight);
            assert!(matches!(listener.report().await, Report::Waits));
            listener.drivers.admit(CONN, false);
            if let Report::Records(answer) = listener.report().await {
                dialler.drivers.take_records(CONN, &answer);
            }
        }
        assert!(matches!(
            dialler.report().await,
            Report::CircuitConnected(_)
        ));
        listener.drivers.admit(CONN, true);
        listener
            .drivers
            .transmit_over_circuit(CONN, vec![3; CELL], None);
        let record = listener.records().await;
        dialler.drivers.take_records(CONN, &record);
        assert!(matches!(dialler.report().await, Report::Bytes(cell) if cell == [3; CELL]));
        dialler.drivers.close(CONN, Close::Flush);
        assert!(matches!(
            dialler.report().await,
            Report::Closed(CloseCause::Ended)
        ));
        dialler.drivers.take_records(CONN, &record);
        listener.drivers.close(CONN, Close::Abort);
        drop(listener.drivers);
        assert!(listener.reports.recv().await.is_none());
    }
}
