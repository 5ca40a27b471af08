//! AdmissionWait of an accepted connection, whose other end has proven nothing yet: what comes on it is
//! worked on only when the engine admits it, and the time that this takes is measured.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::clock;
use super::report::{Report, Reporter, Worked};
use crate::mesh::ConnId;

/// What the engine's task opens, and a driver waits at.
pub struct AdmissionGate(Semaphore);

impl AdmissionGate {
    /// One where each turn is waited for.
    pub fn shut() -> Self {
        Self(Semaphore::new(0))
    }

    /// One where nothing is waited for.
    pub fn open() -> Self {
        let gate = Self::shut();
        gate.admit(true);
        gate
    }

    /// Admits once, or from now on.
    pub fn admit(&self, freely: bool) {
        match freely {
            true => self.0.close(),
            false => self.0.add_permits(1),
        }
    }

    /// Whether nothing is waited for.
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

/// The driver's side.
pub struct AdmissionWait {
    conn: ConnId,
    gate: Arc<AdmissionGate>,
    reporter: Reporter,
}

impl AdmissionWait {
    /// Those of one connection.
    pub fn new(conn: ConnId, gate: Arc<AdmissionGate>, reporter: Reporter) -> Self {
        Self {
            conn,
            gate,
            reporter,
        }
    }

    /// Whether nothing is waited for, or measured.
    pub fn are_free(&self) -> bool {
        self.gate.is_open()
    }

    /// Waits until admitted, once the engine knows that something has come.
    pub async fn admitted(&self) {
        self.gate.admitted().await;
    }

    /// Does some work in its turn, which [`Self::admitted`] has waited for.
    pub fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        let (done, spent) = clock::measured(work);
        let conn = self.conn;
        // Where nobody listens any more, the run is over.
        let _ = self.reporter.worked.send(Worked { conn, spent });
        done
    }

    /// Waits for a turn, and does some work in it.
    pub async fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.are_free() {
            return work();
        }
        let _ = self.reporter.reports.send((self.conn, Report::Waits)).await;
        self.admitted().await;
        self.take(work)
    }
}
