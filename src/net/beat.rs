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
use super::line::Line;

/// How long before a moment the thread wakes up. From there it sleeps on until the moment itself: a
/// processor that was idle for long takes longer to wake, and its caches are cold, and both would
/// show in the cells whether the process has had other work.
const EARLY: Duration = Duration::from_micros(500);

/// A sealed cell that waits for its moment.
pub struct Departure {
    /// The moment.
    pub at: Instant,
    /// After what time the link's next one will come, if it has a beat.
    pub again: Option<Duration>,
    /// Where it goes: nowhere if the connection is gone by then.
    pub line: Weak<Line>,
    /// The cell in its record.
    pub record: Vec<u8>,
}

/// The thread, which ends with this.
pub struct Beat(Departures);

/// The way to the thread.
#[derive(Clone)]
pub struct Departures(Arc<Shared>);

struct Shared {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
struct Plan {
    /// By moment, then in the order in which they came.
    departures: BTreeMap<(Instant, u64), Departure>,
    count: u64,
    /// When cells are to be expected that have not come yet.
    expected: BTreeSet<Instant>,
    /// For which moment the thread wakes up, if it sleeps and if there is one.
    awaits: Option<Instant>,
    over: bool,
}

impl Beat {
    /// Starts it.
    ///
    /// # Errors
    /// The system's, if there can be no thread.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            plan: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("sesame-beat".into())
            .spawn(move || {
                clock::be_exact();
                thread.run();
            })?;
        Ok(Self(Departures(shared)))
    }

    /// The way to it, for whoever has cells for it later.
    pub fn departures(&self) -> Departures {
        self.0.clone()
    }
}

impl Departures {
    /// Takes a cell, to be written at its moment, or now if that has passed.
    pub fn take(&self, departure: Departure) {
        let mut plan = self.0.lock();
        let sooner = plan.awaits.is_none_or(|awaited| departure.at < awaited);
        plan.count += 1;
        let place = (departure.at, plan.count);
        plan.departures.insert(place, departure);
        drop(plan);
        if sooner {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let Departures(shared) = &self.0;
        shared.lock().over = true;
        shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut plan = self.lock();
        while !plan.over {
            let now = clock::now();
            let due = plan.due(now + EARLY);
            if !due.is_empty() {
                drop(plan);
                due.iter().for_each(Departure::leave);
                plan = self.lock();
                continue;
            }
            plan.awaits = plan.next();
            plan = match plan.awaits {
                Some(awaited) => {
                    let time = awaited.saturating_duration_since(now + EARLY);
                    let woken = self.changed.wait_timeout(plan, time);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(plan);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

impl Plan {
    /// What is to leave by now.
    fn due(&mut self, now: Instant) -> Vec<Departure> {
        let mut due = Vec::new();
        while let Some(entry) = self.departures.first_entry()
            && entry.key().0 <= now
        {
            let departure = entry.remove();
            self.expected
                .extend(departure.again.map(|time| departure.at + time));
            due.push(departure);
        }
        // Where none came then, a tick was skipped or the connection is gone.
        while self.expected.first().is_some_and(|at| *at <= now) {
            self.expected.pop_first();
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        let departure = self.departures.keys().next().map(|(at, _)| *at);
        departure
            .into_iter()
            .chain(self.expected.first().copied())
            .min()
    }
}

impl Departure {
    /// Waits for the moment, and writes.
    fn leave(&self) {
        thread::sleep(self.at.saturating_duration_since(clock::now()));
        if let Some(line) = self.line.upgrade() {
            line.leave(&self.record, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn departure(at: Instant, again: Option<Duration>) -> Departure {
        Departure {
            at,
            again,
            line: Weak::new(),
            record: Vec::new(),
        }
    }

    #[test]
    fn cells_of_a_moment_leave_together_and_their_successors_are_expected() {
        let start = clock::now();
        let mut plan = Plan::default();
        for (count, at) in [(1, 20), (2, 10), (3, 10)] {
            let departure = departure(start + at * MS, Some(100 * MS));
            plan.departures.insert((departure.at, count), departure);
        }
        assert_eq!(plan.next(), Some(start + 10 * MS));
        assert!(plan.due(start + 9 * MS).is_empty());
        assert_eq!(plan.due(start + 10 * MS).len(), 2);
        assert_eq!(plan.due(start + 21 * MS).len(), 1);
        assert_eq!(plan.next(), Some(start + 110 * MS));
        assert!(plan.due(start + 115 * MS).is_empty());
        assert_eq!(plan.next(), Some(start + 120 * MS), "it came no more");
        assert!(plan.due(start + 200 * MS).is_empty());
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn the_thread_takes_what_comes_and_ends() {
        let beat = Beat::start().unwrap();
        let now = clock::now();
        let departures = beat.departures();
        departures.take(departure(now + 3600 * 1000 * MS, None));
        departures.take(departure(now + MS, None));
        let left = || departures.0.lock().departures.len();
        while left() > 1 {
            thread::sleep(MS);
        }
        let shared = Arc::downgrade(&departures.0);
        drop((beat, departures));
        while shared.strong_count() > 0 {
            thread::sleep(MS);
        }
    }
}
