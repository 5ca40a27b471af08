//! How often the phrase may be guessed, and so when a Ta is answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::origin::{Class, Origin, Source};
use super::places::drawn;
use super::rounds::Rounds;
use crate::mesh::bucket::Bucket;
use crate::mesh::conn_id::ConnId;

/// Wrong guesses from one address before it has to wait.
const FREE: u32 = 5;
/// From then on the listener answers one guess per this time; the second value applies to an
/// address from which a member has come.
const PAUSE: Duration = Duration::from_secs(1);
const MEMBERS_PAUSE: Duration = Duration::from_millis(200);
/// Wrong guesses at once from all unknown addresses together, and how long one more takes to earn.
/// Forwarded connections have the same limit of their own, and so have those through the onion
/// service.
const AT_ONCE: u32 = 30;
const REFILL: Duration = Duration::from_millis(200);
/// Connections of one address that may wait for an answer to Ta.
const WAITING: usize = 16;
/// Addresses remembered for their wrong guesses.
const REMEMBERED: usize = 1024;
/// How long an address is remembered after its last wrong guess.
const FORGET: Duration = Duration::from_secs(600);

/// What happens to a Ta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer it now.
    Answer,
    /// Later: [`Guesses::next`] returns the connection when its turn has come.
    Wait,
    /// Too many wait: close this connection, which may be one that waited before.
    Refuse(ConnId),
}

/// An address from which wrong guesses have come.
struct Guesser {
    wrong: u32,
    last: Instant,
    next: Instant,
}

/// The limits, and the connections that wait for an answer.
pub(super) struct Guesses {
    guessers: BTreeMap<Source, Guesser>,
    waiting: BTreeMap<ConnId, Origin>,
    rounds: Rounds,
    unknown: Bucket,
    forwarded: Bucket,
    onion: Bucket,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            guessers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            rounds: Rounds::default(),
            unknown: Bucket::full(AT_ONCE * REFILL),
            forwarded: Bucket::full(AT_ONCE * REFILL),
            onion: Bucket::full(AT_ONCE * REFILL),
        }
    }
}

impl Guesses {
    /// Decides about a Ta that has arrived.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        conn: ConnId,
        origin: Origin,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        let alike = self.waiting.values();
        let alike = alike.filter(|waiting| waiting.source == origin.source);
        match alike.count() {
            0 if self.answer_at(now, &origin) <= now => {
                self.note_answer(now, &origin);
                return Verdict::Answer;
            }
            0..WAITING => {
                self.waiting.insert(conn, origin);
                return Verdict::Wait;
            }
            _ => {}
        }
        self.waiting.insert(conn, origin);
        let of_source = self.waiting.iter();
        let of_source = of_source.filter(|(_, waiting)| waiting.source == origin.source);
        let lots: Vec<ConnId> = of_source.map(|(conn, _)| *conn).collect();
        let loser = lots.get(drawn(lots.len(), rng)).copied().unwrap_or(conn);
        self.waiting.remove(&loser);
        Verdict::Refuse(loser)
    }

    /// The next waiting connection that may be answered: networks take turns, and each is drawn by
    /// lot.
    pub(super) fn next(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        let waiting = self.waiting.iter().map(|(conn, origin)| (*conn, *origin));
        let ready = waiting.filter(|(_, origin)| self.answer_at(now, origin) <= now);
        let (conn, origin) = self.rounds.draw(ready, rng)?;
        self.waiting.remove(&conn);
        self.note_answer(now, &origin);
        Some(conn)
    }

    /// When [`Self::next`] may return something.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.waiting.values();
        waiting.map(|origin| self.answer_at(now, origin)).min()
    }

    /// The Ta that was answered was wrong.
    pub(super) fn wrong(&mut self, now: Instant, origin: &Origin) {
        match origin.class {
            Class::Common => self.unknown.take(now, REFILL),
            Class::Forwarded => return self.forwarded.take(now, REFILL),
            Class::Onion => return self.onion.take(now, REFILL),
            Class::Reserved => {}
        }
        self.guessers
            .retain(|_, guesser| now < guesser.last + FORGET);
        if self.guessers.len() >= REMEMBERED && !self.guessers.contains_key(&origin.source) {
            let oldest = self.guessers.iter().min_by_key(|(_, guesser)| guesser.last);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.guessers.remove(&oldest);
            }
        }
        let guesser = self.guessers.entry(origin.source).or_insert(Guesser {
            wrong: 0,
            last: now,
            next: now,
        });
        guesser.wrong = guesser.wrong.saturating_add(1);
        guesser.last = now;
        self.pause(now, origin);
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
    }

    fn answer_at(&self, now: Instant, origin: &Origin) -> Instant {
        let guesser = self.guessers.get(&origin.source);
        let its_own = guesser
            .filter(|guesser| guesser.wrong >= FREE)
            .map_or(now, |guesser| guesser.next);
        let ready = |bucket: &Bucket| bucket.ready_at(REFILL).map_or(now, |at| at.max(now));
        match origin.class {
            Class::Common => its_own.max(self.unknown.ready_at(REFILL).unwrap_or(now)),
            Class::Reserved => its_own,
            Class::Forwarded => ready(&self.forwarded),
            Class::Onion => ready(&self.onion),
        }
    }

    fn note_answer(&mut self, now: Instant, origin: &Origin) {
        self.rounds.note(origin.network);
        self.pause(now, origin);
    }

    fn pause(&mut self, now: Instant, origin: &Origin) {
        let pause = match origin.class {
            Class::Reserved => MEMBERS_PAUSE,
            Class::Common | Class::Forwarded | Class::Onion => PAUSE,
        };
        if let Some(guesser) = self.guessers.get_mut(&origin.source)
            && guesser.wrong >= FREE
        {
            guesser.next = now + pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::net::IpAddr;

    fn origin(ip: &str, class: Class) -> Origin {
        Origin::new(ip.parse().unwrap(), class)
    }

    fn unknown(ip: &str) -> Origin {
        origin(ip, Class::Common)
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn the_sixth_guess_of_an_address_waits_and_others_do_not() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        let guesser = unknown("192.0.2.1");
        for n in 0..5 {
            let verdict = guesses.ask(now, ConnId(n), guesser, &mut rng);
            assert_eq!(verdict, Verdict::Answer);
            guesses.wrong(now, &guesser);
        }
        let verdict = guesses.ask(now, ConnId(9), guesser, &mut rng);
        assert_eq!(verdict, Verdict::Wait);
        let other = guesses.ask(now, ConnId(10), unknown("192.0.2.2"), &mut rng);
        assert_eq!(other, Verdict::Answer);
        assert_eq!(guesses.next(now, &mut rng), None);
        assert_eq!(guesses.deadline(now), Some(now + PAUSE));
        assert_eq!(guesses.next(now + PAUSE, &mut rng), Some(ConnId(9)));
        let verdict = guesses.ask(now + PAUSE, ConnId(11), guesser, &mut rng);
        assert_eq!(verdict, Verdict::Wait);
    }

    /// How many tries a member needs if it redials at once, beside an attacker with this number of
    /// guesses per second.
    fn tries_beside(guesses_a_second: u32, class: Class) -> f64 {
        let mut rng = rng();
        let (mut guesses, mut now) = (Guesses::default(), Instant::now());
        let shared = origin("192.0.2.1", class);
        let (mut member, mut tries, mut answers) = (None, 0, 0);
        for count in 0..40_000 {
            let conn = ConnId(count);
            if member.is_none() && count % 7 == 6 {
                (member, tries) = (Some(conn), tries + 1);
            }
            let verdict = guesses.ask(now, conn, shared, &mut rng);
            let mut answered: Vec<_> = (verdict == Verdict::Answer)
                .then_some(conn)
                .into_iter()
                .collect();
            if let Verdict::Refuse(loser) = verdict {
                member = member.filter(|member| *member != loser);
            }
            answered.extend(std::iter::from_fn(|| guesses.next(now, &mut rng)));
            for conn in answered {
                if member == Some(conn) {
                    (member, answers) = (None, answers + 1);
                } else {
                    guesses.wrong(now, &shared);
                }
            }
            now += Duration::from_secs(1) / guesses_a_second;
        }
        f64::from(tries) / f64::from(answers)
    }

    #[test]
    fn a_member_at_a_guessers_address_needs_a_fifth_of_its_guesses() {
        for rate in [20, 100] {
            let fifth = f64::from(rate) / 5.0;
            let tries = tries_beside(rate, Class::Reserved);
            assert!(
                (fifth * 0.7..fifth * 1.4).contains(&tries),
                "{tries} at {rate}"
            );
        }
        let unknown = tries_beside(20, Class::Common);
        assert!((14.0..28.0).contains(&unknown), "{unknown}");
    }

    #[test]
    fn seventeenth_at_an_address_evicts_one_by_lot() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        let shared = unknown("192.0.2.1");
        (0..5).for_each(|_| guesses.wrong(now, &shared));
        let mut losers = Vec::new();
        for n in 0..200 {
            match guesses.ask(now, ConnId(n), shared, &mut rng) {
                Verdict::Wait => assert!(n < 16),
                Verdict::Refuse(loser) => losers.push(loser.0 == n),
                Verdict::Answer => panic!("answered"),
            }
        }
        assert_eq!(guesses.waiting.len(), WAITING);
        let newcomers = losers.iter().filter(|newcomer| **newcomer).count();
        assert!((2..30).contains(&newcomers), "{newcomers}");
    }

    #[test]
    fn all_strangers_together_are_bounded_and_members_are_not() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        let mut answered = 0;
        for n in 0..100 {
            let stranger = Origin::new(IpAddr::from([10, n, 0, 1]), Class::Common);
            let verdict = guesses.ask(now, ConnId(n.into()), stranger, &mut rng);
            if verdict == Verdict::Answer {
                answered += 1;
                guesses.wrong(now, &stranger);
            }
        }
        assert_eq!(answered, 30);
        let member = origin("2001:db8::9", Class::Reserved);
        let verdict = guesses.ask(now, ConnId(200), member, &mut rng);
        assert_eq!(verdict, Verdict::Answer);
        let at = guesses.deadline(now).unwrap();
        assert!(guesses.next(at, &mut rng).is_some());
    }

    #[test]
    fn forwarded_guesses_have_a_limit_of_their_own() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        let mut answered = 0;
        for n in 0..40 {
            let forwarded = origin("127.0.0.1", Class::Forwarded);
            if guesses.ask(now, ConnId(n), forwarded, &mut rng) == Verdict::Answer {
                answered += 1;
                guesses.wrong(now, &forwarded);
            }
        }
        assert_eq!((answered, guesses.waiting.len()), (30, 10));
        let elsewhere = guesses.ask(now, ConnId(100), unknown("192.0.2.1"), &mut rng);
        assert_eq!(elsewhere, Verdict::Answer);
        let mut served = 0;
        for ms in 0..2000 {
            let now = now + Duration::from_millis(ms);
            while guesses.next(now, &mut rng).is_some() {
                served += 1;
                guesses.wrong(now, &origin("127.0.0.1", Class::Forwarded));
            }
        }
        assert!((9..=10).contains(&served), "{served}");
    }

    #[test]
    fn guesses_through_the_onion_service_delay_no_others() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        let [onion, forwarded] =
            [Class::Onion, Class::Forwarded].map(|class| origin("127.0.0.1", class));
        let mut ask = |conn, origin| guesses.ask(now, ConnId(conn), origin, &mut rng);
        assert_eq!(ask(0, onion), Verdict::Answer);
        (0..40).for_each(|_| guesses.wrong(now, &onion));
        let mut ask = |conn, origin| guesses.ask(now, ConnId(conn), origin, &mut rng);
        assert_eq!(ask(1, onion), Verdict::Wait);
        assert_eq!(ask(2, forwarded), Verdict::Answer);
        (0..40).for_each(|_| guesses.wrong(now, &forwarded));
        let later = now + Duration::from_secs(9);
        assert_eq!(guesses.next(later, &mut rng), Some(ConnId(1)));
        let verdict = guesses.ask(later, ConnId(3), onion, &mut rng);
        assert_eq!(verdict, Verdict::Answer);
        assert!(guesses.guessers.is_empty(), "nobody's address is kept");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut guesses, mut rng, now) = (Guesses::default(), rng(), Instant::now());
        for n in 0..5000u32 {
            let origin = Origin::new(IpAddr::from(n.to_be_bytes()), Class::Common);
            guesses.wrong(now, &origin);
            guesses.ask(now, ConnId(n.into()), origin, &mut rng);
            guesses.next(now + FORGET, &mut rng);
            guesses.leave(ConnId(n.into()));
        }
        assert!(guesses.guessers.len() <= REMEMBERED);
        assert!(guesses.waiting.is_empty());
    }

    #[test]
    fn guessers_are_remembered_until_they_have_rested() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let [one, other, third] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(unknown);
        guesses.wrong(now, &one);
        guesses.wrong(now, &other);
        assert_eq!(guesses.guessers.len(), 2);
        guesses.wrong(now + FORGET, &third);
        let left: Vec<_> = guesses.guessers.keys().copied().collect();
        assert_eq!(left, [third.source]);
    }
}
