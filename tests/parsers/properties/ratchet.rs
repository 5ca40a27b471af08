//! The Double Ratchet does what a straightforward one does, which is written from PROTOCOL.md,
//! sections 6 and 7: for the same keys and times it seals the same cells, and opens and refuses the
//! same.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sesame::proto::CELL;
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::ratchet::{
    ChainKey, Direction, DoubleRatchet, EpochSecret, Own, RatchetKey, RemoteRatchetKey, RootKey,
    Seeds,
};
use sesame::secret::Secret;
use sha2::Sha256;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::choices::Choices;

/// The first keys, and the transcript hash.
const ROOT: [u8; 32] = [1; 32];
const CHAINS: [[u8; 32]; 2] = [[2; 32], [3; 32]];
const TRANSCRIPT: [u8; 32] = [4; 32];
/// Draws the keys of the handshake.
const KEYS: u64 = 5;

/// At most this many steps of an input are taken.
const STEPS: usize = 100;
/// At most this many cells are on their way in each direction.
const ON_THE_WAY: usize = 8;
/// Frames of this byte end an exchange of the KEM, if none is under way.
const ENDS_EXCHANGE: u8 = 15;

type Cell = [u8; CELL];

fn secret(bytes: [u8; 32]) -> Secret<32> {
    Secret::fill_with(|place| *place = bytes)
}

/// Both ends of a link right after its handshake, the dialler first.
pub fn pair(now: Instant) -> [DoubleRatchet; 2] {
    let mut rng = ChaCha20Rng::seed_from_u64(KEYS);
    let [dialler, listener] = [(); 2].map(|()| RatchetKey::generate(&mut rng));
    let keys = [*dialler.public(), *listener.public()];
    let end = |direction, own, remote: [u8; 32]| {
        let seeds = Seeds {
            root: RootKey::new(secret(ROOT)),
            dialler_chain: ChainKey::new(secret(CHAINS[0])),
            listener_chain: ChainKey::new(secret(CHAINS[1])),
            transcript: TRANSCRIPT,
            own,
            remote: RemoteRatchetKey(remote),
        };
        DoubleRatchet::new(now, direction, seeds)
    };
    [
        end(Direction::Dialler, Own::Spent(keys[0]), keys[1]),
        end(Direction::Listener, Own::Key(listener), keys[0]),
    ]
}

/// `Expand(prk, info, 64)`, in two halves.
fn expand(hkdf: &Hkdf<Sha256>, info: &[u8]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    let mut bytes = [0; 64];
    hkdf.expand(info, &mut bytes).unwrap();
    let (first, second) = bytes.split_at(32);
    halves[0].copy_from_slice(first);
    halves[1].copy_from_slice(second);
    halves
}

/// A chain key and a message key from a chain key.
fn chain_step(chain: &[u8; 32]) -> [[u8; 32]; 2] {
    expand(&Hkdf::from_prk(chain).unwrap(), b"sesame-v1 chain")
}

/// A root key and a chain key from a root key. `mixed`: the shared secret of a KEM and the hash of its
/// exchange, if the step begins an epoch. `None`: the result of X25519 is zero.
fn root_step(
    root: &[u8; 32],
    own: &[u8; 32],
    remote: &[u8; 32],
    mixed: Option<Mixed>,
) -> Option<[[u8; 32]; 2]> {
    let shared = x25519(*own, *remote);
    let (ikm, info) = match mixed {
        Some([secret, exchange]) => (
            [shared, secret].concat(),
            [b"sesame-v1 epoch root", &exchange[..]].concat(),
        ),
        None => (shared.to_vec(), b"sesame-v1 ratchet".to_vec()),
    };
    let hkdf = Hkdf::new(Some(root), &ikm);
    (shared != [0; 32]).then(|| expand(&hkdf, &info))
}

/// The shared secret of a KEM, and the hash of the exchange.
type Mixed = [[u8; 32]; 2];

/// One end, as section 6 describes it.
#[derive(Clone)]
struct Model {
    direction: u8,
    root: [u8; 32],
    sending: [u8; 32],
    receiving: [u8; 32],
    own: [u8; 32],
    /// The dialler has none until its first turn.
    own_secret: Option<[u8; 32]>,
    remote: [u8; 32],
    sent: u32,
    sent_before: u32,
    received: u32,
    received_before: u32,
    has_turn: bool,
    stepped_at: Duration,
    /// Of the root key, and of the sending and the receiving chain.
    epoch: u64,
    chain_epochs: [u64; 2],
    /// What this end's next step mixes in, and what the other end's does.
    mixes: [Option<Mixed>; 2],
}

impl Model {
    fn pair() -> [Self; 2] {
        let mut rng = ChaCha20Rng::seed_from_u64(KEYS);
        let secrets = [(); 2].map(|()| random(&mut rng));
        let keys = secrets.map(|secret| x25519(secret, X25519_BASEPOINT_BYTES));
        let end = |direction: usize| Self {
            direction: direction as u8,
            root: ROOT,
            sending: CHAINS[direction],
            receiving: CHAINS[1 - direction],
            own: keys[direction],
            own_secret: (direction == 1).then_some(secrets[1]),
            remote: keys[1 - direction],
            sent: 0,
            sent_before: 0,
            received: 0,
            received_before: 0,
            has_turn: direction == 0,
            stepped_at: Duration::ZERO,
            epoch: 0,
            chain_epochs: [0; 2],
            mixes: [None; 2],
        };
        [end(0), end(1)]
    }

    /// What is authenticated beside the frames.
    fn aad(direction: u8, header: &[u8]) -> Vec<u8> {
        [&TRANSCRIPT[..], &[direction], header].concat()
    }

    /// The cell with these frames; `None`: the link is over.
    fn seal(&mut self, now: Duration, rng: &mut ChaCha20Rng, frames: &[u8]) -> Option<Vec<u8>> {
        if self.has_turn && now >= self.stepped_at + Duration::from_secs(1) {
            let own = random(rng);
            let mixed = self.mixes[0].take();
            [self.root, self.sending] = root_step(&self.root, &own, &self.remote, mixed)?;
            self.epoch += u64::from(mixed.is_some());
            self.chain_epochs[0] = self.epoch;
            self.own = x25519(own, X25519_BASEPOINT_BYTES);
            self.own_secret = Some(own);
            (self.sent_before, self.sent) = (self.sent, 0);
            self.has_turn = false;
            self.stepped_at = now;
        }
        let mut cell = self.own.to_vec();
        cell.extend(self.sent_before.to_be_bytes());
        cell.extend(self.sent.to_be_bytes());
        cell.push(self.chain_epochs[0] as u8);
        cell.extend([0; 7]);
        let [next, key] = chain_step(&self.sending);
        self.sending = next;
        self.sent += 1;
        let payload = Payload {
            msg: frames,
            aad: &Self::aad(self.direction, &cell),
        };
        let cipher = ChaCha20Poly1305::new(&Key::from(key));
        cell.extend(cipher.encrypt(&Nonce::default(), payload).unwrap());
        Some(cell)
    }

    /// The frames of a cell; `None`: it is a fault, and changes nothing.
    fn open(&mut self, cell: &Cell) -> Option<Vec<u8>> {
        let (header, sealed) = cell.split_at(HEADER);
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let (pn, n) = (number(32), number(36));
        if header[41..] != [0; 7] {
            return None;
        }
        let mut after = self.clone();
        if header[..32] == self.remote {
            let epoch = self.chain_epochs[1];
            if n != self.received || pn != self.received_before || header[40] != epoch as u8 {
                return None;
            }
        } else {
            if self.has_turn || n != 0 || pn != self.received || header[..32] == self.own {
                return None;
            }
            after.remote.copy_from_slice(&header[..32]);
            let mixed = after.mixes[1].take();
            after.epoch += u64::from(mixed.is_some());
            after.chain_epochs[1] = after.epoch;
            if header[40] != after.epoch as u8 {
                return None;
            }
            [after.root, after.receiving] =
                root_step(&self.root, &self.own_secret?, &after.remote, mixed)?;
            (after.received, after.received_before) = (0, pn);
            after.has_turn = true;
        }
        let [next, key] = chain_step(&after.receiving);
        after.receiving = next;
        after.received += 1;
        let payload = Payload {
            msg: sealed,
            aad: &Self::aad(1 - self.direction, header),
        };
        let cipher = ChaCha20Poly1305::new(&Key::from(key));
        let frames = cipher.decrypt(&Nonce::default(), payload).ok()?;
        *self = after;
        Some(frames)
    }
}

fn random(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Both ends and their models, and the cells on their way to each end.
struct Link {
    start: Instant,
    passed: Duration,
    rng: ChaCha20Rng,
    ends: [DoubleRatchet; 2],
    models: [Model; 2],
    /// The epoch to which the last exchange leads, and what that mixes in.
    exchange: (u64, Mixed),
    /// The cell that ends this exchange, while it is on its way.
    ending: Option<Cell>,
    on_the_way: [VecDeque<Cell>; 2],
    /// The last cell that each end has opened.
    opened: [Option<Cell>; 2],
}

impl Link {
    fn seal(&mut self, from: usize, byte: u8) {
        if self.on_the_way[1 - from].len() == ON_THE_WAY {
            return;
        }
        let mut cell = [0; CELL];
        let frames = [byte; PAYLOAD];
        cell[HEADER..][..PAYLOAD].copy_from_slice(&frames);
        let mut rng = self.rng.clone();
        let now = self.start + self.passed;
        self.ends[from].seal(now, &mut self.rng, &mut cell).unwrap();
        let expected = self.models[from].seal(self.passed, &mut rng, &frames);
        assert!(expected.is_some_and(|expected| expected == cell));
        self.on_the_way[1 - from].push_back(cell);
        if byte == ENDS_EXCHANGE && self.models.iter().all(|end| end.epoch == self.exchange.0) {
            self.exchange.0 += 1;
            self.exchange.1 = [(); 2].map(|()| random(&mut self.rng));
            self.ending = Some(cell);
            self.mix(from, 0);
        }
    }

    /// The exchange has ended for an end. `whose`: 0 if its own next step mixes, 1 if the other's does.
    fn mix(&mut self, end: usize, whose: usize) {
        let [shared, exchange] = self.exchange.1;
        let shared = secret(shared);
        let directions = [Direction::Dialler, Direction::Listener];
        let steps = directions[(end + whose) % 2];
        self.ends[end].mix(steps, EpochSecret { shared, exchange });
        self.models[end].mixes[whose] = Some(self.exchange.1);
    }

    /// Gives a cell to an end and to its model. Returns whether it opened.
    fn open(&mut self, to: usize, cell: &Cell) -> bool {
        let mut opened = *cell;
        let result = self.ends[to].open(&mut opened);
        let expected = self.models[to].open(cell);
        assert_eq!(result.is_ok(), expected.is_some(), "{result:?}");
        if let Some(expected) = &expected {
            assert!(opened[HEADER..][..PAYLOAD] == expected[..]);
            self.opened[to] = Some(*cell);
        }
        expected.is_some()
    }

    /// Gives the next cell to its receiver.
    fn arrive(&mut self, to: usize) {
        if let Some(cell) = self.on_the_way[to].pop_front() {
            assert!(self.open(to, &cell), "an honest cell opens");
            if self.ending == Some(cell) {
                self.ending = None;
                self.mix(to, 1);
            }
        }
    }
}

/// Takes the steps of a link, a byte or a few for each.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let start = Instant::now();
    let mut link = Link {
        start,
        passed: Duration::ZERO,
        rng: ChaCha20Rng::seed_from_u64(6),
        ends: pair(start),
        models: Model::pair(),
        exchange: (0, Default::default()),
        ending: None,
        on_the_way: Default::default(),
        opened: [None; 2],
    };
    for _ in 0..STEPS {
        let Some(step) = choices.next() else {
            break;
        };
        let (end, more) = (usize::from(step & 1), step >> 4);
        match step >> 1 & 7 {
            0 | 1 => link.seal(end, more),
            2 | 3 => link.arrive(end),
            4 => link.passed += Duration::from_millis(u64::from(more) * 150),
            // The next cell, with some bits changed.
            5 => {
                let Some(right) = link.on_the_way[end].front().copied() else {
                    continue;
                };
                let mut cell = right;
                for _ in 0..=more % 3 {
                    let at = match choices.byte() {
                        at @ 0..=63 => usize::from(at),
                        at => usize::from(at) * 4 + 3,
                    };
                    cell[at % CELL] ^= choices.byte();
                }
                assert!(cell == right || !link.open(end, &cell));
            }
            // A later one, or the last one again.
            6 => {
                let later = link.on_the_way[end].get(1 + usize::from(more & 1)).copied();
                let cell = later.or(link.opened[end]);
                assert!(!cell.is_some_and(|cell| link.open(end, &cell)));
            }
            // A cell that only the header makes right.
            _ => {
                let mut cell = [more; CELL];
                let model = &link.models[end];
                let (key, pn, n) = match more % 4 {
                    0 => (model.remote, model.received_before, model.received),
                    1 => (model.own, model.received, 0),
                    // With this key, X25519 gives zero.
                    2 => ([0; 32], model.received, 0),
                    _ => ([9; 32], model.received, 0),
                };
                cell[..32].copy_from_slice(&key);
                cell[32..36].copy_from_slice(&pn.to_be_bytes());
                cell[36..40].copy_from_slice(&n.to_be_bytes());
                cell[40] = model.epoch as u8 + (more >> 2) % 2;
                cell[41..HEADER].fill(0);
                assert!(!link.open(end, &cell));
            }
        }
    }
    for end in [0, 1] {
        while !link.on_the_way[end].is_empty() {
            link.arrive(end);
        }
    }
}

/// Conversations with turns of both ends, and with cells of an attacker.
pub fn seeds() -> Vec<Vec<u8>> {
    let step = |kind: u8, end: u8, more: u8| more << 4 | kind << 1 | end;
    let both = [step(0, 0, 1), step(2, 1, 0), step(0, 1, 2), step(2, 0, 0)];
    let later = step(4, 0, 8);
    let turns = [&both[..], &[later], &both, &[later], &both, &[later], &both].concat();
    let crossed = [
        step(0, 0, 1),
        step(0, 0, 2),
        step(0, 1, 3),
        later,
        step(0, 0, 4),
        step(6, 1, 0),
        step(2, 1, 0),
        step(6, 1, 1),
        step(2, 1, 0),
        step(2, 1, 0),
        step(6, 1, 0),
        later,
        step(0, 1, 5),
        step(2, 0, 0),
        step(2, 0, 0),
    ];
    let mut tampered = turns.clone();
    tampered.extend([
        step(0, 0, 1),
        step(5, 1, 0),
        40,
        1,
        step(5, 1, 1),
        70,
        3,
        36,
        1,
    ]);
    tampered.extend((0..4).map(|more| step(7, 1, more)));
    tampered.extend((0..4).map(|more| step(7, 0, more)));
    let ended = [step(0, 1, ENDS_EXCHANGE), step(2, 0, 0), later];
    let epochs = [&turns[..], &[later], &ended, &both, &turns, &ended, &turns].concat();
    vec![turns, crossed.to_vec(), tampered, epochs]
}
