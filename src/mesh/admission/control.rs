//! What the engine asks about strangers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::guesses::{Guesses, Verdict};
use super::members::Members;
use super::origin::{Class, Origin, network, source};
use super::places::Places;
use super::turns::Turns;
use crate::mesh::conn_id::ConnId;

/// A connection that has to go so that another one has a place; it may be that one.
pub type Evicted = Option<ConnId>;

/// All limits together. A connection is known here from [`Self::accept`] to [`Self::leave`].
pub struct Admission {
    forwarding: bool,
    places: Places,
    turns: Turns,
    guesses: Guesses,
    members: Members,
}

impl Admission {
    /// Nobody is there. `forwarding`: what comes from this computer itself may come from anywhere.
    pub fn new(forwarding: bool) -> Self {
        Self {
            forwarding,
            places: Places::new(forwarding),
            turns: Turns::default(),
            guesses: Guesses::default(),
            members: Members::default(),
        }
    }

    /// The process may have so many descriptors.
    pub fn fit(&mut self, descriptors: u64) {
        self.places.fit(descriptors);
    }

    /// What a connection from this address gets.
    fn class(&self, ip: IpAddr, own_computer: bool) -> Class {
        if self.forwarding && own_computer {
            Class::Forwarded
        } else if self.members.contains(source(ip)) {
            Class::Reserved
        } else {
            Class::Common
        }
    }

    /// A connection came; `own_computer`: from this computer, as far as can be seen.
    pub fn accept(
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

    /// A connection's Ya is complete.
    pub fn advance(&mut self, conn: ConnId, rng: &mut dyn CryptoRng) -> Evicted {
        let evicted = self.places.advance(conn, rng);
        self.forget(evicted)
    }

    /// The system has no descriptor left.
    pub fn make_room(&mut self, rng: &mut dyn CryptoRng) -> Evicted {
        let evicted = self.places.draw_one(rng);
        self.forget(evicted)
    }

    fn forget(&mut self, evicted: Evicted) -> Evicted {
        if let Some(evicted) = evicted {
            self.leave(evicted);
        }
        evicted
    }

    /// A connection is gone, or has proven that it knows the phrase.
    pub fn leave(&mut self, conn: ConnId) {
        self.places.leave(conn);
        self.turns.leave(conn);
        self.guesses.leave(conn);
    }

    /// The class of a connection that is known here.
    pub fn class_of(&self, conn: ConnId) -> Option<Class> {
        self.places.origin(conn).map(|origin| origin.class)
    }

    /// Something has come on a connection, and waits to be worked on.
    pub fn ask_turn(&mut self, conn: ConnId) {
        if let Some(origin) = self.places.origin(conn) {
            self.turns.ask(conn, origin);
        }
    }

    /// Whose turn it is to have something worked on.
    pub fn next_turn(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        self.turns.next(now, rng)
    }

    /// A turn is over, and took so long.
    pub fn turn_over(&mut self, now: Instant, conn: ConnId, spent: Duration) {
        self.turns.over(now, conn, spent);
    }

    /// Other work for a connection of this class took so long.
    pub fn spent(&mut self, now: Instant, class: Class, spent: Duration) {
        self.turns.spent(now, class, spent);
    }

    /// A connection's Ta has come.
    pub fn ask_answer(&mut self, now: Instant, conn: ConnId, rng: &mut dyn CryptoRng) -> Verdict {
        let Some(origin) = self.places.origin(conn) else {
            return Verdict::Refuse(conn);
        };
        let verdict = self.guesses.ask(now, conn, origin, rng);
        if let Verdict::Refuse(loser) = verdict {
            self.leave(loser);
        }
        verdict
    }

    /// Who waits for an answer to its Ta and gets it now.
    pub fn next_answer(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        self.guesses.next(now, rng)
    }

    /// A connection's Ta was wrong.
    pub fn wrong(&mut self, now: Instant, conn: ConnId) {
        if let Some(origin) = self.places.origin(conn) {
            self.guesses.wrong(now, &origin);
        }
    }

    /// A member came from there, and has proven who it is.
    pub fn member_came(&mut self, ip: IpAddr, own_computer: bool) {
        if self.class(ip, own_computer) != Class::Forwarded {
            self.members.insert(source(ip), network(ip));
        }
    }

    /// When [`Self::next_turn`] or [`Self::next_answer`] may have somebody.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
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
        let mut admission = Admission::new(true);
        let [there, here] = ["198.51.100.7", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        assert_eq!(admission.class(there, false), Class::Common);
        admission.member_came(there, false);
        admission.member_came(here, true);
        assert_eq!(admission.class(there, false), Class::Reserved);
        let neighbour = "198.51.100.8".parse().unwrap();
        assert_eq!(admission.class(neighbour, false), Class::Common);
        assert_eq!(admission.class(here, true), Class::Forwarded);
        assert_eq!(admission.class(there, true), Class::Forwarded);
        let mut local = Admission::new(false);
        local.member_came(here, true);
        assert_eq!(local.class(here, true), Class::Reserved);
    }

    #[test]
    fn nothing_is_left_of_a_connection_that_is_gone() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut admission, now) = (Admission::new(false), Instant::now());
        let ip = "192.0.2.1".parse().unwrap();
        assert_eq!(admission.accept(ConnId(1), ip, false, &mut rng), None);
        admission.ask_turn(ConnId(1));
        admission.leave(ConnId(1));
        assert_eq!(admission.next_turn(now, &mut rng), None);
        let verdict = admission.ask_answer(now, ConnId(1), &mut rng);
        assert_eq!(verdict, Verdict::Refuse(ConnId(1)));
        assert_eq!(admission.deadline(now), None);
    }
}
