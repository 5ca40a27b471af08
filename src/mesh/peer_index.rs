//! An index over all peers, so that no step has to search them.

use std::time::Duration;

use super::deadlines::Deadlines;
use super::peer::{Peer, Standing};
use super::sorted::{SortedMap, SortedSet};
use crate::proto::PeerId;

/// The peers by deadline, and by what they are about to do.
#[derive(Default)]
pub(super) struct PeerIndex {
    /// When a peer whose full outbox delays others has done so for too long.
    pub stalls: Deadlines<PeerId>,
    /// When each awaited peer was lost.
    pub awaited: Deadlines<PeerId>,
    /// When a loss has to be reported at the latest.
    pub losses: Deadlines<PeerId>,
    /// When a name that came too soon may be reported.
    pub names: Deadlines<PeerId>,
    /// Peers with messages that were not released yet.
    pub talkers: SortedSet<PeerId>,
    /// Peers that are leaving, with all their messages released.
    pub farewells: SortedSet<PeerId>,
    /// The standing of each peer that has one.
    standings: SortedMap<PeerId, Standing>,
    /// Counts the changes of standings.
    pub version: u64,
    /// How often a peer was examined.
    #[cfg(test)]
    pub looks: u64,
}

impl PeerIndex {
    /// Updates the entries of a peer; `None` if it was removed.
    pub(super) fn keep(&mut self, id: PeerId, peer: Option<&Peer>, give_up: Duration) {
        #[cfg(test)]
        (self.looks += 1);
        let awaited = peer.filter(|peer| peer.is_awaited());
        self.stalls.set(
            id,
            peer.and_then(|peer| peer.uptake.patience.ends_at(give_up)),
        );
        self.awaited.set(id, awaited.map(|peer| peer.since));
        self.losses.set(id, peer.and_then(Peer::untold_until));
        self.names.set(id, peer.and_then(Peer::next_name_at));
        let talks = peer.is_some_and(Peer::has_waiting);
        let leaves = peer.is_some_and(Peer::is_leaving) && !talks;
        for (set, is_in) in [(&mut self.talkers, talks), (&mut self.farewells, leaves)] {
            match is_in {
                true => set.insert(id),
                false => set.remove(&id),
            };
        }
        let standing = peer.and_then(Peer::standing);
        let before = self.standings.set(id, standing);
        self.version += u64::from(before != standing);
    }
}
