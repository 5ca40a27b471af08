//! The one place that reads the clock.

use std::time::Instant;

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
