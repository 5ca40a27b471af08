//! A terminal on which something is typed that nobody is to see.

use std::io;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};

use super::modes::{Modes, When};
use super::stream::{Input, wait_for_any};
use super::waiter::{Waiter, Woken};

/// A terminal that shows nothing of what is typed, until this is dropped. Line editing and signals
/// from keys are off too, and a stop is held back until [`Self::stop`] has put the terminal right.
pub struct HiddenEntry {
    terminal: Input,
    before: Modes,
    /// The terminal has other modes than before.
    hides: bool,
    waiter: Waiter,
    /// Dropped last: what was held back comes then.
    held: HeldStops,
}

impl HiddenEntry {
    /// From now on nothing is shown. What was typed before is still there to be read.
    ///
    /// # Errors
    /// If this is no terminal.
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

    /// Waits for a byte, or for what else may come.
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

    /// Writes to the terminal, if it can be written to.
    pub fn say(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match nix::unistd::write(self.terminal.descriptor(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(nix::Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// The same, unless the terminal would have to be waited for.
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

    /// A panic was asked for: it is left to whoever takes signals after this.
    pub fn leave_panic(&self) {
        self.waiter.leave_panic();
    }

    /// Gives the terminal back and stops the process, if that stops it; returns when it goes on. With
    /// `by_key`, all are stopped that the terminal would stop for Ctrl-Z.
    ///
    /// # Errors
    /// The system's; there is no reason known for one.
    pub fn stop(&mut self, by_key: bool) -> io::Result<()> {
        self.give_back();
        if by_key {
            let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        }
        self.held.let_stop()
    }

    /// After a stop: hides again. What the user has set meanwhile is what will be given back.
    /// Gives whether there was anything to hide.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn hide_again(&mut self) -> io::Result<bool> {
        let modes = Modes::of(self.terminal.descriptor())?;
        // A shell that leaves the modes as they are leaves this program's own.
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

    /// Gives the terminal back, for a while or at the end. In the background it is the shell's
    /// already, and who touches it there is stopped, and does not come to its end.
    fn give_back(&mut self) {
        let group = tcgetpgrp(self.terminal.descriptor());
        let is_ours = group.map_or(true, |group| group == getpgrp());
        if !std::mem::take(&mut self.hides) || !is_ours {
            return;
        }
        // The newline that Enter did not show. Nothing can be done where the terminal is gone.
        self.say(b"\n");
        let _ = self.before.set(self.terminal.descriptor(), When::Drained);
    }
}

impl Drop for HiddenEntry {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Holds SIGTSTP and SIGCONT back, until this is dropped.
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

    /// Stops the process as SIGTSTP does, if that stops it; returns when it goes on.
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
