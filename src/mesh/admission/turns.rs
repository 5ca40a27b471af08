//! Turns at the processor, for work that connections cause before they have proven anything.
//!
//! Such work begins only when its share has some time left, and the time that it took is then
//! charged to that share. So strangers never get more than their share in the long run, whatever
//! they send and however slow the machine is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::origin::{Class, Origin};
use super::rounds::Rounds;
use crate::mesh::bucket::Bucket;
use crate::mesh::conn_id::ConnId;

/// All strangers together get this part of a processor: one half.
const COMMON: u32 = 2;
/// Addresses from which a member has come get this part more: one quarter.
const RESERVED: u32 = 4;
/// How much unused time a share keeps.
const BURST: Duration = Duration::from_millis(50);
/// How many turns run at once: as many as the runtime has threads.
const AT_ONCE: usize = 2;
/// The assumed cost of a turn before the first measurement.
const FIRST_ESTIMATE: Duration = Duration::from_micros(500);
/// A new measurement counts for one eighth of the estimate.
const WEIGHT: u32 = 8;
/// Connections that left during their turn, and whose time is still to be charged.
const LEFT: usize = 64;

/// A part of a processor's time.
struct CpuShare {
    /// How long it takes to earn a unit of processor time.
    refill: u32,
    bucket: Bucket,
}

impl CpuShare {
    fn new(refill: u32) -> Self {
        let bucket = Bucket::full(BURST * refill);
        Self { refill, bucket }
    }

    fn charge(&mut self, now: Instant, time: Duration) {
        self.bucket.take(now, time * self.refill);
    }

    fn give_back(&mut self, time: Duration) {
        self.bucket.give_back(time * self.refill);
    }

    /// Whether it is not in debt.
    fn has_some(&self, now: Instant) -> bool {
        self.bucket.holds(now, Duration::ZERO)
    }

    /// When it is out of debt.
    fn has_some_at(&self, now: Instant) -> Instant {
        self.bucket
            .ready_at(Duration::ZERO)
            .map_or(now, |at| at.max(now))
    }
}

/// The connections that wait for a turn, and those that have one.
pub(super) struct Turns {
    common: CpuShare,
    reserved: CpuShare,
    waiting: BTreeMap<ConnId, Origin>,
    /// Turns that run now, each with the share that pays and the estimated charge.
    running: BTreeMap<ConnId, (Class, Duration)>,
    /// The same for connections that have left: their work may still run, or may never have begun.
    left: BTreeMap<ConnId, (Class, Duration)>,
    rounds: Rounds,
    estimate: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            common: CpuShare::new(COMMON),
            reserved: CpuShare::new(RESERVED),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            left: BTreeMap::new(),
            rounds: Rounds::default(),
            estimate: FIRST_ESTIMATE,
        }
    }
}

impl Turns {
    /// A connection asks for a turn.
    pub(super) fn ask(&mut self, conn: ConnId, origin: Origin) {
        self.waiting.insert(conn, origin);
    }

    /// The connection with the next turn: networks take turns; a lot decides between networks that
    /// have waited equally, and within a network.
    pub(super) fn next(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let payer = self.payer(now)?;
        let may = |origin: &Origin| payer == Class::Common || origin.class == payer;
        let waiting = self.waiting.iter().filter(|(_, origin)| may(origin));
        let waiting = waiting.map(|(conn, origin)| (*conn, *origin));
        let (conn, origin) = self.rounds.draw(waiting, rng)?;
        self.waiting.remove(&conn);
        self.rounds.note(origin.network);
        let estimate = self.estimate;
        self.share(payer).charge(now, estimate);
        self.running.insert(conn, (payer, estimate));
        Some(conn)
    }

    /// The share that can pay for a waiting connection now.
    fn payer(&self, now: Instant) -> Option<Class> {
        let reserved = |origin: &Origin| origin.class == Class::Reserved;
        if self.reserved.has_some(now) && self.waiting.values().any(reserved) {
            return Some(Class::Reserved);
        }
        self.common.has_some(now).then_some(Class::Common)
    }

    fn share(&mut self, payer: Class) -> &mut CpuShare {
        match payer {
            Class::Reserved => &mut self.reserved,
            Class::Common | Class::Forwarded | Class::Onion => &mut self.common,
        }
    }

    /// A connection's turn has ended and took this long.
    pub(super) fn over(&mut self, now: Instant, conn: ConnId, spent: Duration) {
        let turn = self.running.remove(&conn);
        let Some((payer, charged)) = turn.or_else(|| self.left.remove(&conn)) else {
            return;
        };
        self.estimate = self.estimate - self.estimate / WEIGHT + spent / WEIGHT;
        let share = self.share(payer);
        match spent.checked_sub(charged) {
            Some(more) => share.charge(now, more),
            None => share.give_back(charged - spent),
        }
    }

    /// Work that a connection of this class caused took this long.
    pub(super) fn spent(&mut self, now: Instant, class: Class, spent: Duration) {
        self.share(class).charge(now, spent);
    }

    /// A connection has ended, or needs no more turns.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
        if let Some(turn) = self.running.remove(&conn) {
            self.left.insert(conn, turn);
            if self.left.len() > LEFT {
                self.left.pop_first();
            }
        }
    }

    /// When [`Self::next`] returns a connection, if nothing else happens before.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() || self.running.len() >= AT_ONCE {
            return None;
        }
        let common = self.common.has_some_at(now);
        let reserved = |origin: &Origin| origin.class == Class::Reserved;
        match self.waiting.values().any(reserved) {
            true => Some(common.min(self.reserved.has_some_at(now))),
            false => Some(common),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const MS: Duration = Duration::from_millis(1);

    fn origin(network: u128, class: Class) -> Origin {
        Origin {
            source: network,
            network,
            class,
        }
    }

    /// Strangers always ask for more: returns how many turns of this cost each class gets in this
    /// time.
    fn turns_taken(cost: Duration, time: Duration) -> [u32; 2] {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, start) = (Turns::default(), Instant::now());
        let (mut now, mut count, mut taken) = (start, 0, [0; 2]);
        while now < start + time {
            for class in [Class::Common, Class::Reserved].repeat(4) {
                count += 1;
                if turns.waiting.len() > 300 {
                    turns.leave(ConnId(count - 300));
                }
                turns.ask(ConnId(count), origin(u128::from(count) % 200, class));
            }
            while let Some(conn) = turns.next(now, &mut rng) {
                taken[usize::from(conn.0 % 2 == 0)] += 1;
                turns.over(now, conn, cost);
            }
            now += MS;
        }
        taken
    }

    #[test]
    fn strangers_get_half_a_core_and_members_a_quarter_beside() {
        for cost in [MS / 4, MS, 10 * MS] {
            let [common, reserved] = turns_taken(cost, 20_000 * MS);
            let share = |turns: u32| (turns * cost).as_secs_f64() / 20.0;
            let all = share(common + reserved);
            assert!((0.74..0.77).contains(&all), "{all} at {cost:?}");
            assert!(share(reserved) > 0.24, "{} at {cost:?}", share(reserved));
        }
    }

    #[test]
    fn a_network_that_has_waited_goes_before_those_that_were_served() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        for n in 0..1000 {
            turns.ask(ConnId(n), origin(u128::from(n) % 100, Class::Common));
        }
        for served in 0..150 {
            now = turns.deadline(now).unwrap();
            let conn = turns.next(now, &mut rng).unwrap();
            turns.over(now, conn, MS);
            if served == 120 {
                turns.ask(ConnId(5000), origin(5000, Class::Common));
            }
            if served == 121 {
                assert_eq!(conn, ConnId(5000));
                return;
            }
        }
    }

    #[test]
    fn a_few_turns_are_under_way_at_once() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, now) = (Turns::default(), Instant::now());
        for n in 0..9 {
            turns.ask(ConnId(n), origin(n.into(), Class::Common));
        }
        let first = turns.next(now, &mut rng).unwrap();
        let second = turns.next(now, &mut rng).unwrap();
        assert_eq!(turns.next(now, &mut rng), None);
        assert_eq!(turns.deadline(now), None);
        turns.over(now, first, MS);
        assert!(turns.next(now, &mut rng).is_some());
        turns.leave(second);
        assert!(turns.next(now, &mut rng).is_some());
    }

    #[test]
    fn work_is_paid_for_though_its_connection_has_left() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.ask(ConnId(1), origin(1, Class::Common));
        let conn = turns.next(now, &mut rng).unwrap();
        turns.leave(conn);
        turns.over(now, conn, 1000 * MS);
        turns.ask(ConnId(2), origin(2, Class::Common));
        assert!(turns.deadline(now) > Some(now + 1500 * MS));
    }

    #[test]
    fn memory_of_turns_is_bounded() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        for n in 0..5000 {
            turns.ask(ConnId(n), origin(n.into(), Class::Common));
            now += MS;
            if let Some(conn) = turns.next(now, &mut rng)
                && n % 2 == 0
            {
                turns.over(now, conn, MS / 4);
            }
            turns.leave(ConnId(n));
        }
        assert_eq!(turns.left.len(), LEFT);
        assert!(turns.waiting.is_empty() && turns.running.is_empty());
    }

    #[test]
    fn turn_that_takes_no_time_costs_nothing() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.ask(ConnId(1), origin(1, Class::Common));
        let conn = turns.next(now, &mut rng).unwrap();
        assert!(!turns.common.bucket.is_full(now));
        turns.over(now, conn, Duration::ZERO);
        assert!(turns.common.bucket.is_full(now));
    }

    #[test]
    fn shares_are_for_whom_they_are() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for class in [Class::Common, Class::Forwarded, Class::Onion] {
            let (mut turns, now) = (Turns::default(), Instant::now());
            turns.ask(ConnId(1), origin(1, class));
            turns.ask(ConnId(2), origin(2, Class::Reserved));
            assert_eq!(turns.next(now, &mut rng), Some(ConnId(2)));
            assert_eq!(turns.next(now, &mut rng), Some(ConnId(1)));
        }
    }

    #[test]
    fn other_work_is_paid_for_too() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.ask(ConnId(1), origin(1, Class::Common));
        turns.spent(now, Class::Common, BURST + MS);
        assert_eq!(turns.next(now, &mut rng), None);
        assert!(turns.next(now + 2 * MS, &mut rng).is_some());
    }
}
