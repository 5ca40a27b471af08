//! The one place that reads the clock.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{Sleep, sleep_until};

use crate::proto::schedule::TickGrid;
use crate::sys::clock::thread_time;

/// The present moment.
#[allow(
    clippy::disallowed_methods,
    reason = "time enters the program here, and everything below is given it"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Runs some work and measures how much processor time it took on this thread.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_time();
    let done = work();
    (done, thread_time().saturating_sub(before))
}

/// A timer that can be awaited repeatedly, and has a cost only when it is set to another moment.
pub struct Alarm {
    at: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// A timer that is not set; to be called within a runtime.
    pub fn silent() -> Self {
        Self {
            at: None,
            sleep: Box::pin(sleep_until(now().into())),
        }
    }

    /// Waits until this moment, or for ever without one. Late by up to a millisecond, the precision
    /// of the runtime's timers.
    pub async fn until(&mut self, at: Option<Instant>) {
        let Some(moment) = at else {
            return pending().await;
        };
        if self.at != at {
            self.at = at;
            self.sleep.as_mut().reset(moment.into());
        }
        self.sleep.as_mut().await;
    }
}

/// The tick grid that the wall clock gives.
#[allow(
    clippy::disallowed_methods,
    reason = "the grid is to be the same for all processes"
)]
pub fn grid() -> TickGrid {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TickGrid::new(now(), since_1970.unwrap_or_default())
}
