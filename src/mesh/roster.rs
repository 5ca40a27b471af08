//! Every PeerId that this run has met or heard of, with its names and its state.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{network, source};
use super::command::PeerQuery;
use super::event::{Addressee, ErrorCode, Event, Predecessor, Who};
use super::names::{Leave, MIN_DIGITS, Names};
use super::output::Output;
use super::peer::{ID_DIGITS, MAX_PEERS, Peer, RENAME_PAUSE, Standing};
use super::peer_index::PeerIndex;
use super::shares::Shares;
use super::sorted::SortedSet;
use crate::proto::conversation::Conversation;
use crate::proto::{DisplayName, PeerId};

/// Places reserved for peers that the user named.
const RESERVED: usize = 16;

/// Why a [`PeerQuery`] names no single peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// No known peer matches.
    Nobody,
    /// More than one matches, or two have borne the name.
    Ambiguous,
}

/// All peers, in order of id.
///
/// An index answers questions about all of them, so that no step has to search: the roster notes
/// which peers were changed, and [`Self::refresh`] updates only those.
pub(super) struct Roster {
    own: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    names: Names,
    /// How long a full outbox may delay others (`--give-up`).
    give_up: Duration,
    index: PeerIndex,
    /// Peers whose entries in the index may be out of date.
    touched: SortedSet<PeerId>,
    /// Peers that were changed since [`Self::drain_changed`].
    changed: SortedSet<PeerId>,
    /// Whether the set of peers that can be named may have changed.
    addressees_changed: bool,
}

impl Roster {
    /// No peers yet.
    pub(super) fn new(own: PeerId, give_up: Duration) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            give_up,
            index: PeerIndex::default(),
            touched: SortedSet::default(),
            changed: SortedSet::default(),
            names: Names::new(own),
            addressees_changed: false,
        }
    }

    /// The peer with this id.
    pub(super) fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// The peer with this id, for changes.
    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.touched.insert(*id);
        self.peers.get_mut(id)
    }

    /// What this end and a peer owe each other.
    pub(super) fn conversation(&self, id: &PeerId) -> Option<&Conversation> {
        self.get(id)?.conversation()
    }

    /// What this end and a peer owe each other, for changes.
    pub(super) fn conversation_mut(&mut self, id: &PeerId) -> Option<&mut Conversation> {
        self.get_mut(id)?.conversation_mut()
    }

    /// All peers, in order of id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    /// The standing of a peer that has one.
    pub(super) fn standing(&self, id: &PeerId) -> Option<Standing> {
        self.peers.get(id)?.standing()
    }

    /// Grows whenever the standing of a peer changes; `None` until [`Self::refresh`] if one may
    /// have changed.
    pub(super) fn version(&self) -> Option<u64> {
        self.touched.is_empty().then_some(self.index.version)
    }

    /// How often a peer was examined to update the index.
    #[cfg(test)]
    pub(super) fn looks(&self) -> u64 {
        self.index.looks
    }

    /// Updates the index for the peers that were changed.
    pub(super) fn refresh(&mut self) {
        for id in self.touched.drain() {
            self.index.keep(id, self.peers.get(&id), self.give_up);
            self.changed.insert(id);
        }
    }

    /// The peers that were changed since the last call.
    pub(super) fn drain_changed(&mut self) -> impl Iterator<Item = PeerId> + '_ {
        self.refresh();
        self.changed.drain()
    }

    /// The peers whose full outbox has delayed others for too long.
    pub(super) fn stalled(&mut self, now: Instant) -> SortedSet<PeerId> {
        self.refresh();
        self.index.stalls.due(now)
    }

    /// No message waits for room any more: no peer's time runs.
    pub(super) fn stop_pause(&mut self, now: Instant) {
        self.refresh();
        for id in self.index.stalls.keys() {
            if let Some(peer) = self.get_mut(&id) {
                peer.uptake.patience.holds_up(now, false);
            }
        }
    }

    /// The peers that were lost at least this long ago.
    pub(super) fn away(&mut self, now: Instant, away: Duration) -> SortedSet<PeerId> {
        self.refresh();
        let before = now.checked_sub(away);
        before.map_or_else(SortedSet::default, |before| self.index.awaited.due(before))
    }

    /// When the most recently lost of the awaited peers was lost; as of the last [`Self::refresh`],
    /// like all deadlines.
    pub(super) fn lost_last(&self) -> Option<Instant> {
        self.index.awaited.last()
    }

    /// The peers whose loss has to be reported now.
    pub(super) fn untold_losses(&mut self, now: Instant) -> SortedSet<PeerId> {
        self.refresh();
        self.index.losses.due(now)
    }

    /// The peers with messages that were not released yet.
    pub(super) fn talkers(&mut self) -> &SortedSet<PeerId> {
        self.refresh();
        &self.index.talkers
    }

    /// The leaving peers whose messages are all released.
    pub(super) fn farewells(&mut self) -> SortedSet<PeerId> {
        self.refresh();
        self.index.farewells.clone()
    }

    /// When the first peer is [`Self::stalled`].
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        self.index.stalls.first()
    }

    /// When the first peer is [`Self::away`].
    pub(super) fn away_deadline(&self, away: Duration) -> Option<Instant> {
        Some(self.index.awaited.first()? + away)
    }

    /// When the first loss has to be reported.
    pub(super) fn loss_deadline(&self) -> Option<Instant> {
        self.index.losses.first()
    }

    /// When [`Self::tell_names`] has a name to report.
    pub(super) fn name_deadline(&self) -> Option<Instant> {
        self.index.names.first()
    }

    /// What a peer without a link said about others no longer counts.
    pub(super) fn unvouch(&mut self, voucher: &PeerId) {
        for (id, peer) in &mut self.peers {
            if peer.unvouch(voucher) {
                self.touched.insert(*id);
            }
        }
    }

    /// How many links are up.
    pub(super) fn up(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_up()).count()
    }

    /// The peer with this id, added if there is room. A peer that is neither linked nor owed
    /// anything makes room, beginning with one of those that the same few peers vouch for. `None`
    /// if there is no room, or for this end's own id.
    pub(super) fn entry(&mut self, now: Instant, id: PeerId) -> Option<&mut Peer> {
        if id == self.own {
            return None;
        }
        if !self.peers.contains_key(&id) && self.peers.len() >= MAX_PEERS {
            let victim = self.most_dubious()?;
            self.peers.remove(&victim);
            self.touched.insert(victim);
        }
        self.touched.insert(id);
        self.names.see(id, |id| self.peers.contains_key(id));
        Some(self.peers.entry(id).or_insert_with(|| Peer::new(now, id)))
    }

    /// Of the peers that may make room, the one whose vouchers vouch for most ids. So a liar who
    /// makes up ids cannot push out those that others vouch for. Departed peers go last.
    fn most_dubious(&self) -> Option<PeerId> {
        let idle = || self.peers.iter().filter(|(_, peer)| peer.is_idle());
        let vouched = Shares::of(idle().flat_map(|(_, peer)| &peer.vouchers));
        let crowd = |peer: &Peer| {
            let crowds = peer.vouchers.iter().map(|voucher| vouched.share(&voucher));
            crowds.min().unwrap_or(usize::MAX)
        };
        idle()
            .max_by_key(|(_, peer)| (peer.departure().is_none(), crowd(peer), Reverse(peer.since)))
            .map(|(id, _)| *id)
    }

    /// Whether there is a place for this peer beside those that are `arriving`. Some places are
    /// reserved for peers that the user named.
    pub(super) fn has_place(&self, id: &PeerId, named: bool, arriving: &BTreeSet<PeerId>) -> bool {
        let present = self.peers.iter().filter(|(_, peer)| !peer.is_idle());
        let mut taken: BTreeSet<_> = present.map(|(id, _)| id).chain(arriving).collect();
        taken.remove(id);
        taken.len()
            < if named {
                MAX_PEERS
            } else {
                MAX_PEERS - RESERVED
            }
    }

    /// The peer that makes room when all places are taken: one that vanished without a goodbye,
    /// from the source that holds most places, and of these the one whose links had lasted
    /// shortest. So an attacker who keeps coming and vanishing cannot push out the peers of others.
    pub(super) fn least_missed(&self) -> Option<PeerId> {
        let placed = || self.peers.iter().filter(|(_, peer)| !peer.is_idle());
        let source_of = |peer: &Peer| peer.place.remote.map(source);
        let shares = Shares::of(placed().map(|(_, peer)| source_of(peer)));
        let may_go = |peer: &Peer| peer.is_awaited() && peer.showing.out.is_empty();
        let lost = placed().filter(|(_, peer)| may_go(peer));
        let linked_for = |(_, peer): &(&PeerId, &Peer)| peer.history.linked_for;
        let least = shares.evict(lost, |(_, peer)| source_of(peer), linked_for);
        least.map(|(id, _)| *id)
    }

    /// Sets a peer's name. Returns the departed peer that bore it before, if there is one.
    fn rename(&mut self, id: &PeerId, name: Option<DisplayName>) -> Option<Arc<Predecessor>> {
        self.addressees_changed = true;
        let peer = self.peers.get_mut(id)?;
        peer.naming.name.clone_from(&name);
        let before = name.and_then(|name| {
            let peers = &self.peers;
            let is_present = |id: &PeerId, name: &DisplayName| {
                let peer = peers.get(id);
                peer.is_some_and(|peer| peer.naming.name.as_ref() == Some(name))
            };
            self.names.remember(*id, &name, is_present)
        });
        self.show_all();
        before
    }

    /// Takes a peer's name from HELLO or NAME. `tell`: the front end knows it by its previous name.
    /// At most one change per second is reported, and of several the last. Returns the departed
    /// peer that bore the name before, for the caller to report if this method does not.
    pub(super) fn take_name(
        &mut self,
        now: Instant,
        id: &PeerId,
        name: Option<DisplayName>,
        tell: bool,
        output: &mut Output,
    ) -> Option<Arc<Predecessor>> {
        let has_left = self.names.has_left(id);
        let peer = self.get_mut(id)?;
        let naming = &mut peer.naming;
        let too_soon = naming.told_at.is_some_and(|at| now < at + RENAME_PAUSE);
        naming.next = None;
        if tell && (too_soon || output.is_backlogged() || !peer.showing.deferred.is_empty()) {
            naming.told_at.get_or_insert(now);
            naming.next = Some(name);
            return None;
        }
        if naming.name == name && !has_left {
            return None;
        }
        if tell {
            naming.told_at = Some(now);
        }
        let before = peer.who();
        let instead_of = self.rename(id, name);
        let Some(peer) = self.get(id).filter(|_| tell) else {
            return instead_of;
        };
        output.tell(Event::PeerName {
            who: peer.who(),
            before: before.shown.clone(),
            instead_of,
        });
        None
    }

    /// Reports the names whose second has passed.
    pub(super) fn tell_names(&mut self, now: Instant, output: &mut Output) {
        if output.is_backlogged() {
            return;
        }
        self.refresh();
        for id in self.index.names.due(now) {
            let peer = self.get_mut(&id);
            if let Some(name) = peer.and_then(|peer| peer.naming.next.take()) {
                let _ = self.take_name(now, &id, name, true, output);
            }
        }
    }

    /// Queues a report about a peer's link behind everything that arrived on it, which a slow front
    /// end may not have taken yet.
    pub(super) fn tell_of_link(&mut self, id: &PeerId, event: Event, output: &mut Output) {
        if let Some(peer) = self.get_mut(id) {
            peer.defer(event);
            self.tell_deferred(id, output);
        }
    }

    /// Sends the reports that need not wait for a message any more.
    pub(super) fn tell_deferred(&mut self, id: &PeerId, output: &mut Output) {
        if let Some(peer) = self.get_mut(id) {
            while let Some(event) = peer.next_deferred() {
                output.tell(event);
            }
        }
    }

    /// A peer has left at this moment: its names are free. Returns the peers that now have a name
    /// to themselves which they shared with it.
    pub(super) fn leave(&mut self, at: Instant, id: &PeerId) -> Vec<Arc<Who>> {
        self.addressees_changed = true;
        let Some(peer) = self.peers.get(id) else {
            return Vec::new();
        };
        let leave = Leave {
            at,
            stay: peer
                .history
                .met
                .map(|met| at.saturating_duration_since(met))
                .unwrap_or_default(),
            network: peer.place.remote.map(network),
        };
        self.names.leave(id, &leave);
        self.show_all();
        let mut heirs = Vec::new();
        for (heir, peer) in self.peers.iter().filter(|(_, peer)| peer.is_present()) {
            if let Some(name) = &peer.naming.name
                && self.names.is_unambiguous(heir, name)
                && self.names.inherit(heir, name, id)
            {
                heirs.push(peer.who());
            }
        }
        heirs
    }

    /// The departed peer that bore the queried name before this one, until the user has confirmed
    /// that this one is meant.
    pub(super) fn doubt(&self, query: &PeerQuery, id: &PeerId) -> Option<&Arc<Predecessor>> {
        // Digits of an id, by themselves or behind a name, are not a name.
        let name = DisplayName::from_user(&query.0).ok()?;
        self.names.doubt(id, &name)
    }

    /// The user has confirmed that a query means this peer.
    pub(super) fn confirm(&mut self, query: &PeerQuery, id: &PeerId) {
        if let Ok(name) = DisplayName::from_user(&query.0) {
            self.names.confirm(id, &name);
        }
    }

    /// A link came up or ended, so other peers can be named now.
    pub(super) fn note_addressees(&mut self) {
        self.addressees_changed = true;
    }

    /// Whether the set of peers that can be named has changed since the last call.
    pub(super) fn take_note_of_addressees(&mut self) -> bool {
        std::mem::take(&mut self.addressees_changed)
    }

    /// All peers that can be named in a command now.
    pub(super) fn addressees(&self) -> Vec<Addressee> {
        let present = self.peers.iter().filter(|(_, peer)| peer.is_present());
        let named = present.map(|(id, peer)| (id, peer.who().shown.clone(), peer.is_up()));
        named
            .filter(|(id, shown, _)| self.resolve(&PeerQuery(shown.clone())) == Ok(**id))
            .map(|(_, shown, up)| Addressee { shown, up })
            .collect()
    }

    /// Updates how all peers are shown, which depends on the names and ids of others.
    fn show_all(&mut self) {
        let shown: Vec<_> = self
            .peers
            .iter()
            .map(|(id, peer)| (*id, self.shown(id, peer.naming.name.as_ref())))
            .collect();
        for (id, shown) in shown {
            if let Some(peer) = self.peers.get_mut(&id)
                && (peer.naming.who.shown != shown || peer.naming.who.name != peer.naming.name)
            {
                peer.naming.who = Arc::new(Who {
                    id,
                    name: peer.naming.name.clone(),
                    shown,
                });
            }
        }
    }

    fn shown(&self, id: &PeerId, name: Option<&DisplayName>) -> String {
        match name {
            None => id.hex_prefix(ID_DIGITS),
            Some(name) if self.names.is_unambiguous(id, name) => name.to_string(),
            Some(name) => {
                let digits = self.names.distinct_digits(id);
                format!("{name}#{}", id.hex_prefix(digits))
            }
        }
    }

    /// How a peer is shown to the user.
    pub(super) fn show(&self, id: &PeerId) -> String {
        self.get(id)
            .map_or_else(|| id.hex_prefix(ID_DIGITS), |peer| peer.who().shown.clone())
    }

    /// The one peer that a query means.
    ///
    /// # Errors
    /// The error for the user.
    pub(super) fn find(&self, query: &PeerQuery) -> Result<PeerId, (ErrorCode, String)> {
        self.resolve(query).map_err(|error| match error {
            Unresolved::Nobody => (
                ErrorCode::NoSuchPeer,
                format!("unknown peer '{}'; /peers lists the peers", query.0),
            ),
            Unresolved::Ambiguous => (
                ErrorCode::AmbiguousPeer,
                format!("ambiguous peer '{}'; name it as /peers shows it", query.0),
            ),
        })
    }

    /// The one peer that a text means: a name (`name#digits` if names are alike), or hex digits.
    ///
    /// # Errors
    /// No peer matches, or more than one.
    pub(super) fn resolve(&self, query: &PeerQuery) -> Result<PeerId, Unresolved> {
        let text = query.0.as_str();
        let (name, digits) = match text.rsplit_once('#') {
            Some((name, digits)) => (Some(name), Some(digits)),
            None => (Some(text), None),
        };
        let named: BTreeSet<PeerId> = name
            .and_then(|name| DisplayName::from_user(name).ok())
            .map(|name| self.names.bearers(&name))
            .unwrap_or_default();
        let fits = match digits {
            Some(digits) => match hex_prefix(digits) {
                Some(prefix) => named
                    .into_iter()
                    .filter(|id| id.to_string().starts_with(&prefix))
                    .collect(),
                None => BTreeSet::new(),
            },
            None => {
                let by_id = hex_prefix(text).map(|prefix| {
                    self.peers
                        .keys()
                        .copied()
                        .filter(move |id| id.to_string().starts_with(&prefix))
                        .collect::<Vec<_>>()
                });
                named
                    .into_iter()
                    .chain(by_id.unwrap_or_default())
                    .collect::<BTreeSet<_>>()
            }
        };
        let mut fits = fits.into_iter();
        match (fits.next(), fits.next()) {
            (Some(_), Some(_)) => Err(Unresolved::Ambiguous),
            (Some(id), None)
                if self
                    .peers
                    .get(&id)
                    .is_some_and(|peer| peer.departure().is_none()) =>
            {
                Ok(id)
            }
            _ => Err(Unresolved::Nobody),
        }
    }
}

/// The text as a prefix of an id, if it can be one.
fn hex_prefix(text: &str) -> Option<String> {
    let fits = (MIN_DIGITS..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::conn_id::ConnId;
    use crate::mesh::event::DownReason;
    use crate::mesh::peer::Parting;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn roster(peers: &[(u8, Option<&str>)]) -> Roster {
        let mut roster = Roster::new(PeerId([0xff; 32]), Duration::from_secs(60));
        for (byte, name) in peers {
            let id = PeerId([*byte; 32]);
            roster.entry(Instant::now(), id);
            roster.rename(&id, name.and_then(|name| DisplayName::from_wire(name).ok()));
        }
        roster
    }

    fn resolve(roster: &Roster, text: &str) -> Result<u8, Unresolved> {
        roster.resolve(&PeerQuery(text.into())).map(|id| id.0[0])
    }

    fn shown(roster: &Roster, byte: u8) -> String {
        roster.get(&PeerId([byte; 32])).unwrap().who().shown.clone()
    }

    #[test]
    fn a_peer_is_found_by_name_and_by_digits() {
        let roster = roster(&[(0xab, Some("alice")), (0xcd, None)]);
        assert_eq!(resolve(&roster, "alice"), Ok(0xab));
        assert_eq!(resolve(&roster, "cdcdcdcd"), Ok(0xcd));
        assert_eq!(resolve(&roster, "CDCDCDCD"), Ok(0xcd));
        assert_eq!(resolve(&roster, "cdcdcdc"), Err(Unresolved::Nobody));
        assert_eq!(resolve(&roster, "alice#abababab"), Ok(0xab));
        assert_eq!(resolve(&roster, "alice#cdcdcdcd"), Err(Unresolved::Nobody));
        assert_eq!(resolve(&roster, "bob"), Err(Unresolved::Nobody));
        assert_eq!(resolve(&roster, "ffffffff"), Err(Unresolved::Nobody));
    }

    #[test]
    fn a_name_that_two_have_borne_is_ambiguous_while_both_are_here() {
        let mut roster = roster(&[(0xab, Some("alice")), (0xcd, Some("alice"))]);
        assert_eq!(resolve(&roster, "alice"), Err(Unresolved::Ambiguous));
        assert_eq!(shown(&roster, 0xab), "alice#abababab");
        roster.rename(&PeerId([0xcd; 32]), DisplayName::from_wire("carol").ok());
        assert_eq!(resolve(&roster, "alice"), Err(Unresolved::Ambiguous));
        assert_eq!(shown(&roster, 0xab), "alice#abababab");
        assert_eq!(shown(&roster, 0xcd), "carol");
        assert_eq!(resolve(&roster, "alice#abababab"), Ok(0xab));
        roster.leave(Instant::now(), &PeerId([0xcd; 32]));
        assert_eq!(shown(&roster, 0xab), "alice");
        assert_eq!(resolve(&roster, "alice"), Ok(0xab));
    }

    #[test]
    fn a_name_that_looks_like_another_is_shown_with_its_digits() {
        let roster = roster(&[(0xab, Some("alice")), (0xcd, Some("аlice"))]);
        assert_eq!(shown(&roster, 0xab), "alice#abababab");
        assert_eq!(shown(&roster, 0xcd), "аlice#cdcdcdcd");
        assert_eq!(resolve(&roster, "Alice"), Err(Unresolved::Ambiguous));
        assert_eq!(resolve(&roster, "alice#cdcdcdcd"), Ok(0xcd));
    }

    #[test]
    fn remaining_peer_of_two_with_a_name_is_in_doubt() {
        let mut roster = roster(&[(0xab, Some("bob")), (0xcd, Some("bob"))]);
        let missed = roster.get_mut(&PeerId([0xcd; 32])).unwrap();
        missed.miss(Instant::now());
        let heirs = roster.leave(Instant::now(), &PeerId([0xab; 32]));
        assert_eq!(heirs.len(), 1);
        let before = |roster: &Roster, text: &str| {
            let before = roster.doubt(&PeerQuery(text.into()), &PeerId([0xcd; 32]));
            before.map(|before| before.id.0[0])
        };
        assert_eq!(before(&roster, "bob"), Some(0xab));
        assert_eq!(before(&roster, "bob#cdcdcdcd"), None);
        assert_eq!(before(&roster, "cdcdcdcd"), None);
        roster.confirm(&PeerQuery("bob".into()), &PeerId([0xcd; 32]));
        assert_eq!(before(&roster, "bob"), None);
    }

    #[test]
    fn only_those_who_can_be_named_are_addressees() {
        let mut roster = roster(&[
            (1, Some("alice")),
            (2, Some("bob")),
            (3, Some("bob")),
            (4, None),
        ]);
        let up = |roster: &Roster| {
            let all = roster.addressees().into_iter();
            all.map(|it| it.shown).collect::<Vec<_>>()
        };
        assert!(up(&roster).is_empty());
        for byte in 1..=4 {
            let missed = roster.get_mut(&PeerId([byte; 32])).unwrap();
            missed.miss(Instant::now());
        }
        let all = ["alice", "bob#02020202", "bob#03030303", "0404040404040404"];
        assert_eq!(up(&roster), all);
        let gone = roster.get_mut(&PeerId([2; 32])).unwrap();
        gone.leave(Instant::now());
        roster.leave(Instant::now(), &PeerId([2; 32]));
        assert_eq!(up(&roster), ["alice", "bob", "0404040404040404"]);
    }

    #[test]
    fn digits_grow_until_they_tell_apart() {
        let mut roster = roster(&[(0xab, Some("alice"))]);
        let mut near = [0xab; 32];
        near[5] = 0;
        roster.entry(Instant::now(), PeerId(near));
        roster.rename(&PeerId(near), DisplayName::from_wire("alice").ok());
        assert_eq!(shown(&roster, 0xab), "alice#ababababab".to_owned() + "a");
    }

    #[test]
    fn names_are_reported_once_per_second_the_last_counts() {
        let (now, mut output) = (Instant::now(), Output::default());
        let mut roster = roster(&[(1, None)]);
        let id = PeerId([1; 32]);
        let mut told = |roster: &mut Roster, at: Instant, names: &[&str]| {
            for name in names {
                let name = DisplayName::from_wire(name).ok();
                roster.take_name(at, &id, name, true, &mut output);
            }
            roster.tell_names(at, &mut output);
            let events = std::iter::from_fn(|| output.poll_event());
            let names = events.filter_map(|event| match event {
                Event::PeerName { who, .. } => Some(who.shown.clone()),
                _ => None,
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(told(&mut roster, now, &["ann", "bea", "cat"]), ["ann"]);
        assert_eq!(roster.name_deadline(), Some(now + RENAME_PAUSE));
        assert_eq!(told(&mut roster, now + RENAME_PAUSE, &[]), ["cat"]);
        roster.refresh();
        assert_eq!(roster.name_deadline(), None);
    }

    /// Compares the index with a search through all peers.
    #[test]
    fn index_agrees_with_a_search_after_every_change() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut now, give_up) = (Instant::now(), Duration::from_secs(60));
        let mut roster = roster(&[]);
        for step in 0..5000 {
            let mut draw = |below: u64| rng.next_u64() % below;
            let id = PeerId([draw(8) as u8; 32]);
            let (what, conn, tie) = (draw(11), ConnId(step), draw(2) == 0);
            let peer = roster.entry(now, id).unwrap();
            match what {
                0 => peer.link(now, conn),
                1 => peer.miss(now),
                2 => peer.lose(now, DownReason::Lost, tie.then_some(now)),
                3 => drop(peer.part(now, Parting::Goodbye { leaving: tie })),
                4 => drop(peer.part(now, Parting::Disconnect)),
                5 => drop(peer.take_farewell()),
                6 => peer.forgive(),
                7 => peer.uptake.patience.holds_up(now, tie),
                8 => drop(peer.take_untold_loss()),
                9 => (peer.naming.next, peer.naming.told_at) = (tie.then_some(None), Some(now)),
                _ => now += Duration::from_secs(1),
            }
            roster.refresh();
            let first = |moment: &dyn Fn(&Peer) -> Option<Instant>| {
                roster.iter().filter_map(|(_, peer)| moment(peer)).min()
            };
            let since = |peer: &Peer| peer.is_awaited().then_some(peer.since);
            let stall = first(&|peer| peer.uptake.patience.ends_at(give_up));
            assert_eq!(roster.stall_deadline(), stall, "step {step}");
            assert_eq!(roster.away_deadline(Duration::ZERO), first(&since));
            assert_eq!(roster.loss_deadline(), first(&Peer::untold_until));
            assert_eq!(roster.name_deadline(), first(&Peer::next_name_at));
            let leaving = roster.iter().filter(|(_, peer)| peer.is_leaving());
            let leaving: SortedSet<_> = leaving.map(|(id, _)| *id).collect();
            assert_eq!(roster.farewells(), leaving, "nobody has said anything");
        }
    }

    #[test]
    fn only_touched_peers_are_looked_at() {
        let now = Instant::now();
        let mut roster = roster(&[]);
        for byte in 0..200 {
            roster.entry(now, PeerId([byte; 32])).unwrap().miss(now);
        }
        roster.refresh();
        let (before, version) = (roster.looks(), roster.version());
        let id = PeerId([7; 32]);
        for step in 1..=100 {
            roster.get_mut(&id).unwrap().showing.seq += 1;
            assert_eq!(roster.version(), None, "it is not known yet");
            assert!(roster.stalled(now).is_empty() && roster.talkers().is_empty());
            assert!(roster.away_deadline(Duration::ZERO).is_some());
            assert_eq!(roster.looks(), before + step);
            assert_eq!(roster.version(), version);
        }
        roster.get_mut(&id).unwrap().leave(now);
        roster.refresh();
        assert_ne!(roster.version(), version);
    }

    #[test]
    fn moments_of_a_peer_are_known_as_they_change() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut roster = roster(&[]);
        let id = PeerId([1; 32]);
        let peer = roster.entry(start, id).unwrap();
        peer.link(start, ConnId(1));
        peer.uptake.patience.holds_up(start, true);
        let stall = start + 60 * second;
        assert!(roster.stalled(stall).iter().eq([&id]));
        assert_eq!(roster.stall_deadline(), Some(stall));
        roster.stop_pause(start);
        assert!(roster.stalled(stall).is_empty());
        let peer = roster.get_mut(&id).unwrap();
        peer.lose(start, DownReason::Lost, Some(start + 2 * second));
        assert!(roster.untold_losses(start + second).is_empty());
        assert_eq!(roster.untold_losses(start + 2 * second).len(), 1);
        assert_eq!(roster.loss_deadline(), Some(start + 2 * second));
        assert_eq!(roster.away_deadline(second), Some(start + second));
        assert_eq!(roster.away(start + second, second).len(), 1);
        let peer = roster.get_mut(&id).unwrap();
        peer.link(start + second, ConnId(2));
        roster.refresh();
        assert_eq!((roster.lost_last(), roster.loss_deadline()), (None, None));
        let peer = roster.get_mut(&id).unwrap();
        peer.part(start, Parting::Goodbye { leaving: true });
        assert_eq!(roster.farewells().len(), 1);
        roster.get_mut(&id).unwrap().take_farewell();
        assert!(roster.farewells().is_empty());
    }

    #[test]
    fn roster_is_bounded_and_keeps_important_peers() {
        let mut roster = Roster::new(PeerId([0xff; 32]), Duration::from_secs(60));
        let id = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            PeerId(bytes)
        };
        for n in 0..300 {
            let peer = roster.entry(Instant::now(), id(n));
            if let Some(peer) = peer.filter(|_| n < 10) {
                peer.miss(Instant::now());
            }
        }
        assert_eq!(roster.peers.len(), MAX_PEERS);
        assert!((0..10).all(|n| roster.get(&id(n)).is_some()));
        assert!(roster.entry(Instant::now(), PeerId([0xff; 32])).is_none());
    }
}
