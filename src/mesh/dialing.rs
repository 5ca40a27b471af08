//! Whom to dial, where and when (PROTOCOL.md, section 10).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::backoff;
use super::conn_id::ConnId;
use super::dial_budget::{Network, Site};
use super::peer::MAX_PEERS;
use super::roster::Roster;
use super::scope::Scopes;
use super::shares::Shares;
use super::target::{MAX_CLAIMS, Paid, Said, Target};
use super::targets::Targets;
use crate::proto::{Address, Host, PeerId};

/// The most addresses kept, those of the user aside.
const MAX_TARGETS: usize = 512;
/// The most addresses at which one peer says that another, or itself, is.
const MAX_EACH: usize = 2;
/// The most numbers of a name that are looked at.
const MAX_NUMBERS: usize = 8;
/// How long a new address of gossip waits at most, so that not all dial somebody new at once.
const SPREAD: Duration = Duration::from_millis(500);
/// How much longer the end with the greater id waits before it dials somebody new, so that most
/// pairs are linked by one connection.
const POLITENESS: Duration = Duration::from_millis(1500);
/// An address that led back here is tried again after so long: it may have been somebody in between
/// who passed the dial on.
const OWN_PAUSE: Duration = Duration::from_secs(600);
/// How long a link has to last for the next dial to come as soon as a first one.
const LASTING: Duration = Duration::from_secs(10);
/// Answers with another phrase in a row before an address is left alone.
const MAX_REFUSALS: u32 = 5;

/// That a peer is at an address.
pub struct Claim {
    /// The address.
    pub address: Address,
    /// Who is there.
    pub peer: PeerId,
    /// Who says so.
    pub teller: PeerId,
    /// The network from which that one is linked, which pays for dials.
    pub network: Network,
    /// Whether its connection bears it out: it came from that IP address.
    pub seen: bool,
    /// What is taken over the link over which it was told.
    pub scopes: Scopes,
    /// Whether the other end should dial first.
    pub polite: bool,
}

/// What the dial of an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStep {
    /// A connection to it.
    Connect,
    /// Looking its name up: somebody else gave it, and where it leads has to be judged.
    LookUp,
}

/// All addresses and their clocks.
#[derive(Default)]
pub struct Dialing {
    targets: Targets,
    /// When gossip of each network was last followed, so that all are heard by turns.
    followed: BTreeMap<Network, Instant>,
    claims: u64,
}

impl Dialing {
    /// The user wants to be connected to this address, whoever is there.
    /// With `persistent` it is dialled again after a goodbye of the peer there, too.
    pub fn want(&mut self, now: Instant, address: Address, persistent: bool) {
        let target = self
            .targets
            .change()
            .entry(address)
            .or_insert_with(|| Target::new(now, Scopes::ALL));
        (target.user, target.stopped, target.own) = (true, false, false);
        target.persistent = persistent;
        target.peer = None;
        (target.failures, target.refusals, target.quick_tries) = (0, 0, 0);
        target.due = now;
    }

    /// A peer is said, or seen, to be at an address. What has answered there is known better.
    pub fn learn(&mut self, now: Instant, rng: &mut dyn CryptoRng, roster: &Roster, claim: Claim) {
        let Claim {
            address,
            peer,
            teller,
            network,
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
            payers: vec![network],
            order: self.claims,
        };
        let (targets, budget) = self.targets.change_with_budget();
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
        self.targets.change().insert(address, target);
    }

    /// Drops addresses that are good for nothing, and that nobody's word would make room of.
    fn drop_needless(&mut self, roster: &Roster) {
        let needless = |(_, target): &(&Address, &Target)| target.is_needless(roster);
        let needless = self.targets.iter().filter(needless);
        let needless: Vec<_> = needless.map(|(address, _)| address.clone()).collect();
        for address in needless {
            self.drop_target(&address);
        }
    }

    /// Drops what is oldest of what this teller says of this peer, if it says much; or, where all
    /// places are taken, of the network that takes most.
    fn make_room(&mut self, roster: &Roster, peer: &PeerId, teller: &PeerId) {
        let idle = || {
            let idle = |target: &Target| {
                let there = target.peer.and_then(|id| roster.get(&id));
                !target.user && there.is_none() && target.dialling.is_none()
            };
            self.targets
                .iter()
                .filter(move |(_, target)| idle(target))
                .filter_map(|(address, target)| Some((address, target.said.first()?)))
        };
        let its_own = |said: &Said| said.peer == *peer && said.teller == *teller;
        let victim = if idle().filter(|(_, said)| its_own(said)).count() >= MAX_EACH {
            idle()
                .filter(|(_, said)| its_own(said))
                .min_by_key(|(_, said)| said.order)
        } else if idle().count() >= MAX_TARGETS {
            let network = |said: &Said| said.payers.first().copied();
            let shares = Shares::of(idle().map(|(_, said)| network(said)));
            shares.evict(idle(), |(_, said)| network(said), |(_, said)| said.order)
        } else {
            None
        };
        if let Some(address) = victim.map(|(address, _)| address.clone()) {
            self.drop_target(&address);
        }
    }

    fn drop_target(&mut self, address: &Address) {
        self.targets.change().remove(address);
    }

    /// The address that should be dialled now. The caller answers with [`Self::dialled`].
    pub fn next(&mut self, now: Instant, roster: &Roster) -> Option<Address> {
        self.targets
            .keep_first_due(roster)
            .filter(|due| *due <= now)?;
        let is_ready = |(address, target): &(&Address, &Target)| {
            let due = self.targets.due_at(address, target, roster);
            due.is_some_and(|due| due <= now)
        };
        let turn = |address: &Address, target: &Target| {
            let payer = self.payer(now, roster, address, target);
            let followed = payer.and_then(|network| self.followed.get(&network));
            (followed.copied(), target.due)
        };
        let ready = self.targets.iter().filter(is_ready);
        ready
            .min_by_key(|(address, target)| turn(address, target))
            .map(|(address, _)| address.clone())
    }

    /// The network that pays for a dial, if one has to: of those that can the one that did so least
    /// lately.
    fn payer(
        &self,
        now: Instant,
        roster: &Roster,
        address: &Address,
        target: &Target,
    ) -> Option<Network> {
        if target.is_known_and_wanted(roster) {
            return None;
        }
        let budget = self.targets.budget();
        let payers = target.payers(address, roster, budget);
        payers
            .filter(|network| budget.can_pay(now, *network))
            .min_by_key(|network| self.followed.get(network).copied())
    }

    /// When [`Self::next`] has something.
    pub fn deadline(&self, roster: &Roster) -> Option<Instant> {
        self.targets.first_due(roster)
    }

    /// This connection dials the address. What that begins with; after [`DialStep::LookUp`] the
    /// caller asks [`Self::looked_up`].
    pub fn dialled(
        &mut self,
        now: Instant,
        roster: &Roster,
        address: &Address,
        conn: ConnId,
    ) -> DialStep {
        let target = self.targets.get(address);
        let payer = target.and_then(|target| self.payer(now, roster, address, target));
        if let Some(network) = payer {
            if self.followed.len() >= 2 * MAX_PEERS {
                self.followed.clear();
            }
            self.followed.insert(network, now);
        }
        let (targets, budget) = self.targets.change_with_budget();
        let Some(target) = targets.get_mut(address) else {
            return DialStep::Connect;
        };
        target.dialling = Some(conn);
        target.paid = payer.map(|network| {
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

    /// What the name of an address stands for, which others gave and this end dials now; where it is
    /// to be connected to. Each time anew it has to be where that may lead: whoever owns a name can
    /// change that. A host that has not answered bears so many dials by any name.
    pub fn looked_up(&mut self, address: &Address, numbers: &[IpAddr]) -> Option<IpAddr> {
        let (targets, budget) = self.targets.change_with_budget();
        let target = targets.get_mut(address)?;
        let payer = target.paid.as_ref().map(|paid| paid.network);
        let payer = payer.or(target
            .said
            .first()
            .and_then(|said| said.payers.first().copied()));
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

    /// Whether what others say of this address may lead to this number.
    pub fn may_lead_to(&self, address: &Address, ip: IpAddr) -> bool {
        let target = self.targets.get(address);
        target.is_some_and(|target| target.scopes.admit(ip))
    }

    /// The peer that the address was dialled for has come by itself, from that very host: the dial
    /// costs nothing.
    pub fn was_needless(&mut self, address: &Address, peer: &PeerId) {
        let (targets, budget) = self.targets.change_with_budget();
        let Some(target) = targets.get_mut(address) else {
            return;
        };
        if !target.is_witnessed(peer) {
            return;
        }
        if let Some(paid) = target.paid.take() {
            budget.pay_back(paid.network);
            for site in &paid.sites {
                budget.uncharge(site, address);
            }
        }
    }

    /// The dial is over, one way or another; the address is tried again in its time.
    pub fn failed(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        if let Some(target) = self.targets.change().get_mut(address) {
            target.fail(now, rng);
        }
    }

    /// The dial has led to a link. If this does not last, the next dial has to wait as after a
    /// failure.
    pub fn linked(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        self.failed(now, rng, address);
    }

    /// The dial ended after Ta, without a Tb, which says nothing about the phrase.
    pub fn broke_off(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        if let Some(target) = self.targets.change().get_mut(address) {
            target.break_off(now, rng);
        }
    }

    /// Somebody with another phrase answered; whether the address is left alone from now on.
    pub fn refused(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) -> bool {
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
    pub fn is_own(&mut self, now: Instant, address: &Address) {
        if let Some(target) = self.targets.change().get_mut(address) {
            (target.dialling, target.paid) = (None, None);
            target.own = true;
            target.due = now + OWN_PAUSE;
        }
    }

    /// Somebody who knows the phrase and calls itself this peer answered at this address, which led
    /// to this number. The peer may have its proof already and wait, while its own is lost on the
    /// way.
    pub fn answered(&mut self, address: &Address, at: IpAddr, peer: PeerId) {
        let (targets, budget) = self.targets.change_with_budget();
        let Some(target) = targets.get_mut(address) else {
            return;
        };
        target.answered = Some(peer);
        if target.is_said(&peer) || target.peer == Some(peer) {
            target.answered_at = Some(Site::at(at));
            budget.answered(&Site::at(at));
            budget.answered(&Site::of(address));
        }
    }

    /// A peer answered at this address, and has proven it; who had been there before, if that was
    /// another. Whatever comes of it, the dial is not over yet.
    pub fn reached(&mut self, address: &Address, at: IpAddr, peer: PeerId) -> Option<PeerId> {
        self.answered(address, at, peer);
        let (targets, budget) = self.targets.change_with_budget();
        let target = targets.get_mut(address)?;
        if let Some(paid) = target.paid.take().filter(|_| target.is_said(&peer)) {
            budget.pay_back(paid.network);
        }
        let before = target.reach(peer);
        self.keep_few(address, &peer);
        before
    }

    /// Of the addresses at which a peer has answered few are enough, this one among them.
    fn keep_few(&mut self, address: &Address, peer: &PeerId) {
        let others = self.targets.iter().filter(|(other, target)| {
            !target.user && target.peer == Some(*peer) && *other != address
        });
        let surplus = others.clone().count().saturating_sub(MAX_CLAIMS - 1);
        let surplus: Vec<_> = others
            .take(surplus)
            .map(|(other, _)| other.clone())
            .collect();
        for other in surplus {
            self.targets.change().remove(&other);
        }
    }

    /// A link with this peer that came up at `since` is gone: its addresses are tried again. Soon, if
    /// it had lasted; what comes up only to end again is no success.
    pub fn lost(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId, since: Instant) {
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
    /// named. Its record in the roster says whether these are dialled again; if so, after the usual
    /// wait.
    pub fn departed(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self.targets.change().values_mut() {
            if target.user && target.peer.is_none() && target.is_witnessed(peer) {
                target.peer = Some(*peer);
            }
            if target.user && target.peer == Some(*peer) {
                target.failures = 0;
                target.due = now + backoff::after_failures(1, rng);
            }
            target.said.retain(|said| said.peer != *peer);
        }
        let gone: Vec<_> = self
            .targets
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

    /// The addresses at which the peer has answered, or is said to be.
    pub fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = (&Address, &Target)> {
        self.targets
            .iter()
            .filter(move |(_, target)| target.peer == Some(*peer) || target.is_said(peer))
    }

    /// One address.
    pub fn get(&self, address: &Address) -> Option<&Target> {
        self.targets.get(address)
    }

    /// Whether the user named this address.
    pub fn is_users(&self, address: &Address) -> bool {
        self.targets.get(address).is_some_and(|target| target.user)
    }

    /// A peer broke the protocol: its addresses rest for a while.
    pub fn rest(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self
            .targets
            .change()
            .values_mut()
            .filter(|target| target.peer == Some(*peer) || target.is_said(peer))
        {
            target.due = now + backoff::after_failures(u32::MAX, rng);
        }
    }

    /// Whether a peer will be dialled again, or is.
    pub fn is_trying(&self, peer: &PeerId, roster: &Roster) -> bool {
        self.addresses(peer).any(|(address, target)| {
            target.dialling.is_some() || self.targets.is_wanted(address, target, roster)
        })
    }

    /// Whether the peer is being dialled at this moment.
    pub fn is_dialling(&self, peer: &PeerId) -> bool {
        self.addresses(peer)
            .any(|(_, target)| target.dialling.is_some())
    }

    /// Whether an address that the user named is still being tried and has no peer yet.
    pub fn has_open_wish(&self, roster: &Roster) -> bool {
        self.targets.iter().any(|(address, target)| {
            let open = target.user && target.peer.is_none() && !target.own;
            open && self.targets.is_wanted(address, target, roster)
        })
    }

    /// Whether there are `--peer` addresses, and each has answered with another phrase and never
    /// with this one.
    pub fn all_refused(&self) -> bool {
        let mut wished = self
            .targets
            .values()
            .filter(|target| target.user && !target.own)
            .peekable();
        wished.peek().is_some() && wished.all(|target| target.refusals > 0 && !target.reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::dial_budget::ADDRESS_TRIES;
    use crate::mesh::peer::Parting;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn hearsay(address: &str, peer: PeerId, teller: u8) -> Claim {
        Claim {
            address: Address::parse(address).unwrap(),
            peer,
            teller: PeerId([teller; 32]),
            network: teller.into(),
            seen: false,
            scopes: Scopes::PUBLIC,
            polite: false,
        }
    }

    /// A peer of whom others say that they are linked to it.
    fn vouched(roster: &mut Roster, now: Instant, id: PeerId) {
        let peer = roster.entry(now, id).unwrap();
        peer.vouchers.insert(PeerId([0xee; 32]));
    }

    fn numbered(n: u32) -> PeerId {
        let mut id = [1; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn gossip_is_dialled_three_times_as_fast_as_it_can_pay() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for n in 1..=20u8 {
            let id = PeerId([n; 32]);
            vouched(&mut roster, start, id);
            let address = format!("192.0.2.{n}");
            dialing.learn(start, &mut rng, &roster, hearsay(&address, id, 0xee));
        }
        let (mut now, mut dials, mut conn) = (start, 0, 0);
        while let Some(at) = dialing.deadline(&roster) {
            now = now.max(at);
            let Some(address) = dialing.next(now, &roster) else {
                break;
            };
            conn += 1;
            dials += 1;
            dialing.dialled(now, &roster, &address, ConnId(conn));
            dialing.failed(now, &mut rng, &address);
        }
        assert_eq!(dials, 60);
        // 32 at once, and one in ten seconds.
        assert!(now - start >= Duration::from_secs(270));
    }

    #[test]
    fn hearsay_is_dialled_on_for_the_one_that_answered_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let address = Address::parse("192.0.2.1").unwrap();
        for n in [1, 2] {
            vouched(&mut roster, now, numbered(n));
            let claim = hearsay("192.0.2.1", numbered(n), 0xee);
            dialing.learn(now, &mut rng, &roster, claim);
        }
        for conn in 0..20 {
            now = now.max(dialing.deadline(&roster).unwrap());
            dialing.dialled(now, &roster, &address, ConnId(conn));
            dialing.answered(&address, HERE, numbered(2));
            dialing.failed(now, &mut rng, &address);
        }
        roster.get_mut(&numbered(2)).unwrap().leave(now);
        let for_the_other = dial_in_vain(&mut dialing, &roster, now).len();
        assert_eq!(for_the_other, ADDRESS_TRIES);
    }

    #[test]
    fn another_phrase_ends_the_dialling_unless_a_member_answered_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let (now, roster) = (
            Instant::now(),
            Roster::new(PeerId([0; 32]), Duration::from_secs(60)),
        );
        let address = Address::parse("192.0.2.1").unwrap();
        let mut dialing = Dialing::default();
        dialing.want(now, address.clone(), false);
        let stops: Vec<_> = (0..5)
            .map(|_| dialing.refused(now, &mut rng, &address))
            .collect();
        assert_eq!(stops, [false, false, false, false, true]);
        assert!(dialing.all_refused());
        assert_eq!(dialing.deadline(&roster), None);
        dialing.want(now, address.clone(), false);
        dialing.reached(&address, HERE, PeerId([1; 32]));
        assert!((0..9).all(|_| !dialing.refused(now, &mut rng, &address)));
        assert!(!dialing.all_refused());
    }

    #[test]
    fn a_teller_of_tales_does_not_keep_the_words_of_others_from_being_followed() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for n in 0..200 {
            vouched(&mut roster, start, numbered(n));
            for host in 0..4 {
                let address = format!("1.{host}.0.{n}");
                dialing.learn(
                    start,
                    &mut rng,
                    &roster,
                    hearsay(&address, numbered(n), 0xaa),
                );
            }
        }
        vouched(&mut roster, start, numbered(999));
        let honest = "203.0.113.9";
        dialing.learn(
            start,
            &mut rng,
            &roster,
            hearsay(honest, numbered(999), 0xbb),
        );
        assert!(dialing.targets.len() <= MAX_TARGETS + 1);
        let mut now = start;
        // As many as the other's network can pay for at once.
        for conn in 0..=32 {
            now = now.max(dialing.deadline(&roster).unwrap());
            let address = dialing.next(now, &roster).unwrap();
            if address == Address::parse(honest).unwrap() {
                return;
            }
            dialing.dialled(now, &roster, &address, ConnId(conn));
            dialing.failed(now, &mut rng, &address);
        }
        panic!("the honest one has to wait for the other's tales");
    }

    #[test]
    fn an_address_that_made_room_is_not_dialled_more_often_for_it() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        vouched(&mut roster, now, numbered(1));
        let mut dials: BTreeMap<Address, usize> = BTreeMap::new();
        let mut told = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        for round in 0..50 {
            told.rotate_left(1);
            for address in told {
                dialing.learn(now, &mut rng, &roster, hearsay(address, numbered(1), 0xaa));
            }
            while let Some(at) = dialing.deadline(&roster) {
                now = now.max(at);
                let address = dialing.next(now, &roster).unwrap();
                dialing.dialled(now, &roster, &address, ConnId(round));
                dialing.failed(now, &mut rng, &address);
                *dials.entry(address).or_default() += 1;
            }
        }
        assert!(!dials.is_empty() && dials.values().all(|tries| *tries <= ADDRESS_TRIES));
    }

    /// Addresses that this end has not dialled yet, one each at a host.
    fn crowd(
        dialing: &mut Dialing,
        roster: &mut Roster,
        now: Instant,
        addresses: impl Iterator<Item = Address>,
        teller: u8,
    ) {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        for (n, address) in addresses.enumerate() {
            let id = numbered(n as u32 % 200);
            vouched(roster, now, id);
            let claim = hearsay(&address.to_string(), id, teller);
            dialing.learn(now, &mut rng, roster, claim);
        }
    }

    /// Dials what is due until nothing is, or for so long, and nobody answers.
    fn dial_in_vain(dialing: &mut Dialing, roster: &Roster, start: Instant) -> Vec<Address> {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let (mut now, mut dialled) = (start, Vec::new());
        while let Some(at) = dialing.deadline(roster) {
            now = now.max(at);
            if now > start + Duration::from_secs(3600) {
                break;
            }
            let address = dialing.next(now, roster).unwrap();
            dialing.dialled(now, roster, &address, ConnId(dialled.len() as u64));
            dialing.failed(now, &mut rng, &address);
            dialled.push(address);
        }
        dialled
    }

    #[test]
    fn ports_of_one_host_are_dialled_four_times_for_one_network() {
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let ports = || (1..513).map(|port| Address::from_ip([1, 2, 3, 4].into(), port));
        crowd(&mut dialing, &mut roster, now, ports(), 0xaa);
        assert_eq!(dial_in_vain(&mut dialing, &roster, now).len(), 4);
        let later = now + Duration::from_secs(3600);
        crowd(&mut dialing, &mut roster, later, ports(), 0xaa);
        assert_eq!(dial_in_vain(&mut dialing, &roster, later), []);
        crowd(&mut dialing, &mut roster, later, ports(), 0xbb);
        assert_eq!(dial_in_vain(&mut dialing, &roster, later).len(), 2);
    }

    #[test]
    fn many_hosts_are_dialled_as_fast_as_a_network_can_pay() {
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let hosts = (0..512).map(|n| Address::from_ip([1, 2, (n / 256) as u8, n as u8].into(), 1));
        crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
        // In an hour; all of it has been spent.
        let dials = dial_in_vain(&mut dialing, &roster, now).len();
        assert!((385..=32 + 360).contains(&dials), "{dials}");
    }

    #[test]
    fn a_spent_network_leaves_users_addresses_and_the_lost_alone() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let hosts = (0..512).map(|n| Address::from_ip([1, 2, (n / 256) as u8, n as u8].into(), 1));
        crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
        while let Some(address) = dialing.next(now + SPREAD, &roster) {
            dialing.dialled(now, &roster, &address, ConnId(1));
        }
        let named = Address::parse("9.9.9.9").unwrap();
        dialing.want(now, named.clone(), false);
        assert_eq!(dialing.next(now + SPREAD, &roster), Some(named.clone()));
        dialing.dialled(now, &roster, &named, ConnId(2));
        let lost = Address::parse("8.8.8.8").unwrap();
        roster.entry(now, numbered(500)).unwrap().miss(now);
        let claim = Claim {
            seen: true,
            ..hearsay("8.8.8.8", numbered(500), 0xaa)
        };
        dialing.learn(now, &mut rng, &roster, claim);
        assert_eq!(dialing.next(now + SPREAD, &roster), Some(lost));
    }

    #[test]
    fn a_dial_that_finds_the_named_peer_costs_nothing() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for n in 0..200 {
            let id = numbered(n);
            vouched(&mut roster, now, id);
            let address = Address::from_ip([1, 2, 3, 4].into(), 1000 + n as u16);
            let claim = hearsay(&address.to_string(), id, 0xaa);
            dialing.learn(now, &mut rng, &roster, claim);
            assert_eq!(dialing.next(now + SPREAD, &roster), Some(address.clone()));
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.reached(&address, [1, 2, 3, 4].into(), id);
            roster.get_mut(&id).unwrap().link(now, ConnId(1));
        }
    }

    #[test]
    fn a_dial_that_finds_somebody_else_is_paid_for() {
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let hosts = (0..100).map(|n| Address::from_ip([1, 2, 3, n].into(), 1));
        crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
        let mut dials = 0;
        while let Some(address) = dialing.next(now + SPREAD, &roster) {
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.reached(&address, HERE, numbered(999));
            dials += 1;
        }
        assert_eq!(dials, 32);
    }

    #[test]
    fn what_one_network_says_of_an_address_leaves_room_for_another() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let mut tell = |n: u32, teller| {
            vouched(&mut roster, now, numbered(n));
            let claim = hearsay("1.2.3.4", numbered(n), teller);
            dialing.learn(now, &mut rng, &roster, claim);
        };
        (0..50).for_each(|n| tell(n, 0xaa));
        tell(99, 0xbb);
        (50..100).for_each(|n| tell(n, 0xaa));
        assert!(dialing.is_trying(&numbered(99), &roster));
    }

    /// Whoever owns a name can change what it stands for.
    #[test]
    fn a_name_is_judged_each_time_that_it_is_dialled() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        vouched(&mut roster, now, numbered(1));
        dialing.learn(now, &mut rng, &roster, hearsay("a.example", numbered(1), 1));
        let address = Address::parse("a.example").unwrap();
        let numbers = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mut dial = |texts: &[&str]| {
            let step = dialing.dialled(now + SPREAD, &roster, &address, ConnId(1));
            assert_eq!(step, DialStep::LookUp);
            let ip = dialing.looked_up(&address, &numbers(texts));
            dialing.failed(now, &mut rng, &address);
            ip.map(|ip| ip.to_string())
        };
        assert_eq!(dial(&["127.0.0.1", "1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(dial(&["127.0.0.1", "192.168.0.1", "::ffff:10.0.0.1"]), None);
        assert_eq!(dial(&["1.2.3.4", "5.6.7.8"]).as_deref(), Some("1.2.3.4"));
    }

    #[test]
    fn names_of_one_host_count_together() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let victim: IpAddr = [1, 2, 3, 4].into();
        let mut reached = 0;
        for n in 0..30 {
            vouched(&mut roster, now, numbered(n));
            let name = format!("host{n}.example");
            dialing.learn(now, &mut rng, &roster, hearsay(&name, numbered(n), 1));
            let address = Address::parse(&name).unwrap();
            dialing.dialled(now + SPREAD, &roster, &address, ConnId(1));
            reached += usize::from(dialing.looked_up(&address, &[victim]).is_some());
            dialing.failed(now, &mut rng, &address);
        }
        assert_eq!(reached, 4);
    }

    /// Its owner may have it lead elsewhere once a peer has answered there.
    #[test]
    fn a_name_that_leads_elsewhere_later_is_bounded_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let (own, victim) = ([1, 2, 3, 4].into(), [5, 6, 7, 8].into());
        vouched(&mut roster, now, numbered(1));
        dialing.learn(now, &mut rng, &roster, hearsay("a.example", numbered(1), 1));
        let address = Address::parse("a.example").unwrap();
        dialing.dialled(now, &roster, &address, ConnId(1));
        assert_eq!(dialing.looked_up(&address, &[own]), Some(own));
        dialing.reached(&address, own, numbered(1));
        let mut dials = [0; 2];
        for _ in 0..20 {
            for (n, ip) in [own, victim].into_iter().enumerate() {
                dialing.dialled(now, &roster, &address, ConnId(1));
                dials[n] += u32::from(dialing.looked_up(&address, &[ip]).is_some());
                dialing.failed(now, &mut rng, &address);
            }
        }
        assert_eq!(dials, [20, 3]);
    }

    /// It could not be dropped when its peer left, since it was being dialled just then.
    #[test]
    fn an_address_whose_peer_left_during_a_dial_makes_room() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for n in 1..3 * MAX_TARGETS as u32 {
            let (id, port) = (numbered(n), n as u16);
            let address = Address::from_ip([198, 51, 100, 7].into(), port);
            let claim = Claim {
                seen: true,
                ..hearsay(&address.to_string(), id, 0)
            };
            roster.entry(now, id).unwrap().miss(now);
            dialing.learn(now, &mut rng, &roster, claim);
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.reached(&address, HERE, id);
            dialing.dialled(now, &roster, &address, ConnId(2));
            roster.get_mut(&id).unwrap().leave(now);
            dialing.departed(now, &mut rng, &id);
            dialing.failed(now, &mut rng, &address);
            assert!(dialing.targets.len() <= 2);
        }
    }

    /// Who has filled everything with tales costs no more than anybody else.
    #[test]
    fn as_long_as_nothing_changes_the_addresses_are_looked_at_once() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for n in 0..200 {
            vouched(&mut roster, now, numbered(n));
            let claim = hearsay(&format!("1.0.0.{n}"), numbered(n), 0xaa);
            dialing.learn(now, &mut rng, &roster, claim);
        }
        roster.refresh();
        let before = dialing.targets.looks.get();
        for _ in 0..100 {
            assert_eq!(dialing.next(now, &roster), None);
            assert!(dialing.deadline(&roster).is_some());
            // What most steps do: a message of a peer.
            roster.get_mut(&numbered(7)).unwrap().showing.seq += 1;
            roster.refresh();
        }
        assert_eq!(dialing.targets.looks.get() - before, 1);
    }

    /// What has been worked out before is never held to against what is so.
    #[test]
    fn whatever_changes_the_next_dial_is_known() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        for step in 0..20_000 {
            let mut draw = |below: u64| rng.next_u64() % below;
            let (id, other) = (numbered(draw(8) as u32), numbered(draw(8) as u32));
            let address = format!("192.0.2.{}", draw(12));
            let (what, conn, tie) = (draw(18), ConnId(step), draw(2) == 0);
            let at = Address::parse(&address).unwrap();
            let peer = roster.entry(now, id).unwrap();
            match what {
                0 => peer.link(now, conn),
                1 => drop(peer.part(now, Parting::GiveUp)),
                2 => peer.miss(now),
                3 if tie => peer.leave(now),
                3 => peer.forgive(),
                4 => drop(peer.vouchers.insert(other)),
                5 => drop(peer.vouchers.remove(&other)),
                6 => dialing.want(now, at, tie),
                7 => dialing.failed(now, &mut rng, &at),
                8 => drop(dialing.refused(now, &mut rng, &at)),
                9 => dialing.is_own(now, &at),
                10 => dialing.answered(&at, HERE, id),
                11 => drop(dialing.reached(&at, HERE, id)),
                12 => dialing.lost(now, &mut rng, &id, now),
                13 => dialing.departed(now, &mut rng, &id),
                14 => dialing.rest(now, &mut rng, &id),
                15 => now += Duration::from_millis(300),
                _ => {
                    let claim = Claim {
                        seen: tie,
                        ..hearsay(&address, id, 0xaa)
                    };
                    dialing.learn(now, &mut rng, &roster, claim);
                }
            }
            roster.refresh();
            let due_at = |(at, target)| dialing.targets.due_at(at, target, &roster);
            let due = dialing.targets.iter().filter_map(due_at).min();
            assert_eq!(dialing.deadline(&roster), due, "step {step}");
            let next = dialing.next(now, &roster);
            assert_eq!(next.is_some(), due.is_some_and(|due| due <= now));
            if let Some(address) = next {
                dialing.dialled(now, &roster, &address, conn);
            }
        }
    }

    #[test]
    fn an_address_of_the_user_is_dialled_whatever_others_say_of_it() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
        let mut dialing = Dialing::default();
        let address = Address::parse("192.0.2.1").unwrap();
        dialing.want(now, address.clone(), false);
        roster.entry(now, numbered(1)).unwrap().link(now, ConnId(7));
        dialing.learn(now, &mut rng, &roster, hearsay("192.0.2.1", numbered(1), 1));
        assert_eq!(dialing.next(now, &roster), Some(address.clone()));
        roster.get_mut(&numbered(1)).unwrap().leave(now);
        dialing.departed(now, &mut rng, &numbered(1));
        assert_eq!(dialing.next(now, &roster), Some(address.clone()));
        let before = dialing.reached(&address, HERE, numbered(2));
        assert_eq!(before, None);
    }
}
