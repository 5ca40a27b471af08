//! What a liar does with circuits: as one that asks for them, as one that offers them, and as a
//! relay.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use sesame::mesh::ConnId;
use sesame::proto::PeerId;
use sesame::proto::circuits::WINDOW;
use sesame::proto::frame::{self, Circuit, CircuitFrame, Frame, Payload, Way};
use sesame::proto::ratchet::Direction;

/// The most frames that wait to be sent on one link.
const MOST_WAITING: usize = 4000;

/// A frame about a circuit, with its bytes.
enum Word {
    Open(u32, Way, PeerId),
    Opened(u32),
    Refused,
    Data(Vec<u8>),
    Credit(u32),
    Close,
}

impl Word {
    fn of(what: Circuit<'_>) -> Self {
        match what {
            Circuit::Open {
                interval_ms,
                way,
                peer,
            } => Self::Open(interval_ms, way, peer),
            Circuit::Opened { interval_ms } => Self::Opened(interval_ms),
            Circuit::Refused => Self::Refused,
            Circuit::Data(bytes) => Self::Data(bytes.to_vec()),
            Circuit::Credit(bytes) => Self::Credit(bytes),
            Circuit::Close => Self::Close,
        }
    }

    fn what(&self) -> Circuit<'_> {
        match self {
            Self::Open(interval_ms, way, peer) => Circuit::Open {
                interval_ms: *interval_ms,
                way: *way,
                peer: *peer,
            },
            Self::Opened(interval_ms) => Circuit::Opened {
                interval_ms: *interval_ms,
            },
            Self::Refused => Circuit::Refused,
            Self::Data(bytes) => Circuit::Data(bytes),
            Self::Credit(bytes) => Circuit::Credit(*bytes),
            Self::Close => Circuit::Close,
        }
    }
}

/// One link of the liar.
struct Side {
    peer: PeerId,
    /// The number of its next OPEN.
    next: u32,
    /// The circuits that stand and that it asked for, with the bytes sent on each.
    standing: BTreeMap<u32, usize>,
    waiting: VecDeque<(u32, Word)>,
    /// How many cells pass before it asks for the next circuit.
    pause: u64,
}

/// A circuit that the liar carries: its other leg, and whether it falsifies the stream.
#[derive(Clone, Copy)]
struct Joint {
    other: (ConnId, u32),
    is_false: bool,
}

/// All links of a liar, and the circuits on them.
#[derive(Default)]
pub struct Juggler {
    sides: BTreeMap<ConnId, Side>,
    joints: BTreeMap<(ConnId, u32), Joint>,
}

fn chance(rng: &mut ChaCha20Rng, percent: u64) -> bool {
    rng.next_u64() % 100 < percent
}

fn noise(rng: &mut ChaCha20Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; 1 + rng.next_u64() as usize % most];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A known peer, or one that does not exist.
fn somebody(rng: &mut ChaCha20Rng, known: &[PeerId]) -> PeerId {
    let mut id = PeerId([0; 32]);
    rng.fill_bytes(&mut id.0);
    match known.is_empty() || chance(rng, 20) {
        true => id,
        false => known[rng.next_u64() as usize % known.len()],
    }
}

impl Juggler {
    /// A handshake is done.
    pub fn link(&mut self, conn: ConnId, peer: PeerId, direction: Direction) {
        let next = match direction {
            Direction::Dialler => 1,
            Direction::Listener => 2,
        };
        let side = Side {
            peer,
            next,
            standing: BTreeMap::new(),
            waiting: VecDeque::new(),
            pause: 3,
        };
        self.sides.insert(conn, side);
    }

    /// A connection has ended, and with it its circuits.
    pub fn unlink(&mut self, conn: ConnId) {
        self.sides.remove(&conn);
        let legs = self.joints.range((conn, 0)..=(conn, u32::MAX));
        let legs: Vec<_> = legs.map(|(leg, joint)| (*leg, joint.other)).collect();
        for (leg, other) in legs {
            self.joints.remove(&leg);
            if self.joints.remove(&other).is_some() {
                self.say(other, Word::Close);
            }
        }
    }

    /// The peers at the other ends of its links.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.sides.values().map(|side| side.peer)
    }

    fn say(&mut self, (conn, id): (ConnId, u32), word: Word) {
        if let Some(side) = self.sides.get_mut(&conn)
            && side.waiting.len() < MOST_WAITING
        {
            side.waiting.push_back((id, word));
        }
    }

    /// Takes a cell. `carries`: it plays the relay.
    pub fn hear(&mut self, conn: ConnId, payload: &[u8], carries: bool, rng: &mut ChaCha20Rng) {
        let mut rest = payload;
        while let Ok(Some(heard)) = frame::decode(&mut rest) {
            let Frame::Circuit(CircuitFrame { id, what }) = heard else {
                continue;
            };
            let leg = (conn, id);
            if carries {
                self.relay(leg, Word::of(what), rng);
                continue;
            }
            let Some(side) = self.sides.get_mut(&conn) else {
                return;
            };
            match what {
                Circuit::Open { .. } => match rng.next_u64() % 3 {
                    0 => self.say(leg, Word::Refused),
                    1 => self.say(leg, Word::Opened(1000)),
                    _ => {}
                },
                Circuit::Opened { .. } => drop(side.standing.insert(id, 0)),
                Circuit::Refused | Circuit::Close => drop(side.standing.remove(&id)),
                Circuit::Data(_) | Circuit::Credit(_) => {}
            }
        }
    }

    /// Passes a frame on, or does not.
    fn relay(&mut self, leg: (ConnId, u32), word: Word, rng: &mut ChaCha20Rng) {
        if let Word::Open(interval_ms, _, peer) = word {
            return self.join(leg, interval_ms, peer, rng);
        }
        let Some(Joint { other, is_false }) = self.joints.get(&leg).copied() else {
            return;
        };
        match word {
            Word::Refused | Word::Close => {
                self.joints.remove(&leg);
                self.joints.remove(&other);
                self.say(other, word);
            }
            Word::Data(bytes) if is_false => self.falsify(other, bytes, rng),
            word => self.say(other, word),
        }
    }

    fn falsify(&mut self, to: (ConnId, u32), mut bytes: Vec<u8>, rng: &mut ChaCha20Rng) {
        let count = bytes.len();
        match rng.next_u64() % 40 {
            0 => {}
            1 => bytes[rng.next_u64() as usize % count] ^= 1,
            2 => rng.fill_bytes(&mut bytes),
            3 => {
                // Another stream gets it too.
                let others: Vec<_> = self.joints.keys().copied().collect();
                let other = others[rng.next_u64() as usize % others.len()];
                self.say(other, Word::Data(bytes.clone()));
            }
            4 => bytes.truncate(count / 2 + 1),
            5 => return self.say(to, Word::Close),
            _ => {}
        }
        if !chance(rng, 2) {
            self.say(to, Word::Data(bytes));
        }
    }

    /// Somebody asks it to carry a circuit.
    fn join(&mut self, leg: (ConnId, u32), ms: u32, to: PeerId, rng: &mut ChaCha20Rng) {
        let (conn, from) = match self.sides.get(&leg.0) {
            Some(side) => (leg.0, side.peer),
            None => return,
        };
        let to_other = chance(rng, 10);
        let far = self.sides.iter().find(|(other, side)| {
            **other != conn && side.peer != from && (side.peer == to || to_other)
        });
        match (rng.next_u64() % 12, far.map(|(far, _)| *far)) {
            (0, _) => {}
            // It answers, and nothing follows.
            (1, _) => self.say(leg, Word::Opened(ms)),
            (2, _) | (_, None) => self.say(leg, Word::Refused),
            (roll, Some(far)) => {
                // Whether it says who asks, or names somebody else.
                let from = if roll == 3 { to } else { from };
                let Some(other) = self.open(far, Way::From, from) else {
                    return;
                };
                let is_false = chance(rng, 50);
                self.joints.insert(leg, Joint { other, is_false });
                let joint = Joint {
                    other: leg,
                    is_false,
                };
                self.joints.insert(other, joint);
            }
        }
    }

    fn open(&mut self, conn: ConnId, way: Way, peer: PeerId) -> Option<(ConnId, u32)> {
        let side = self.sides.get_mut(&conn)?;
        let id = side.next;
        side.next += 2;
        self.say((conn, id), Word::Open(1000, way, peer));
        Some((conn, id))
    }

    /// Asks for circuits or offers them, as often as it may, and sends on those that stand noise
    /// that no TLS takes, as far as there is credit.
    pub fn ask(&mut self, conn: ConnId, way: Way, known: &[PeerId], rng: &mut ChaCha20Rng) {
        let Some(side) = self.sides.get_mut(&conn) else {
            return;
        };
        side.pause = side.pause.saturating_sub(1);
        if side.pause == 0 {
            // Two in three seconds at most, and sometimes many at once.
            side.pause = 40 * (rng.next_u64() % 3);
            self.open(conn, way, somebody(rng, known));
            return;
        }
        let (id, roll) = (rng.next_u64() as usize, rng.next_u64() % 100);
        let count = side.standing.len().max(1);
        let Some((id, sent)) = side.standing.iter_mut().nth(id % count) else {
            return;
        };
        let id = *id;
        match roll {
            0..20 => {
                let noise = noise(rng, 800);
                if *sent + noise.len() <= WINDOW {
                    *sent += noise.len();
                    self.say((conn, id), Word::Data(noise));
                }
            }
            20 => {
                side.standing.remove(&id);
                self.say((conn, id), Word::Close);
            }
            _ => {}
        }
    }

    /// Breaks a rule.
    pub fn cheat(&mut self, conn: ConnId, known: &[PeerId], rng: &mut ChaCha20Rng) {
        let Some(side) = self.sides.get_mut(&conn) else {
            return;
        };
        let roll = rng.next_u64();
        let any = match roll % 5 {
            0 => rng.next_u64() as u32,
            1 => 0,
            _ => rng.next_u64() as u32 % (side.next + 3),
        };
        let way = match roll / 5 % 2 {
            0 => Way::To,
            _ => Way::From,
        };
        let peer = somebody(rng, known);
        let word = match roll / 10 % 100 {
            // Most pass as honest, so that it gets further.
            0..70 => {
                if roll.is_multiple_of(7) {
                    self.open(conn, way, peer);
                }
                return;
            }
            70..76 => Word::Open(10 + any % 9990, way, peer),
            76..82 => Word::Opened(10 + any % 9990),
            82..86 => Word::Refused,
            86..90 => Word::Close,
            90..96 => Word::Data(noise(rng, 900)),
            _ => Word::Credit(1 + rng.next_u64() as u32 % 5000),
        };
        self.say((conn, any), word);
    }

    /// Fills a cell with what waits.
    pub fn fill(&mut self, conn: ConnId, payload: &mut Payload) {
        let Some(side) = self.sides.get_mut(&conn) else {
            return;
        };
        while let Some((id, word)) = side.waiting.front() {
            let what = word.what();
            if !payload.circuit(&CircuitFrame { id: *id, what }) {
                return;
            }
            side.waiting.pop_front();
        }
    }
}
