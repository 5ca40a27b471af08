//! All addresses that may be dialled: which claims about them are kept, and when the first is due.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::backoff;
use super::dial_budget::{DialBudget, Voucher};
use super::roster::Roster;
use super::scope::Scopes;
use super::target::{Claimants, MAX_CLAIMS, Said, Target};
use crate::proto::{Address, PeerId};

/// The most addresses kept, beside those of the user.
pub(super) const MAX_TARGETS: usize = 512;
/// The most addresses that one peer may claim for another, or for itself.
const MAX_EACH: usize = 2;
/// The longest delay of a gossiped new address, so that not all peers dial a newcomer at once.
pub(super) const SPREAD: Duration = Duration::from_millis(500);
/// How much longer the end with the greater id waits before it dials a newcomer, so that most pairs
/// are linked by one connection.
const POLITENESS: Duration = Duration::from_millis(1500);

/// A claim that a peer is at an address.
pub(super) struct Claim {
    /// The address.
    pub address: Address,
    /// The peer that is claimed to be there.
    pub peer: PeerId,
    /// The peer that makes the claim.
    pub teller: PeerId,
    /// The address that the teller is linked from.
    pub voucher: Voucher,
    /// Whether the claim is about the teller itself, and its connection came from that IP address.
    pub seen: bool,
    /// The scopes accepted over the link on which it was gossiped.
    pub scopes: Scopes,
    /// Whether the other end should dial first.
    pub polite: bool,
}

/// The addresses, in their order.
///
/// After each step the engine asks when the first one is due. To work that out takes a look at
/// every address and at the peers it may lead to. The result is therefore kept, together with what
/// it depends on: the addresses, which are changed only through [`Self::change`], and the standings
/// of the peers ([`Roster::version`]); a target uses nothing else of the roster.
#[derive(Default)]
pub(super) struct Targets {
    all: BTreeMap<Address, Target>,
    budget: DialBudget,
    first: Option<First>,
    /// How often the addresses were opened for changes.
    version: u64,
    /// The number of claims so far.
    claims: u64,
    /// How often all addresses were searched.
    #[cfg(test)]
    pub looks: std::cell::Cell<u32>,
}

/// When the first address is due, if any is, as long as the standings of the peers are the same.
struct First {
    due: Option<Instant>,
    version: u64,
}

impl Deref for Targets {
    type Target = BTreeMap<Address, Target>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Targets {
    /// The addresses, for changes.
    pub(super) fn change(&mut self) -> &mut BTreeMap<Address, Target> {
        self.change_with_budget().0
    }

    /// Grows with each change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The dials that gossip may still cause.
    pub(super) fn budget(&self) -> &DialBudget {
        &self.budget
    }

    /// The addresses and the budget, for changes.
    pub(super) fn change_with_budget(
        &mut self,
    ) -> (&mut BTreeMap<Address, Target>, &mut DialBudget) {
        self.first = None;
        self.version += 1;
        (&mut self.all, &mut self.budget)
    }

    /// Takes a claim, or what this end observed. A peer that has answered at the address counts for
    /// more.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        roster: &Roster,
        claim: Claim,
    ) {
        let Claim {
            address,
            peer,
            teller,
            voucher,
            seen,
            scopes,
            polite,
        } = claim;
        self.claims += 1;
        let said = Said {
            peer,
            teller,
            seen,
            advertised: peer == teller && !seen,
            vouchers: vec![voucher],
            order: self.claims,
        };
        let (targets, budget) = self.change_with_budget();
        if let Some(target) = targets.get_mut(&address) {
            target.hear(roster, budget, said, scopes);
            return;
        }
        self.drop_needless(roster);
        self.make_room(roster, &peer, &teller);
        let mut wait = SPREAD.mul_f64(backoff::fraction(rng));
        if polite {
            wait += POLITENESS;
        }
        let mut target = Target::new(now, now + wait, scopes);
        target.said.push(said);
        self.change().insert(address, target);
    }

    /// Drops addresses that are of no use, which no claim would push out.
    fn drop_needless(&mut self, roster: &Roster) {
        let needless = |(_, target): &(&Address, &Target)| target.is_needless(roster);
        let needless = self.iter().filter(needless);
        let needless: Vec<_> = needless.map(|(address, _)| address.clone()).collect();
        for address in needless {
            self.drop_target(&address);
        }
    }

    /// Makes room for a claim: drops the oldest of this teller's claims about this peer if there
    /// are many; or, if all places are taken, one of the member with most, in the network with
    /// most.
    fn make_room(&mut self, roster: &Roster, peer: &PeerId, teller: &PeerId) {
        let idle = || {
            let idle = |target: &Target| {
                let there = target.peer.and_then(|id| roster.get(&id));
                !target.user && there.is_none() && target.dialling.is_none()
            };
            self.iter()
                .filter(move |(_, target)| idle(target))
                .filter_map(|(address, target)| Some((address, target.said.first()?)))
        };
        let its_own = |said: &Said| said.peer == *peer && said.teller == *teller;
        let victim = if idle().filter(|(_, said)| its_own(said)).count() >= MAX_EACH {
            idle()
                .filter(|(_, said)| its_own(said))
                .min_by_key(|(_, said)| said.order)
        } else if idle().count() >= MAX_TARGETS {
            let shares = Claimants::of(idle().map(|(_, said)| said));
            idle().max_by_key(|(_, said)| (shares.held(said), Reverse(said.order)))
        } else {
            None
        };
        if let Some(address) = victim.map(|(address, _)| address.clone()) {
            self.drop_target(&address);
        }
    }

    fn drop_target(&mut self, address: &Address) {
        self.change().remove(address);
    }

    /// Keeps only a few of the addresses at which a peer has answered, this one among them.
    pub(super) fn keep_few(&mut self, address: &Address, peer: &PeerId) {
        let others = self.iter().filter(|(other, target)| {
            !target.user && target.peer == Some(*peer) && *other != address
        });
        let surplus = others.clone().count().saturating_sub(MAX_CLAIMS - 1);
        let surplus: Vec<_> = others
            .take(surplus)
            .map(|(other, _)| other.clone())
            .collect();
        for other in surplus {
            self.change().remove(&other);
        }
    }

    /// Drops all claims about this peer, and the addresses that were kept only for them.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        for target in self.change().values_mut() {
            target.said.retain(|said| said.peer != *peer);
        }
        let gone: Vec<_> = self
            .iter()
            .filter(|(_, target)| {
                !target.user
                    && target.said.is_empty()
                    && (target.peer.is_none() || target.peer == Some(*peer))
                    && target.dialling.is_none()
            })
            .map(|(address, _)| address.clone())
            .collect();
        for address in gone {
            self.drop_target(&address);
        }
    }

    /// When to dial an address, if at all.
    pub(super) fn due_at(
        &self,
        address: &Address,
        target: &Target,
        roster: &Roster,
    ) -> Option<Instant> {
        if target.dialling.is_some() || target.stopped {
            return None;
        }
        if target.is_known_and_wanted(roster) {
            return Some(target.due);
        }
        let vouchers = target.payers(address, roster, &self.budget);
        let payers: Vec<_> = vouchers.map(|voucher| voucher.network).collect();
        if payers.is_empty() {
            return None;
        }
        self.budget.ready_at(&payers).max(Some(target.due))
    }

    /// Whether an address will be dialled some time, if nothing changes.
    pub(super) fn is_wanted(&self, address: &Address, target: &Target, roster: &Roster) -> bool {
        let mut payers = target.payers(address, roster, &self.budget);
        !target.stopped && (target.is_known_and_wanted(roster) || payers.next().is_some())
    }

    /// When the first address is to be dialled.
    pub(super) fn first_due(&self, roster: &Roster) -> Option<Instant> {
        match self.kept(roster) {
            Some(first) => first.due,
            None => self.look(roster),
        }
    }

    /// When the first address is to be dialled, kept for the next call.
    pub(super) fn keep_first_due(&mut self, roster: &Roster) -> Option<Instant> {
        if let Some(first) = self.kept(roster) {
            return first.due;
        }
        let due = self.look(roster);
        let kept = roster.version().map(|version| First { due, version });
        self.first = kept;
        due
    }

    /// The kept result, if it is still valid.
    fn kept(&self, roster: &Roster) -> Option<&First> {
        let first = self.first.as_ref()?;
        (roster.version() == Some(first.version)).then_some(first)
    }

    fn look(&self, roster: &Roster) -> Option<Instant> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let due = self.all.iter();
        due.filter_map(|(address, target)| self.due_at(address, target, roster))
            .min()
    }
}
