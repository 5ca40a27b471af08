//! What a connection's driver, the engine's task and the [`Pacer`](super::pacer::Pacer) share: its
//! socket, its TLS state, the cells that are not sealed yet, and the fate of the last paced cell.
//!
//! Records have to be sealed in the order in which they leave, which is the order of the engine's
//! orders. So there is one queue for paced and unpaced cells. A paced cell is sealed at once only
//! if the queue is empty and nothing before the cell is on its way. The driver takes everything
//! else from the queue, piece by piece.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::pacer::{CellWriter, PacerHandle, ScheduledCell};
use super::record::{Broken, Records};
use super::{clock, socket};
use crate::proto::CELL;

/// How many bytes of unpaced cells are sealed and written at once.
const PORTION: usize = 128 * CELL;

/// A connection with TLS. Only the driver keeps it open; the others hold weak references.
pub struct TlsChannel {
    stream: TcpStream,
    records: Mutex<Records>,
    state: Mutex<ChannelState>,
    /// Wakes the driver when it has something to do.
    changed: Notify,
}

/// The state of the last paced cell.
pub enum Cell {
    /// There was none, or the driver has dealt with it.
    None,
    /// It waits for this moment.
    Waits(Instant),
    /// The kernel has it; how late it was.
    Written(Duration),
    /// The kernel did not take this rest of it; how late it was.
    Cut(Duration, Vec<u8>),
    /// The driver is writing the rest of it.
    Resumed,
    /// Writing has failed.
    Failed,
}

/// Cells that are not sealed yet.
enum Pending {
    /// Cells to write as soon as the kernel takes them.
    AtOnce(Vec<u8>),
    /// One cell, for the pacer to write at its moment.
    At(ScheduledCell, PacerHandle),
}

struct ChannelState {
    cell: Cell,
    pending: VecDeque<Pending>,
    /// Whether the kernel's queue was last set for paced cells.
    paced: Option<bool>,
    /// The driver has something of its own to write first.
    backlog: bool,
    /// The driver wants to know when the cell is written.
    watched: bool,
    /// How often the pacer's thread has woken the driver.
    #[cfg(test)]
    wakes: u64,
}

impl ChannelState {
    /// Whether the last paced cell, or its rest, still has to be written.
    fn is_waiting(&self) -> bool {
        matches!(self.cell, Cell::Waits(_) | Cell::Cut(..) | Cell::Resumed)
    }

    /// Whether everything that the engine gave is written.
    fn is_done(&self) -> bool {
        self.pending.is_empty() && !self.backlog && !self.is_waiting()
    }
}

impl TlsChannel {
    /// The channel after a finished handshake.
    pub fn new(stream: TcpStream, records: Records) -> Self {
        Self {
            stream,
            records: Mutex::new(records),
            state: Mutex::new(ChannelState {
                cell: Cell::None,
                pending: VecDeque::new(),
                paced: None,
                backlog: false,
                watched: false,
                #[cfg(test)]
                wakes: 0,
            }),
            changed: Notify::new(),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The TLS state.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues cells behind everything earlier; they are written as soon as the kernel takes them.
    pub fn send(&self, cells: &[u8]) {
        let mut state = self.state();
        if matches!(state.cell, Cell::Failed) {
            return;
        }
        let portions = cells.chunks(PORTION);
        state
            .pending
            .extend(portions.map(|portion| Pending::AtOnce(portion.to_vec())));
        drop(state);
        self.changed.notify_one();
    }

    /// Queues a cell behind everything earlier, to be written at its moment, in one write.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn send_at(
        self: &Arc<Self>,
        cell: ScheduledCell,
        pacer: &PacerHandle,
    ) -> Result<(), Broken> {
        let mut state = self.state();
        if matches!(state.cell, Cell::Failed) {
            return Ok(());
        }
        if state.is_done() {
            return self.schedule(&mut state, cell, pacer);
        }
        state.pending.push_back(Pending::At(cell, pacer.clone()));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Seals a cell, so that only one write is left to do at its moment.
    fn schedule(
        self: &Arc<Self>,
        state: &mut ChannelState,
        mut cell: ScheduledCell,
        pacer: &PacerHandle,
    ) -> Result<(), Broken> {
        self.pace(state, true);
        cell.bytes = self.records().seal(&cell.bytes)?;
        state.cell = Cell::Waits(cell.at);
        let this: Weak<Self> = Arc::downgrade(self);
        pacer.take(cell, this);
        Ok(())
    }

    /// The records that the driver has to write next, once it has written what it had. `None` if
    /// there are none, or if a paced cell comes before them.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn next_records(self: &Arc<Self>) -> Result<Option<Vec<u8>>, Broken> {
        let mut state = self.state();
        state.backlog = false;
        if state.is_waiting() {
            return Ok(None);
        }
        match state.pending.pop_front() {
            None => Ok(None),
            Some(Pending::At(cell, pacer)) => {
                self.schedule(&mut state, cell, &pacer).map(|()| None)
            }
            Some(Pending::AtOnce(cells)) => {
                // Until these are written, no other cell is sealed.
                state.backlog = true;
                self.pace(&mut state, false);
                drop(state);
                self.records().seal(&cells).map(Some)
            }
        }
    }

    /// Sets how much unsent data the kernel accepts, if that has to change.
    fn pace(&self, state: &mut ChannelState, paced: bool) {
        if state.paced.replace(paced) != Some(paced) {
            socket::pace(&self.stream, paced);
        }
    }

    /// How late the last cell was, if the kernel has sent everything by now.
    pub fn has_left(&self) -> Option<Duration> {
        let state = self.state();
        match state.cell {
            Cell::Written(lateness) if state.is_done() && socket::is_wholly_sent(&self.stream) => {
                Some(lateness)
            }
            _ => None,
        }
    }

    /// Whether everything that the engine gave is written.
    pub fn is_done(&self) -> bool {
        self.state().is_done()
    }

    /// Waits until the driver has something to do about the last cell.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether [`Self::changed`] also returns when a cell is written.
    pub fn watch(&self, on: bool) {
        self.state().watched = on;
    }

    /// The latest moment that a cell still waits for.
    pub fn waits_until(&self) -> Option<Instant> {
        let state = self.state();
        let waiting = match state.cell {
            Cell::Waits(at) => Some(at),
            _ => None,
        };
        let pending = state.pending.iter().filter_map(|pending| match pending {
            Pending::At(cell, _) => Some(cell.at),
            Pending::AtOnce(_) => None,
        });
        pending.chain(waiting).max()
    }

    /// How often the pacer's thread has woken the driver.
    #[cfg(test)]
    pub fn wakes(&self) -> u64 {
        self.state().wakes
    }

    /// The state of the last cell. If there is a rest of it, the driver has to write it from here
    /// on.
    pub fn outcome(&self) -> Cell {
        let mut state = self.state();
        match &mut state.cell {
            Cell::None => Cell::None,
            Cell::Waits(at) => Cell::Waits(*at),
            Cell::Written(lateness) => Cell::Written(*lateness),
            Cell::Cut(lateness, rest) => {
                let cut = Cell::Cut(*lateness, std::mem::take(rest));
                state.cell = Cell::Resumed;
                cut
            }
            Cell::Resumed => Cell::Resumed,
            Cell::Failed => Cell::Failed,
        }
    }

    /// The driver has written the rest of a cell.
    pub fn is_written(&self, lateness: Duration) {
        self.state().cell = Cell::Written(lateness);
    }

    /// The driver could not write.
    pub fn has_failed(&self) {
        let mut state = self.state();
        (state.cell, state.backlog) = (Cell::Failed, false);
        state.pending.clear();
    }

    /// Makes the kernel drop what it has not sent, and send a reset.
    pub fn abort(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

impl CellWriter for TlsChannel {
    fn write_cell(&self, cell: &ScheduledCell) {
        let record = cell.bytes.as_slice();
        let mut state = self.state();
        let lateness = clock::now().saturating_duration_since(cell.at);
        state.cell = match socket::write(&self.stream, record) {
            Ok(n) if n == record.len() => Cell::Written(lateness),
            Ok(n) => Cell::Cut(lateness, record[n..].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Cell::Cut(lateness, record.to_vec())
            }
            Err(_) => Cell::Failed,
        };
        let waits = state.watched || !state.pending.is_empty();
        let wakes = waits || !matches!(state.cell, Cell::Written(_));
        #[cfg(test)]
        (state.wakes += u64::from(wakes));
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }
}
