//! Two links that exchange cells, and what is in them.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::proto::frame::KemPart;
use crate::proto::handshake::{Channel, Dialler, Listener};
use crate::proto::outbox::Outgoing;
use crate::proto::{Identity, MessageId};
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);
const DIALLER: usize = 0;
const LISTENER: usize = 1;
/// A mesh whose exchanges follow one another.
const PERIOD: Duration = Duration::from_secs(4);

/// What a cell contained, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Contents {
    text: usize,
    key: usize,
    ciphertext: usize,
}

impl Contents {
    fn kem(&self) -> usize {
        self.key + self.ciphertext
    }
}

/// Both ends of a link.
struct Pair {
    now: Instant,
    grid: TickGrid,
    links: [Link; 2],
    conversations: [Conversation; 2],
    rng: ChaCha20Rng,
    /// The cells of each end.
    cells: [Vec<Contents>; 2],
    /// What each end writes in HELLO.
    interval_ms: u32,
    know_epochs: [bool; 2],
}

/// What both ends get from a handshake.
fn handshake(rng: &mut ChaCha20Rng) -> [Established; 2] {
    let phrase = Secret::fill_with(|bytes| bytes.fill(7));
    let identities = [Identity::generate(rng), Identity::generate(rng)];
    let channel = || Channel {
        exporter: Secret::fill_with(|bytes| bytes.fill(1)),
        fingerprints: [[2; 32], [3; 32]],
    };
    let (dials, ya) = Dialler::start(channel(), &phrase, &identities[0], rng);
    let (listens, yb) = Listener::answer(channel(), &phrase, &identities[1], rng, &ya).unwrap();
    let (dials, ta) = dials.receive(&yb, &identities[0]).unwrap();
    let (listening, tb) = listens.receive(&ta, &identities[1], rng);
    let dialling = dials.receive(&tb, &identities[0]);
    [dialling.unwrap(), listening.unwrap()]
}

impl Pair {
    fn new(interval_ms: u32, know_epochs: [bool; 2]) -> Self {
        let now = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let [dialling, listening] = handshake(&mut rng);
        Self {
            now,
            grid: TickGrid::new(now, Duration::ZERO),
            links: [
                Link::new(now, Direction::Dialler, dialling, false, PERIOD),
                Link::new(now, Direction::Listener, listening, false, PERIOD),
            ],
            conversations: [Conversation::new(5, 0), Conversation::new(6, 0)],
            rng,
            cells: Default::default(),
            interval_ms,
            know_epochs,
        }
    }

    /// Runs for this time. `busy`: the ends always have text to send.
    fn run(&mut self, time: Duration, busy: bool) {
        let end = self.now + time;
        loop {
            for conversation in &mut self.conversations {
                while busy && conversation.outbox.has_room(30_000) {
                    conversation.outbox.push(Outgoing {
                        mid: MessageId([9; 16]),
                        direct: false,
                        text: "x".repeat(30_000).into(),
                        token: 0,
                        queued_at: self.now,
                    });
                }
            }
            let due = |end: usize| self.links[end].deadline(self.now, &self.conversations[end]);
            let next = due(DIALLER).into_iter().chain(due(LISTENER)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for from in [DIALLER, LISTENER] {
                self.seal(from);
            }
        }
    }

    fn seal(&mut self, from: usize) {
        let (link, conversation) = (&mut self.links[from], &mut self.conversations[from]);
        let sealed = link.seal(self.now, &mut self.rng, conversation).unwrap();
        let Some(sealed) = sealed else { return };
        link.sent(Duration::ZERO);
        for cell in sealed.bytes.chunks(CELL) {
            self.arrive(1 - from, cell.try_into().unwrap()).unwrap();
        }
    }

    fn arrive(&mut self, at: usize, mut cell: [u8; CELL]) -> Result<(), Fault> {
        let (now, grid) = (self.now, self.grid);
        let link = &mut self.links[at];
        let first = !link.is_proven();
        let mut payload = link.open(now, &mut self.rng, &mut cell)?;
        let mut contents = Contents::default();
        if first {
            let introduction = Introduction {
                interval_ms: self.interval_ms,
                circuits: CircuitField {
                    carries: false,
                    is_relayed: false,
                },
                local: false,
                listening: Listening::No,
                name: None,
                link_seq: 1,
                oldest_live: 1,
                session_id: self.conversations[at].session_id(),
            };
            link.introduce(introduction, grid);
        }
        while let Some(frame) = frame::decode(&mut payload)? {
            let conversation = &mut self.conversations[at];
            match frame {
                Frame::Hello(mut hello) => {
                    hello.epochs = self.know_epochs[1 - at];
                    conversation.connect(&hello)?;
                    link.greet(now, hello, grid)?;
                }
                Frame::Kem(fragment) => {
                    match fragment.part {
                        KemPart::Key => contents.key += fragment.bytes.len(),
                        KemPart::Ciphertext => contents.ciphertext += fragment.bytes.len(),
                    }
                    link.take_kem(&mut self.rng, &fragment)?;
                }
                Frame::Message(fragment) => {
                    contents.text += fragment.text.len();
                    conversation.inbox.fragment(&fragment)?;
                    while let Some((seq, _)) = conversation.inbox.release() {
                        conversation.inbox.taken(seq);
                    }
                }
                Frame::Ack(number) => {
                    conversation.outbox.acknowledge(number)?;
                }
                _ => {}
            }
        }
        self.cells[1 - at].push(contents);
        Ok(())
    }

    fn epochs(&self) -> [u64; 2] {
        [0, 1].map(|end| self.links[end].epoch().0)
    }
}

#[test]
fn exchange_in_silence_takes_padding_of_two_cells_each_way() {
    let mut pair = Pair::new(100, [true; 2]);
    pair.run(3 * SECOND, false);
    assert_eq!(pair.epochs(), [1, 1]);
    let cells = |end: usize| pair.cells[end].iter();
    let with_key = [DIALLER, LISTENER].map(|end| cells(end).filter(|cell| cell.key > 0).count());
    assert_eq!(with_key, [0, 2]);
    let with_ciphertext =
        [DIALLER, LISTENER].map(|end| cells(end).filter(|cell| cell.ciphertext > 0).count());
    assert_eq!(with_ciphertext, [2, 0]);
    // The first cell, HELLO, and 30 ticks.
    for cells in &pair.cells {
        assert!((31..=33).contains(&cells.len()), "{} cells", cells.len());
    }
}

#[test]
fn exchange_takes_a_third_of_a_cell_at_most_from_text() {
    let mut pair = Pair::new(100, [true; 2]);
    pair.run(20 * SECOND, true);
    let epochs = pair.epochs();
    assert!(epochs.iter().all(|epoch| *epoch >= 4), "{epochs:?}");
    for cells in &pair.cells {
        let both = |cell: &&Contents| cell.text > 0 && cell.kem() > 0;
        // Without the first cell and the one with HELLO.
        let both: Vec<_> = cells[2..].iter().filter(both).collect();
        assert!(both.len() >= 8, "{} cells with both", both.len());
        // The heads of two messages and an ACK may be in a cell too.
        let least = PAYLOAD * 2 / 3 - 2 * 28 - 11;
        assert!(both.iter().all(|cell| cell.text >= least), "{both:?}");
    }
}

#[test]
fn exchange_adds_no_cell_where_cover_is_off() {
    let [with, without] = [true, false].map(|know| {
        let mut pair = Pair::new(0, [know; 2]);
        pair.run(60 * SECOND, false);
        assert_eq!(pair.epochs().map(|epoch| epoch > 3), [know; 2]);
        pair.cells.map(|cells| cells.len())
    });
    assert_eq!(with, without);
}

#[test]
fn end_whose_peer_knows_no_epochs_sends_and_takes_no_key() {
    let mut pair = Pair::new(100, [false; 2]);
    pair.run(3 * SECOND, true);
    assert_eq!(pair.epochs(), [0, 0]);
    assert!(pair.cells.iter().flatten().all(|cell| cell.kem() == 0));
    let fragment = KemFragment {
        epoch: 1,
        part: KemPart::Key,
        offset: 0,
        bytes: &[7],
    };
    assert_eq!(
        pair.links[DIALLER].take_kem(&mut pair.rng, &fragment),
        Err(Fault::KemOutOfTurn)
    );
}
