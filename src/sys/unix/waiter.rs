//! Waits for input before the signals thread runs.
//!
//! The signals that end a run are blocked from the first moment on (see
//! [`harden`](super::harden::harden)). They would not end a read that waits, so Ctrl-C, or stopping
//! the service, would have no effect.

use std::cell::Cell;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
#[cfg(target_os = "linux")]
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::signals;
use super::stream::Input;

pub use crate::sys::awaited::Woken;

/// How often to check for signals if they cannot be awaited together with input.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Waits for input or for a signal that ends a run, or asks for a panic.
pub struct Waiter {
    /// The signals that it takes. All of them are blocked.
    taken: SigSet,
    /// Readable while such a signal is pending. `None` if there are too many open files.
    #[cfg(target_os = "linux")]
    bell: Option<SignalFd>,
    /// Whether a panic was requested.
    panic: Cell<bool>,
}

impl Waiter {
    /// Takes the signals that end a run or ask for a panic.
    pub fn begin() -> Self {
        Self::with(SigSet::empty())
    }

    /// Also takes these signals, which are blocked.
    pub(super) fn with(mut taken: SigSet) -> Self {
        // A signal that was ignored at the start stays ignored.
        let ends = signals::that_end().filter_map(|signal| Signal::try_from(signal).ok());
        ends.chain([Signal::SIGUSR1])
            .for_each(|signal| taken.add(signal));
        Self::taking(taken)
    }

    fn taking(taken: SigSet) -> Self {
        #[cfg(target_os = "linux")]
        let bell = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Self {
            taken,
            #[cfg(target_os = "linux")]
            bell: bell.ok(),
            panic: Cell::new(false),
        }
    }

    /// Returns when a read would not wait, or a signal has come. A signal takes precedence.
    pub fn wait(&self, input: &Input) -> Woken {
        loop {
            let may_read = self.wait_for_either(input);
            if let Some(signal) = self.take() {
                return match signal {
                    Signal::SIGTSTP => Woken::Stop,
                    Signal::SIGCONT => Woken::GoOn,
                    Signal::SIGUSR1 => {
                        self.leave_panic();
                        Woken::Panic
                    }
                    end => Woken::End(end as i32),
                };
            }
            if may_read {
                return Woken::Input;
            }
        }
    }

    /// Leaves a panic to the signals thread, which starts later.
    pub fn leave_panic(&self) {
        self.panic.set(true);
    }

    /// Takes a pending signal, if there is one.
    fn take(&self) -> Option<Signal> {
        let is_there = |signal| signals::is_pending(signal as i32);
        // No other thread takes signals now, so this does not wait.
        let any = self.taken.iter().any(is_there);
        any.then(|| self.taken.wait().ok()).flatten()
    }

    /// Returns when a read would not wait (true), or a signal may be pending.
    fn wait_for_either(&self, input: &Input) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(bell) = &self.bell {
            use std::os::fd::AsFd;

            use nix::poll::{PollFd, PollFlags};
            let mut ready = [input.descriptor(), bell.as_fd()]
                .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
            let any = super::stream::wait_for_any(&mut ready, None);
            // If the wait itself has failed, the read reports why.
            return any && (ready[0].any() != Some(false) || ready[1].any() == Some(false));
        }
        input.wait(Some(LOOK_UP))
    }
}

/// Only now, because otherwise this would take it again.
impl Drop for Waiter {
    fn drop(&mut self) {
        if self.panic.get() {
            signals::send(signals::PANIC);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::thread;

    use nix::sys::signal::raise;

    use super::*;

    /// In a thread of its own, to which the signal is sent, and which is the only one that blocks
    /// it.
    fn wakes(with_bell: bool) {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let taken = SigSet::from(Signal::SIGTERM);
        taken.thread_block().unwrap();
        let mut waiter = Waiter::taking(taken);
        if !with_bell {
            #[cfg(target_os = "linux")]
            drop(waiter.bell.take());
        }
        raise(Signal::SIGTERM).unwrap();
        writer.write_all(b"x").unwrap();
        let end = Signal::SIGTERM as i32;
        assert_eq!(waiter.wait(&input), Woken::End(end));
        assert_eq!(waiter.wait(&input), Woken::Input);
        assert_eq!(input.read(&mut [0]).unwrap(), 1);
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(waiter.wait(&input), Woken::End(end));
        drop(writer);
        assert_eq!(waiter.wait(&input), Woken::Input);
    }

    #[test]
    fn signals_wake_it_and_come_before_input() {
        for with_bell in [true, false] {
            thread::spawn(move || wakes(with_bell)).join().unwrap();
        }
    }
}
