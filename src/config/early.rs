//! A panic during the wait for the passphrase. There is no session yet that could act on it, and
//! the user may never give a passphrase, so the saved name is deleted at once. The session does the
//! rest, unless the panic ends the run.

use std::cell::Cell;

use super::SavedName;
use crate::exit::{self, Failure};
use crate::sys::signals;

/// How to act on such a panic.
pub(super) struct Early {
    place: SavedName,
    quits: bool,
    dumb: bool,
    asked: Cell<bool>,
}

impl Early {
    /// Deletes this saved name. With `quits`, a panic ends the run. A `dumb` terminal cannot be
    /// cleared.
    pub(super) fn new(place: SavedName, quits: bool, dumb: bool) -> Self {
        Self {
            place,
            quits,
            dumb,
            asked: Cell::new(false),
        }
    }

    /// Whether a panic was requested. If it has just come, or together with the end, this deletes
    /// the saved name too.
    pub(super) fn is_asked(&self) -> bool {
        if !self.asked.get() && signals::is_pending(signals::PANIC) {
            self.forget().iter().for_each(|line| exit::say(line));
        }
        self.asked.get()
    }

    /// Whether the terminal can be cleared.
    pub(super) fn clears_terminal(&self) -> bool {
        !self.dumb
    }

    /// Deletes the saved name. Returns a line for each thing that is still there.
    pub(super) fn forget(&self) -> Vec<String> {
        self.asked.set(true);
        self.place.delete().err().unwrap_or_default()
    }

    /// Reports what is still there, and continues unless a panic ends the run.
    ///
    /// # Errors
    /// The panic ends the run.
    pub(super) fn go_on(&self, left: &[String]) -> Result<(), Failure> {
        for line in left {
            exit::say(line);
        }
        if self.quits {
            Err(Failure::panic())
        } else {
            Ok(())
        }
    }
}
