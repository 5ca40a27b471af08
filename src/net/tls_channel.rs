//! What a connection's driver, the engine's task and the [`Pacer`](super::pacer::Pacer) share: its
//! socket, its TLS state, what is still to be sealed, and what became of the last cell that had a
//! moment.
//!
//! Records are sealed in the order in which they leave, which is that of the engine's orders: there
//! is one queue for cells with a moment and without. Only where it is empty, and nothing before the
//! cell is on its way, is a cell with a moment sealed at once. Everything else the driver takes from
//! the queue, one piece after the other.

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

/// How much is sealed and written at once where cells have no moment, in bytes of cells.
const PORTION: usize = 128 * CELL;

/// A connection with TLS. The driver alone keeps it open; the others hold weak references.
pub struct TlsChannel {
    stream: TcpStream,
    records: Mutex<Records>,
    state: Mutex<ChannelState>,
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
    /// The driver writes the rest of it.
    Resumed,
    /// Nothing can be written any more.
    Failed,
}

/// Cells that are not sealed yet.
enum Pending {
    /// To be written as soon as the kernel takes them.
    AtOnce(Vec<u8>),
    /// One, to be written at its moment, by this thread.
    At(ScheduledCell, PacerHandle),
}

struct ChannelState {
    cell: Cell,
    pending: VecDeque<Pending>,
    /// What the kernel's queue was last set to.
    paced: Option<bool>,
    /// The driver has something of its own to write first.
    backlog: bool,
    /// The driver wants to know when the cell is written.
    watched: bool,
}

impl ChannelState {
    /// Whether the last cell with a moment, or its rest, is still to be written.
    fn is_waiting(&self) -> bool {
        matches!(self.cell, Cell::Waits(_) | Cell::Cut(..) | Cell::Resumed)
    }

    /// Whether everything that the engine gave is written.
    fn is_done(&self) -> bool {
        self.pending.is_empty() && !self.backlog && !self.is_waiting()
    }
}

impl TlsChannel {
    /// Of a finished handshake.
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

    /// Has cells written behind everything earlier, as soon as the kernel takes them.
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

    /// Has a cell written at its moment, in one write, behind everything earlier.
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

    /// Seals a cell: all that is left to do at its moment is one write.
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

    /// The records that the driver has to write next, when it has written what it had. None where
    /// there are none, or where a cell with a moment comes before them.
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
                // Until these are written nothing else is sealed.
                state.backlog = true;
                self.pace(&mut state, false);
                drop(state);
                self.records().seal(&cells).map(Some)
            }
        }
    }

    /// Sets how full the kernel lets its queue become, if that is not as wanted.
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

    /// From now on [`Self::changed`] says also when a cell is written.
    pub fn watch(&self) {
        self.state().watched = true;
    }

    /// The last moment for which a cell still waits.
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

    /// What became of the last cell; a rest of it is the driver's from here on.
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

    /// Has the kernel throw away what it has not sent, and the other end see a reset.
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
        let wakes = state.watched || !matches!(state.cell, Cell::Written(_));
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }
}
