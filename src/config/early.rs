//! A panic that is asked for while the passphrase is read. Nothing has been started that could act
//! on it, and whoever asks for it may never give a passphrase: what is on the disk goes at once. The
//! rest is for the session, to which the panic is left, unless the panic is the end.

use std::cell::Cell;

use super::SavedName;
use crate::exit::{self, Failure};
use crate::sys::signals;

/// Knows what to do about one.
pub struct Early {
    place: SavedName,
    quits: bool,
    dumb: bool,
    asked: Cell<bool>,
}

impl Early {
    /// For this saved name; with `quits`, a panic is the end. A `dumb` terminal cannot be cleared.
    pub fn new(place: SavedName, quits: bool, dumb: bool) -> Self {
        Self {
            place,
            quits,
            dumb,
            asked: Cell::new(false),
        }
    }

    /// Whether one was asked for. One that has just come, or together with the end, has deleted the
    /// saved name then too.
    pub fn is_asked(&self) -> bool {
        if !self.asked.get() && signals::is_pending(signals::PANIC) {
            self.forget().iter().for_each(|line| exit::say(line));
        }
        self.asked.get()
    }

    /// Whether the terminal can be cleared.
    pub fn clears_terminal(&self) -> bool {
        !self.dumb
    }

    /// Deletes the saved name. Gives a line for each thing that is still there.
    pub fn forget(&self) -> Vec<String> {
        self.asked.set(true);
        self.place.delete().err().unwrap_or_default()
    }

    /// Says what is still there, and goes on if a panic is not the end.
    ///
    /// # Errors
    /// That it is.
    pub fn go_on(&self, left: &[String]) -> Result<(), Failure> {
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
