//! Waiting for what no event tells of.

use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Looks again and again until there is something to see.
pub fn seen<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "never seen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
