//! Dials: which comes next, and how its result counts (PROTOCOL.md, section 10).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::admission::Network;
use super::backoff;
use super::conn_id::ConnId;
use super::dial_budget::{Site, Voucher};
use super::peer::{MAX_PEERS, Standing};
use super::roster::Roster;
use super::scope::Scopes;
use super::target::{Hint, Paid, Target};
use super::targets::{Claim, Targets};
use crate::proto::{Address, Host, PeerId};

/// The most addresses of a name that are considered.
const MAX_NUMBERS: usize = 8;
/// How long after a dial that led back here the address is tried again: an attacker in between may
/// have passed the dial on.
const OWN_PAUSE: Duration = Duration::from_secs(600);
/// How long a link has to last for the next dial to come as soon as a first one.
const LASTING: Duration = Duration::from_secs(10);
/// Answers with another phrase in a row after which an address is no longer dialled.
const MAX_REFUSALS: u32 = 5;

/// How the dial of an address begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialStep {
    /// With a connection to it.
    Connect,
    /// With the resolution of its name: it comes from gossip, so the addresses have to be judged.
    LookUp,
}

/// All addresses, and when to dial them.
#[derive(Default)]
pub(super) struct Dialing {
    targets: Targets,
    /// When gossip of each network was last followed, so that networks take turns; and within a
    /// network, gossip of each member.
    followed: BTreeMap<Network, Instant>,
    followed_members: BTreeMap<Voucher, Instant>,
}

impl Dialing {
    /// The user wants a connection to this address, with any peer. With `persistent` it is also
    /// redialled after the peer there says goodbye.
    pub(super) fn want(&mut self, now: Instant, address: Address, persistent: bool) {
        let target = self
            .targets
            .change()
            .entry(address)
            .or_insert_with(|| Target::new(now, now, Scopes::ALL));
        (target.user, target.stopped, target.own) = (true, false, false);
        target.persistent = persistent;
        (target.peer, target.since, target.error) = (None, now, None);
        (target.failures, target.refusals, target.quick_tries) = (0, 0, 0);
        target.attempts = 0;
        target.due = now;
    }

    /// Takes a claim, or an observation, that a peer is at an address; see [`Targets::learn`].
    pub(super) fn learn(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        roster: &Roster,
        claim: Claim,
    ) {
        self.targets.learn(now, rng, roster, claim);
    }

    /// The address to dial now. The caller answers with [`Self::dialled`].
    pub(super) fn next(&mut self, now: Instant, roster: &Roster) -> Option<Address> {
        self.targets
            .keep_first_due(roster)
            .filter(|due| *due <= now)?;
        let is_ready = |(address, target): &(&Address, &Target)| {
            let due = self.targets.due_at(address, target, roster);
            due.is_some_and(|due| due <= now)
        };
        let turn = |address: &Address, target: &Target| {
            let payer = self.payer(now, roster, address, target);
            (payer.map(|payer| self.followed(&payer)), target.due)
        };
        let ready = self.targets.iter().filter(is_ready);
        ready
            .min_by_key(|(address, target)| turn(address, target))
            .map(|(address, _)| address.clone())
    }

    /// The member whose network pays for a dial, if one has to: of those that can pay, the one that
    /// did so longest ago.
    fn payer(
        &self,
        now: Instant,
        roster: &Roster,
        address: &Address,
        target: &Target,
    ) -> Option<Voucher> {
        if target.is_known_and_wanted(roster) {
            return None;
        }
        let budget = self.targets.budget();
        let payers = target.payers(address, roster, budget);
        payers
            .filter(|payer| budget.can_pay(now, payer.network))
            .min_by_key(|payer| self.followed(payer))
    }

    /// When gossip of its network, and its own, was last followed.
    fn followed(&self, voucher: &Voucher) -> (Option<Instant>, Option<Instant>) {
        let network = self.followed.get(&voucher.network);
        let member = self.followed_members.get(voucher);
        (network.copied(), member.copied())
    }

    /// When [`Self::next`] returns an address.
    pub(super) fn deadline(&self, roster: &Roster) -> Option<Instant> {
        self.targets.first_due(roster)
    }

    /// This connection dials the address. Returns how to begin; after [`DialStep::LookUp`] the
    /// caller asks [`Self::looked_up`].
    pub(super) fn dialled(
        &mut self,
        now: Instant,
        roster: &Roster,
        address: &Address,
        conn: ConnId,
    ) -> DialStep {
        let target = self.targets.get(address);
        let payer = target.and_then(|target| self.payer(now, roster, address, target));
        if let Some(voucher) = payer {
            note_turn(&mut self.followed, voucher.network, now);
            note_turn(&mut self.followed_members, voucher, now);
        }
        let (targets, budget) = self.targets.change_with_budget();
        let Some(target) = targets.get_mut(address) else {
            return DialStep::Connect;
        };
        target.dialling = Some(conn);
        target.attempts = target.attempts.saturating_add(1);
        target.dialled_at = Some(now);
        target.paid = payer.map(|Voucher { network, .. }| {
            budget.pay(now, network);
            budget.charge(Site::of(address), address, network);
            let sites = vec![Site::of(address)];
            Paid { network, sites }
        });
        match address.host {
            Host::Name(_) if !target.user => DialStep::LookUp,
            _ => DialStep::Connect,
        }
    }

    /// Whether a hint may lead to a dial of this address now: it is not being dialled, nor one that
    /// rests because of who answered there, nor one where a peer that is up was reached or seen.
    pub(super) fn may_follow_hint(&self, now: Instant, roster: &Roster, address: &Address) -> bool {
        let Some(target) = self.targets.get(address) else {
            return true;
        };
        let rests = target.stopped || target.own && now < target.due;
        let there = target.peer.and_then(|id| roster.standing(&id));
        let is_here = there == Some(Standing::Up) || target.is_here(roster);
        target.dialling.is_none() && !rests && !is_here
    }

    /// Whether a member that is linked from this address may have this one dialled, as far as the
    /// limits of gossip allow that.
    pub(super) fn can_vouch(&self, now: Instant, voucher: Voucher, address: &Address) -> bool {
        let budget = self.targets.budget();
        budget.can_pay(now, voucher.network)
            && budget.can_bear(&Site::of(address), address, voucher.network)
    }

    /// This connection dials the address because of a hint. For that of a member, the network that
    /// it is linked from pays.
    pub(super) fn follow_hint(
        &mut self,
        now: Instant,
        address: &Address,
        (hint, voucher): (Hint, Option<Voucher>),
        conn: ConnId,
    ) {
        let (targets, budget) = self.targets.change_with_budget();
        let fresh = || Target::new(now, now, Scopes::PUBLIC);
        let target = targets.entry(address.clone()).or_insert_with(fresh);
        (target.dialling, target.hint) = (Some(conn), Some(hint));
        target.paid = voucher.map(|Voucher { network, .. }| {
            let site = Site::of(address);
            budget.pay(now, network);
            budget.charge(site.clone(), address, network);
            let sites = vec![site];
            Paid { network, sites }
        });
    }

    /// The hint that the present dial of this address follows.
    pub(super) fn hint(&self, address: &Address) -> Option<Hint> {
        self.targets.get(address)?.hint
    }

    /// If the present dial of this address follows a hint, it has ended, and nothing else changes.
    /// Returns whether that was so.
    fn end_hinted(&mut self, address: &Address) -> bool {
        let targets = self.targets.change();
        let Some(target) = targets.get_mut(address) else {
            return false;
        };
        let hinted = target.end_hinted();
        if hinted && target.is_bare() {
            targets.remove(address);
        }
        hinted
    }

    /// Takes the addresses of a gossiped name that this end dials now, and returns the one to
    /// connect to. They are judged anew each time, because the owner of a name can change them. A
    /// host that has not answered bears a limited number of dials, by any name.
    pub(super) fn looked_up(&mut self, address: &Address, numbers: &[IpAddr]) -> Option<IpAddr> {
        let (targets, budget) = self.targets.change_with_budget();
        let target = targets.get_mut(address)?;
        let payer = target.paid.as_ref().map(|paid| paid.network);
        let payer = payer.or(target
            .said
            .first()
            .and_then(|said| Some(said.vouchers.first()?.network)));
        let network = payer.unwrap_or_default();
        let is_free = |site: &Site| target.answered_at.as_ref() == Some(site);
        let fits = |ip: &&IpAddr| {
            let site = Site::at(**ip);
            let bears = is_free(&site) || budget.can_bear(&site, address, network);
            target.scopes.admit(**ip) && bears
        };
        let fitting: Vec<_> = numbers.iter().take(MAX_NUMBERS).filter(fits).collect();
        // One at a time, so that one name is one dial.
        let turn = target.failures as usize % fitting.len().max(1);
        let ip = **fitting.get(turn)?;
        let site = Site::at(ip);
        if !is_free(&site) {
            budget.charge(site.clone(), address, network);
            let paid = target.paid.as_mut();
            paid.into_iter()
                .for_each(|paid| paid.sites.push(site.clone()));
        }
        Some(ip)
    }

    /// Whether gossip of this address may lead to this IP address.
    pub(super) fn may_lead_to(&self, address: &Address, ip: IpAddr) -> bool {
        let target = self.targets.get(address);
        target.is_some_and(|target| target.scopes.admit(ip))
    }

    /// The peer for which the address was dialled has connected by itself, from that very host: the
    /// dial costs nothing. Returns whether that was so.
    pub(super) fn was_needless(&mut self, address: &Address, peer: &PeerId) -> bool {
        let (targets, budget) = self.targets.change_with_budget();
        let target = targets.get_mut(address);
        let Some(target) = target.filter(|target| target.is_witnessed(peer)) else {
            return false;
        };
        if let Some(paid) = target.paid.take() {
            budget.pay_back(paid.network);
            for site in &paid.sites {
                budget.uncharge(site, address);
            }
        }
        true
    }

    /// The dial has ended without a link; the address is tried again in its time.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        if self.end_hinted(address) {
            return;
        }
        if let Some(target) = self.targets.change().get_mut(address) {
            target.fail(now, rng);
        }
    }

    /// The dial has led to a link. If that does not last, the next dial has to wait as after a
    /// failure.
    pub(super) fn linked(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        self.failed(now, rng, address);
    }

    /// The dial ended between Ta and Tb, which says nothing about the phrase.
    pub(super) fn broke_off(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        if self.end_hinted(address) {
            return;
        }
        if let Some(target) = self.targets.change().get_mut(address) {
            target.break_off(now, rng);
        }
    }

    /// The other end has another phrase. Returns whether the address is no longer dialled.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        address: &Address,
    ) -> bool {
        let Some(target) = self.targets.change().get_mut(address) else {
            return false;
        };
        (target.dialling, target.paid) = (None, None);
        target.refusals += 1;
        target.due = now + backoff::after_refusals(target.refusals, rng);
        target.stopped = target.refusals >= MAX_REFUSALS && !target.reached;
        target.stopped
    }

    /// The address leads back here.
    pub(super) fn is_own(&mut self, now: Instant, address: &Address) {
        self.end_hinted(address);
        if let Some(target) = self.targets.change().get_mut(address) {
            (target.dialling, target.paid) = (None, None);
            target.own = true;
            target.due = now + OWN_PAUSE;
        }
    }

    /// An end that knows the phrase and claims this PeerId answered at this address, which led to
    /// this computer. The peer may already have this end's proof and wait, while its own was lost
    /// on the way.
    pub(super) fn answered(&mut self, address: &Address, at: Site, peer: PeerId) {
        let (targets, budget) = self.targets.change_with_budget();
        let Some(target) = targets.get_mut(address) else {
            return;
        };
        target.answered = Some(peer);
        if target.is_expected(&peer) || target.peer == Some(peer) {
            budget.answered(&at);
            budget.answered(&Site::of(address));
            target.answered_at = Some(at);
        }
    }

    /// A peer answered at this address and has proven its identity. Returns the peer that was there
    /// before, if that was another. The dial is not over yet in any case.
    pub(super) fn reached(&mut self, address: &Address, at: Site, peer: PeerId) -> Option<PeerId> {
        self.answered(address, at, peer);
        let (targets, budget) = self.targets.change_with_budget();
        let target = targets.get_mut(address)?;
        if let Some(paid) = target.paid.take().filter(|_| target.is_expected(&peer)) {
            budget.pay_back(paid.network);
        }
        let before = target.reach(peer);
        self.targets.keep_few(address, &peer);
        before
    }

    /// The link with this peer that came up at `since` is gone: its addresses are tried again, and
    /// soon if the link had lasted. A link that comes up only to end again is not a success.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        peer: &PeerId,
        since: Instant,
    ) {
        let has_lasted = now.saturating_duration_since(since) >= LASTING;
        for target in self.targets.change().values_mut() {
            if target.peer != Some(*peer) && !target.is_said(peer) {
                continue;
            }
            if has_lasted {
                target.failures = 0;
            }
            target.due = now + backoff::after_failures(target.failures.max(1), rng);
        }
    }

    /// The peer has left or was forgotten: its addresses are dropped, except those that the user
    /// named. Its record in the roster says whether these are redialled; if so, after the usual
    /// wait.
    pub(super) fn departed(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self.targets.change().values_mut() {
            if target.user && target.peer.is_none() && target.is_witnessed(peer) {
                target.peer = Some(*peer);
            }
            if target.user && target.peer == Some(*peer) {
                target.failures = 0;
                target.due = now + backoff::after_failures(1, rng);
            }
        }
        self.targets.forget(peer);
    }

    /// The addresses at which the peer has answered, or where gossip places it.
    pub(super) fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = (&Address, &Target)> {
        self.targets
            .iter()
            .filter(move |(_, target)| target.peer == Some(*peer) || target.is_said(peer))
    }

    /// The addresses that the user named and at which nobody has answered, without those from which
    /// a peer that is up has connected by itself.
    pub(super) fn unanswered(&self, roster: &Roster) -> impl Iterator<Item = (&Address, &Target)> {
        let all = self.targets.iter();
        all.filter(|(_, target)| target.user && target.peer.is_none() && !target.is_here(roster))
    }

    /// The addresses that are dialled until a peer answers: those that the user named, and those
    /// where this end has found a peer before. Without those that were not dialled yet.
    pub(super) fn attempted(
        &self,
        roster: &Roster,
    ) -> impl Iterator<Item = (&Address, &Target)> + Clone {
        self.targets.iter().filter(|(_, target)| {
            let tried = target.attempts > 0 && !target.stopped && !target.own;
            tried && target.is_known_and_wanted(roster)
        })
    }

    /// Grows with each change of an address.
    pub(super) fn version(&self) -> u64 {
        self.targets.version()
    }

    /// Why the present dial of an address has come to nothing.
    pub(super) fn note_error(&mut self, address: &Address, why: &str) {
        if let Some(target) = self.targets.change().get_mut(address) {
            target.error = Some(why.into());
        }
    }

    /// One address.
    pub(super) fn get(&self, address: &Address) -> Option<&Target> {
        self.targets.get(address)
    }

    /// Whether the user named this address.
    pub(super) fn is_users(&self, address: &Address) -> bool {
        self.targets.get(address).is_some_and(|target| target.user)
    }

    /// A peer violated the protocol: its addresses rest for a while.
    pub(super) fn rest(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self
            .targets
            .change()
            .values_mut()
            .filter(|target| target.peer == Some(*peer) || target.is_said(peer))
        {
            target.due = now + backoff::after_failures(u32::MAX, rng);
        }
    }

    /// Whether an address will be dialled.
    pub(super) fn is_wanted(&self, address: &Address, roster: &Roster) -> bool {
        let target = self.targets.get(address);
        target.is_some_and(|target| self.targets.is_wanted(address, target, roster))
    }

    /// Whether this end dials a peer, or will.
    pub(super) fn is_trying(&self, peer: &PeerId, roster: &Roster) -> bool {
        self.addresses(peer).any(|(address, target)| {
            target.dialling.is_some() || self.targets.is_wanted(address, target, roster)
        })
    }

    /// Whether the peer is being dialled at this moment.
    pub(super) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.addresses(peer)
            .any(|(_, target)| target.dialling.is_some())
    }

    /// Whether an address that the user named is still being tried and has no peer yet.
    pub(super) fn has_open_wish(&self, roster: &Roster) -> bool {
        self.targets.iter().any(|(address, target)| {
            let open = target.user && target.peer.is_none() && !target.own;
            open && self.targets.is_wanted(address, target, roster)
        })
    }

    /// Whether there are `--peer` addresses, and each has answered with another phrase and never
    /// with this one.
    pub(super) fn all_refused(&self) -> bool {
        let mut wished = self
            .targets
            .values()
            .filter(|target| target.user && !target.own)
            .peekable();
        wished.peek().is_some() && wished.all(|target| target.refusals > 0 && !target.reached)
    }
}

/// Notes whose turn it just was. When too many are noted, all start again.
fn note_turn<K: Ord>(turns: &mut BTreeMap<K, Instant>, holder: K, now: Instant) {
    if turns.len() >= 2 * MAX_PEERS {
        turns.clear();
    }
    turns.insert(holder, now);
}

#[cfg(test)]
mod tests;
