//! A terminal that does not show what the user types.

use std::io;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};

use super::modes::{Modes, When};
use super::stream::{Input, wait_for_any};
use super::waiter::{Waiter, Woken};

/// A terminal that shows nothing of what is typed, until this is dropped. Line editing and signals
/// from keys are off too, and a stop is delayed until [`Self::stop`] has restored the terminal.
pub struct HiddenEntry {
    terminal: Input,
    before: Modes,
    /// Whether the terminal has other modes than before.
    hides: bool,
    waiter: Waiter,
    /// Dropped last: delayed signals come then.
    held: HeldStops,
}

impl HiddenEntry {
    /// Hides typing from now on. Input that was typed before can still be read.
    ///
    /// # Errors
    /// It is not a terminal.
    pub fn begin(terminal: Input) -> io::Result<Self> {
        let held = HeldStops::begin()?;
        let before = Modes::of(terminal.descriptor())?;
        let mut entry = Self {
            terminal,
            before,
            hides: false,
            waiter: Waiter::with(HeldStops::signals()),
            held,
        };
        entry.hide()?;
        Ok(entry)
    }

    /// Waits for a byte or a signal.
    pub fn wait(&self) -> Woken {
        self.waiter.wait(&self.terminal)
    }

    /// Reads what was typed.
    ///
    /// # Errors
    /// The terminal's.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.terminal.read(bytes)
    }

    /// Writes to the terminal, if possible.
    pub fn say(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match nix::unistd::write(self.terminal.descriptor(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(nix::Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes to the terminal, unless that would wait.
    pub fn say_at_once(&self, bytes: &[u8]) {
        let terminal = PollFd::new(self.terminal.descriptor(), PollFlags::POLLOUT);
        if wait_for_any(&mut [terminal], Some(std::time::Duration::ZERO)) {
            self.say(bytes);
        }
    }

    /// Throws away what was typed and not read, so that it does not reach the shell.
    pub fn discard_typed(&self) {
        let _ = tcflush(self.terminal.descriptor(), FlushArg::TCIFLUSH);
    }

    /// Leaves a panic to the signals thread, which starts later.
    pub fn leave_panic(&self) {
        self.waiter.leave_panic();
    }

    /// Restores the terminal and stops the process, if the signal stops it. Returns when the
    /// process continues. With `by_key`, stops every process that the terminal would stop for
    /// Ctrl-Z.
    ///
    /// # Errors
    /// The system's; none is known.
    pub fn stop(&mut self, by_key: bool) -> io::Result<()> {
        self.give_back();
        if by_key {
            let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        }
        self.held.let_stop()
    }

    /// Hides typing again after a stop. Modes that the user has set meanwhile are the ones that
    /// will be restored. Returns whether there was anything to hide.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn hide_again(&mut self) -> io::Result<bool> {
        let modes = Modes::of(self.terminal.descriptor())?;
        // A shell that does not touch the modes leaves this program's own.
        let shows = modes.show_typing();
        if shows {
            self.before = modes;
        }
        self.hide()?;
        Ok(shows)
    }

    fn hide(&mut self) -> io::Result<()> {
        self.hides = true;
        // Not flushed: a script may have typed ahead.
        let hidden = self.before.hidden();
        hidden.set(self.terminal.descriptor(), When::Drained)
    }

    /// Restores the terminal, for a while or at the end. In the background it already belongs to
    /// the shell, and touching it would stop this process for good.
    fn give_back(&mut self) {
        let group = tcgetpgrp(self.terminal.descriptor());
        let is_ours = group.map_or(true, |group| group == getpgrp());
        if !std::mem::take(&mut self.hides) || !is_ours {
            return;
        }
        // The newline that Enter did not show. If the terminal is gone, nothing is lost.
        self.say(b"\n");
        let _ = self.before.set(self.terminal.descriptor(), When::Drained);
    }
}

impl Drop for HiddenEntry {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Delays SIGTSTP and SIGCONT until this is dropped.
struct HeldStops {
    before: SigSet,
}

impl HeldStops {
    fn signals() -> SigSet {
        [Signal::SIGTSTP, Signal::SIGCONT].into_iter().collect()
    }

    fn begin() -> io::Result<Self> {
        let before = Self::signals().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before })
    }

    /// Stops the process as SIGTSTP does, if the signal stops it. Returns when the process
    /// continues.
    fn let_stop(&self) -> io::Result<()> {
        raise(Signal::SIGTSTP)?;
        let stop = SigSet::from(Signal::SIGTSTP);
        stop.thread_unblock()?;
        Ok(stop.thread_block()?)
    }
}

impl Drop for HeldStops {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}
