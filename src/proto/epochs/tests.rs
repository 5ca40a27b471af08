//! Two ends that exchange, an end that lies, and a thief with a quantum computer.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::proto::CELL;
use crate::proto::cell::{HEADER, PAYLOAD};
use crate::proto::frame::{self, Frame};
use crate::proto::ratchet::{
    ChainKey, DoubleRatchet, Own, RatchetKey, RemoteRatchetKey, RootKey, Seeds,
};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
/// Where a cell shows its epoch.
const EPOCH_BYTE: usize = 40;
const DIALLER: usize = 0;
const LISTENER: usize = 1;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A fragment with bytes of its own.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    epoch: u8,
    part: KemPart,
    offset: u16,
    bytes: Vec<u8>,
}

impl Piece {
    fn fragment(&self) -> KemFragment<'_> {
        KemFragment {
            epoch: self.epoch,
            part: self.part,
            offset: self.offset,
            bytes: &self.bytes,
        }
    }
}

/// Both ends' exchanges, without a ratchet.
struct Pair {
    now: Instant,
    ends: [Epochs; 2],
    rng: ChaCha20Rng,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let directions = [Direction::Dialler, Direction::Listener];
        Self {
            now,
            ends: directions.map(|direction| Epochs::new(now, direction, PERIOD)),
            rng: rng(seed),
        }
    }

    /// What an end puts into its next cell, and the secret that its next step mixes in.
    fn says(&mut self, end: usize, most: usize) -> (Option<Piece>, Option<EpochSecret>) {
        let mut payload = Payload::default();
        self.ends[end].begin_if_due(self.now, &mut self.rng);
        self.ends[end].fill(&mut payload, most);
        assert!(payload.as_slice().len() <= most);
        let piece = match frame::decode(&mut payload.as_slice()).unwrap() {
            Some(Frame::Kem(fragment)) => Some(Piece {
                epoch: fragment.epoch,
                part: fragment.part,
                offset: fragment.offset,
                bytes: fragment.bytes.to_vec(),
            }),
            _ => None,
        };
        (piece, self.ends[end].sealed())
    }

    /// Lets the ends talk by turns until both have the secret. Returns the fragments of each end and
    /// both ends' secrets.
    fn exchange(&mut self, most: usize) -> ([Vec<Piece>; 2], [EpochSecret; 2]) {
        let (mut pieces, mut secrets) = ([Vec::new(), Vec::new()], [None, None]);
        while secrets.iter().any(Option::is_none) {
            for end in [DIALLER, LISTENER] {
                let (piece, secret) = self.says(end, most);
                if secret.is_some() {
                    secrets[end] = secret;
                }
                let Some(piece) = piece else { continue };
                let taken = self.take(1 - end, &piece).unwrap();
                if taken.is_some() {
                    secrets[1 - end] = taken;
                }
                pieces[end].push(piece);
            }
        }
        (pieces, secrets.map(Option::unwrap))
    }

    fn take(&mut self, end: usize, piece: &Piece) -> Result<Option<EpochSecret>, Fault> {
        self.ends[end].take(&mut self.rng, &piece.fragment())
    }

    fn enter(&mut self, epoch: u64) {
        let now = self.now;
        self.ends.iter_mut().for_each(|end| end.enter(now, epoch));
    }
}

fn same(secrets: &[EpochSecret; 2]) -> bool {
    let [one, other] = secrets;
    one.exchange == other.exchange && one.shared.expose() == other.shared.expose()
}

#[test]
fn exchange_in_silence_takes_two_cells_each_way() {
    let (pieces, secrets) = Pair::new(1).exchange(PAYLOAD);
    assert_eq!(pieces.map(|pieces| pieces.len()), [2, 2]);
    assert!(same(&secrets));
}

#[test]
fn exchange_under_load_takes_four_cells_each_way() {
    let (pieces, secrets) = Pair::new(1).exchange(PAYLOAD / 3);
    assert_eq!(pieces.map(|pieces| pieces.len()), [4, 4]);
    assert!(same(&secrets));
}

#[test]
fn ends_begin_exchanges_by_turns_the_listener_first() {
    let mut pair = Pair::new(1);
    for epoch in 1..=600 {
        let beginner = if epoch % 2 == 0 { DIALLER } else { LISTENER };
        // The other end does not begin, however long it waits.
        assert_eq!(pair.says(1 - beginner, PAYLOAD).0, None);
        let (pieces, secrets) = pair.exchange(PAYLOAD);
        let of = |end: usize, part| {
            let is_right = |piece: &Piece| piece.part == part && piece.epoch == epoch as u8;
            pieces[end].iter().all(is_right)
        };
        assert!(of(beginner, KemPart::Key) && of(1 - beginner, KemPart::Ciphertext));
        assert!(same(&secrets));
        pair.enter(epoch);
        pair.now += PERIOD;
    }
}

#[test]
fn first_exchange_begins_at_once_and_the_next_within_a_minute() {
    let mut waits = Vec::new();
    for seed in 0..50 {
        let mut pair = Pair::new(seed);
        pair.exchange(PAYLOAD);
        assert_eq!(pair.says(DIALLER, PAYLOAD).0, None, "not before the epoch");
        pair.enter(1);
        let entered = pair.now;
        while pair.says(DIALLER, PAYLOAD).0.is_none() {
            pair.now += TICK;
        }
        waits.push(pair.now - entered);
    }
    assert!(waits.iter().all(|wait| *wait >= PERIOD * 3 / 4));
    assert!(waits.iter().all(|wait| *wait <= PERIOD));
    let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(spread > PERIOD / 8, "the links of a mesh begin apart");
}

/// What can be wrong with a fragment.
type Lie = fn(&mut Piece);

#[test]
fn a_fragment_that_is_not_the_next_is_refused_and_changes_nothing() {
    let lies: [Lie; 8] = [
        |piece| piece.epoch += 1,
        |piece| piece.epoch -= 1,
        |piece| piece.offset += 1,
        |piece| piece.offset = piece.offset.wrapping_sub(1),
        |piece| piece.offset += piece.bytes.len() as u16,
        |piece| {
            piece.part = match piece.part {
                KemPart::Key => KemPart::Ciphertext,
                KemPart::Ciphertext => KemPart::Key,
            }
        },
        |piece| {
            piece.offset = 0;
            piece.bytes = vec![0; piece.part.size() - 1];
            piece.epoch += 2;
        },
        |piece| piece.offset = u16::MAX,
    ];
    let mut pair = Pair::new(2);
    let mut before: Vec<Piece> = Vec::new();
    let mut refused = 0;
    let mut finished = [false; 2];
    while finished != [true; 2] {
        for end in [DIALLER, LISTENER] {
            let (piece, secret) = pair.says(end, 300);
            finished[end] |= secret.is_some();
            let Some(piece) = piece else { continue };
            let victim = 1 - end;
            for lie in lies {
                let mut lied = piece.clone();
                lie(&mut lied);
                assert!(pair.take(victim, &lied).is_err(), "{lied:?}");
                refused += 1;
            }
            for old in &before {
                assert!(pair.take(victim, old).is_err(), "again: {old:?}");
                refused += 1;
            }
            finished[1 - end] |= pair.take(victim, &piece).unwrap().is_some();
            before.push(piece);
        }
    }
    assert!(refused > 8 * 8);
    // Nothing more belongs to a finished exchange.
    for old in &before {
        for end in [DIALLER, LISTENER] {
            assert!(pair.take(end, old).is_err());
        }
    }
}

#[test]
fn a_key_that_is_not_reduced_is_refused() {
    let mut pair = Pair::new(3);
    for at in [0, 1, 2] {
        let (piece, _) = Pair::new(3).says(LISTENER, PAYLOAD);
        let mut first = piece.unwrap();
        first.bytes[..3].fill(0xff);
        first.bytes.truncate(900);
        let rest = Piece {
            offset: 900,
            bytes: vec![at; kem::KEY - 900],
            ..first.clone()
        };
        let mut victim = Pair::new(3);
        assert!(victim.take(DIALLER, &first).is_ok());
        let refused = victim.take(DIALLER, &rest).err();
        assert_eq!(refused, Some(Fault::InvalidKemKey));
    }
    assert_eq!(pair.exchange(PAYLOAD).0.map(|pieces| pieces.len()), [2, 2]);
}

#[test]
fn altered_parts_give_the_ends_different_secrets() {
    for part in [KemPart::Key, KemPart::Ciphertext] {
        let mut pair = Pair::new(4);
        let mut secrets = [None, None];
        let mut altered = false;
        while secrets.iter().any(Option::is_none) {
            for end in [DIALLER, LISTENER] {
                let (piece, secret) = pair.says(end, PAYLOAD);
                if secret.is_some() {
                    secrets[end] = secret;
                }
                let Some(mut piece) = piece else { continue };
                if piece.part == part && !altered {
                    // Two neighbouring numbers of twelve bits stay reduced.
                    piece.bytes[0] ^= 1;
                    altered = true;
                }
                let taken = pair.take(1 - end, &piece).unwrap();
                if taken.is_some() {
                    secrets[1 - end] = taken;
                }
            }
        }
        let [one, other] = secrets.map(Option::unwrap);
        assert_ne!(one.exchange, other.exchange, "{part:?}");
        assert_ne!(one.shared.expose(), other.shared.expose(), "{part:?}");
    }
}

/// An end of a link with its ratchet, and where its random values come from.
struct End {
    ratchet: DoubleRatchet,
    epochs: Epochs,
    /// For Diffie-Hellman.
    dh: ChaCha20Rng,
    /// For the KEM.
    kem: ChaCha20Rng,
}

/// Both ends right after a handshake; the same for the same seed.
fn ends(start: Instant, seed: u64, period: Duration) -> [End; 2] {
    let mut draws = rng(seed);
    let keys = [
        RatchetKey::generate(&mut draws),
        RatchetKey::generate(&mut draws),
    ];
    let [public_d, public_l] = [&keys[0], &keys[1]].map(|key| *key.public());
    let mut bytes = [[0; 32]; 3];
    bytes.iter_mut().for_each(|key| draws.fill_bytes(key));
    let secret = |at: usize| Secret::fill_with(|place: &mut [u8; 32]| *place = bytes[at]);
    let seeds = |own, remote| Seeds {
        root: RootKey::new(secret(0)),
        dialler_chain: ChainKey::new(secret(1)),
        listener_chain: ChainKey::new(secret(2)),
        transcript: [9; 32],
        own,
        remote: RemoteRatchetKey(remote),
    };
    let [_, listens] = keys;
    let both = [
        (Direction::Dialler, seeds(Own::Spent(public_d), public_l)),
        (Direction::Listener, seeds(Own::Key(listens), public_d)),
    ];
    both.map(|(direction, seeds)| End {
        ratchet: DoubleRatchet::new(start, direction, seeds),
        epochs: Epochs::new(start, direction, period),
        dh: rng(seed + 1 + direction as u64),
        kem: rng(seed + 3 + direction as u64),
    })
}

impl End {
    fn seal(&mut self, now: Instant, direction: Direction) -> [u8; CELL] {
        let mut payload = Payload::default();
        self.epochs.fill(&mut payload, PAYLOAD);
        let mut cell = [0; CELL];
        cell[HEADER..][..payload.as_slice().len()].copy_from_slice(payload.as_slice());
        self.ratchet.seal(now, &mut self.dh, &mut cell).unwrap();
        self.epochs.enter(now, self.ratchet.epoch());
        if let Some(secret) = self.epochs.sealed() {
            self.ratchet.mix(direction, secret);
        }
        cell
    }

    fn open(&mut self, now: Instant, cell: &[u8; CELL], from: Direction) -> Result<(), Fault> {
        let mut cell = *cell;
        self.ratchet.open(&mut cell)?;
        self.epochs.enter(now, self.ratchet.epoch());
        self.epochs.begin_if_due(now, &mut self.kem);
        let mut frames = &cell[HEADER..HEADER + PAYLOAD];
        while let Some(frame) = frame::decode(&mut frames)? {
            let Frame::Kem(fragment) = frame else {
                continue;
            };
            if let Some(secret) = self.epochs.take(&mut self.kem, &fragment)? {
                self.ratchet.mix(from, secret);
            }
        }
        Ok(())
    }
}

/// Both ends seal a cell, and both cells arrive.
fn tick(ends: &mut [End; 2], now: Instant) -> [[u8; CELL]; 2] {
    let directions = [Direction::Dialler, Direction::Listener];
    let cells = [0, 1].map(|end| ends[end].seal(now, directions[end]));
    for end in [0, 1] {
        let arrived = ends[1 - end].open(now, &cells[end], directions[end]);
        assert_eq!(arrived, Ok(()));
    }
    cells
}

#[test]
fn the_byte_of_the_header_wraps_and_epochs_go_on() {
    let (mut now, mut ends) = (Instant::now(), ends(Instant::now(), 5, TICK));
    let mut shown = Vec::new();
    while ends.iter().any(|end| end.ratchet.epoch() < 300) {
        now += SECOND / 2;
        shown.extend(tick(&mut ends, now).map(|cell| u64::from(cell[EPOCH_BYTE])));
    }
    shown.dedup();
    // Each end shows an epoch first in its own time, so the two may alternate between neighbours.
    let wraps = shown.windows(2).filter(|pair| **pair == [255, 0]).count();
    assert!(wraps >= 1, "{shown:?}");
    assert_eq!(shown.last(), Some(&(300 - 256)));
}

/// A thief copies everything that both ends have after this number of ticks. From then on he records
/// all cells, and finds the secret of every Diffie-Hellman key. He does not know what the KEM draws.
/// Returns the epoch of both ends when he copies, and that of the last cell that he reads.
fn last_epoch_read_by_a_thief(ticks: u32) -> (u64, u64) {
    let (start, period) = (Instant::now(), 4 * SECOND);
    let [mut real, mut copies] = [(); 2].map(|()| ends(start, 11, period));
    let mut now = start;
    for _ in 0..ticks {
        now += TICK;
        assert_eq!(tick(&mut real, now), tick(&mut copies, now));
    }
    let stolen_in = real[0].ratchet.epoch();
    for (nth, copy) in copies.iter_mut().enumerate() {
        copy.kem = rng(1000 + nth as u64);
    }
    let directions = [Direction::Dialler, Direction::Listener];
    let mut last = 0;
    // Of the cells of each end, whether he can no longer read them.
    let mut locked_out = [false; 2];
    while real.iter().any(|end| end.ratchet.epoch() < stolen_in + 4) {
        now += TICK;
        let sealed = tick(&mut real, now);
        if locked_out == [false; 2] {
            // His copies take the same steps, with the same keys.
            for end in [0, 1] {
                let own = copies[end].seal(now, directions[end]);
                assert_eq!(own[..32], sealed[end][..32], "he knows the secret key");
            }
        }
        for end in [0, 1] {
            match copies[1 - end].open(now, &sealed[end], directions[end]) {
                Ok(()) => last = last.max(u64::from(sealed[end][EPOCH_BYTE])),
                Err(_) => locked_out[end] = true,
            }
        }
    }
    assert_eq!(locked_out, [true; 2], "{ticks} ticks");
    (stolen_in, last)
}

#[test]
fn thief_with_a_quantum_computer_is_locked_out_by_the_next_exchange() {
    let mut seen = [0; 2];
    for ticks in 0..120 {
        let (stolen_in, last) = last_epoch_read_by_a_thief(ticks);
        // He who has copied the seed or the secret of an exchange reads one epoch more.
        assert!(last == stolen_in || last == stolen_in + 1, "{ticks} ticks");
        seen[(last - stolen_in) as usize] += 1;
    }
    // Most of the time no exchange is under way.
    assert!(seen[0] > 60 && seen[1] > 10, "{seen:?}");
}

/// A thief has what both ends have at a tick. The first epoch that begins without anything of it locks
/// him out of the cells of both ends.
#[test]
fn thief_is_locked_out_within_two_minutes_and_16_intervals_whenever_he_comes() {
    let start = Instant::now();
    let (mut now, mut ends) = (start, ends(start, 7, PERIOD));
    // At each tick: the first epoch that has nothing of the theft, and the one that both ends are in.
    let mut ticks = Vec::new();
    while now < start + 20 * PERIOD {
        now += TICK;
        tick(&mut ends, now);
        let epochs = ends.each_ref().map(|end| end.ratchet.epoch());
        let last = epochs.into_iter().max().unwrap();
        let waits = |end: &End| matches!(end.epochs.exchange, Exchange::Waiting(_));
        let is_quiet = epochs[0] == epochs[1] && ends.iter().all(waits);
        let safe = match is_quiet {
            true => last + 1,
            // An exchange is under way, or a step with its secret is.
            false => epochs.into_iter().min().unwrap() + 2,
        };
        ticks.push((safe, epochs.into_iter().min().unwrap()));
    }
    let last = ticks.last().unwrap().1;
    assert!(last >= 15, "{last} epochs in 20 minutes");
    let longest = ticks
        .iter()
        .enumerate()
        .filter(|(_, (safe, _))| *safe <= last);
    let longest = longest.map(|(at, (safe, _))| {
        let out = ticks.iter().position(|(_, both)| both >= safe).unwrap();
        TICK * (out - at) as u32
    });
    let longest = longest.max().unwrap();
    assert!(longest > PERIOD * 3 / 4, "{longest:?}");
    assert!(longest <= 2 * PERIOD + 16 * TICK, "{longest:?}");
}
