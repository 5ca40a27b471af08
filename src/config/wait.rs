//! Waiting for input before any signal handler stands.
//!
//! The signals that end a run are blocked from the first moment on (see `sys::harden`), so a blocking read would not be ended by them: whoever pressed Ctrl-C, or stopped the service,
//! would wait for ever.

use std::fs::File;

use super::early::Early;
use crate::exit::Failure;

/// What a wait has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A read would not block.
    Input,
    /// SIGTSTP: the process is to stop.
    Stop,
    /// SIGCONT: the process was stopped, and goes on.
    GoOn,
    /// SIGUSR1: a panic was asked for. It is left to the session.
    Panic,
}

/// Waits for input or for a signal that ends a run, or asks for a panic.
pub struct Waiter {
    #[cfg(target_os = "linux")]
    signals: Option<nix::sys::signalfd::SignalFd>,
    /// A panic was asked for.
    panic: std::cell::Cell<bool>,
}

impl Waiter {
    /// A panic was asked for: it is left to the session, as a signal that waits.
    pub fn leave_panic(&self) {
        self.panic.set(true);
    }

    /// Looks for a signal that ends a run, without waiting.
    ///
    /// # Errors
    /// The signal.
    #[cfg(unix)]
    pub fn look_for_end(&self) -> Result<(), Failure> {
        use crate::sys::signals;
        match signals::that_end().find(|end| signals::is_pending(*end)) {
            Some(end) => Err(Failure::signal(end.try_into().unwrap_or(0))),
            None => Ok(()),
        }
    }

    /// As [`Self::wait`], for input alone, and does what a panic does.
    ///
    /// # Errors
    /// The signal that came first, or a panic that is the end.
    pub fn wait_for(&self, input: &File, early: &Early) -> Result<(), Failure> {
        loop {
            match self.wait(input)? {
                Woken::Input => return Ok(()),
                Woken::Panic => early.go_on(&early.forget())?,
                Woken::Stop | Woken::GoOn => {}
            }
        }
    }
}

/// Only now, or it would be taken here again.
#[cfg(unix)]
impl Drop for Waiter {
    fn drop(&mut self) {
        if self.panic.get() {
            crate::sys::signals::send(crate::sys::signals::PANIC);
        }
    }
}

#[cfg(target_os = "linux")]
impl Waiter {
    /// One that knows the signals that end a run.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// One that also knows SIGTSTP and SIGCONT, as far as they are blocked.
    pub fn at_terminal() -> Self {
        use nix::sys::signal::Signal;
        Self::with(&[Signal::SIGTSTP, Signal::SIGCONT])
    }

    fn with(others: &[nix::sys::signal::Signal]) -> Self {
        use nix::sys::signal::{SigSet, Signal};
        use nix::sys::signalfd::{SfdFlags, SignalFd};
        // One that was ignored at the start stays so.
        let mask: SigSet = crate::sys::signals::that_end()
            .filter_map(|signal| Signal::try_from(signal).ok())
            .chain(others.iter().copied())
            .chain([Signal::SIGUSR1])
            .collect();
        // Without one (too many open files) reading works all the same, until Enter is pressed.
        Self {
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .ok(),
            panic: std::cell::Cell::new(false),
        }
    }

    /// Returns when a read would not block, or the process is to stop, or goes on.
    ///
    /// # Errors
    /// The signal that ends the run.
    pub fn wait(&self, input: &File) -> Result<Woken, Failure> {
        use std::os::fd::AsFd;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use nix::sys::signal::Signal;
        let Some(signals) = &self.signals else {
            return Ok(Woken::Input);
        };
        let mut ready =
            [input.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                // The read itself says what is wrong.
                Err(_) => return Ok(Woken::Input),
                Ok(_) => match signals.read_signal() {
                    Ok(Some(signal)) => {
                        let number = signal.ssi_signo;
                        let is = |other: Signal| i64::from(number) == i64::from(other as i32);
                        return if is(Signal::SIGTSTP) {
                            Ok(Woken::Stop)
                        } else if is(Signal::SIGCONT) {
                            Ok(Woken::GoOn)
                        } else if is(Signal::SIGUSR1) {
                            self.leave_panic();
                            Ok(Woken::Panic)
                        } else {
                            Err(Failure::signal(number.try_into().unwrap_or(0)))
                        };
                    }
                    _ if ready[0].any() != Some(false) => return Ok(Woken::Input),
                    _ => {}
                },
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Waiter {
    /// One that knows no signals: they wait until the read has ended.
    pub fn new() -> Self {
        Self {
            panic: std::cell::Cell::new(false),
        }
    }

    /// The same.
    pub fn at_terminal() -> Self {
        Self::new()
    }

    /// Returns at once.
    ///
    /// # Errors
    /// None.
    pub fn wait(&self, _: &File) -> Result<Woken, Failure> {
        Ok(Woken::Input)
    }
}
