//! Whether a message typed in chat would reach any peer. The engine reports it; the editor and the
//! views look here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after the last goodbye Enter on an empty line does not end the run yet: the key may
/// have been meant for the line before.
const AFTER_GOODBYE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    anybody: bool,
    left_at: Option<Instant>,
}

/// Shared by the keyboard thread and the output thread.
#[derive(Default)]
pub(super) struct Audience(Mutex<State>);

impl Audience {
    /// Notes whether a message would reach any peer, and whether the last peer has left and none is
    /// awaited.
    pub(super) fn set(&self, now: Instant, anybody: bool, left: bool) {
        let mut state = self.lock();
        state.anybody = anybody;
        state.left_at = left.then(|| state.left_at.unwrap_or(now));
    }

    /// A peer has come.
    pub(super) fn came(&self) {
        *self.lock() = State {
            anybody: true,
            left_at: None,
        };
    }

    /// Whether a message would reach any peer.
    pub(super) fn is_anybody(&self) -> bool {
        self.lock().anybody
    }

    /// Whether an empty line ends the run.
    pub(super) fn may_leave(&self, now: Instant) -> bool {
        let left_at = self.lock().left_at;
        left_at.is_some_and(|at| now >= at + AFTER_GOODBYE)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::clock;

    #[test]
    fn an_empty_line_ends_the_run_a_while_after_the_goodbye() {
        let audience = Audience::default();
        let now = clock::now();
        assert!(!audience.may_leave(now + AFTER_GOODBYE));
        audience.set(now, false, true);
        audience.set(now + AFTER_GOODBYE / 2, false, true);
        assert!(!audience.may_leave(now + AFTER_GOODBYE / 2));
        assert!(audience.may_leave(now + AFTER_GOODBYE));
        audience.came();
        assert!(audience.is_anybody());
        assert!(!audience.may_leave(now + AFTER_GOODBYE));
    }
}
