//! Waiting for input before anybody takes requests.

use std::time::Duration;

use super::polling::poll;
use super::signals;
use super::stream::Input;

pub use crate::sys::awaited::Woken;

/// How often it is looked whether a request has come.
const LOOK_UP: Duration = Duration::from_millis(10);

/// Waits for input or for what ends a run.
pub struct Waiter(());

impl Waiter {
    /// One that knows the requests that end a run.
    pub fn begin() -> Self {
        Self(())
    }

    /// Leaves a panic to the thread that takes requests later.
    pub fn leave_panic(&self) {
        signals::send(signals::PANIC);
    }

    /// Returns when a read would not wait, or a request has come.
    pub fn wait(&self, input: &Input) -> Woken {
        let mut woken = Woken::Input;
        let is_end = |number| signals::that_end().any(|end| end == number);
        poll(None, [Duration::ZERO; 2], || {
            if let Some(end) = signals::take_first(is_end) {
                woken = Woken::End(end);
                return true;
            }
            input.wait(Some(LOOK_UP))
        });
        woken
    }
}
