//! Waits on channels of the runtime in a plain thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::clock;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is a result, or returns `None` at the deadline. One `poll` can ask any number
/// of channels, which a runtime's own blocking calls cannot do.
pub(super) fn poll_until<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
        match deadline {
            None => thread::park(),
            Some(at) => {
                let left = at.saturating_duration_since(clock::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        }
    }
}

/// Runs one future to its end in this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Some(value) = poll_until(None, |context| future.as_mut().poll(context)) {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_message_from_another_thread_wakes_it() {
        let (tx, mut rx) = mpsc::channel(1);
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            tx.blocking_send(7)
        });
        assert_eq!(block_on(rx.recv()), Some(7));
        assert!(sender.join().is_ok());
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let deadline = clock::now() + Duration::from_millis(10);
        assert_eq!(poll_until(Some(deadline), |_| Poll::<()>::Pending), None);
    }
}
