//! What the user of an interactive run waits for, as last reported: dials while no peer is up, and
//! acknowledgements.

use std::time::Duration;

use super::event::{DialAttempt, Event, PendingMessages};
use super::target::Target;
use crate::proto::Address;

/// How long a message waits for its acknowledgement before that is reported: most come sooner.
pub(super) const UNTOLD: Duration = Duration::from_secs(1);

/// The waits as last reported.
#[derive(Default)]
pub(super) struct ReportedWaits {
    /// The dial that began last, and how many further addresses are dialled.
    dials: (Option<DialAttempt>, usize),
    /// The versions of the addresses and of the roster that the dials were taken from.
    versions: Option<(u64, u64)>,
    /// How each peer that owes an acknowledgement is shown, and how many.
    pending: Vec<(String, usize)>,
}

impl ReportedWaits {
    /// Notes the versions that the next dials are taken from. Returns false if these dials are the
    /// ones last reported.
    pub(super) fn may_dial_others(&mut self, addresses: u64, roster: Option<u64>) -> bool {
        let versions = roster.map(|roster| (addresses, roster));
        versions.is_none() || std::mem::replace(&mut self.versions, versions) != versions
    }

    /// The event for these dials, if they are others than before.
    pub(super) fn tell_dials<'a>(
        &mut self,
        dials: impl Iterator<Item = (&'a Address, &'a Target)> + Clone,
    ) -> Option<Event> {
        let others = dials.clone().count().saturating_sub(1);
        let last = dials.max_by_key(|(_, target)| target.dialled_at);
        let last = last.map(|(address, target)| DialAttempt {
            addr: address.to_string(),
            attempt: target.attempts,
            error: target.error.clone(),
        });
        let dials = (last, others);
        if self.dials == dials {
            return None;
        }
        self.dials = dials.clone();
        let (last, others) = dials;
        Some(Event::Dialing { last, others })
    }

    /// The event for these unacknowledged messages, if those that are old enough are others than
    /// before.
    pub(super) fn tell_pending(&mut self, mut peers: Vec<PendingMessages>) -> Option<Event> {
        peers.retain(|peer| peer.age >= UNTOLD);
        let counts = || peers.iter().map(|it| (&it.who.shown, it.messages));
        if counts().eq(self.pending.iter().map(|(shown, count)| (shown, *count))) {
            return None;
        }
        self.pending = counts()
            .map(|(shown, count)| (shown.clone(), count))
            .collect();
        Some(Event::Unacknowledged(peers))
    }
}
