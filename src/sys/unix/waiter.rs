//! Waiting for input before anybody takes signals.
//!
//! The signals that end a run are blocked from the first moment on (see
//! [`harden`](super::harden::harden)), so a read that waits would not be ended by them: whoever
//! pressed Ctrl-C, or stopped the service, would wait for ever.

use std::cell::Cell;

use super::signals;
use super::stream::Input;

/// What a wait has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A read would not wait.
    Input,
    /// The process is to stop (SIGTSTP).
    Stop,
    /// The process was stopped, and goes on (SIGCONT).
    GoOn,
    /// A panic was asked for (SIGUSR1). It is left to whoever takes signals after this.
    Panic,
    /// This signal ends the run.
    End(i32),
}

/// Waits for input or for a signal that ends a run, or asks for a panic.
pub struct Waiter {
    #[cfg(target_os = "linux")]
    signals: Option<nix::sys::signalfd::SignalFd>,
    /// A panic was asked for.
    panic: Cell<bool>,
}

impl Waiter {
    /// A panic was asked for: it is left to whoever takes signals after this.
    pub fn leave_panic(&self) {
        self.panic.set(true);
    }
}

/// Only now, or it would be taken here again.
impl Drop for Waiter {
    fn drop(&mut self) {
        if self.panic.get() {
            signals::send(signals::PANIC);
        }
    }
}

#[cfg(target_os = "linux")]
impl Waiter {
    /// One that knows the signals that end a run.
    pub fn begin() -> Self {
        Self::with(&[])
    }

    /// One that also knows SIGTSTP and SIGCONT, as far as they are blocked.
    pub(super) fn at_terminal() -> Self {
        use nix::sys::signal::Signal;
        Self::with(&[Signal::SIGTSTP, Signal::SIGCONT])
    }

    fn with(others: &[nix::sys::signal::Signal]) -> Self {
        use nix::sys::signal::{SigSet, Signal};
        use nix::sys::signalfd::{SfdFlags, SignalFd};
        // One that was ignored at the start stays so.
        let mask: SigSet = signals::that_end()
            .filter_map(|signal| Signal::try_from(signal).ok())
            .chain(others.iter().copied())
            .chain([Signal::SIGUSR1])
            .collect();
        // Without one (too many open files) reading works all the same, until Enter is pressed.
        Self {
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .ok(),
            panic: Cell::new(false),
        }
    }

    /// Returns when a read would not wait, or a signal has come.
    pub fn wait(&self, input: &Input) -> Woken {
        use std::os::fd::AsFd;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use nix::sys::signal::Signal;
        let Some(signals) = &self.signals else {
            return Woken::Input;
        };
        let mut ready = [input.descriptor(), signals.as_fd()]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        loop {
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                // The read itself says what is wrong.
                Err(_) => return Woken::Input,
                Ok(_) => match signals.read_signal() {
                    Ok(Some(signal)) => {
                        let number = signal.ssi_signo.cast_signed();
                        return match Signal::try_from(number) {
                            Ok(Signal::SIGTSTP) => Woken::Stop,
                            Ok(Signal::SIGCONT) => Woken::GoOn,
                            Ok(Signal::SIGUSR1) => {
                                self.leave_panic();
                                Woken::Panic
                            }
                            _ => Woken::End(number),
                        };
                    }
                    _ if ready[0].any() != Some(false) => return Woken::Input,
                    _ => {}
                },
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Waiter {
    /// One that knows no signals: they wait until the read has ended.
    pub fn begin() -> Self {
        Self {
            panic: Cell::new(false),
        }
    }

    /// The same.
    pub(super) fn at_terminal() -> Self {
        Self::begin()
    }

    /// Returns at once.
    pub fn wait(&self, _: &Input) -> Woken {
        Woken::Input
    }
}
