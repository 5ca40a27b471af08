//! Holds the lines about peers that left, for a moment: a peer that comes back at once, or another
//! one with its name, then gets one line and not two.

use std::time::{Duration, Instant};

use super::clock::Moment;
use super::render::Note;
use crate::mesh::Who;
use crate::proto::{DisplayName, PeerId};

/// How long a line is held.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The most lines that are held. Of more, the oldest are shown at once.
const MOST_HELD: usize = 64;

/// The line about a peer that left.
pub(super) struct Departure {
    id: PeerId,
    name: Option<DisplayName>,
    /// The line.
    pub note: Note,
    /// When the peer left.
    pub at: Moment,
}

/// The lines that are held, the oldest first.
#[derive(Default)]
pub(super) struct Departures(Vec<Departure>);

impl Departures {
    /// Holds this line. Returns one that is to be shown now, if there are too many.
    pub(super) fn hold(&mut self, who: &Who, note: Note, at: Moment) -> Option<Departure> {
        self.0.push(Departure {
            id: who.id,
            name: who.name.clone(),
            note,
            at,
        });
        (self.0.len() > MOST_HELD).then(|| self.0.remove(0))
    }

    /// Drops the line about this peer, if it is held, and returns for how long the peer was gone.
    pub(super) fn forget(&mut self, id: PeerId, now: Instant) -> Option<Duration> {
        let found = self.0.iter().position(|it| it.id == id)?;
        let departure = self.0.remove(found);
        Some(now.saturating_duration_since(departure.at.now))
    }

    /// When the first line is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.first().map(|first| first.at.now + PATIENCE)
    }

    /// Takes the lines that are due.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Departure> {
        self.take(|it| it.at.now + PATIENCE <= now)
    }

    /// Takes the lines about peers with this name: one line about another peer is not to be taken
    /// for the other's.
    pub(super) fn take_named(&mut self, name: Option<&DisplayName>) -> Vec<Departure> {
        self.take(|it| it.name.as_ref() == name)
    }

    /// Takes all lines.
    pub(super) fn take_all(&mut self) -> Vec<Departure> {
        self.take(|_| true)
    }

    fn take(&mut self, fits: impl Fn(&Departure) -> bool) -> Vec<Departure> {
        let (taken, kept) = self.0.drain(..).partition(|it| fits(it));
        self.0 = kept;
        taken
    }
}
