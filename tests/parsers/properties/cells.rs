//! Cells: a stream in any portions gives the same cells, a header has one form, and a cell that does
//! not open changes nothing.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::proto::CELL;
use sesame::proto::cell::{Assembler, HEADER, Header, PAYLOAD};
use sesame::proto::ratchet::DoubleRatchet;

use super::choices::Choices;
use super::ratchet::pair;

/// More than the time between two steps of an end.
const TURN: Duration = Duration::from_secs(2);

/// Takes a kind, and what it needs.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    if kind & 1 == 0 {
        assembles(choices);
    } else {
        opens(kind >> 1, choices);
    }
}

/// A stream that repeats the rest of the input, in portions whose sizes are the bytes of it.
fn assembles(mut choices: Choices<'_>) {
    let length = usize::from(choices.u16()) % (4 * CELL);
    let large = choices.byte() & 1 != 0;
    let pattern = choices.rest();
    let stream: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
    let mut portions = pattern.iter().map(|byte| usize::from(*byte));
    let mut assembler = Assembler::default();
    let (mut rest, mut cells) = (&stream[..], Vec::new());
    while !rest.is_empty() {
        let size = portions.next().unwrap_or(CELL) << if large { 4 } else { 0 };
        let (mut portion, after) = rest.split_at(size.clamp(1, rest.len()));
        while let Some(cell) = assembler.next(&mut portion) {
            cells.extend_from_slice(&cell[..]);
        }
        assert!(portion.is_empty());
        rest = after;
    }
    assert_eq!(cells, stream[..stream.len() / CELL * CELL]);
}

/// The ends of a link, some cells after its beginning.
struct Ends {
    now: Instant,
    rng: ChaCha20Rng,
    ends: [DoubleRatchet; 2],
}

impl Ends {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            rng: ChaCha20Rng::seed_from_u64(1),
            ends: pair(now),
        }
    }

    fn seal(&mut self, from: usize, byte: u8) -> [u8; CELL] {
        let mut cell = [byte; CELL];
        self.ends[from]
            .seal(self.now, &mut self.rng, &mut cell)
            .unwrap();
        cell
    }

    fn carry(&mut self, from: usize) {
        let mut cell = self.seal(from, 0);
        self.ends[1 - from].open(&mut cell).unwrap();
    }
}

/// A cell that differs from the next one does not open, and the next one opens behind it.
fn opens(kind: u8, mut choices: Choices<'_>) {
    let mut link = Ends::new();
    let from = usize::from(kind & 1);
    match kind >> 1 & 3 {
        // The first cell, or the second.
        0 => {}
        1 => link.carry(from),
        // The dialler takes its turn, in this cell or in one before. Then the listener does.
        2 => {
            link.carry(from);
            link.now += TURN;
        }
        _ => {
            link.now += TURN;
            link.carry(0);
            link.now += TURN;
        }
    }
    let right = link.seal(from, 0x5a);
    has_one_header(&right);
    let mut wrong = right;
    match kind >> 3 & 1 {
        // Some bytes differ.
        0 => {
            while let Some(high) = choices.next() {
                let at = usize::from(u16::from_be_bytes([high, choices.byte()])) % CELL;
                wrong[at] ^= choices.byte();
            }
        }
        // It begins with other bytes.
        _ => {
            let begin = choices.take(CELL);
            wrong[..begin.len()].copy_from_slice(begin);
        }
    }
    has_one_header(&wrong);
    let to = &mut link.ends[1 - from];
    let before = (to.steps(), to.stepped_at());
    if wrong != right {
        assert!(to.open(&mut wrong).is_err(), "a forged cell opened");
        assert_eq!((to.steps(), to.stepped_at()), before);
    }
    let mut right = right;
    assert_eq!(to.open(&mut right), Ok(()));
    assert!(right[HEADER..][..PAYLOAD] == [0x5a; PAYLOAD]);
    // The other direction goes on too.
    link.carry(1 - from);
    link.carry(from);
}

fn has_one_header(cell: &[u8; CELL]) {
    match Header::decode(cell) {
        Ok(header) => assert_eq!(header.encode(), cell[..HEADER]),
        Err(_) => assert_ne!(cell[41..HEADER], [0; 7]),
    }
}

/// Streams of several sizes, and cells with a difference in each part.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        vec![0, 0x0c, 0x05, 1, 200, 3, 77],
        vec![0, 0x08, 0, 0, 255, 1],
        vec![0, 0x03, 0xff, 0, 9],
    ];
    for state in 0..8 {
        let kind = 1 | state << 1;
        let at = [0u16, 33, 39, 40, 41, 47, 48, 1023][usize::from(state)];
        let [high, low] = at.to_be_bytes();
        seeds.push(vec![kind, high, low, 1]);
        // The header of a new key: all zeros, and n and pn right.
        seeds.push([&[kind | 1 << 4][..], &[0; HEADER]].concat());
    }
    seeds
}
