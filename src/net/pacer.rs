//! The thread that writes cells at their moment, and does nothing else.
//!
//! Cells are sealed before they come here, and the kernel takes each in one write: so when a cell
//! leaves depends on no other work of the process. The thread wakes for all cells of a moment
//! together; and as it knows when a link's next cell will be due, handing one over does not wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::clock;
use super::tls_channel::TlsChannel;

/// How long before a moment the thread wakes up. From there it sleeps on until the moment itself: a
/// processor that was idle for long takes longer to wake, and its caches are cold, and both would
/// show in the cells whether the process has had other work.
const EARLY: Duration = Duration::from_micros(500);

/// A sealed cell that waits for its moment.
pub struct ScheduledCell {
    /// The moment.
    pub at: Instant,
    /// After what time the link's next one is due, if it has ticks.
    pub again: Option<Duration>,
    /// Where it goes: nowhere if the connection is gone by then.
    pub channel: Weak<TlsChannel>,
    /// The cell in its record.
    pub record: Vec<u8>,
}

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
    cells: BTreeMap<(Instant, u64), ScheduledCell>,
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
                clock::be_exact();
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
    /// Takes a cell, to be written at its moment, or now if that has passed.
    pub fn take(&self, cell: ScheduledCell) {
        let mut queue = self.0.lock();
        let sooner = queue.awaits.is_none_or(|awaited| cell.at < awaited);
        queue.count += 1;
        let place = (cell.at, queue.count);
        queue.cells.insert(place, cell);
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
                due.iter().for_each(ScheduledCell::leave);
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
    fn due(&mut self, now: Instant) -> Vec<ScheduledCell> {
        let mut due = Vec::new();
        while let Some(entry) = self.cells.first_entry()
            && entry.key().0 <= now
        {
            let cell = entry.remove();
            self.expected.extend(cell.again.map(|time| cell.at + time));
            due.push(cell);
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
    fn leave(&self) {
        thread::sleep(self.at.saturating_duration_since(clock::now()));
        if let Some(channel) = self.channel.upgrade() {
            channel.leave(&self.record, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn cell(at: Instant, again: Option<Duration>) -> ScheduledCell {
        ScheduledCell {
            at,
            again,
            channel: Weak::new(),
            record: Vec::new(),
        }
    }

    #[test]
    fn cells_of_a_moment_leave_together_and_their_successors_are_expected() {
        let start = clock::now();
        let mut queue = CellQueue::default();
        for (count, at) in [(1, 20), (2, 10), (3, 10)] {
            let cell = cell(start + at * MS, Some(100 * MS));
            queue.cells.insert((cell.at, count), cell);
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
        handle.take(cell(now + 3600 * 1000 * MS, None));
        handle.take(cell(now + MS, None));
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
