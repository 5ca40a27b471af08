//! An ordered set of deadlines.

use std::time::Instant;

use super::sorted::{SortedMap, SortedSet};

/// At most one deadline per key.
pub(super) struct Deadlines<K> {
    by_key: SortedMap<K, Instant>,
    by_moment: SortedSet<(Instant, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_key: SortedMap::default(),
            by_moment: SortedSet::default(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Sets the deadline of a key, or removes it.
    pub(super) fn set(&mut self, key: K, at: Option<Instant>) {
        let before = self.by_key.set(key, at);
        if before != at {
            if let Some(before) = before {
                self.by_moment.remove(&(before, key));
            }
            self.by_moment.extend(at.map(|at| (at, key)));
        }
    }

    /// The keys that have a deadline, in order of key.
    pub(super) fn keys(&self) -> Vec<K> {
        self.by_key.keys().copied().collect()
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<Instant> {
        self.by_moment.first().map(|(at, _)| *at)
    }

    /// The latest deadline.
    pub(super) fn last(&self) -> Option<Instant> {
        self.by_moment.last().map(|(at, _)| *at)
    }

    /// The keys whose deadline has come, in order of key.
    pub(super) fn due(&self, now: Instant) -> SortedSet<K> {
        let due = self.by_moment.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, key)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn key_is_due_at_the_last_moment_that_it_was_given() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut deadlines = Deadlines::default();
        deadlines.set('b', Some(now));
        deadlines.set('a', Some(now + second));
        deadlines.set('c', Some(now));
        assert_eq!(deadlines.first(), Some(now));
        assert_eq!(deadlines.due(now), SortedSet::from_iter(['b', 'c']));
        deadlines.set('b', Some(now + 2 * second));
        deadlines.set('c', None);
        assert_eq!(deadlines.first(), Some(now + second));
        assert_eq!(deadlines.last(), Some(now + 2 * second));
        assert!(deadlines.due(now).is_empty());
        deadlines.set('b', Some(now + 2 * second));
        deadlines.set('b', None);
        deadlines.set('a', None);
        deadlines.set('a', None);
        assert_eq!((deadlines.first(), deadlines.last()), (None, None));
        assert!(deadlines.keys().is_empty() && deadlines.by_moment.is_empty());
    }
}
