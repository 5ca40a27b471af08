//! Waiting for what gives no sign when it comes.

use std::thread;
use std::time::{Duration, Instant};

/// Looks again and again, ever more rarely, until something is so or the patience is over.
pub(super) fn poll(
    patience: Option<Duration>,
    [mut pause, longest]: [Duration; 2],
    mut is_so: impl FnMut() -> bool,
) -> bool {
    // The moment is that of a patience, no measurement; the layers above have a clock of their own.
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now;
    let begin = now();
    loop {
        if is_so() {
            return true;
        }
        let left = patience.map(|patience| patience.saturating_sub(begin.elapsed()));
        match left {
            Some(Duration::ZERO) => return false,
            left => thread::sleep(left.map_or(pause, |left| left.min(pause))),
        }
        pause = longest.min(pause * 2);
    }
}
