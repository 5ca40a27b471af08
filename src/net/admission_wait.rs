//! How an accepted connection waits for admission: as long as its other end has proven nothing,
//! what it sends is processed only when the engine admits it, and the time that this takes is
//! measured.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::clock;
use super::report::{Report, Reporter, Worked};
use crate::mesh::ConnId;

/// The gate of one connection: the engine's task opens it, and the driver waits at it.
pub struct AdmissionGate(Semaphore);

impl AdmissionGate {
    /// A gate at which each turn has to be awaited.
    pub fn shut() -> Self {
        Self(Semaphore::new(0))
    }

    /// A gate that is open for good.
    pub fn open() -> Self {
        let gate = Self::shut();
        gate.admit(true);
        gate
    }

    /// Lets one turn through (`freely`: every turn from now on).
    pub fn admit(&self, freely: bool) {
        match freely {
            true => self.0.close(),
            false => self.0.add_permits(1),
        }
    }

    /// Whether the gate is open for good.
    pub fn is_open(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until admitted.
    pub async fn admitted(&self) {
        if let Ok(turn) = self.0.acquire().await {
            turn.forget();
        }
    }
}

/// The driver's side of the gate.
pub struct AdmissionWait {
    conn: ConnId,
    gate: Arc<AdmissionGate>,
    reporter: Reporter,
}

impl AdmissionWait {
    /// The driver's side for this connection.
    pub fn new(conn: ConnId, gate: Arc<AdmissionGate>, reporter: Reporter) -> Self {
        Self {
            conn,
            gate,
            reporter,
        }
    }

    /// Whether turns need no admission, and are not measured.
    pub fn are_free(&self) -> bool {
        self.gate.is_open()
    }

    /// Reports that something has arrived, and waits until admitted.
    pub async fn admitted(&self) {
        self.gate.admitted().await;
    }

    /// Runs some work in the turn for which [`Self::admitted`] has waited, and reports the time it
    /// took.
    pub fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        let (done, spent) = clock::measured(work);
        let conn = self.conn;
        // If the receiver is gone, the run is over.
        let _ = self.reporter.worked.send(Worked { conn, spent });
        done
    }

    /// Waits for a turn, and runs some work in it.
    pub async fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.are_free() {
            return work();
        }
        let _ = self.reporter.reports.send((self.conn, Report::Waits)).await;
        self.admitted().await;
        self.take(work)
    }
}
