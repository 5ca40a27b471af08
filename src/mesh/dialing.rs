//! Whom to dial, where and when (PROTOCOL.md, section 10; DESIGN.md, "The mesh").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::backoff;
use super::engine::ConnId;
use super::roster::Roster;
use crate::proto::{Address, PeerId};

/// The most addresses kept from gossip.
const MAX_TARGETS: usize = 512;
/// Dials to an address known from gossip alone.
const GOSSIP_TRIES: u32 = 3;
/// Between two such dials, whatever the address.
const GOSSIP_PAUSE: Duration = Duration::from_secs(1);
/// How much longer the end with the greater id waits before it dials somebody new, so that most
/// pairs are linked by one connection.
const POLITENESS: Duration = Duration::from_millis(1500);
/// An address that led back here is tried again after so long: it may have been somebody in between
/// who passed the dial on.
const OWN_PAUSE: Duration = Duration::from_secs(600);
/// Answers with another phrase in a row before an address is left alone.
const MAX_REFUSALS: u32 = 5;

/// How an address came to be known; the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Hearsay, or a peer's own word about itself that its connection does not bear out.
    Gossip,
    /// The other end of a link, with the port that it says it listens on.
    Seen,
    /// `--peer` or `/connect`.
    User,
}

/// That a peer is at an address.
pub struct Claim {
    /// The address.
    pub address: Address,
    /// Who is there.
    pub peer: PeerId,
    /// How it came to be known.
    pub origin: Origin,
    /// Whether the other end should dial first.
    pub polite: bool,
}

/// One address.
pub struct Target {
    /// How it came to be known.
    pub origin: Origin,
    /// Who answered there last, or is said to be there.
    pub peer: Option<PeerId>,
    /// Whether a peer has answered there in this run.
    pub reached: bool,
    /// Whether `peer` is there by what this end saw itself, not by what others say.
    pub witnessed: bool,
    /// Answers with another phrase in a row.
    pub refusals: u32,
    /// Failures in a row.
    pub failures: u32,
    /// When it was last tried, it led back to this process.
    own: bool,
    /// Left alone until `/connect` names it.
    stopped: bool,
    tries: u32,
    due: Instant,
    dialling: Option<ConnId>,
}

/// All addresses and their clocks.
#[derive(Default)]
pub struct Dialing {
    targets: BTreeMap<Address, Target>,
    next_gossip: Option<Instant>,
}

impl Dialing {
    /// The user wants to be connected to this address.
    pub fn want(&mut self, now: Instant, address: Address) {
        let target = self
            .targets
            .entry(address)
            .or_insert_with(|| Target::new(Origin::User, None, now));
        target.origin = Origin::User;
        (target.stopped, target.own) = (false, false);
        target.refusals = 0;
        target.due = now;
    }

    /// A peer is said, or seen, to be at an address.
    pub fn learn(&mut self, now: Instant, rng: &mut dyn CryptoRng, roster: &Roster, claim: Claim) {
        let Claim {
            address,
            peer,
            origin,
            polite,
        } = claim;
        if let Some(target) = self.targets.get_mut(&address) {
            target.origin = target.origin.max(origin);
            let before = target.peer.and_then(|id| roster.get(&id));
            let awaited = before.is_some_and(|before| before.expected && !before.is_up());
            // What this end saw itself is known better than what others say. Where somebody is
            // awaited, a dial finds out whether he is there no more.
            if !awaited && (!target.witnessed || origin > Origin::Gossip) {
                target.peer = Some(peer);
                target.witnessed = origin > Origin::Gossip;
            }
            return;
        }
        if self.targets.len() >= MAX_TARGETS {
            let idle = self
                .targets
                .iter()
                .filter(|(_, target)| target.origin == Origin::Gossip && target.dialling.is_none());
            let Some(victim) = idle
                .max_by_key(|(_, target)| target.tries)
                .map(|(address, _)| address.clone())
            else {
                return;
            };
            self.targets.remove(&victim);
        }
        let mut wait = GOSSIP_PAUSE.mul_f64(backoff::fraction(rng) / 2.0);
        if polite {
            wait += POLITENESS;
        }
        self.targets
            .insert(address, Target::new(origin, Some(peer), now + wait));
    }

    /// The address that should be dialled now. The caller answers with [`Self::dialled`].
    pub fn next(&self, now: Instant, roster: &Roster) -> Option<Address> {
        let ready = |(address, target): (&Address, &Target)| {
            (target.due_at(roster, self.next_gossip)? <= now).then(|| address.clone())
        };
        self.targets.iter().find_map(ready)
    }

    /// When [`Self::next`] has something.
    pub fn deadline(&self, roster: &Roster) -> Option<Instant> {
        self.targets
            .values()
            .filter_map(|target| target.due_at(roster, self.next_gossip))
            .min()
    }

    /// This connection dials the address.
    pub fn dialled(&mut self, now: Instant, address: &Address, conn: ConnId) {
        if let Some(target) = self.targets.get_mut(address) {
            if target.is_hearsay() {
                self.next_gossip = Some(now + GOSSIP_PAUSE);
            }
            target.dialling = Some(conn);
            target.tries = target.tries.saturating_add(1);
        }
    }

    /// The dial is over, one way or another; the address is tried again in its time.
    pub fn failed(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) {
        if let Some(target) = self.targets.get_mut(address) {
            target.dialling = None;
            target.failures = target.failures.saturating_add(1);
            target.due = now + backoff::after_failures(target.failures, rng);
        }
    }

    /// Somebody with another phrase answered; whether the address is left alone from now on.
    pub fn refused(&mut self, now: Instant, rng: &mut dyn CryptoRng, address: &Address) -> bool {
        let Some(target) = self.targets.get_mut(address) else {
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
        if let Some(target) = self.targets.get_mut(address) {
            target.dialling = None;
            target.own = true;
            target.due = now + OWN_PAUSE;
        }
    }

    /// A peer answered at this address; who was there before, if that was another and this end
    /// knows it from more than hearsay.
    pub fn reached(&mut self, address: &Address, peer: PeerId) -> Option<PeerId> {
        let target = self.targets.get_mut(address)?;
        target.dialling = None;
        (target.reached, target.own) = (true, false);
        (target.failures, target.refusals) = (0, 0);
        let witnessed = std::mem::replace(&mut target.witnessed, true);
        let before = target.peer.replace(peer);
        before.filter(|before| witnessed && *before != peer)
    }

    /// A link with this peer is gone: its addresses are tried again, soon.
    pub fn lost(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self
            .targets
            .values_mut()
            .filter(|target| target.peer == Some(*peer))
        {
            target.failures = 0;
            target.tries = 0;
            target.due = now + backoff::after_failures(1, rng);
        }
    }

    /// The peer has left or was forgotten: its addresses are dropped, but for those that the user
    /// named, which its record in the roster keeps from being dialled.
    pub fn departed(&mut self, peer: &PeerId) {
        self.targets
            .retain(|_, target| target.peer != Some(*peer) || target.origin == Origin::User);
    }

    /// The addresses at which the peer has answered, or is said to be.
    pub fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = (&Address, &Target)> {
        self.targets
            .iter()
            .filter(move |(_, target)| target.peer == Some(*peer))
    }

    /// One address.
    pub fn get(&self, address: &Address) -> Option<&Target> {
        self.targets.get(address)
    }

    /// Whether the user named this address.
    pub fn is_users(&self, address: &Address) -> bool {
        self.targets
            .get(address)
            .is_some_and(|target| target.origin == Origin::User)
    }

    /// A peer broke the protocol: its addresses rest for a while.
    pub fn rest(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        for target in self
            .targets
            .values_mut()
            .filter(|target| target.peer == Some(*peer))
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
            target.origin == Origin::User
                && target.peer.is_none()
                && !target.own
                && target.is_wanted(roster)
        })
    }

    /// Whether there are `--peer` addresses, and each has answered with another phrase and never
    /// with this one.
    pub fn all_refused(&self) -> bool {
        let mut wished = self
            .targets
            .values()
            .filter(|target| target.origin == Origin::User && !target.own)
            .peekable();
        wished.peek().is_some() && wished.all(|target| target.refusals > 0 && !target.reached)
    }
}

impl Target {
    fn new(origin: Origin, peer: Option<PeerId>, due: Instant) -> Self {
        Self {
            origin,
            peer,
            reached: false,
            witnessed: origin == Origin::Seen,
            refusals: 0,
            failures: 0,
            own: false,
            stopped: false,
            tries: 0,
            due,
            dialling: None,
        }
    }

    /// Whether this connection is the address's present dial.
    pub fn is_dialled_by(&self, conn: ConnId) -> bool {
        self.dialling == Some(conn)
    }

    fn is_hearsay(&self) -> bool {
        self.origin == Origin::Gossip && !self.reached
    }

    /// Whether it should be dialled some time, as things are.
    fn is_wanted(&self, roster: &Roster) -> bool {
        if self.stopped {
            return false;
        }
        let peer = self.peer.and_then(|id| roster.get(&id));
        if peer.is_some_and(|peer| peer.is_up() || peer.departed) {
            return false;
        }
        match self.origin {
            Origin::User => true,
            _ if self.is_hearsay() => {
                self.tries < GOSSIP_TRIES
                    && peer.is_some_and(|peer| peer.expected || !peer.vouchers.is_empty())
            }
            _ => peer.is_some_and(|peer| peer.expected || !peer.vouchers.is_empty()),
        }
    }

    fn due_at(&self, roster: &Roster, next_gossip: Option<Instant>) -> Option<Instant> {
        if self.dialling.is_some() || !self.is_wanted(roster) {
            return None;
        }
        match next_gossip {
            Some(next) if self.is_hearsay() => Some(self.due.max(next)),
            _ => Some(self.due),
        }
    }
}

/// Whether an address that came over a link from `link` may be believed: nothing narrower than
/// the link itself, no multicast, nothing unspecified. Names are for the resolver to judge.
pub fn is_plausible(address: &Address, link: IpAddr) -> bool {
    let Some(ip) = address.ip() else {
        return true;
    };
    !ip.is_multicast()
        && !ip.is_unspecified()
        && ip != IpAddr::from([255; 4])
        && scope(ip) >= scope(link)
}

/// How far an address reaches: this host, this wire, this site, the world.
fn scope(ip: IpAddr) -> u8 {
    match ip.to_canonical() {
        ip if ip.is_loopback() => 0,
        IpAddr::V4(ip) if ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 1,
        IpAddr::V4(ip)
            if ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) =>
        {
            2
        }
        IpAddr::V6(ip) if ip.is_unique_local() => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn plausible(address: &str, link: &str) -> bool {
        is_plausible(&Address::parse(address).unwrap(), link.parse().unwrap())
    }

    #[test]
    fn gossip_cannot_point_inside() {
        assert!(plausible("127.0.0.1:1", "127.0.0.1"));
        assert!(!plausible("127.0.0.1:1", "192.168.0.1"));
        assert!(!plausible("192.168.0.1:1", "198.51.100.1"));
        assert!(plausible("198.51.100.1:1", "192.168.0.1"));
        assert!(!plausible("[fe80::1]:1", "2001:db8::1"));
        assert!(!plausible("[::ffff:127.0.0.1]:1", "10.0.0.1"));
        assert!(!plausible("224.0.0.1:1", "127.0.0.1"));
        assert!(!plausible("0.0.0.0:1", "127.0.0.1"));
    }

    #[test]
    fn hearsay_is_dialled_three_times_and_not_faster_than_one_a_second() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut roster = Roster::new(PeerId([0; 32]));
        let mut dialing = Dialing::default();
        for n in 1..=20u8 {
            let id = PeerId([n; 32]);
            roster
                .entry(start, id)
                .unwrap()
                .vouchers
                .insert(PeerId([0xee; 32]));
            let address = Address::parse(&format!("192.0.2.{n}")).unwrap();
            let claim = Claim {
                address,
                peer: id,
                origin: Origin::Gossip,
                polite: false,
            };
            dialing.learn(start, &mut rng, &roster, claim);
        }
        let (mut now, mut dials, mut conn) = (start, 0, 0);
        while let Some(at) = dialing.deadline(&roster) {
            now = now.max(at);
            let Some(address) = dialing.next(now, &roster) else {
                break;
            };
            conn += 1;
            dials += 1;
            dialing.dialled(now, &address, ConnId(conn));
            dialing.failed(now, &mut rng, &address);
        }
        assert_eq!(dials, 60);
        assert!(now - start >= Duration::from_secs(58));
    }

    #[test]
    fn another_phrase_ends_the_dialling_unless_a_member_answered_there() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let (now, roster) = (Instant::now(), Roster::new(PeerId([0; 32])));
        let address = Address::parse("192.0.2.1").unwrap();
        let mut dialing = Dialing::default();
        dialing.want(now, address.clone());
        let stops: Vec<_> = (0..5)
            .map(|_| dialing.refused(now, &mut rng, &address))
            .collect();
        assert_eq!(stops, [false, false, false, false, true]);
        assert!(dialing.all_refused());
        assert_eq!(dialing.deadline(&roster), None);
        dialing.want(now, address.clone());
        dialing.reached(&address, PeerId([1; 32]));
        assert!((0..9).all(|_| !dialing.refused(now, &mut rng, &address)));
        assert!(!dialing.all_refused());
    }
}
