//! Time that passes where a model says so.
//!
//! Each model has its own thread of the system, so this state is not shared.

use ::std::cell::{Cell, RefCell};
use ::std::sync::{Arc, LockResult, OnceLock, PoisonError};
use ::std::time::{Duration, Instant};

use loom::sync::MutexGuard;
use loom::thread::yield_now;

::std::thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// How far waits may move the time.
    static HORIZON: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// When which waits are over.
    static WAITS: RefCell<Vec<(Instant, Arc<loom::sync::Condvar>)>> = const { RefCell::new(Vec::new()) };
}

/// Begins an execution of a model.
pub fn begin() {
    PASSED.set(Duration::ZERO);
    HORIZON.set(Duration::ZERO);
    WAITS.take();
}

/// The beginning of time.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]
pub fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The present moment.
pub fn now() -> Instant {
    start() + PASSED.get()
}

/// Stands for [`std::thread::sleep`]: time passes, and other threads may run.
pub fn sleep(time: Duration) {
    PASSED.set(PASSED.get() + time);
    yield_now();
}

/// Lets time pass until this moment, as far as a wait of a [`Condvar`] needs it. Other waits last until
/// they are notified.
pub fn let_pass_until(moment: Instant) {
    HORIZON.set(moment.duration_since(start()));
    let over: Vec<_> = WAITS.with_borrow_mut(|waits| {
        let (over, left) = waits.drain(..).partition(|(end, _)| *end <= moment);
        *waits = left;
        over
    });
    for (end, condvar) in over {
        PASSED.set(PASSED.get().max(end.duration_since(start())));
        condvar.notify_all();
    }
}

/// Stands for [`std::sync::Condvar`].
#[derive(Default)]
pub struct Condvar(Arc<loom::sync::Condvar>);

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for a notification.
    ///
    /// # Errors
    /// None.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// Waits for a notification, or for this time if it passes. The second part of the result is
    /// whether it has passed already.
    ///
    /// # Errors
    /// None.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let end = PASSED.get() + time;
        if end <= HORIZON.get() || time.is_zero() {
            PASSED.set(end);
            return Ok((guard, true));
        }
        WAITS.with_borrow_mut(|waits| waits.push((start() + end, Arc::clone(&self.0))));
        self.0
            .wait(guard)
            .map(|guard| (guard, false))
            .map_err(|poisoned| PoisonError::new((poisoned.into_inner(), false)))
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
