//! The names that peers bear or have borne in this run, so that no peer can hide behind another's
//! name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Predecessor;
use crate::proto::{DisplayName, PeerId};

/// The most names remembered of present identities.
const MAX_NAMES: usize = 4096;
/// The most of them of one peer.
const MAX_EACH: usize = 16;
/// The most departed peers remembered.
const MAX_LEFT: usize = 1024;
/// The most ids remembered for telling ids apart by their first digits.
const MAX_SEEN: usize = 8192;
/// The fewest hex digits that may stand for a peer.
pub(super) const MIN_DIGITS: usize = 8;

/// The names and ids of a run.
///
/// An identity is present until it leaves. Until then every name that it has borne belongs to it:
/// its current name and 15 others. Names that look alike have a skeleton in common, so skeletons
/// are compared.
pub(super) struct Names {
    /// The names of each present identity, oldest first.
    of: BTreeMap<PeerId, Vec<Name>>,
    /// The identities that have a name with this skeleton.
    by: BTreeMap<String, BTreeSet<PeerId>>,
    /// The number of names in `of`.
    count: usize,
    /// How many were ever added.
    added: u64,
    left: BTreeMap<PeerId, Left>,
    seen: BTreeSet<PeerId>,
    own: PeerId,
}

struct Name {
    name: DisplayName,
    skeletons: BTreeSet<String>,
    /// How many were added before this one.
    order: u64,
    /// The departed peer that bore this name, until the user has confirmed that the present one is
    /// meant.
    doubt: Option<Arc<Predecessor>>,
}

/// A peer that has left.
struct Left {
    names: Vec<Name>,
    at: Instant,
    /// How long it had been known.
    stay: Duration,
    /// The network that its last link came from.
    network: Option<u128>,
}

/// The circumstances in which a peer leaves.
pub(super) struct Leave {
    /// When it was last here.
    pub at: Instant,
    /// How long it had been known then.
    pub stay: Duration,
    /// The network that its last link came from.
    pub network: Option<u128>,
}

impl Names {
    /// No names yet.
    pub(super) fn new(own: PeerId) -> Self {
        Self {
            of: BTreeMap::new(),
            by: BTreeMap::new(),
            count: 0,
            added: 0,
            left: BTreeMap::new(),
            seen: BTreeSet::from([own]),
            own,
        }
    }

    /// Remembers an id. `known` says which ids are still needed.
    pub(super) fn see(&mut self, id: PeerId, known: impl Fn(&PeerId) -> bool) {
        if self.seen.len() >= MAX_SEEN {
            let (own, of) = (self.own, &self.of);
            self.seen
                .retain(|id| *id == own || known(id) || of.contains_key(id));
        }
        self.seen.insert(id);
    }

    /// Whether no other present identity has borne this name, or one that looks like it.
    pub(super) fn is_unambiguous(&self, id: &PeerId, name: &DisplayName) -> bool {
        let skeletons = name.skeletons();
        let mut bearers = skeletons
            .iter()
            .filter_map(|skeleton| self.by.get(skeleton));
        bearers.all(|bearers| bearers.iter().all(|bearer| bearer == id))
    }

    /// The present identities that have borne this name, or one that looks like it.
    pub(super) fn bearers(&self, name: &DisplayName) -> BTreeSet<PeerId> {
        let skeletons = name.skeletons();
        let bearers = skeletons
            .iter()
            .filter_map(|skeleton| self.by.get(skeleton));
        bearers.flatten().copied().collect()
    }

    /// Whether a peer has left, and has not come back under a name.
    pub(super) fn has_left(&self, id: &PeerId) -> bool {
        self.left.contains_key(id)
    }

    /// Notes that a peer bears a name now. Returns the departed peer that bore it before, if there
    /// is one. When the table is full, a name that no peer bears now makes room (`is_present` says
    /// which are borne): one of this very peer if it has had many, otherwise one of the peer with
    /// most, newest first. So no peer can make sesame forget the names of others.
    pub(super) fn remember(
        &mut self,
        id: PeerId,
        name: &DisplayName,
        is_present: impl Fn(&PeerId, &DisplayName) -> bool,
    ) -> Option<Arc<Predecessor>> {
        let old = self.left.remove(&id);
        let own = self.of.get(&id).map(Vec::as_slice).unwrap_or_default();
        if own.iter().any(|it| it.name == *name) {
            return None;
        }
        let skeletons = name.skeletons();
        let is_new = own
            .iter()
            .chain(old.iter().flat_map(|old| &old.names))
            .all(|it| it.skeletons.is_disjoint(&skeletons));
        if own.len() >= MAX_EACH {
            self.forget(Some(&id), &is_present);
        }
        if self.count >= MAX_NAMES {
            self.forget(None, &is_present);
        }
        for skeleton in &skeletons {
            self.by.entry(skeleton.clone()).or_default().insert(id);
        }
        let before = self.predecessor(&skeletons).filter(|_| is_new);
        self.added += 1;
        self.of.entry(id).or_default().push(Name {
            name: name.clone(),
            skeletons,
            order: self.added,
            doubt: before.clone(),
        });
        self.count += 1;
        before
    }

    /// The last departed peer that bore a name which looks like this one.
    fn predecessor(&self, skeletons: &BTreeSet<String>) -> Option<Arc<Predecessor>> {
        let named = self.left.iter().filter_map(|(id, left)| {
            let mut names = left.names.iter().rev();
            let name = names.find(|it| !it.skeletons.is_disjoint(skeletons))?;
            Some((left.at, id, name))
        });
        let (left_at, id, name) = named.max_by_key(|(at, id, _)| (*at, *id))?;
        Some(Arc::new(Predecessor {
            id: *id,
            name: name.name.clone(),
            left_at,
        }))
    }

    /// Forgets the past name that ranks highest.
    fn forget(&mut self, of: Option<&PeerId>, is_present: impl Fn(&PeerId, &DisplayName) -> bool) {
        let peers = self
            .of
            .iter()
            .filter(|(id, _)| of.is_none_or(|of| *id == of));
        let past = peers.flat_map(|(id, names)| {
            let past = names.iter().filter(|it| !is_present(id, &it.name));
            past.map(|it| ((names.len(), it.order), *id))
        });
        let Some(((_, order), id)) = past.max() else {
            return;
        };
        let Some(names) = self.of.get_mut(&id) else {
            return;
        };
        let forgotten: Vec<Name> = names.extract_if(.., |it| it.order == order).collect();
        if names.is_empty() {
            self.of.remove(&id);
        }
        self.count -= forgotten.len();
        self.unlist(&id, &forgotten);
    }

    /// Removes a peer from the index where none of its names has one of these skeletons any more.
    fn unlist(&mut self, id: &PeerId, forgotten: &[Name]) {
        let kept = self.of.get(id).map(Vec::as_slice).unwrap_or_default();
        for skeleton in forgotten.iter().flat_map(|it| &it.skeletons) {
            let is_kept = kept.iter().any(|it| it.skeletons.contains(skeleton));
            if let (false, Some(bearers)) = (is_kept, self.by.get_mut(skeleton)) {
                bearers.remove(id);
                if bearers.is_empty() {
                    self.by.remove(skeleton);
                }
            }
        }
    }

    /// A peer leaves: its names are free. When the table of departed peers is full, the network
    /// with most of them loses the one that was known for the shortest time. So an attacker who
    /// comes and goes under made-up names cannot make sesame forget peers that were here for long.
    pub(super) fn leave(&mut self, id: &PeerId, leave: &Leave) {
        let Some(names) = self.of.remove(id) else {
            return;
        };
        self.count -= names.len();
        self.unlist(id, &names);
        let left = Left {
            names,
            at: leave.at,
            stay: leave.stay,
            network: leave.network,
        };
        self.left.insert(*id, left);
        if self.left.len() <= MAX_LEFT {
            return;
        }
        let mut crowds: BTreeMap<Option<u128>, usize> = BTreeMap::new();
        for left in self.left.values() {
            *crowds.entry(left.network).or_default() += 1;
        }
        let crowd = |left: &Left| crowds.get(&left.network).copied();
        let victim = self
            .left
            .iter()
            .max_by_key(|(_, left)| (crowd(left), Reverse((left.stay, left.at))));
        if let Some(victim) = victim.map(|(id, _)| *id) {
            self.left.remove(&victim);
        }
    }

    /// Notes that a peer now has a name to itself that it shared with a departed one. Returns
    /// whether it did.
    pub(super) fn inherit(&mut self, id: &PeerId, name: &DisplayName, from: &PeerId) -> bool {
        let skeletons = name.skeletons();
        let before = self.predecessor(&skeletons).filter(|it| it.id == *from);
        if before.is_some() {
            self.alike(id, &skeletons)
                .for_each(|it| it.doubt.clone_from(&before));
        }
        before.is_some()
    }

    /// The peer that bore the name before this one, until the user has confirmed that this one is
    /// meant.
    pub(super) fn doubt(&self, id: &PeerId, name: &DisplayName) -> Option<&Arc<Predecessor>> {
        let skeletons = name.skeletons();
        let mut names = self.of.get(id)?.iter();
        names.find_map(|it| {
            let alike = !it.skeletons.is_disjoint(&skeletons);
            it.doubt.as_ref().filter(|_| alike)
        })
    }

    /// The user has confirmed that this name means this peer.
    pub(super) fn confirm(&mut self, id: &PeerId, name: &DisplayName) {
        self.alike(id, &name.skeletons())
            .for_each(|it| it.doubt = None);
    }

    /// The names of a peer that have one of these skeletons.
    fn alike<'a>(
        &'a mut self,
        id: &PeerId,
        skeletons: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a mut Name> {
        let names = self.of.get_mut(id).into_iter().flatten();
        names.filter(|it| !it.skeletons.is_disjoint(skeletons))
    }

    /// The smallest number of digits, 8 or more, with which no other id seen begins. Only the
    /// neighbours in order need a look: they have the longest prefix in common with it.
    pub(super) fn distinct_digits(&self, id: &PeerId) -> usize {
        let before = self.seen.range(..id).next_back();
        let after = self.seen.range(id..).find(|other| *other != id);
        let alike = before
            .into_iter()
            .chain(after)
            .map(|other| shared(id, other) + 1);
        alike.max().unwrap_or(0).clamp(MIN_DIGITS, 64)
    }
}

/// How many hex digits two ids have in common at their beginning.
fn shared(one: &PeerId, other: &PeerId) -> usize {
    let mut pairs = one.0.iter().zip(&other.0);
    let bytes = pairs.clone().take_while(|(a, b)| a == b).count();
    let half = pairs.nth(bytes).is_some_and(|(a, b)| a >> 4 == b >> 4);
    2 * bytes + usize::from(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> PeerId {
        let mut bytes = [0x77; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(bytes)
    }

    fn name(text: &str) -> DisplayName {
        DisplayName::from_wire(text).unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    fn leave(names: &mut Names, peer: u32, stay: u64, network: u128) {
        let leave = Leave {
            at: now(),
            stay: Duration::from_secs(stay),
            network: Some(network),
        };
        names.leave(&id(peer), &leave);
    }

    fn bear(names: &mut Names, peer: u32, text: &str) -> Option<PeerId> {
        let before = names.remember(id(peer), &name(text), |_, _| false);
        before.map(|before| before.id)
    }

    #[test]
    fn peer_cannot_make_names_of_others_forgotten() {
        let mut names = Names::new(id(0));
        bear(&mut names, 1, "alice");
        for n in 0..2 * MAX_NAMES {
            bear(&mut names, 2, &format!("Z{n}"));
        }
        assert_eq!(names.count, 1 + MAX_EACH);
        bear(&mut names, 2, "alice");
        assert!(!names.is_unambiguous(&id(1), &name("alice")));
        assert!(!names.is_unambiguous(&id(2), &name("alice")));
    }

    #[test]
    fn a_crowd_is_bounded_and_its_newest_names_go_first() {
        let mut names = Names::new(id(0));
        bear(&mut names, 1, "alice");
        for peer in 2..600 {
            for n in 0..MAX_EACH {
                bear(&mut names, peer, &format!("Z{peer}x{n}"));
            }
        }
        assert_eq!(names.count, MAX_NAMES);
        assert_eq!(names.of.values().map(Vec::len).sum::<usize>(), MAX_NAMES);
        assert!(names.by.len() <= 2 * MAX_NAMES);
        assert_eq!(names.bearers(&name("alice")), BTreeSet::from([id(1)]));
    }

    #[test]
    fn a_name_is_free_when_all_others_have_left() {
        let mut names = Names::new(id(0));
        for peer in 1..4 {
            bear(&mut names, peer, "alice");
        }
        bear(&mut names, 3, "carol");
        leave(&mut names, 1, 1, 1);
        // The third peer has borne the name too, and must not be taken for the second.
        assert!(!names.is_unambiguous(&id(2), &name("alice")));
        leave(&mut names, 3, 1, 1);
        assert!(names.is_unambiguous(&id(2), &name("alice")));
        assert!(names.bearers(&name("carol")).is_empty());
    }

    #[test]
    fn names_that_look_alike_are_one() {
        let mut names = Names::new(id(0));
        bear(&mut names, 1, "alice");
        bear(&mut names, 2, "аlice");
        assert!(!names.is_unambiguous(&id(1), &name("alice")));
        assert_eq!(names.bearers(&name("ALICE")).len(), 2);
    }

    #[test]
    fn a_name_taken_over_is_in_doubt_until_confirmed() {
        let mut names = Names::new(id(0));
        assert_eq!(bear(&mut names, 1, "bob"), None);
        leave(&mut names, 1, 60, 1);
        assert_eq!(bear(&mut names, 2, "Bob"), Some(id(1)));
        assert_eq!(bear(&mut names, 2, "bob"), None);
        let before = names.doubt(&id(2), &name("bob")).map(|before| before.id);
        assert_eq!(before, Some(id(1)));
        assert!(names.doubt(&id(2), &name("carol")).is_none());
        // Another name in between does not settle the doubt.
        bear(&mut names, 3, "carol");
        leave(&mut names, 3, 60, 1);
        assert_eq!(bear(&mut names, 2, "carol"), Some(id(3)));
        assert_eq!(bear(&mut names, 2, "bob"), None);
        assert!(names.doubt(&id(2), &name("bob")).is_some());
        names.confirm(&id(2), &name("Bob"));
        assert!(names.doubt(&id(2), &name("bob")).is_none());
        assert!(names.doubt(&id(2), &name("carol")).is_some());
        // The same peer may come back under its name.
        leave(&mut names, 2, 60, 1);
        assert_eq!(bear(&mut names, 2, "bob"), None);
    }

    #[test]
    fn departed_peer_is_remembered_despite_made_up_names() {
        let mut names = Names::new(id(0));
        bear(&mut names, 1, "bob");
        leave(&mut names, 1, 60, 1);
        for peer in 2..2 + 2 * MAX_LEFT as u32 {
            bear(&mut names, peer, &format!("Z{peer}"));
            // Also from the network of the departed peer.
            leave(&mut names, peer, 1, u128::from(peer % 3));
            assert!(names.left.len() <= MAX_LEFT);
        }
        assert_eq!(bear(&mut names, 9999, "bob"), Some(id(1)));
    }

    #[test]
    fn digits_grow_until_they_tell_apart() {
        let mut names = Names::new(id(0));
        for n in [0x1234_5678, 0x1234_5679, 0x2000_0000] {
            names.see(id(n), |_| true);
        }
        assert_eq!(names.distinct_digits(&id(0x1234_5678)), MIN_DIGITS);
        let mut near = id(0x1234_5678);
        near.0[5] ^= 1;
        names.see(near, |_| true);
        assert_eq!(names.distinct_digits(&id(0x1234_5678)), 12);
    }
}
