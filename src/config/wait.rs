//! Waiting for input before any signal handler stands.
//!
//! The signals that end a run are blocked from the first moment on (see `secret::harden`), so a blocking read would not be ended by them: whoever pressed Ctrl-C, or stopped the service,
//! would wait for ever.

use std::fs::File;

use crate::exit::Failure;

/// Waits for input or for a signal that ends a run.
pub struct Waiter {
    #[cfg(target_os = "linux")]
    signals: Option<nix::sys::signalfd::SignalFd>,
}

#[cfg(target_os = "linux")]
impl Waiter {
    /// One that knows the signals that end a run.
    pub fn new() -> Self {
        use nix::sys::signal::{SigSet, Signal};
        use nix::sys::signalfd::{SfdFlags, SignalFd};
        // One that was ignored at the start stays so.
        let mask: SigSet = crate::secret::signals::that_end()
            .filter_map(|signal| Signal::try_from(signal).ok())
            .collect();
        // Without one (too many open files) reading works all the same, until Enter is pressed.
        Self {
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .ok(),
        }
    }

    /// Returns when a read would not block.
    ///
    /// # Errors
    /// The signal that came first.
    pub fn wait_for(&self, input: &File) -> Result<(), Failure> {
        use std::os::fd::AsFd;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let Some(signals) = &self.signals else {
            return Ok(());
        };
        let mut ready =
            [input.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                // The read itself says what is wrong.
                Err(_) => return Ok(()),
                Ok(_) => match signals.read_signal() {
                    Ok(Some(signal)) => {
                        return Err(Failure::signal(signal.ssi_signo.try_into().unwrap_or(0)));
                    }
                    _ if ready[0].any() != Some(false) => return Ok(()),
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
        Self {}
    }

    /// Returns at once.
    ///
    /// # Errors
    /// None.
    pub fn wait_for(&self, _: &File) -> Result<(), Failure> {
        Ok(())
    }
}
