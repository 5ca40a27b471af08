//! The handles from the engine's task to the drivers of its connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use super::admission_wait::AdmissionGate;
use super::dial::Connector;
use super::driver::{self, ConnectionStart, Ends, Order};
use super::report::Reporter;
use super::tls::Tls;
use super::tls_channel::TlsChannel;
use crate::mesh::ConnId;

/// All drivers.
pub struct Drivers {
    ends: Ends,
    reporter: Reporter,
    handles: BTreeMap<ConnId, DriverHandle>,
}

/// The handles to one driver.
struct DriverHandle {
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
        self.handles.insert(
            conn,
            DriverHandle {
                orders,
                channel,
                gate,
            },
        );
    }

    /// Resolves a name from gossip, for a connection to be.
    pub fn look_up(&self, conn: ConnId, name: String) {
        let connector = self.ends.connector.clone();
        driver::look_up(conn, name, connector, self.reporter.clone());
    }

    /// TLS is up.
    pub fn connected(&mut self, conn: ConnId, channel: &Arc<TlsChannel>) {
        if let Some(handle) = self.handles.get_mut(&conn) {
            handle.channel = Arc::downgrade(channel);
        }
    }

    /// Admits what an accepted connection has received: once, or (`freely`) from now on.
    pub fn admit(&self, conn: ConnId, freely: bool) {
        if let Some(handle) = self.handles.get(&conn) {
            handle.gate.admit(freely);
        }
    }

    /// Sends an order to a driver.
    pub fn order(&self, conn: ConnId, order: Order) {
        if let Some(handle) = self.handles.get(&conn) {
            // A driver that has ended reports that by itself.
            let _ = handle.orders.send(order);
        }
    }

    /// The channel that a driver shares, while its connection has TLS.
    pub fn channel(&self, conn: ConnId) -> Option<Arc<TlsChannel>> {
        self.handles.get(&conn)?.channel.upgrade()
    }

    /// Forgets a driver, which gets no more orders.
    pub fn forget(&mut self, conn: ConnId) {
        self.handles.remove(&conn);
    }
}
