//! All limits on strangers, behind one type.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::guesses::{Guesses, Verdict};
use super::members::Members;
use super::origin::{Class, Origin, network, source};
use super::places::{Places, WaysIn};
use super::turns::Turns;
use crate::mesh::conn_id::ConnId;

/// A connection that must be closed to make room, possibly the new one itself.
pub(crate) type Evicted = Option<ConnId>;

/// All limits together. It knows a connection from [`Self::accept`] until [`Self::leave`].
pub(crate) struct Admission {
    ways: WaysIn,
    places: Places,
    turns: Turns,
    guesses: Guesses,
    members: Members,
    /// Connections over circuits, whose places are counted elsewhere.
    relayed: BTreeMap<ConnId, Origin>,
}

impl Admission {
    /// No connections yet. These are the ways in through a forwarder.
    pub(crate) fn new(ways: WaysIn) -> Self {
        Self {
            ways,
            places: Places::new(ways),
            turns: Turns::default(),
            guesses: Guesses::default(),
            members: Members::default(),
            relayed: BTreeMap::new(),
        }
    }

    /// Adapts the number of places to the process's limit of descriptors.
    pub(crate) fn fit(&mut self, descriptors: u64) {
        self.places.fit(descriptors);
    }

    /// The class of a connection from this address.
    fn class(&self, ip: IpAddr, own_computer: bool) -> Class {
        if self.ways.forwarding && own_computer {
            Class::Forwarded
        } else if self.members.contains(source(ip)) {
            Class::Reserved
        } else {
            Class::Common
        }
    }

    /// Registers a new connection. `own_computer`: it comes from this computer, as far as this end
    /// can tell.
    pub(crate) fn accept(
        &mut self,
        conn: ConnId,
        ip: IpAddr,
        own_computer: bool,
        rng: &mut dyn CryptoRng,
    ) -> Evicted {
        let origin = Origin::new(ip, self.class(ip, own_computer));
        let evicted = self.places.enter(conn, origin, rng);
        self.forget(evicted)
    }

    /// Registers a new connection over a circuit, whose relay has this address. It takes turns at
    /// the processor like any other from there. Its other end may guess the phrase as it likes: a
    /// relay is a member.
    pub(crate) fn accept_relayed(&mut self, conn: ConnId, relay: Option<IpAddr>) {
        let ip = relay.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let origin = Origin::new(ip, Class::Common);
        self.relayed.insert(conn, origin);
    }

    /// Registers a new connection through the onion service; tor is at this address.
    pub(crate) fn accept_onion(
        &mut self,
        conn: ConnId,
        tor: IpAddr,
        rng: &mut dyn CryptoRng,
    ) -> Evicted {
        let origin = Origin::new(tor, Class::Onion);
        let evicted = self.places.enter(conn, origin, rng);
        self.forget(evicted)
    }

    /// A connection's Ya is complete.
    pub(crate) fn advance(&mut self, conn: ConnId, rng: &mut dyn CryptoRng) -> Evicted {
        let evicted = self.places.advance(conn, rng);
        self.forget(evicted)
    }

    /// The system has no descriptor left: chooses a connection to close.
    pub(crate) fn make_room(&mut self, rng: &mut dyn CryptoRng) -> Evicted {
        let evicted = self.places.draw_one(rng);
        self.forget(evicted)
    }

    fn forget(&mut self, evicted: Evicted) -> Evicted {
        if let Some(evicted) = evicted {
            self.leave(evicted);
        }
        evicted
    }

    /// A connection has ended, or has proven that it knows the phrase.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.places.leave(conn);
        self.turns.leave(conn);
        self.guesses.leave(conn);
        self.relayed.remove(&conn);
    }

    fn origin(&self, conn: ConnId) -> Option<Origin> {
        let relayed = || self.relayed.get(&conn).copied();
        self.places.origin(conn).or_else(relayed)
    }

    /// The class of a registered connection.
    pub(crate) fn class_of(&self, conn: ConnId) -> Option<Class> {
        self.origin(conn).map(|origin| origin.class)
    }

    /// A connection has received something and wants a turn to process it.
    pub(crate) fn ask_turn(&mut self, conn: ConnId) {
        if let Some(origin) = self.origin(conn) {
            self.turns.ask(conn, origin);
        }
    }

    /// The connection that has the next turn at the processor.
    pub(crate) fn next_turn(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        self.turns.next(now, rng)
    }

    /// A turn has ended and took this long.
    pub(crate) fn turn_over(&mut self, now: Instant, conn: ConnId, spent: Duration) {
        self.turns.over(now, conn, spent);
    }

    /// Other work for a connection of this class took this long.
    pub(crate) fn spent(&mut self, now: Instant, class: Class, spent: Duration) {
        self.turns.spent(now, class, spent);
    }

    /// A connection's Ta has arrived: decides whether it is answered now, later or not at all.
    pub(crate) fn ask_answer(
        &mut self,
        now: Instant,
        conn: ConnId,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        if self.relayed.contains_key(&conn) {
            return Verdict::Answer;
        }
        let Some(origin) = self.places.origin(conn) else {
            return Verdict::Refuse(conn);
        };
        let verdict = self.guesses.ask(now, conn, origin, rng);
        if let Verdict::Refuse(loser) = verdict {
            self.leave(loser);
        }
        verdict
    }

    /// The waiting connection whose Ta is answered next.
    pub(crate) fn next_answer(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        self.guesses.next(now, rng)
    }

    /// A connection's Ta was wrong.
    pub(crate) fn wrong(&mut self, now: Instant, conn: ConnId) {
        if let Some(origin) = self.places.origin(conn) {
            self.guesses.wrong(now, &origin);
        }
    }

    /// A member connected from this address and has proven its identity.
    pub(crate) fn member_came(&mut self, ip: IpAddr, own_computer: bool) {
        if self.class(ip, own_computer) != Class::Forwarded {
            self.members.insert(source(ip), network(ip));
        }
    }

    /// When [`Self::next_turn`] or [`Self::next_answer`] may return something.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let turn = self.turns.deadline(now);
        turn.into_iter().chain(self.guesses.deadline(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn only_members_earn_a_class_and_nothing_forwarded_does() {
        let mut admission = Admission::new(WaysIn {
            forwarding: true,
            onion: false,
        });
        let [there, here] = ["198.51.100.7", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        assert_eq!(admission.class(there, false), Class::Common);
        admission.member_came(there, false);
        admission.member_came(here, true);
        assert_eq!(admission.class(there, false), Class::Reserved);
        let neighbour = "198.51.100.8".parse().unwrap();
        assert_eq!(admission.class(neighbour, false), Class::Common);
        assert_eq!(admission.class(here, true), Class::Forwarded);
        assert_eq!(admission.class(there, true), Class::Forwarded);
        let mut local = Admission::new(WaysIn::default());
        local.member_came(here, true);
        assert_eq!(local.class(here, true), Class::Reserved);
    }

    #[test]
    fn connection_that_ended_leaves_nothing() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut admission, now) = (Admission::new(WaysIn::default()), Instant::now());
        let ip = "192.0.2.1".parse().unwrap();
        assert_eq!(admission.accept(ConnId(1), ip, false, &mut rng), None);
        assert_eq!(admission.deadline(now), None);
        admission.ask_turn(ConnId(1));
        assert_eq!(admission.deadline(now), Some(now));
        admission.leave(ConnId(1));
        assert_eq!(admission.next_turn(now, &mut rng), None);
        let verdict = admission.ask_answer(now, ConnId(1), &mut rng);
        assert_eq!(verdict, Verdict::Refuse(ConnId(1)));
        assert_eq!(admission.deadline(now), None);
    }

    #[test]
    fn each_stage_closes_a_connection_for_one_too_many() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut admission = Admission::new(WaysIn {
            forwarding: false,
            onion: true,
        });
        // Four places in each stage: two of them for strangers, and one for the onion service.
        admission.fit(0);
        let ip = |n: u8| IpAddr::from([192, 0, n, 1]);
        let accepted = [1, 2, 3].map(|n: u8| {
            let evicted = admission.accept(ConnId(n.into()), ip(n), false, &mut rng);
            assert_eq!(evicted.is_some(), n == 3);
            evicted
        });
        let left = |admission: &Admission, conns: &[u64]| -> Vec<ConnId> {
            let conns = conns.iter().map(|conn| ConnId(*conn));
            let is_here = |conn: &ConnId| admission.class_of(*conn).is_some();
            conns.filter(is_here).collect()
        };
        let stayed = left(&admission, &[1, 2, 3]);
        assert!(stayed.len() == 2 && !stayed.contains(&accepted[2].unwrap()));
        let tor = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(admission.accept_onion(ConnId(10), tor, &mut rng), None);
        let evicted = admission.accept_onion(ConnId(11), tor, &mut rng).unwrap();
        assert_eq!(left(&admission, &[10, 11]).len(), 1);
        assert!(!left(&admission, &[10, 11]).contains(&evicted));
        for conn in stayed {
            assert_eq!(admission.advance(conn, &mut rng), None);
        }
        assert_eq!(admission.accept(ConnId(4), ip(4), false, &mut rng), None);
        assert!(admission.advance(ConnId(4), &mut rng).is_some());
        let before = left(&admission, &[1, 2, 3, 4, 10, 11]);
        let evicted = admission.make_room(&mut rng).unwrap();
        let after = left(&admission, &[1, 2, 3, 4, 10, 11]);
        assert!(before.contains(&evicted) && !after.contains(&evicted));
    }
}
