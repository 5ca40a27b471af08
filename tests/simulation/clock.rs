//! Virtual time: a queue of future events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The clock of a simulation. It moves only from one event to the next.
pub struct Clock<E> {
    start: Instant,
    now: Instant,
    count: u64,
    queue: BTreeMap<(Instant, u64), E>,
}

impl<E> Clock<E> {
    /// A clock at its start.
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can be had in no other way"
        )]
        let start = Instant::now();
        Self {
            start,
            now: start,
            count: 0,
            queue: BTreeMap::new(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Schedules an event for a moment, or for now if that has passed. Events of one moment happen
    /// in the order in which they were scheduled.
    pub fn at(&mut self, at: Instant, event: E) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), event);
    }

    /// Schedules an event after a while.
    pub fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now + wait, event);
    }

    /// Moves on to the next event, or to `until` if none comes before.
    pub fn next(&mut self, until: Instant) -> Option<E> {
        let entry = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= until);
        let Some(entry) = entry else {
            self.now = self.now.max(until);
            return None;
        };
        self.now = entry.key().0;
        Some(entry.remove())
    }
}
