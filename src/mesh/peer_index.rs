//! What would else be searched for among all peers at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::deadlines::Deadlines;
use super::peer::{Peer, Standing};
use crate::proto::PeerId;

/// What is kept of all peers, by moment and by what they are about to do.
#[derive(Default)]
pub struct PeerIndex {
    /// When a peer whose full outbox holds up others has done so for too long.
    pub stalls: Deadlines<PeerId>,
    /// When a peer that is waited for was lost.
    pub awaited: Deadlines<PeerId>,
    /// When people are told of a loss at the latest.
    pub losses: Deadlines<PeerId>,
    /// When a name that came too soon may be told.
    pub names: Deadlines<PeerId>,
    /// Peers that have said something that was not released yet.
    pub talkers: BTreeSet<PeerId>,
    /// Peers that are leaving and have nothing more to say.
    pub farewells: BTreeSet<PeerId>,
    /// How the peers stand for which it matters.
    standings: BTreeMap<PeerId, Standing>,
    /// How often that has changed.
    pub version: u64,
    /// How often a peer was looked at.
    #[cfg(test)]
    pub looks: u64,
}

impl PeerIndex {
    /// Takes a peer as it is now, or that there is none.
    pub fn keep(&mut self, id: PeerId, peer: Option<&Peer>, give_up: Duration) {
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
        let before = match standing {
            Some(standing) => self.standings.insert(id, standing),
            None => self.standings.remove(&id),
        };
        self.version += u64::from(before != standing);
    }
}
