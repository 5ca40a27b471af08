//! Waits for changes that no event reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Looks again and again until there is a result; `None` if there is none within reason.
pub fn look_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > until {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The same, for a result that must come.
pub fn seen<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(look).unwrap_or_else(|| panic!("never seen: {what}"))
}

/// Waits until a count has not moved for this time. It must have moved at least once, and must not
/// have reached `all`. Returns the count.
pub fn standstill(count: &AtomicUsize, all: usize, time: Duration) -> usize {
    let until = Instant::now() + PATIENCE;
    let (mut last, mut since) = (0, Instant::now());
    while last == 0 || since.elapsed() < time {
        assert!(Instant::now() < until, "it goes on and on");
        let now = count.load(Ordering::Relaxed);
        assert!(now < all, "all was taken: there is no standstill");
        if now != last {
            (last, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(50));
    }
    last
}
