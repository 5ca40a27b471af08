//! What a connection's driver, the engine's task and the [`Beat`] share: its socket, its TLS state,
//! and what became of the last cell that had a moment.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::beat::{Beat, Departure};
use super::record::{Broken, Records};
use super::{clock, socket};

/// A connection with TLS. The driver alone keeps it open; the others hold weak references.
pub struct Line {
    stream: TcpStream,
    records: Mutex<Records>,
    state: Mutex<State>,
    /// For the driver, where it has something to do.
    changed: Notify,
}

/// What became of a cell.
pub enum Cell {
    /// There was none, or the driver has seen to it.
    None,
    /// It waits until then.
    Waits(Instant),
    /// The kernel has it; it was so late.
    Written(Duration),
    /// The kernel did not take this rest of it.
    Cut(Duration, Vec<u8>),
    /// Nothing can be written any more.
    Failed,
}

struct State {
    cell: Cell,
    /// What the kernel's queue was last set to.
    paced: Option<bool>,
    /// The driver has something of its own to write first.
    backlog: bool,
    /// The driver wants to know when the cell is written.
    watched: bool,
}

impl Line {
    /// Of a finished handshake.
    pub fn new(stream: TcpStream, records: Records) -> Self {
        Self {
            stream,
            records: Mutex::new(records),
            state: Mutex::new(State {
                cell: Cell::None,
                paced: None,
                backlog: false,
                watched: false,
            }),
            changed: Notify::new(),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether both ends have one address: then the other one is on this computer.
    pub fn is_with_own_computer(&self) -> bool {
        let ends = (self.stream.local_addr(), self.stream.peer_addr());
        matches!(ends, (Ok(here), Ok(there)) if here.ip() == there.ip())
    }

    /// The TLS state.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals one cell, and has it written in one write at its moment; see [`Departure::again`]. The
    /// engine lets everything earlier leave first.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn send_at(
        self: &Arc<Self>,
        cell: &[u8],
        at: Instant,
        again: Option<Duration>,
        beat: &Beat,
    ) -> Result<(), Broken> {
        if matches!(self.state().cell, Cell::Failed) {
            return Ok(());
        }
        self.pace(true);
        let record = self.records().seal(cell)?;
        self.state().cell = Cell::Waits(at);
        beat.take(Departure {
            at,
            again,
            line: Arc::downgrade(self),
            record,
        });
        Ok(())
    }

    /// Sets how full the kernel lets its queue become, if that is not as wanted.
    pub fn pace(&self, paced: bool) {
        let mut state = self.state();
        if state.paced.replace(paced) != Some(paced) {
            socket::pace(&self.stream, paced);
        }
    }

    /// The moment of a cell has come.
    pub fn leave(&self, record: &[u8], at: Instant) {
        let mut state = self.state();
        let lateness = clock::now().saturating_duration_since(at);
        let written = match state.backlog {
            true => Ok(0),
            false => socket::write(&self.stream, record),
        };
        state.cell = match written {
            Ok(n) if n == record.len() => Cell::Written(lateness),
            Ok(n) => Cell::Cut(lateness, record[n..].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Cell::Cut(lateness, record.to_vec())
            }
            Err(_) => Cell::Failed,
        };
        let wakes = state.watched || !matches!(state.cell, Cell::Written(_));
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// How late the last cell was, if the kernel has sent all of it by now.
    pub fn has_left(&self) -> Option<Duration> {
        match self.state().cell {
            Cell::Written(lateness) if socket::is_wholly_sent(&self.stream) => Some(lateness),
            _ => None,
        }
    }

    /// Waits until the driver has something to do about the last cell.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on [`Self::changed`] says also when a cell is written.
    pub fn watch(&self) {
        self.state().watched = true;
    }

    /// The moment that the last cell still waits for.
    pub fn waits_until(&self) -> Option<Instant> {
        match self.state().cell {
            Cell::Waits(at) => Some(at),
            _ => None,
        }
    }

    /// What became of the last cell; a rest of it is the driver's from here on.
    pub fn outcome(&self) -> Cell {
        let mut state = self.state();
        match &mut state.cell {
            Cell::None => Cell::None,
            Cell::Waits(at) => Cell::Waits(*at),
            Cell::Written(lateness) => Cell::Written(*lateness),
            Cell::Cut(lateness, rest) => {
                let cut = Cell::Cut(*lateness, std::mem::take(rest));
                state.backlog = true;
                cut
            }
            Cell::Failed => Cell::Failed,
        }
    }

    /// Whether the driver has something to write.
    pub fn set_backlog(&self, backlog: bool) {
        self.state().backlog = backlog;
    }

    /// The driver has written the rest of a cell.
    pub fn is_written(&self, lateness: Duration) {
        self.state().cell = Cell::Written(lateness);
    }

    /// The driver could not write.
    pub fn has_failed(&self) {
        self.state().cell = Cell::Failed;
    }

    /// Has the kernel throw away what it has not sent, and the other end see a reset.
    pub fn abort(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
