//! The thread that writes cells on time, and does nothing else.
//!
//! Cells are sealed before they come here, and the kernel takes each in one write, so no other work
//! of the process delays them. The thread wakes once for all cells of a moment. As it knows when a
//! link's next cell will be due, handing one over does not wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::clock;
use crate::sys::clock::make_timers_exact;

/// How long before a moment the thread wakes up, to sleep on from there until the moment itself. A
/// processor that was idle for long wakes more slowly and with cold caches; without this, the cells
/// would show whether the process had other work.
const EARLY: Duration = Duration::from_micros(500);

/// A paced cell.
pub struct ScheduledCell {
    /// The cell, replaced by its record once sealed.
    pub bytes: Vec<u8>,
    /// When it leaves.
    pub at: Instant,
    /// The time to the link's next cell, if the link has ticks.
    pub again: Option<Duration>,
}

/// Writes a cell for the pacer, unless the connection is gone by then.
pub trait CellWriter: Send + Sync {
    /// Writes this sealed cell, whose moment has come.
    fn write_cell(&self, cell: &ScheduledCell);
}

/// A sealed cell and where it goes.
type PacedCell = (ScheduledCell, Weak<dyn CellWriter>);

/// The thread that writes cells on time; it ends when this is dropped.
pub struct Pacer(PacerHandle);

/// Hands cells to the thread.
#[derive(Clone)]
pub struct PacerHandle(Arc<Shared>);

struct Shared {
    queue: Mutex<CellQueue>,
    changed: Condvar,
}

#[derive(Default)]
struct CellQueue {
    /// By moment, then in the order in which they came.
    cells: BTreeMap<(Instant, u64), PacedCell>,
    count: u64,
    /// When cells are to be expected that have not come yet.
    expected: BTreeSet<Instant>,
    /// For which moment the thread wakes up, if it sleeps and if there is one.
    awaits: Option<Instant>,
    over: bool,
}

impl Pacer {
    /// Starts it.
    ///
    /// # Errors
    /// The system's, if there can be no thread.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("sesame-pacer".into())
            .spawn(move || {
                make_timers_exact();
                thread.run();
            })?;
        Ok(Self(PacerHandle(shared)))
    }

    /// A handle for those that have cells for it later.
    pub fn handle(&self) -> PacerHandle {
        self.0.clone()
    }
}

impl PacerHandle {
    /// Takes a sealed cell, to be written at its moment, or now if that has passed.
    pub fn take(&self, cell: ScheduledCell, to: Weak<dyn CellWriter>) {
        let mut queue = self.0.lock();
        let sooner = queue.awaits.is_none_or(|awaited| cell.at < awaited);
        queue.count += 1;
        let place = (cell.at, queue.count);
        queue.cells.insert(place, (cell, to));
        drop(queue);
        if sooner {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        let PacerHandle(shared) = &self.0;
        shared.lock().over = true;
        shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, CellQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut queue = self.lock();
        while !queue.over {
            let now = clock::now();
            let due = queue.due(now + EARLY);
            if !due.is_empty() {
                drop(queue);
                due.iter().for_each(|(cell, to)| cell.leave(to));
                queue = self.lock();
                continue;
            }
            queue.awaits = queue.next();
            queue = match queue.awaits {
                Some(awaited) => {
                    let time = awaited.saturating_duration_since(now + EARLY);
                    let woken = self.changed.wait_timeout(queue, time);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(queue);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

impl CellQueue {
    /// What is to leave by now.
    fn due(&mut self, now: Instant) -> Vec<PacedCell> {
        let mut due = Vec::new();
        while let Some(entry) = self.cells.first_entry()
            && entry.key().0 <= now
        {
            let (cell, to) = entry.remove();
            self.expected.extend(cell.again.map(|time| cell.at + time));
            due.push((cell, to));
        }
        // Where none came then, a tick was skipped or the connection is gone.
        while self.expected.first().is_some_and(|at| *at <= now) {
            self.expected.pop_first();
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        let cell = self.cells.keys().next().map(|(at, _)| *at);
        cell.into_iter().chain(self.expected.first().copied()).min()
    }
}

impl ScheduledCell {
    /// Waits for the moment, and writes.
    fn leave(&self, to: &Weak<dyn CellWriter>) {
        thread::sleep(self.at.saturating_duration_since(clock::now()));
        if let Some(to) = to.upgrade() {
            to.write_cell(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Nowhere;

    impl CellWriter for Nowhere {
        fn write_cell(&self, _: &ScheduledCell) {}
    }

    fn cell(at: Instant, again: Option<Duration>) -> PacedCell {
        let cell = ScheduledCell {
            bytes: Vec::new(),
            at,
            again,
        };
        (cell, Weak::<Nowhere>::new())
    }

    #[test]
    fn cells_of_a_moment_leave_together() {
        let start = clock::now();
        let mut queue = CellQueue::default();
        for (count, at) in [(1, 20), (2, 10), (3, 10)] {
            let cell = cell(start + at * MS, Some(100 * MS));
            queue.cells.insert((cell.0.at, count), cell);
        }
        assert_eq!(queue.next(), Some(start + 10 * MS));
        assert!(queue.due(start + 9 * MS).is_empty());
        assert_eq!(queue.due(start + 10 * MS).len(), 2);
        assert_eq!(queue.due(start + 21 * MS).len(), 1);
        assert_eq!(queue.next(), Some(start + 110 * MS));
        assert!(queue.due(start + 115 * MS).is_empty());
        assert_eq!(queue.next(), Some(start + 120 * MS), "it came no more");
        assert!(queue.due(start + 200 * MS).is_empty());
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn the_thread_takes_what_comes_and_ends() {
        let pacer = Pacer::start().unwrap();
        let now = clock::now();
        let handle = pacer.handle();
        for at in [now + 3600 * 1000 * MS, now + MS] {
            let (cell, to) = cell(at, None);
            handle.take(cell, to);
        }
        let left = || handle.0.lock().cells.len();
        while left() > 1 {
            thread::sleep(MS);
        }
        let shared = Arc::downgrade(&handle.0);
        drop((pacer, handle));
        while shared.strong_count() > 0 {
            thread::sleep(MS);
        }
    }
}
