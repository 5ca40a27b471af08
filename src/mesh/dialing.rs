//! Whom to dial, where and when (PROTOCOL.md, section 10).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::backoff;
use super::conn_id::ConnId;
use super::roster::{MAX_PEERS, Roster};
use super::scope::Scopes;
use super::target::{MAX_CLAIMS, Said, Target};
use super::targets::Targets;
use crate::proto::{Address, PeerId};

/// The most addresses kept, those of the user aside.
const MAX_TARGETS: usize = 512;
/// The most addresses at which one peer says that another, or itself, is.
const MAX_EACH: usize = 2;
/// Addresses that were dropped whose tries are remembered.
const MAX_TRIED: usize = 1024;
/// Between two dials on hearsay, whatever the address.
const GOSSIP_PAUSE: Duration = Duration::from_secs(1);
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
    /// Whether its connection bears it out: it came from that IP address.
    pub seen: bool,
    /// What is taken over the link over which it was told.
    pub scopes: Scopes,
    /// Whether the other end should dial first.
    pub polite: bool,
}

/// What is remembered of an address that was dropped.
struct Tried {
    tries: u32,
    /// Grows with each that is dropped.
    order: u64,
}

/// All addresses and their clocks.
#[derive(Default)]
pub struct Dialing {
    targets: Targets,
    /// Tries at addresses of hearsay that made room for others.
    tried: BTreeMap<Address, Tried>,
    /// When hearsay of each was last followed, so that all are heard by turns.
    followed: BTreeMap<PeerId, Instant>,
    claims: u64,
    drops: u64,
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
            seen,
            scopes,
            polite,
        } = claim;
        self.claims += 1;
        let said = Said {
            peer,
            teller,
            seen,
            order: self.claims,
        };
        if let Some(target) = self.targets.change().get_mut(&address) {
            target.hear(roster, said, scopes);
            return;
        }
        self.drop_needless(roster);
        self.make_room(roster, &peer, &teller);
        let mut wait = GOSSIP_PAUSE.mul_f64(backoff::fraction(rng) / 2.0);
        if polite {
            wait += POLITENESS;
        }
        let mut target = Target::new(now + wait, scopes);
        target.tries = self.tried.remove(&address).map_or(0, |tried| tried.tries);
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
    /// places are taken, of the teller who takes most.
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
            let mut places: BTreeMap<PeerId, usize> = BTreeMap::new();
            for (_, said) in idle() {
                *places.entry(said.teller).or_default() += 1;
            }
            idle().max_by_key(|(_, said)| (places.get(&said.teller), Reverse(said.order)))
        } else {
            None
        };
        if let Some(address) = victim.map(|(address, _)| address.clone()) {
            self.drop_target(&address);
        }
    }

    fn drop_target(&mut self, address: &Address) {
        let Some(target) = self.targets.change().remove(address) else {
            return;
        };
        if target.tries > 0 && !target.reached {
            if self.tried.len() >= MAX_TRIED {
                let oldest = self.tried.iter().min_by_key(|(_, tried)| tried.order);
                if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                    self.tried.remove(&oldest);
                }
            }
            self.drops += 1;
            let tried = Tried {
                tries: target.tries,
                order: self.drops,
            };
            self.tried.insert(address.clone(), tried);
        }
    }

    /// The address that should be dialled now. The caller answers with [`Self::dialled`].
    pub fn next(&mut self, now: Instant, roster: &Roster) -> Option<Address> {
        self.targets
            .keep_first_due(roster)
            .filter(|due| *due <= now)?;
        let is_ready = |target: &Target| {
            let due = self.targets.due_at(target, roster);
            due.is_some_and(|due| due <= now)
        };
        let turn = |target: &Target| {
            let teller = target.hearsay(roster).map(|said| said.teller);
            let followed = teller.and_then(|teller| self.followed.get(&teller));
            (followed.copied(), target.due)
        };
        let ready = self.targets.iter().filter(|(_, target)| is_ready(target));
        ready
            .min_by_key(|(_, target)| turn(target))
            .map(|(address, _)| address.clone())
    }

    /// When [`Self::next`] has something.
    pub fn deadline(&self, roster: &Roster) -> Option<Instant> {
        self.targets.first_due(roster)
    }

    /// This connection dials the address. What its name may stand for; anything will do where the
    /// user named it.
    pub fn dialled(
        &mut self,
        now: Instant,
        roster: &Roster,
        address: &Address,
        conn: ConnId,
    ) -> Option<Scopes> {
        let target = self.targets.change().get_mut(address)?;
        let hearsay = !target.is_known_and_wanted(roster);
        if hearsay {
            if let Some(teller) = target.hearsay(roster).map(|said| said.teller) {
                if self.followed.len() >= 2 * MAX_PEERS {
                    self.followed.clear();
                }
                self.followed.insert(teller, now);
            }
            target.tries = target.tries.saturating_add(1);
        }
        target.dialling = Some(conn);
        let scopes = (!target.user).then_some(target.scopes);
        if hearsay {
            self.targets.pause_gossip(now + GOSSIP_PAUSE);
        }
        scopes
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
        target.dialling = None;
        target.refusals += 1;
        target.due = now + backoff::after_refusals(target.refusals, rng);
        target.stopped = target.refusals >= MAX_REFUSALS && !target.reached;
        target.stopped
    }

    /// The address leads back here.
    pub fn is_own(&mut self, now: Instant, address: &Address) {
        if let Some(target) = self.targets.change().get_mut(address) {
            target.dialling = None;
            target.own = true;
            target.due = now + OWN_PAUSE;
        }
    }

    /// Somebody who knows the phrase and calls itself this peer answered at this address. The peer
    /// may have its proof already and wait, while its own is lost on the way.
    pub fn answered(&mut self, address: &Address, peer: PeerId) {
        if let Some(target) = self.targets.change().get_mut(address) {
            target.answered = Some(peer);
        }
    }

    /// A peer answered at this address, and has proven it; who had been there before, if that was
    /// another. Whatever comes of it, the dial is not over yet.
    pub fn reached(&mut self, address: &Address, peer: PeerId) -> Option<PeerId> {
        let target = self.targets.change().get_mut(address)?;
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
        self.addresses(peer)
            .any(|(_, target)| target.is_wanted(roster))
    }

    /// Whether the peer is being dialled at this moment.
    pub fn is_dialling(&self, peer: &PeerId) -> bool {
        self.addresses(peer)
            .any(|(_, target)| target.dialling.is_some())
    }

    /// Whether an address that the user named is still being tried and has no peer yet.
    pub fn has_open_wish(&self, roster: &Roster) -> bool {
        self.targets.values().any(|target| {
            target.user && target.peer.is_none() && !target.own && target.is_wanted(roster)
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
    use crate::mesh::roster::Departure;
    use crate::mesh::target::GOSSIP_TRIES;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn hearsay(address: &str, peer: PeerId, teller: u8) -> Claim {
        Claim {
            address: Address::parse(address).unwrap(),
            peer,
            teller: PeerId([teller; 32]),
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
    fn hearsay_is_dialled_three_times_and_not_faster_than_one_a_second() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
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
        assert!(now - start >= Duration::from_secs(58));
    }

    #[test]
    fn hearsay_is_dialled_on_for_the_one_that_answered_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
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
            dialing.answered(&address, numbered(2));
            dialing.failed(now, &mut rng, &address);
        }
        roster.get_mut(&numbered(2)).unwrap().departed = Some(Departure::Left);
        assert_eq!(dialing.deadline(&roster), None);
    }

    #[test]
    fn another_phrase_ends_the_dialling_unless_a_member_answered_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let (now, roster) = (Instant::now(), Roster::new(PeerId([0; 32])));
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
        dialing.reached(&address, PeerId([1; 32]));
        assert!((0..9).all(|_| !dialing.refused(now, &mut rng, &address)));
        assert!(!dialing.all_refused());
    }

    #[test]
    fn a_teller_of_tales_does_not_keep_the_words_of_others_from_being_followed() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
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
        for conn in 0..6 {
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
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        vouched(&mut roster, now, numbered(1));
        let mut dials: BTreeMap<Address, u32> = BTreeMap::new();
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
        assert!(!dials.is_empty() && dials.values().all(|tries| *tries <= GOSSIP_TRIES));
    }

    #[test]
    fn of_addresses_that_made_room_the_oldest_is_forgotten_first() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        vouched(&mut roster, now, numbered(1));
        let mut told = |address: &str| {
            let claim = hearsay(address, numbered(1), 0xaa);
            let address = claim.address.clone();
            dialing.learn(now, &mut rng, &roster, claim);
            let tries = dialing.get(&address).unwrap().tries;
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.failed(now, &mut rng, &address);
            tries
        };
        let others = |from: usize| (from..).map(|n| format!("198.51.{}.{}", n / 256, n % 256));
        assert_eq!(told("192.0.2.1"), 0);
        for other in others(0).take(MAX_TRIED) {
            told(&other);
        }
        assert_eq!(told("192.0.2.1"), 1, "it is remembered");
        for other in others(MAX_TRIED).take(MAX_TRIED / 2) {
            told(&other);
        }
        assert_eq!(told("192.0.2.1"), 2, "others are older");
    }

    /// It could not be dropped when its peer left, since it was being dialled just then.
    #[test]
    fn an_address_whose_peer_left_during_a_dial_makes_room() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        for n in 1..3 * MAX_TARGETS as u32 {
            let (id, port) = (numbered(n), n as u16);
            let address = Address::from_ip([198, 51, 100, 7].into(), port);
            let claim = Claim {
                seen: true,
                ..hearsay(&address.to_string(), id, 0)
            };
            roster.entry(now, id).unwrap().expected = true;
            dialing.learn(now, &mut rng, &roster, claim);
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.reached(&address, id);
            dialing.dialled(now, &roster, &address, ConnId(2));
            let peer = roster.get_mut(&id).unwrap();
            (peer.expected, peer.departed) = (false, Some(Departure::Left));
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
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        for n in 0..200 {
            vouched(&mut roster, now, numbered(n));
            let claim = hearsay(&format!("1.0.0.{n}"), numbered(n), 0xaa);
            dialing.learn(now, &mut rng, &roster, claim);
        }
        let before = dialing.targets.looks.get();
        for _ in 0..100 {
            assert_eq!(dialing.next(now, &roster), None);
            assert!(dialing.deadline(&roster).is_some());
            // What most steps do: a message of a peer.
            roster.get_mut(&numbered(7)).unwrap().seq += 1;
        }
        assert_eq!(dialing.targets.looks.get() - before, 1);
    }

    /// What has been worked out before is never held to against what is so.
    #[test]
    fn whatever_changes_the_next_dial_is_known() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        for step in 0..20_000 {
            let mut draw = |below: u64| rng.next_u64() % below;
            let (id, other) = (numbered(draw(8) as u32), numbered(draw(8) as u32));
            let address = format!("192.0.2.{}", draw(12));
            let (what, conn, tie) = (draw(18), ConnId(step), draw(2) == 0);
            let at = Address::parse(&address).unwrap();
            let peer = roster.entry(now, id).unwrap();
            match what {
                0 => peer.links.push(conn),
                1 => peer.links.clear(),
                2 => peer.expected = tie,
                3 => peer.departed = tie.then_some(Departure::Left),
                4 => drop(peer.vouchers.insert(other)),
                5 => drop(peer.vouchers.remove(&other)),
                6 => dialing.want(now, at, tie),
                7 => dialing.failed(now, &mut rng, &at),
                8 => drop(dialing.refused(now, &mut rng, &at)),
                9 => dialing.is_own(now, &at),
                10 => dialing.answered(&at, id),
                11 => drop(dialing.reached(&at, id)),
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
            let due_at = |target| dialing.targets.due_at(target, &roster);
            let due = dialing.targets.values().filter_map(due_at).min();
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
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        let address = Address::parse("192.0.2.1").unwrap();
        dialing.want(now, address.clone(), false);
        roster
            .entry(now, numbered(1))
            .unwrap()
            .links
            .push(ConnId(7));
        dialing.learn(now, &mut rng, &roster, hearsay("192.0.2.1", numbered(1), 1));
        assert_eq!(dialing.next(now, &roster), Some(address.clone()));
        roster.get_mut(&numbered(1)).unwrap().links.clear();
        roster.get_mut(&numbered(1)).unwrap().departed = Some(Departure::Left);
        dialing.departed(now, &mut rng, &numbered(1));
        assert_eq!(dialing.next(now, &roster), Some(address.clone()));
        let before = dialing.reached(&address, numbered(2));
        assert_eq!(before, None);
    }
}
