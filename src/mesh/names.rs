//! Every name borne in this run, and by whom: nobody can hide behind a name that was another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::{DisplayName, PeerId};

/// The most names remembered.
const MAX_NAMES: usize = 4096;
/// The most of them that one peer has borne alone.
const MAX_EACH: usize = 16;
/// Two bearers are enough for a name to be ambiguous for good.
const BEARERS: usize = 2;
/// Ids remembered for telling them apart by their first digits.
const MAX_SEEN: usize = 8192;
/// The least hex digits that may stand for a peer.
pub const MIN_DIGITS: usize = 8;

/// The names and ids of a run.
pub struct Names {
    borne: BTreeMap<DisplayName, Borne>,
    /// How many names each peer has borne alone.
    alone: BTreeMap<PeerId, usize>,
    seen: BTreeSet<PeerId>,
    own: PeerId,
    /// How many names were ever added.
    added: u64,
}

struct Borne {
    by: BTreeSet<PeerId>,
    /// How many were added before.
    order: u64,
}

impl Borne {
    fn sole(&self) -> Option<PeerId> {
        self.by.first().copied().filter(|_| self.by.len() == 1)
    }
}

impl Names {
    /// None yet.
    pub fn new(own: PeerId) -> Self {
        Self {
            borne: BTreeMap::new(),
            alone: BTreeMap::new(),
            seen: BTreeSet::from([own]),
            own,
            added: 0,
        }
    }

    /// An id was seen. `known` says which are still of interest.
    pub fn see(&mut self, id: PeerId, known: impl Fn(&PeerId) -> bool) {
        if self.seen.len() >= MAX_SEEN {
            let bearers: BTreeSet<PeerId> = self
                .borne
                .values()
                .flat_map(|borne| &borne.by)
                .copied()
                .collect();
            let own = self.own;
            self.seen
                .retain(|id| *id == own || known(id) || bearers.contains(id));
        }
        self.seen.insert(id);
    }

    /// Whether at most one has borne this name.
    pub fn is_unambiguous(&self, name: &DisplayName) -> bool {
        self.borne
            .get(name)
            .is_none_or(|borne| borne.by.len() < BEARERS)
    }

    /// Who has borne this name; the first ones, where there were many.
    pub fn bearers(&self, name: &DisplayName) -> BTreeSet<PeerId> {
        self.borne
            .get(name)
            .map(|borne| borne.by.clone())
            .unwrap_or_default()
    }

    /// Notes who bears a name. What makes room are names that nobody has now (`present` says which
    /// are): those of this very peer where it has had many, else of the one who had most, the
    /// newest first. So nobody alone can have the names of others forgotten.
    pub fn remember(
        &mut self,
        id: PeerId,
        name: DisplayName,
        present: impl Fn(&DisplayName) -> bool,
    ) {
        if let Some(borne) = self.borne.get_mut(&name) {
            if borne.by.len() < BEARERS && !borne.by.contains(&id) {
                if let Some(sole) = borne.sole() {
                    Self::less(&mut self.alone, sole);
                }
                borne.by.insert(id);
            }
            return;
        }
        let had = self.alone.get(&id).copied().unwrap_or_default();
        if had >= MAX_EACH {
            self.forget(
                |borne| (borne.sole() == Some(id)).then_some(u64::MAX - borne.order),
                &present,
            );
        }
        if self.borne.len() >= MAX_NAMES {
            let alone = self.alone.clone();
            let names = |borne: &Borne| alone.get(&borne.sole()?).copied();
            self.forget(|borne| Some((names(borne), borne.order)), &present);
        }
        self.added += 1;
        let borne = Borne {
            by: BTreeSet::from([id]),
            order: self.added,
        };
        self.borne.insert(name, borne);
        *self.alone.entry(id).or_default() += 1;
    }

    /// Forgets the past name that ranks highest.
    fn forget<R: Ord>(
        &mut self,
        rank: impl Fn(&Borne) -> Option<R>,
        present: impl Fn(&DisplayName) -> bool,
    ) {
        let past = self.borne.iter().filter(|(name, _)| !present(name));
        let victim = past
            .filter_map(|(name, borne)| Some((rank(borne)?, name)))
            .max_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, name)| name.clone());
        let sole = victim
            .and_then(|name| self.borne.remove(&name))
            .and_then(|borne| borne.sole());
        if let Some(sole) = sole {
            Self::less(&mut self.alone, sole);
        }
    }

    fn less(alone: &mut BTreeMap<PeerId, usize>, id: PeerId) {
        if let Some(count) = alone.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                alone.remove(&id);
            }
        }
    }

    /// The least number of digits, 8 or more, with which no other id seen begins: those next to it
    /// in order have the most in common with it.
    pub fn distinct_digits(&self, id: &PeerId) -> usize {
        let before = self.seen.range(..id).next_back();
        let after = self.seen.range(id..).find(|other| *other != id);
        let alike = before
            .into_iter()
            .chain(after)
            .map(|other| shared(id, other) + 1);
        alike.max().unwrap_or(0).clamp(MIN_DIGITS, 64)
    }

    /// How many names are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.borne.len()
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

    #[test]
    fn one_peer_cannot_have_the_names_of_others_forgotten() {
        let mut names = Names::new(id(0));
        names.remember(id(1), name("alice"), |_| false);
        for n in 0..2 * MAX_NAMES {
            names.remember(id(2), name(&format!("Z{n}")), |_| false);
        }
        assert_eq!(names.len(), 1 + MAX_EACH);
        names.remember(id(2), name("alice"), |_| false);
        assert!(!names.is_unambiguous(&name("alice")));
    }

    #[test]
    fn a_crowd_is_bounded_and_its_newest_names_go_first() {
        let mut names = Names::new(id(0));
        names.remember(id(1), name("alice"), |_| false);
        for peer in 2..600 {
            for n in 0..MAX_EACH {
                names.remember(id(peer), name(&format!("Z{peer}x{n}")), |_| false);
            }
        }
        assert_eq!(names.len(), MAX_NAMES);
        assert_eq!(names.bearers(&name("alice")), BTreeSet::from([id(1)]));
    }

    #[test]
    fn a_third_bearer_is_not_counted_and_the_name_stays_ambiguous() {
        let mut names = Names::new(id(0));
        for peer in 1..1000 {
            names.remember(id(peer), name("alice"), |_| true);
        }
        assert_eq!(names.bearers(&name("alice")).len(), BEARERS);
        assert!(names.alone.is_empty());
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
