//! The one place that reads the clock.

use std::time::{Instant, SystemTime};

use crate::proto::pace::Wheel;

/// The present moment.
#[allow(
    clippy::disallowed_methods,
    reason = "time enters the program here, and everything below is given it"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until a moment has come; late by up to a millisecond, the grain of the runtime's timers.
pub async fn until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}

/// The wheel that the clock on the wall gives.
#[allow(
    clippy::disallowed_methods,
    reason = "the wheel is to be the same for all processes"
)]
pub fn wheel() -> Wheel {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Wheel::new(now(), since_1970.unwrap_or_default())
}
