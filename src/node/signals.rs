//! Signals: the end, and panic (USAGE.md, "How a run ends").
//!
//! One thread takes them. Before a session ends, [`Signals::stop`] stops that thread. From then on
//! every signal is either recorded here, or waits in the kernel for the next image, if there is
//! one.

use std::io;
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use super::names::Names;
use crate::channels::{Control, PanicRequest};
use crate::exit::{self, ExitCounters};
use crate::front;
use crate::sys::signals::{self, Received};

/// The state of the session.
enum SessionState {
    /// It acts on signals.
    Running,
    /// It is over, except for its last output, which may never be read.
    Ending,
    /// The thread was stopped, and its caller acts on what it has recorded.
    Stopped,
}

struct SignalState {
    stage: SessionState,
    /// The first signal that asked for the end.
    end: Option<i32>,
    /// Whether a panic was requested.
    panic: bool,
}

/// The signals taken so far, and how to act on them.
struct PendingSignals {
    state: Mutex<SignalState>,
    stopped: Condvar,
    control: mpsc::UnboundedSender<Control>,
    ends: mpsc::UnboundedSender<i32>,
    names: Arc<Names>,
    counters: Arc<ExitCounters>,
}

/// The signals that were taken before the thread was stopped.
pub(super) struct Taken {
    /// The first signal that asked for the end.
    pub end: Option<i32>,
    /// Whether a panic was requested.
    pub panic: bool,
}

impl PendingSignals {
    /// The state at the start of a session, and the receiver of the signals that ask for its end.
    fn new(
        control: mpsc::UnboundedSender<Control>,
        names: Arc<Names>,
        counters: Arc<ExitCounters>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<i32>) {
        let (ends, ends_out) = mpsc::unbounded_channel();
        let pending = Self {
            state: Mutex::new(SignalState {
                stage: SessionState::Running,
                end: None,
                panic: false,
            }),
            stopped: Condvar::new(),
            control,
            ends,
            names,
            counters,
        };
        (Arc::new(pending), ends_out)
    }

    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the process with this status; the last thing that `main` does. A run that a signal ended
/// dies of that signal, so that its parent sees it.
pub fn leave(status: u8) -> ExitCode {
    if let Some(signal) = status.checked_sub(128) {
        signals::die_of(signal.into());
    }
    status.into()
}

/// How long a panic waits until an ended session has written its last output.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The thread that takes signals.
pub(super) struct Signals {
    pending: Arc<PendingSignals>,
    thread: JoinHandle<()>,
}

impl Signals {
    /// Takes signals from now on, beginning with those that have come since the start of the
    /// process. Returns the receiver of those that ask for the end. Once it is dropped, the first
    /// such signal goes into the counters.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        control: mpsc::UnboundedSender<Control>,
        names: Arc<Names>,
        counters: Arc<ExitCounters>,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<i32>)> {
        let (pending, ends_out) = PendingSignals::new(control, names, counters);
        let shared = Arc::clone(&pending);
        let thread = thread::Builder::new()
            .name("signals".into())
            .spawn(move || while shared.take(signals::wait()) {})?;
        Ok((Self { pending, thread }, ends_out))
    }

    /// The session is over, except for its last output. From now on a panic ends the process soon,
    /// and so does a second signal that asks for the end.
    pub(super) fn ending(&self) {
        let mut state = self.pending.lock();
        state.stage = SessionState::Ending;
        // A signal that came when the session had just ended counts as if it came now.
        if let Some(end) = state.end {
            self.pending.counters.end_by_first(end);
        }
        if state.panic {
            panic();
        }
    }

    /// Takes no more signals.
    pub(super) fn stop(self) -> Taken {
        self.pending.lock().stage = SessionState::Stopped;
        self.pending.stopped.notify_all();
        // The thread takes the pending signals, without acting on them, up to this one.
        signals::wake();
        let _ = self.thread.join();
        let state = self.pending.lock();
        Taken {
            end: state.end,
            panic: state.panic,
        }
    }
}

/// Requests a panic, as another process would.
pub(super) fn panic() {
    signals::send(signals::PANIC);
}

/// Leaves a signal that was taken to the next image.
pub(super) fn leave_pending(signal: i32) {
    signals::send(signal);
}

/// Whether a panic has been requested since the thread was stopped.
pub(super) fn panic_is_pending() -> bool {
    signals::is_pending(signals::PANIC)
}

impl PendingSignals {
    /// Acts on a signal. Returns whether to continue.
    fn take(&self, received: Received) -> bool {
        let mut state = self.lock();
        let number = match received {
            Received::Request(number) => number,
            Received::Wake => return !matches!(state.stage, SessionState::Stopped),
        };
        let first = state.end.is_none();
        if number == signals::PANIC {
            state.panic = true;
        } else {
            state.end.get_or_insert(number);
        }
        match (&state.stage, number) {
            (SessionState::Stopped, _) => {}
            (SessionState::Running, signals::PANIC) => {
                let request = PanicRequest::default();
                // A session that has just ended does not receive it; the end of the session checks
                // this state.
                let _ = self.control.send(Control::Panic(request));
            }
            (SessionState::Running, end) => {
                let _ = self.ends.send(end);
            }
            (SessionState::Ending, signals::PANIC) => {
                for line in self.names.forget() {
                    exit::say(&line);
                }
                // Only the last output is left, which mostly takes no time.
                let said = self.stopped.wait_timeout_while(state, LAST_WORDS, |state| {
                    !matches!(state.stage, SessionState::Stopped)
                });
                if said.is_ok_and(|(_, late)| late.timed_out()) {
                    front::clear_terminal();
                    self.leave();
                }
            }
            // The thread that writes it finds the signal in the counters, and then waits only for a
            // moment.
            (SessionState::Ending, end) if first => {
                self.counters.end_by(end);
            }
            (SessionState::Ending, _) => {
                exit::tell_undelivered(&self.counters);
                self.leave();
            }
        }
        true
    }

    /// Ends the process, although its last output is incomplete.
    fn leave(&self) {
        front::restore_terminal();
        let status = self.counters.status().code();
        leave(status);
        process::exit(status.into());
    }
}
