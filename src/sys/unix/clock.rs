//! Processor time, and the precision of timers.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How much processor time this thread has used.
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Makes the kernel wake this thread exactly when its timers end. Otherwise Linux may do so up to
/// 50 µs later, and sooner on a busier processor (PR_SET_TIMERSLACK, prctl(2)).
pub fn make_timers_exact() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = nix::sys::prctl::set_timerslack(1);
}
