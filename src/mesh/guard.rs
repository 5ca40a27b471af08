//! Strangers at the door: how many connections without a proof there may be, and how often
//! somebody may guess the phrase (PROTOCOL.md, section 12; SECURITY.md, "Strangers at the door", says
//! what this does not stop).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::conn_id::ConnId;

/// Connections at once that have proven nothing yet.
pub const PLACES: usize = 64;
/// Wrong guesses from one address before it has to wait.
const FREE_GUESSES: u32 = 5;
/// From then on one answer each so often.
const PER_ADDRESS: Duration = Duration::from_secs(1);
/// Wrong guesses a second, and at once, of all unknown addresses together.
const COMMON_RATE: f64 = 5.0;
const COMMON_BURST: f64 = 30.0;
/// Addresses remembered for their wrong guesses, or for a member that came from there.
const REMEMBERED: usize = 1024;
/// A guesser is forgotten after so long without another guess.
const FORGET: Duration = Duration::from_secs(600);

/// One guesser's address: IPv4, or the /64 of IPv6.
pub type Source = u128;

/// Whether an answer to a Ta may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Go,
    /// Later: [`Guard::next`] names the connection when its turn has come.
    Wait,
    /// Never: close this connection (which may be the one that waited before).
    Refuse(ConnId),
}

/// The door.
#[derive(Default)]
pub struct Guard {
    places: BTreeMap<ConnId, IpAddr>,
    guessers: BTreeMap<Source, Guesser>,
    members: BTreeMap<Source, Instant>,
    waiting: BTreeMap<Source, Waiting>,
    served: BTreeMap<u128, Instant>,
    common: f64,
    common_at: Option<Instant>,
}

struct Guesser {
    wrong: u32,
    last: Instant,
    next: Instant,
}

struct Waiting {
    conn: ConnId,
    ip: IpAddr,
    arrivals: u64,
    since: Instant,
}

fn masked(ip: IpAddr, v4: u32, v6: u32) -> u128 {
    let keep = |bits: u32| {
        if bits == 0 {
            0
        } else {
            u128::MAX << (128 - bits)
        }
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()) & keep(96 + v4),
        IpAddr::V6(ip) => u128::from(Ipv6Addr::from(ip.octets())) & keep(v6),
    }
}

/// What counts as one source of connections.
pub fn source(ip: IpAddr) -> Source {
    masked(ip, 32, 64)
}

/// The network that an address counts with: /24 of IPv4, /48 of IPv6.
pub fn network(ip: IpAddr) -> u128 {
    masked(ip, 24, 48)
}

impl Guard {
    /// Gives a new connection a place; the connection that has to go for it, if all are taken: the
    /// oldest of the network that holds most.
    pub fn admit(&mut self, conn: ConnId, ip: IpAddr) -> Option<ConnId> {
        self.places.insert(conn, ip);
        if self.places.len() <= PLACES {
            return None;
        }
        let mut held: BTreeMap<u128, usize> = BTreeMap::new();
        for ip in self.places.values() {
            *held.entry(network(*ip)).or_default() += 1;
        }
        let most = held.values().copied().max()?;
        // Ids grow with time, so the first of a crowded network is its oldest.
        let evicted = self
            .places
            .iter()
            .find(|(_, ip)| held.get(&network(**ip)) == Some(&most))
            .map(|(conn, _)| *conn)?;
        self.leave(evicted);
        Some(evicted)
    }

    /// A connection is gone, or has proven itself.
    pub fn leave(&mut self, conn: ConnId) {
        self.places.remove(&conn);
        self.waiting.retain(|_, waiting| waiting.conn != conn);
    }

    /// A Ta has come on this connection: may it be answered?
    pub fn ask(
        &mut self,
        now: Instant,
        conn: ConnId,
        ip: IpAddr,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        if !self.waiting.contains_key(&source(ip)) && self.may_answer(now, ip) {
            self.serve(now, ip);
            return Verdict::Go;
        }
        match self.waiting.get_mut(&source(ip)) {
            None => {
                self.waiting.insert(
                    source(ip),
                    Waiting {
                        conn,
                        ip,
                        arrivals: 1,
                        since: now,
                    },
                );
                Verdict::Wait
            }
            // Each of all who came while the place was taken has the same chance to hold it, so
            // a friend at a guesser's address gets in.
            Some(waiting) => {
                waiting.arrivals += 1;
                if rng.next_u64().is_multiple_of(waiting.arrivals) {
                    Verdict::Refuse(std::mem::replace(&mut waiting.conn, conn))
                } else {
                    Verdict::Refuse(conn)
                }
            }
        }
    }

    /// The next waiting connection whose turn it is: networks by turns.
    pub fn next(&mut self, now: Instant) -> Option<ConnId> {
        let order = |waiting: &Waiting| {
            (
                self.served.get(&network(waiting.ip)).copied(),
                waiting.since,
            )
        };
        let ready = self
            .waiting
            .values()
            .filter(|waiting| self.may_answer(now, waiting.ip));
        let Waiting { conn, ip, .. } = ready.min_by_key(|waiting| order(waiting))?;
        let (conn, ip) = (*conn, *ip);
        self.waiting.remove(&source(ip));
        self.serve(now, ip);
        Some(conn)
    }

    /// When [`Self::next`] may have somebody.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.waiting
            .values()
            .map(|waiting| self.answer_at(now, waiting.ip))
            .min()
    }

    /// A wrong guess came from there.
    pub fn wrong(&mut self, now: Instant, ip: IpAddr) {
        if !self.members.contains_key(&source(ip)) {
            self.common = self.common_now(now) - 1.0;
            self.common_at = Some(now);
        }
        self.guessers
            .retain(|_, guesser| now < guesser.last + FORGET);
        make_room(&mut self.guessers, source(ip), |guesser| guesser.last);
        let guesser = self.guessers.entry(source(ip)).or_insert(Guesser {
            wrong: 0,
            last: now,
            next: now,
        });
        guesser.wrong = guesser.wrong.saturating_add(1);
        guesser.last = now;
        if guesser.wrong >= FREE_GUESSES {
            guesser.next = now + PER_ADDRESS;
        }
    }

    /// A member has come from there, or is said to be there by members.
    pub fn member(&mut self, now: Instant, ip: IpAddr) {
        make_room(&mut self.members, source(ip), |since| *since);
        self.members.insert(source(ip), now);
    }

    fn may_answer(&self, now: Instant, ip: IpAddr) -> bool {
        self.answer_at(now, ip) <= now
    }

    fn answer_at(&self, now: Instant, ip: IpAddr) -> Instant {
        let own = self
            .guessers
            .get(&source(ip))
            .filter(|guesser| guesser.wrong >= FREE_GUESSES)
            .map_or(now, |guesser| guesser.next);
        if self.members.contains_key(&source(ip)) {
            return own;
        }
        let missing = (1.0 - self.common_now(now)).max(0.0);
        // A little more than the arithmetic says, so that rounding cannot make it come too early.
        let common = if missing > 0.0 {
            now + Duration::from_secs_f64(missing / COMMON_RATE + 0.001)
        } else {
            now
        };
        own.max(common)
    }

    fn common_now(&self, now: Instant) -> f64 {
        match self.common_at {
            None => COMMON_BURST,
            Some(at) => (self.common
                + now.saturating_duration_since(at).as_secs_f64() * COMMON_RATE)
                .min(COMMON_BURST),
        }
    }

    fn serve(&mut self, now: Instant, ip: IpAddr) {
        make_room(&mut self.served, network(ip), |at| *at);
        self.served.insert(network(ip), now);
        if let Some(guesser) = self.guessers.get_mut(&source(ip))
            && guesser.wrong >= FREE_GUESSES
        {
            guesser.next = now + PER_ADDRESS;
        }
    }
}

/// For one more key, which takes no room if it is there.
fn make_room<V>(map: &mut BTreeMap<u128, V>, key: u128, age: impl Fn(&V) -> Instant) {
    while map.len() >= REMEMBERED && !map.contains_key(&key) {
        let Some(oldest) = map
            .iter()
            .min_by_key(|(_, value)| age(value))
            .map(|(key, _)| *key)
        else {
            return;
        };
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rng() -> rand_chacha::ChaCha20Rng {
        rand_chacha::ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_of_the_fullest_network_goes() {
        let mut guard = Guard::default();
        assert_eq!(guard.admit(ConnId(0), ip("192.0.2.1")), None);
        for n in 1..PLACES as u64 {
            assert_eq!(guard.admit(ConnId(n), ip(&format!("198.51.100.{n}"))), None);
        }
        assert_eq!(guard.admit(ConnId(100), ip("203.0.113.1")), Some(ConnId(1)));
        guard.leave(ConnId(2));
        assert_eq!(guard.admit(ConnId(101), ip("203.0.113.1")), None);
    }

    #[test]
    fn the_sixth_guess_of_an_address_waits_and_others_do_not() {
        let (mut guard, mut rng, now) = (Guard::default(), rng(), Instant::now());
        let guesser = ip("192.0.2.1");
        for n in 0..5 {
            assert_eq!(guard.ask(now, ConnId(n), guesser, &mut rng), Verdict::Go);
            guard.wrong(now, guesser);
        }
        assert_eq!(guard.ask(now, ConnId(9), guesser, &mut rng), Verdict::Wait);
        assert_eq!(
            guard.ask(now, ConnId(10), ip("192.0.2.2"), &mut rng),
            Verdict::Go
        );
        assert_eq!(guard.next(now), None);
        assert_eq!(guard.deadline(now), Some(now + PER_ADDRESS));
        assert_eq!(guard.next(now + PER_ADDRESS), Some(ConnId(9)));
        assert_eq!(
            guard.ask(now + PER_ADDRESS, ConnId(11), guesser, &mut rng),
            Verdict::Wait
        );
    }

    #[test]
    fn a_friend_at_a_guessers_address_gets_its_turn() {
        let (mut guard, mut rng, mut now) = (Guard::default(), rng(), Instant::now());
        let shared = ip("192.0.2.1");
        (0..5).for_each(|_| guard.wrong(now, shared));
        let mut turns = 0;
        for second in 0..100u64 {
            let (guesser, friend) = (ConnId(second * 2), ConnId(second * 2 + 1));
            guard.ask(now, guesser, shared, &mut rng);
            guard.ask(now, friend, shared, &mut rng);
            now += PER_ADDRESS;
            if guard.next(now) == Some(friend) {
                turns += 1;
            }
        }
        assert!((20..80).contains(&turns), "{turns} of 100");
    }

    #[test]
    fn all_strangers_together_are_bounded_and_members_are_not() {
        let (mut guard, mut rng, now) = (Guard::default(), rng(), Instant::now());
        guard.member(now, ip("2001:db8::7"));
        let mut answered = 0;
        for n in 0..100u64 {
            let stranger = ip(&format!("10.{n}.0.1"));
            if guard.ask(now, ConnId(n), stranger, &mut rng) == Verdict::Go {
                answered += 1;
                guard.wrong(now, stranger);
            }
        }
        assert_eq!(answered, 30);
        assert_eq!(
            guard.ask(now, ConnId(200), ip("2001:db8::9"), &mut rng),
            Verdict::Go
        );
        let at = guard.deadline(now).unwrap();
        assert!(guard.next(at).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        for n in 0..5000u32 {
            guard.wrong(now, IpAddr::from(n.to_be_bytes()));
            guard.member(now, IpAddr::from(n.to_be_bytes()));
        }
        assert!(guard.guessers.len() <= REMEMBERED && guard.members.len() <= REMEMBERED);
    }
}
