//! The circuits of this node: those that it carries as a relay, and those at whose ends it is
//! (PROTOCOL.md, section 11).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::backoff;
use super::bucket::Bucket;
use super::conn_id::ConnId;
use crate::proto::PeerId;
use crate::proto::frame::Way;

/// The shortest time between the cells of a circuit that this program grants, in milliseconds.
pub(super) const SHORTEST_MS: u32 = 1000;
/// The times between a circuit's cells from which a relay chooses.
const INTERVALS_MS: [u32; 4] = [1000, 2000, 5000, 10_000];
/// What a cell of a circuit costs on a link, in thousandths of a cell: its record is longer.
const COST: u64 = 1100;
/// How many OPENs a link bears at once, and how long one more takes to earn: of the other end, to
/// others and from others, and of this end. A few members cannot use up what a link with another
/// bears.
const OPENS: u32 = 16;
const OPEN_REFILL: [Duration; 3] = [
    Duration::from_secs(4),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// The slowest link over which a circuit can be made in time, in milliseconds between cells.
const SLOWEST_MS: u64 = 3000;
/// Circuits from peers that have proven nothing yet: over one relay, and in all.
const UNPROVEN: [usize; 2] = [2, 8];
/// How long a peer that cannot be reached directly waits for its first circuit: the end with the
/// lesser PeerId asks first.
const FIRST: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// The same for a peer whose circuit has ended.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1200)];
/// How long to wait while the peer is being dialled for the first time, or no relay has room.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often a circuit is put off in a row.
const PATIENCE: u32 = 10;
/// Longer than any circuit takes to stand or to fail.
const ANSWER: Duration = Duration::from_secs(600);
/// How long a relay is not asked for a peer again that it has led to somebody else.
const SHUN: Duration = Duration::from_secs(600);

/// One circuit on one link: the link's connection, and the circuit's number on it.
pub(super) type LegId = (ConnId, u32);

/// What a leg is part of.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A circuit at whose end this node is: the connection that it carries.
    End(ConnId),
    /// A circuit that this node carries: the leg on the other link.
    Relay(LegId),
}

/// A leg.
struct Leg {
    part: Part,
    /// The interval of its circuit, in milliseconds.
    interval_ms: u32,
    /// Whether this node has sent OPEN on it, and no answer has come.
    asked: bool,
}

/// A connection that a circuit carries.
struct End {
    leg: LegId,
    relay: PeerId,
    /// The peer at the other end, as far as this end or the relay says.
    peer: PeerId,
    /// Bytes of records that TLS still has to make of cells.
    unsealed: usize,
}

/// A peer that this node wants a circuit to.
struct Wanted {
    due: Instant,
    failures: u32,
    /// How often it was put off in a row.
    put_off: u32,
}

/// All circuits, and when to ask for further ones.
pub(super) struct CircuitTable {
    own: PeerId,
    legs: BTreeMap<LegId, Leg>,
    ends: BTreeMap<ConnId, End>,
    wanted: BTreeMap<PeerId, Wanted>,
    /// When each relay was last asked for each peer.
    tried: BTreeMap<(PeerId, PeerId), Instant>,
    /// Until when a relay is not asked for a peer.
    shunned: BTreeMap<(PeerId, PeerId), Instant>,
    /// How many OPENs each link still bears.
    opens: BTreeMap<ConnId, [Bucket; 3]>,
    /// Whether [`Self::want`] has to be asked again for all peers.
    stale: bool,
}

impl CircuitTable {
    /// No circuits, for the peer with this id.
    pub(super) fn new(own: PeerId) -> Self {
        Self {
            own,
            legs: BTreeMap::new(),
            ends: BTreeMap::new(),
            wanted: BTreeMap::new(),
            tried: BTreeMap::new(),
            shunned: BTreeMap::new(),
            opens: BTreeMap::new(),
            stale: false,
        }
    }

    /// Who can be reached over whom has changed.
    pub(super) fn note_change(&mut self) {
        self.stale = true;
    }

    /// Whether it has changed since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// Sets the peers to which this node wants circuits. `lost`: it had a circuit before.
    pub(super) fn want(&mut self, now: Instant, peers: &BTreeMap<PeerId, bool>) {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|peer, wanted| {
            let is_fresh = self.is_coming(peer) || wanted.due < now + ANSWER;
            peers.contains_key(peer) && is_fresh
        });
        self.wanted = wanted;
        for (peer, lost) in peers {
            let turn = usize::from(self.own > *peer);
            let wait = if *lost { AGAIN[turn] } else { FIRST[turn] };
            let due = now + wait;
            self.wanted.entry(*peer).or_insert(Wanted {
                due,
                failures: 0,
                put_off: 0,
            });
        }
    }

    /// The peers to whom a circuit is due.
    pub(super) fn due(&self, now: Instant) -> Vec<PeerId> {
        let due = self.wanted.iter().filter(|(_, wanted)| wanted.due <= now);
        due.map(|(peer, _)| *peer).collect()
    }

    /// When [`Self::take_change`] or [`Self::due`] returns something.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.stale {
            return Some(now);
        }
        self.wanted.values().map(|wanted| wanted.due).min()
    }

    /// Puts off the circuit to this peer for a moment. Returns false if that was done often enough.
    pub(super) fn put_off(&mut self, now: Instant, peer: &PeerId) -> bool {
        let Some(wanted) = self.wanted.get_mut(peer) else {
            return false;
        };
        let may = wanted.put_off < PATIENCE;
        if may {
            wanted.put_off += 1;
            wanted.due = now + LOOK_AGAIN;
        }
        may
    }

    /// The circuit to this peer has come to nothing.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut dyn CryptoRng, peer: &PeerId) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.put_off = 0;
            wanted.failures = wanted.failures.saturating_add(1);
            wanted.due = now + backoff::after_failures(wanted.failures, rng);
        }
    }

    /// Of these relays, the one to ask for this peer: the one asked longest ago.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        relays: impl Iterator<Item = PeerId>,
        peer: &PeerId,
    ) -> Option<PeerId> {
        self.shunned.retain(|_, until| now < *until);
        let usable = relays.filter(|relay| !self.shunned.contains_key(&(*relay, *peer)));
        usable.min_by_key(|relay| (self.tried.get(&(*relay, *peer)).copied(), *relay))
    }

    /// A relay has led to somebody who is not this peer, or has another phrase.
    pub(super) fn shun(&mut self, now: Instant, relay: PeerId, peer: PeerId) {
        // A member could make up peers without end.
        if self.shunned.len() < 1024 {
            self.shunned.insert((relay, peer), now + SHUN);
        }
    }

    /// Whether the other end of a link may ask for another circuit.
    pub(super) fn may_be_asked(&mut self, now: Instant, link: ConnId, way: Way) -> bool {
        let which = match way {
            Way::To => 0,
            Way::From => 1,
        };
        self.buckets(link)[which].try_take(now, OPEN_REFILL[which])
    }

    /// Whether this node may ask for another circuit on a link.
    pub(super) fn may_ask(&mut self, now: Instant, link: ConnId) -> bool {
        self.buckets(link)[2].try_take(now, OPEN_REFILL[2])
    }

    fn buckets(&mut self, link: ConnId) -> &mut [Bucket; 3] {
        let full = || OPEN_REFILL.map(|refill| Bucket::full(OPENS * refill));
        self.opens.entry(link).or_insert_with(full)
    }

    /// This node has asked a relay for a circuit, which is to carry this connection.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        conn: ConnId,
        leg: LegId,
        relay: PeerId,
        peer: PeerId,
    ) {
        self.tried.insert((relay, peer), now);
        if self.tried.len() > 4096 {
            self.tried.clear();
        }
        // Until its answer comes, or the connection has ended, no other is due.
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.due = now + ANSWER;
        }
        self.begin(conn, leg, [relay, peer], SHORTEST_MS, true);
    }

    /// A relay has offered a circuit from this peer, as it says, which carries this connection.
    pub(super) fn offered(
        &mut self,
        conn: ConnId,
        leg: LegId,
        relay: PeerId,
        peer: PeerId,
        interval_ms: u32,
    ) {
        self.begin(conn, leg, [relay, peer], interval_ms, false);
    }

    fn begin(
        &mut self,
        conn: ConnId,
        leg: LegId,
        [relay, peer]: [PeerId; 2],
        interval_ms: u32,
        asked: bool,
    ) {
        let own = Leg {
            part: Part::End(conn),
            interval_ms,
            asked,
        };
        self.legs.insert(leg, own);
        let end = End {
            leg,
            relay,
            peer,
            unsealed: 0,
        };
        self.ends.insert(conn, end);
    }

    /// Whether a circuit with this peer is being made, as far as its relay says.
    pub(super) fn is_coming(&self, peer: &PeerId) -> bool {
        self.ends.values().any(|end| end.peer == *peer)
    }

    /// This node carries a circuit from one leg to another, once the far end agrees.
    pub(super) fn carry(&mut self, near: LegId, far: LegId, interval_ms: u32) {
        for (leg, other, asked) in [(near, far, false), (far, near, true)] {
            let part = Part::Relay(other);
            self.legs.insert(
                leg,
                Leg {
                    part,
                    interval_ms,
                    asked,
                },
            );
        }
    }

    /// What a leg is part of.
    pub(super) fn part(&self, leg: &LegId) -> Option<Part> {
        Some(self.legs.get(leg)?.part)
    }

    /// Whether the circuit of a leg stands: then its stream may flow.
    pub(super) fn stands(&self, leg: &LegId) -> bool {
        let own = self.legs.get(leg);
        own.is_some_and(|leg| {
            !leg.asked
                && match leg.part {
                    Part::End(_) => true,
                    Part::Relay(other) => self.legs.get(&other).is_some_and(|other| !other.asked),
                }
        })
    }

    /// Takes OPENED on a leg. Returns the interval of the circuit, which is never shorter than
    /// asked for. `None`: this node has not asked, or has its answer.
    pub(super) fn opened(&mut self, leg: &LegId, interval_ms: u32) -> Option<u32> {
        let found = self.legs.get_mut(leg).filter(|leg| leg.asked)?;
        found.asked = false;
        found.interval_ms = found.interval_ms.max(interval_ms);
        let (interval_ms, part) = (found.interval_ms, found.part);
        if let Part::Relay(other) = part
            && let Some(other) = self.legs.get_mut(&other)
        {
            other.interval_ms = interval_ms;
        }
        Some(interval_ms)
    }

    /// Whether this node has asked for the circuit of a leg and has no answer.
    pub(super) fn is_asked(&self, leg: &LegId) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.asked)
    }

    /// Forgets a leg, and with it the connection that it carried. The caller ends the other leg of a
    /// relay.
    pub(super) fn forget(&mut self, leg: &LegId) -> Option<Part> {
        let part = self.legs.remove(leg)?.part;
        if let Part::End(conn) = part {
            self.ends.remove(&conn);
        }
        Some(part)
    }

    fn on(&self, link: ConnId) -> impl Iterator<Item = (&LegId, &Leg)> {
        self.legs.range((link, 0)..=(link, u32::MAX))
    }

    /// The legs on a link.
    pub(super) fn legs_on(&self, link: ConnId) -> Vec<LegId> {
        self.on(link).map(|(leg, _)| *leg).collect()
    }

    /// A link has ended.
    pub(super) fn forget_link(&mut self, link: ConnId) {
        self.opens.remove(&link);
    }

    /// Whether a link carries a connection of this node's own.
    pub(super) fn carries_own(&self, link: ConnId) -> bool {
        self.on(link)
            .any(|(_, leg)| matches!(leg.part, Part::End(_)))
    }

    /// The leg of a connection that a circuit carries, and the relay.
    pub(super) fn leg_of(&self, conn: ConnId) -> Option<(LegId, PeerId)> {
        let end = self.ends.get(&conn)?;
        Some((end.leg, end.relay))
    }

    /// The interval of the circuit that carries a connection, in milliseconds.
    pub(super) fn interval_ms(&self, conn: ConnId) -> Option<u32> {
        let leg = self.ends.get(&conn)?.leg;
        Some(self.legs.get(&leg)?.interval_ms)
    }

    /// Cells were given to TLS, which makes this many bytes of records of them.
    pub(super) fn will_seal(&mut self, conn: ConnId, bytes: usize) {
        if let Some(end) = self.ends.get_mut(&conn) {
            end.unsealed += bytes;
        }
    }

    /// TLS has made this many bytes. Returns the leg to send them on.
    pub(super) fn sealed(&mut self, conn: ConnId, bytes: usize) -> Option<LegId> {
        let end = self.ends.get_mut(&conn)?;
        end.unsealed = end.unsealed.saturating_sub(bytes);
        Some(end.leg)
    }

    /// Whether TLS has made records of all cells of a connection.
    pub(super) fn is_sealed(&self, conn: ConnId) -> bool {
        self.ends.get(&conn).is_some_and(|end| end.unsealed == 0)
    }

    /// Whether two links have a circuit between them already, in either direction.
    pub(super) fn joins(&self, one: ConnId, other: ConnId) -> bool {
        self.on(one)
            .any(|(_, leg)| matches!(leg.part, Part::Relay((link, _)) if link == other))
    }

    /// The interval for another circuit over these links, at least `wish_ms`. `links`: each with the
    /// time between its cells in milliseconds, if it has one. `None`: it would take more than half
    /// of the cells of one of them, or one is too slow for a handshake.
    pub(super) fn fitting(&self, links: [(ConnId, Option<u64>); 2], wish_ms: u32) -> Option<u32> {
        let fits = |interval_ms: u32| {
            links.iter().all(|(link, ticks_ms)| {
                let taken: u64 = self.on(*link).map(|(_, leg)| cost(leg.interval_ms)).sum();
                ticks_ms.is_none_or(|ms| {
                    ms <= SLOWEST_MS && taken + cost(interval_ms) <= 500_000 / ms.max(1)
                })
            })
        };
        let offered = std::iter::once(wish_ms).chain(INTERVALS_MS);
        let mut offered = offered.filter(|interval_ms| *interval_ms >= wish_ms);
        offered.find(|interval_ms| fits(*interval_ms))
    }

    /// The connections that have to make room for another peer that has proven nothing and comes
    /// over this relay: one of them, or the newcomer. Empty if there is room.
    pub(super) fn rivals(&self, relay: &PeerId, unproven: impl Fn(ConnId) -> bool) -> Vec<ConnId> {
        let waiting = || self.ends.iter().filter(|(conn, _)| unproven(**conn));
        let here = waiting().filter(|(_, end)| end.relay == *relay);
        let here: Vec<_> = here.map(|(conn, _)| *conn).collect();
        if here.len() >= UNPROVEN[0] {
            return here;
        }
        let all: Vec<_> = waiting().map(|(conn, _)| *conn).collect();
        if all.len() >= UNPROVEN[1] {
            all
        } else {
            Vec::new()
        }
    }

    /// Whether this node wants a circuit to this peer, or is making one.
    pub(super) fn wants(&self, peer: &PeerId) -> bool {
        self.wanted.contains_key(peer)
    }

    /// How many circuits of others a link carries.
    pub(super) fn carried_on(&self, link: ConnId) -> usize {
        let is_relayed = |(_, leg): &(&LegId, &Leg)| matches!(leg.part, Part::Relay(_));
        self.on(link).filter(is_relayed).count()
    }
}

/// What a circuit takes of a link, in thousandths of a cell per second.
fn cost(interval_ms: u32) -> u64 {
    COST * 1000 / u64::from(interval_ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const OWN: PeerId = PeerId([5; 32]);
    const LINKS: [ConnId; 2] = [ConnId(1), ConnId(2)];

    fn peer(byte: u8) -> PeerId {
        PeerId([byte; 32])
    }

    fn ticking(ms: u64) -> [(ConnId, Option<u64>); 2] {
        LINKS.map(|link| (link, Some(ms)))
    }

    #[test]
    fn circuits_take_at_most_half_of_the_cells_of_each_link() {
        let mut table = CircuitTable::new(OWN);
        let mut found = Vec::new();
        for id in 1..20 {
            let Some(interval_ms) = table.fitting(ticking(100), 1000) else {
                break;
            };
            table.carry((LINKS[0], id), (LINKS[1], id), interval_ms);
            found.push(interval_ms);
        }
        assert_eq!(found, [1000, 1000, 1000, 1000, 2000]);
        assert_eq!(
            CircuitTable::new(OWN).fitting(ticking(1000), 1000),
            Some(5000)
        );
        assert_eq!(CircuitTable::new(OWN).fitting(ticking(3001), 1000), None);
        let unpaced = LINKS.map(|link| (link, None));
        assert_eq!(CircuitTable::new(OWN).fitting(unpaced, 300), Some(300));
    }

    #[test]
    fn lesser_peer_asks_first_and_failures_make_the_next_wait_longer() {
        let (mut table, now) = (CircuitTable::new(OWN), Instant::now());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let peers = BTreeMap::from([(peer(1), false), (peer(9), false)]);
        table.want(now, &peers);
        assert_eq!(table.due(now + FIRST[0]), [peer(9)]);
        assert_eq!(table.due(now + FIRST[1]), [peer(1), peer(9)]);
        table.want(now + FIRST[1], &peers);
        assert_eq!(table.deadline(now), Some(now + FIRST[0]), "the same wait");
        table.failed(now, &mut rng, &peer(9));
        table.failed(now, &mut rng, &peer(1));
        assert!(table.deadline(now).unwrap() > now);
        table.want(now, &BTreeMap::new());
        assert_eq!(table.deadline(now), None);
    }

    #[test]
    fn relays_take_turns_and_a_liar_is_left_alone_for_a_while() {
        let (mut table, now) = (CircuitTable::new(OWN), Instant::now());
        let relays = || [peer(2), peer(3)].into_iter();
        assert_eq!(table.choose(now, relays(), &peer(9)), Some(peer(2)));
        table.ask(now, ConnId(7), (LINKS[0], 1), peer(2), peer(9));
        assert_eq!(table.choose(now, relays(), &peer(9)), Some(peer(3)));
        table.shun(now, peer(3), peer(9));
        assert_eq!(table.choose(now, relays(), &peer(9)), Some(peer(2)));
        let later = now + SHUN;
        assert_eq!(table.choose(later, relays(), &peer(9)), Some(peer(3)));
    }

    #[test]
    fn stream_flows_once_the_far_end_has_agreed() {
        let mut table = CircuitTable::new(OWN);
        let (near, far) = ((LINKS[0], 1), (LINKS[1], 2));
        table.carry(near, far, 1000);
        assert!(table.joins(LINKS[0], LINKS[1]) && table.joins(LINKS[1], LINKS[0]));
        assert!(!table.stands(&near) && !table.stands(&far));
        assert_eq!(table.opened(&near, 1000), None, "nobody has asked there");
        assert_eq!(table.opened(&far, 500), Some(1000));
        assert_eq!(table.opened(&far, 1000), None);
        assert!(table.stands(&near) && table.stands(&far));
        assert_eq!(table.carried_on(LINKS[0]), 1);
        assert!(matches!(table.forget(&near), Some(Part::Relay(leg)) if leg == far));
        assert!(!table.stands(&far));
    }

    #[test]
    fn unproven_circuits_have_two_places_for_each_relay_and_eight_in_all() {
        let mut table = CircuitTable::new(OWN);
        for relay in 10..14 {
            for number in 0..2 {
                assert!(table.rivals(&peer(relay), |_| true).is_empty());
                let conn = ConnId(u64::from(relay) * 2 + number);
                table.offered(
                    conn,
                    (ConnId(relay.into()), number as u32),
                    peer(relay),
                    OWN,
                    1000,
                );
            }
            assert_eq!(table.rivals(&peer(relay), |_| true).len(), 2);
            assert!(
                table.rivals(&peer(relay), |_| false).is_empty(),
                "all are proven"
            );
        }
        assert_eq!(table.rivals(&peer(99), |_| true).len(), 8);
    }
}
