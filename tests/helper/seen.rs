//! Waits for changes that no event reports.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

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

/// How many bytes wait in a pipe or a terminal.
pub fn readable(input: &impl AsRawFd) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: the kernel writes one number, which outlives the call.
    let asked = unsafe { libc::ioctl(input.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    assert_eq!(asked, 0);
    bytes
}
