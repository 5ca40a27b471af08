//! All addresses that may be dialled: by whose word, which of them are kept, and when the first is
//! due.

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

/// The most addresses kept, those of the user aside.
pub const MAX_TARGETS: usize = 512;
/// The most addresses at which one peer says that another, or itself, is.
const MAX_EACH: usize = 2;
/// How long a new address of gossip waits at most, so that not all dial somebody new at once.
pub const SPREAD: Duration = Duration::from_millis(500);
/// How much longer the end with the greater id waits before it dials somebody new, so that most
/// pairs are linked by one connection.
const POLITENESS: Duration = Duration::from_millis(1500);

/// That a peer is at an address.
pub struct Claim {
    /// The address.
    pub address: Address,
    /// Who is there.
    pub peer: PeerId,
    /// Who says so.
    pub teller: PeerId,
    /// From where that one is linked.
    pub voucher: Voucher,
    /// Whether its connection bears it out: it came from that IP address.
    pub seen: bool,
    /// What is taken over the link over which it was told.
    pub scopes: Scopes,
    /// Whether the other end should dial first.
    pub polite: bool,
}

/// The addresses, in their order.
///
/// When the first one is due is asked after each step of the engine, and working it out takes a look
/// at every address and at whom it may lead to. So it is kept, together with what it rests on: the
/// addresses, which are changed only through [`Self::change`], and how the peers stand
/// ([`Roster::version`]), of which a target knows nothing but [`Roster::standing`].
#[derive(Default)]
pub struct Targets {
    all: BTreeMap<Address, Target>,
    budget: DialBudget,
    first: Option<First>,
    /// How much was said so far.
    claims: u64,
    /// How often every address was looked at.
    #[cfg(test)]
    pub looks: std::cell::Cell<u32>,
}

/// When the first address is due, if any is, as long as the peers stand as they did then.
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
    /// The addresses, to be changed.
    pub fn change(&mut self) -> &mut BTreeMap<Address, Target> {
        self.first = None;
        &mut self.all
    }

    /// What gossip may still have this end dial.
    pub fn budget(&self) -> &DialBudget {
        &self.budget
    }

    /// The same, to be changed, and the addresses.
    pub fn change_with_budget(&mut self) -> (&mut BTreeMap<Address, Target>, &mut DialBudget) {
        self.first = None;
        (&mut self.all, &mut self.budget)
    }

    /// A peer is said, or seen, to be at an address. What has answered there is known better.
    pub fn learn(&mut self, now: Instant, rng: &mut dyn CryptoRng, roster: &Roster, claim: Claim) {
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
        let mut target = Target::new(now + wait, scopes);
        target.said.push(said);
        self.change().insert(address, target);
    }

    /// Drops addresses that are good for nothing, and that nobody's word would make room of.
    fn drop_needless(&mut self, roster: &Roster) {
        let needless = |(_, target): &(&Address, &Target)| target.is_needless(roster);
        let needless = self.iter().filter(needless);
        let needless: Vec<_> = needless.map(|(address, _)| address.clone()).collect();
        for address in needless {
            self.drop_target(&address);
        }
    }

    /// Drops what is oldest of what this teller says of this peer, if it says much; or, where all
    /// places are taken, of the network that takes most, and in it of the member that does.
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

    /// Of the addresses at which a peer has answered few are enough, this one among them.
    pub fn keep_few(&mut self, address: &Address, peer: &PeerId) {
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

    /// Nothing is said of this peer any more; addresses that only it made worth keeping are dropped.
    pub fn forget(&mut self, peer: &PeerId) {
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

    /// When an address should be dialled, if it should.
    pub fn due_at(&self, address: &Address, target: &Target, roster: &Roster) -> Option<Instant> {
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

    /// Whether an address should be dialled some time, as things are.
    pub fn is_wanted(&self, address: &Address, target: &Target, roster: &Roster) -> bool {
        let mut payers = target.payers(address, roster, &self.budget);
        !target.stopped && (target.is_known_and_wanted(roster) || payers.next().is_some())
    }

    /// When the first one should be dialled.
    pub fn first_due(&self, roster: &Roster) -> Option<Instant> {
        match self.kept(roster) {
            Some(first) => first.due,
            None => self.look(roster),
        }
    }

    /// The same, kept for when it is asked again.
    pub fn keep_first_due(&mut self, roster: &Roster) -> Option<Instant> {
        if let Some(first) = self.kept(roster) {
            return first.due;
        }
        let due = self.look(roster);
        let kept = roster.version().map(|version| First { due, version });
        self.first = kept;
        due
    }

    /// What was worked out, if it still holds.
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
