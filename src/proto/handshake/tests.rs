//! Handshakes between two honest ends, and between an honest end and a liar.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::proto::cell::HEADER;
use crate::proto::ratchet::DoubleRatchet;

/// The TLS connection as one end sees it.
#[derive(Clone, Copy)]
struct Wire {
    exporter: [u8; 64],
    fingerprints: [[u8; 32]; 2],
}

const WIRE: Wire = Wire {
    exporter: [0xee; 64],
    fingerprints: [[0xd1; 32], [0x11; 32]],
};
const OTHER_WIRE: Wire = Wire {
    exporter: [0xef; 64],
    fingerprints: [[0xd2; 32], [0x12; 32]],
};

struct End {
    wire: Wire,
    phrase: Secret<32>,
    identity: Identity,
    rng: ChaCha20Rng,
}

fn end(seed: u64) -> End {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let identity = Identity::generate(&mut rng);
    End {
        wire: WIRE,
        phrase: Secret::fill_with(|bytes| bytes.fill(7)),
        identity,
        rng,
    }
}

impl End {
    fn on(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    fn with_phrase(self, byte: u8) -> Self {
        Self {
            phrase: Secret::fill_with(|bytes| bytes.fill(byte)),
            ..self
        }
    }

    fn channel(&self) -> Channel {
        let Wire {
            exporter,
            fingerprints,
        } = self.wire;
        Channel {
            exporter: Secret::fill_with(|bytes| *bytes = exporter),
            fingerprints,
        }
    }

    fn dial(&mut self) -> (Dialler, Message) {
        Dialler::start(self.channel(), &self.phrase, &self.identity, &mut self.rng)
    }

    fn answer(&mut self, ya: &[u8; CELL]) -> Result<(Listener, Message), HandshakeError> {
        Listener::answer(
            self.channel(),
            &self.phrase,
            &self.identity,
            &mut self.rng,
            ya,
        )
    }

    fn id(&self) -> PeerId {
        self.identity.id()
    }
}

type Ended = Result<Established, HandshakeError>;

/// How a handshake went: the result of each end that got one, and the cells as they arrived.
#[derive(Default)]
struct Outcome {
    dialler: Option<Ended>,
    listener: Option<Ended>,
    cells: Vec<Message>,
}

/// Runs a whole handshake. `tamper` may change each cell on its way, numbered from 0.
fn meet(
    dialler: &mut End,
    listener: &mut End,
    mut tamper: impl FnMut(usize, &mut [u8; CELL]),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut carry = |cells: &mut Vec<Message>, mut cell: Message| {
        tamper(cells.len(), &mut cell);
        cells.push(cell.clone());
        cell
    };
    let (dials, ya) = dialler.dial();
    let ya = carry(&mut outcome.cells, ya);
    let (listens, yb) = match listener.answer(&ya) {
        Ok(answered) => answered,
        Err(error) => {
            outcome.listener = Some(Err(error));
            return outcome;
        }
    };
    let yb = carry(&mut outcome.cells, yb);
    let (dials, ta) = match dials.receive(&yb, &dialler.identity) {
        Ok(confirming) => confirming,
        Err(error) => {
            outcome.dialler = Some(Err(error));
            return outcome;
        }
    };
    let ta = carry(&mut outcome.cells, ta);
    let (ended, tb) = listens.receive(&ta, &listener.identity, &mut listener.rng);
    outcome.listener = Some(ended);
    let tb = carry(&mut outcome.cells, tb);
    outcome.dialler = Some(dials.receive(&tb, &dialler.identity));
    outcome
}

fn faithfully(_: usize, _: &mut [u8; CELL]) {}

fn error(ended: Option<Ended>) -> Option<HandshakeError> {
    ended?.err()
}

fn is_fault(ended: Option<Ended>) -> bool {
    matches!(ended, Some(Err(HandshakeError::Fault(_))))
}

fn ratchets(now: Instant, dialler: Established, listener: Established) -> [DoubleRatchet; 2] {
    [
        dialler.ratchet(now, Direction::Dialler),
        listener.ratchet(now, Direction::Listener),
    ]
}

/// Whether a cell from one ratchet opens in the other.
fn passes(
    from: &mut DoubleRatchet,
    to: &mut DoubleRatchet,
    now: Instant,
    rng: &mut ChaCha20Rng,
) -> bool {
    let mut cell = [0; CELL];
    rng.fill_bytes(&mut cell[HEADER..HEADER + 9]);
    let text = cell;
    from.seal(now, rng, &mut cell).unwrap();
    to.open(&mut cell).is_ok() && cell[HEADER..CELL - TAG] == text[HEADER..CELL - TAG]
}

/// A member that makes its cells by hand, with any values: its share, and its Ya or Yb.
fn by_hand(end: &mut End, key: &[u8; 32], third: &[u8; 32], fourth: &[u8; 32]) -> (Share, Message) {
    let share = share(&end.channel(), &end.phrase, &mut end.rng);
    let mut cell = Box::new([0; CELL]);
    cell[..SHARE].copy_from_slice(&VERSION.to_be_bytes());
    cell[SHARE..KEY].copy_from_slice(share.public());
    cell[KEY..THIRD].copy_from_slice(key);
    cell[THIRD..FOURTH].copy_from_slice(third);
    cell[FOURTH..FOURTH + 32].copy_from_slice(fourth);
    (share, cell)
}

const NONCE: [u8; 32] = [0x4e; 32];

/// A hand-made dialler against an honest listener: it shows this ephemeral key, commits to this
/// identity key and opens that one. Returns the listener's result and answer.
fn dial_by_hand(
    liar: &mut End,
    listener: &mut End,
    key: &[u8; 32],
    commits: &[u8; 32],
    opens: &[u8; 32],
) -> (Ended, Message) {
    let commitment = kdf::sha256(kdf::COMMIT_DIALLER, &[&NONCE, commits]);
    let (share, ya) = by_hand(liar, key, &commitment, &[0; 32]);
    let (listens, yb) = listener.answer(&ya).unwrap();
    let isk = share
        .finish_initiator(&field(&yb, SHARE), &associated(&ya), &associated(&yb))
        .unwrap();
    let Confirmations { tags, dialler, .. } = &Confirmations::new(&liar.channel(), &isk, &ya, &yb);
    let ta = confirm(dialler, &tags.a, opens, &NONCE);
    listens.receive(&ta, &listener.identity, &mut listener.rng)
}

/// A hand-made listener against an honest dialler, in the same way.
fn listen_by_hand(
    liar: &mut End,
    dialler: &mut End,
    key: &[u8; 32],
    commits: &[u8; 32],
    opens: &[u8; 32],
) -> Ended {
    let (dials, ya) = dialler.dial();
    let commitment = kdf::sha256(kdf::COMMIT_LISTENER, &[&NONCE, commits]);
    let (share, yb) = by_hand(liar, key, &[3; 32], &commitment);
    let isk = share
        .finish_responder(&field(&ya, SHARE), &associated(&ya), &associated(&yb))
        .unwrap();
    let Confirmations { tags, listener, .. } = &Confirmations::new(&liar.channel(), &isk, &ya, &yb);
    let (dials, _) = dials.receive(&yb, &dialler.identity)?;
    dials.receive(
        &confirm(listener, &tags.b, opens, &NONCE),
        &dialler.identity,
    )
}

#[test]
fn both_ends_agree_and_their_ratchets_talk() {
    let (mut alice, mut bob) = (end(1), end(2));
    let outcome = meet(&mut alice, &mut bob, faithfully);
    let (dialler, listener) = (
        outcome.dialler.unwrap().unwrap(),
        outcome.listener.unwrap().unwrap(),
    );
    assert_eq!((dialler.peer, listener.peer), (bob.id(), alice.id()));
    assert_eq!(dialler.words, listener.words);
    assert_eq!(dialler.words.split(' ').count(), 6);
    assert_eq!(dialler.seeds.transcript, listener.seeds.transcript);
    let (start, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(3));
    let [mut dialler, mut listener] = ratchets(start, dialler, listener);
    for tick in 0..50 {
        let now = start + Duration::from_millis(100) * tick;
        assert!(
            passes(&mut dialler, &mut listener, now, &mut rng),
            "dialler, {tick}"
        );
        assert!(
            passes(&mut listener, &mut dialler, now, &mut rng),
            "listener, {tick}"
        );
    }
    assert!(dialler.steps() > 6);
}

#[test]
fn a_dial_is_recognised_by_its_key_at_both_ends() {
    let (mut alice, mut bob) = (end(1), end(2));
    let (dials, ya) = alice.dial();
    let (listens, yb) = bob.answer(&ya).unwrap();
    let (confirming, _) = dials.receive(&yb, &alice.identity).unwrap();
    assert_eq!(*confirming.key(), field(&ya, KEY));
    assert_eq!(listens.dialler_key(), field(&ya, KEY));
}

#[test]
fn nothing_of_one_handshake_is_in_another() {
    let (mut alice, mut bob) = (end(1), end(2));
    let outcomes = [(); 2].map(|()| meet(&mut alice, &mut bob, faithfully));
    let [first, second] =
        outcomes.map(|outcome| (outcome.dialler.unwrap().unwrap(), outcome.cells));
    assert_eq!(first.0.peer, second.0.peer);
    assert_ne!(first.0.words, second.0.words);
    assert_ne!(first.0.seeds.transcript, second.0.seeds.transcript);
    let parts = |cells: &[Message]| -> Vec<[u8; 32]> {
        let openings = cells[..2]
            .iter()
            .flat_map(|cell| [SHARE, KEY, THIRD].map(|at| field(cell, at)));
        let confirmations = cells[2..]
            .iter()
            .flat_map(|cell| (0..CELL).step_by(32).map(|at| field(cell, at)));
        openings
            .chain([field(&cells[1], FOURTH)])
            .chain(confirmations)
            .collect()
    };
    let before = parts(&first.1);
    assert!(parts(&second.1).iter().all(|part| !before.contains(part)));
}

#[test]
fn another_phrase_is_seen_by_both_ends_and_the_answer_is_noise() {
    let (mut alice, mut bob) = (end(1), end(2).with_phrase(8));
    let (dials, ya) = alice.dial();
    let (listens, yb) = bob.answer(&ya).unwrap();
    let (dials, ta) = dials.receive(&yb, &alice.identity).unwrap();
    let mut expected = [0; CELL];
    bob.rng.clone().fill_bytes(&mut expected);
    let (ended, answer) = listens.receive(&ta, &bob.identity, &mut bob.rng);
    assert_eq!(ended.err(), Some(HandshakeError::OtherPhrase));
    assert_eq!(*answer, expected, "as drawn");
    assert_eq!(
        dials.receive(&answer, &alice.identity).err(),
        Some(HandshakeError::OtherPhrase)
    );
}

#[test]
fn relay_that_ends_tls_is_refused_by_both_ends() {
    let bent = |bend: fn(&mut Wire)| {
        let mut wire = WIRE;
        bend(&mut wire);
        wire
    };
    let wires = [
        OTHER_WIRE,
        bent(|wire| wire.exporter[0] ^= 1),
        bent(|wire| wire.exporter[63] ^= 1),
        bent(|wire| wire.fingerprints[0][31] ^= 1),
        bent(|wire| wire.fingerprints[1][0] ^= 1),
        bent(|wire| wire.fingerprints.reverse()),
    ];
    for (n, wire) in wires.into_iter().enumerate() {
        let outcome = meet(&mut end(1), &mut end(2).on(wire), faithfully);
        assert!(
            outcome.listener.is_some_and(|ended| ended.is_err()),
            "listener, {n}"
        );
        assert!(
            outcome.dialler.is_some_and(|ended| ended.is_err()),
            "dialler, {n}"
        );
    }
}

#[test]
fn every_bent_cell_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let edges = [
        1, 2, 33, 34, 63, 64, 65, 66, 97, 98, 129, 130, 1007, 1008, 1023,
    ];
    let positions: Vec<usize> = (0..CELL).step_by(17).chain(edges).collect();
    for bent in 0..4 {
        for at in &positions {
            let bit = 1 << (rng.next_u32() % 8);
            let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
                if nth == bent {
                    cell[*at] ^= bit;
                }
            });
            // The end that gets the changed cell, or the one after it, refuses. The dialler always
            // does if it receives anything at all, because Tb is the listener's last cell.
            let believed = |ended: &Option<Ended>| ended.as_ref().is_some_and(Result::is_ok);
            assert!(
                !believed(&outcome.dialler),
                "cell {bent}, byte {at}, bit {bit}"
            );
            assert!(
                bent == 3 || !believed(&outcome.listener),
                "cell {bent}, byte {at}, bit {bit}"
            );
            let refused = error(outcome.dialler).is_some() || error(outcome.listener).is_some();
            assert!(refused, "cell {bent}, byte {at}, bit {bit}");
        }
    }
}

#[test]
fn reflected_message_is_refused() {
    let mut alice = end(1);
    let (dials, ya) = alice.dial();
    assert_eq!(
        dials.receive(&ya, &alice.identity).err(),
        Some(Fault::Echoed.into())
    );
    for part in [SHARE, KEY] {
        let mut yas = Vec::new();
        let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
            yas.push(*cell);
            if nth == 1 {
                cell[part..part + 32].copy_from_slice(&yas[0][part..part + 32]);
            }
        });
        assert!(
            is_fault(outcome.dialler),
            "the dialler's own part at {part}"
        );
    }
    // Ta in place of Tb, to the dialler; Yb in place of Ta, to the listener.
    let mut before = Vec::new();
    let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
        if nth == 3 {
            *cell = before[2];
        }
        before.push(*cell);
    });
    assert_eq!(error(outcome.dialler), Some(HandshakeError::OtherPhrase));
    let mut before = Vec::new();
    let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
        if nth == 2 {
            *cell = before[1];
        }
        before.push(*cell);
    });
    assert_eq!(error(outcome.listener), Some(HandshakeError::OtherPhrase));
}

#[test]
fn two_diallers_that_are_crossed_do_not_meet() {
    let (mut alice, mut bob) = (end(1), end(2));
    let ((a, ya_of_alice), (b, ya_of_bob)) = (alice.dial(), bob.dial());
    let (a, ta_of_alice) = a.receive(&ya_of_bob, &alice.identity).unwrap();
    let (b, ta_of_bob) = b.receive(&ya_of_alice, &bob.identity).unwrap();
    assert_eq!(
        a.receive(&ta_of_bob, &alice.identity).err(),
        Some(HandshakeError::OtherPhrase)
    );
    assert_eq!(
        b.receive(&ta_of_alice, &bob.identity).err(),
        Some(HandshakeError::OtherPhrase)
    );
}

#[test]
fn recorded_handshake_is_refused() {
    let (mut alice, mut bob) = (end(1), end(2));
    let recorded = meet(&mut alice, &mut bob, faithfully).cells;
    // Neither with the same channel keys nor on a new channel.
    for wire in [WIRE, OTHER_WIRE] {
        bob.wire = wire;
        let (listens, _) = bob.answer(&recorded[0]).unwrap();
        let (ended, _) = listens.receive(&recorded[2], &bob.identity, &mut bob.rng);
        assert_eq!(ended.err(), Some(HandshakeError::OtherPhrase));
        alice.wire = wire;
        let (dials, _) = alice.dial();
        let (dials, _) = dials.receive(&recorded[1], &alice.identity).unwrap();
        assert_eq!(
            dials.receive(&recorded[3], &alice.identity).err(),
            Some(HandshakeError::OtherPhrase)
        );
    }
}

#[test]
fn dial_to_oneself_is_recognised() {
    let outcome = meet(
        &mut end(1),
        &mut End {
            identity: end(1).identity,
            ..end(2)
        },
        faithfully,
    );
    assert_eq!(error(outcome.listener), Some(HandshakeError::Own));
    assert!(outcome.dialler.unwrap().is_err());
    // A member that has learned the dialler's identity key before, and now shows it to the dialler.
    let (mut alice, mut liar) = (end(1), end(2));
    let (key, own) = (
        RatchetKey::generate(&mut liar.rng),
        *alice.identity.public(),
    );
    assert_eq!(
        listen_by_hand(&mut liar, &mut alice, key.public(), &own, &own).err(),
        Some(HandshakeError::Own)
    );
}

#[test]
fn invalid_share_is_a_fault() {
    // The neutral element, no field element, and from RFC 9496, appendix A.2, a negative one and
    // one that is on no curve.
    let hex = |text: &str| PeerId::from_hex(text).unwrap().0;
    let bad = [
        [0; 32],
        [0xff; 32],
        hex("0100000000000000000000000000000000000000000000000000000000000000"),
        hex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
    ];
    for share in bad {
        for bent in [0, 1] {
            let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
                if nth == bent {
                    cell[SHARE..KEY].copy_from_slice(&share);
                }
            });
            assert!(
                is_fault(if bent == 0 {
                    outcome.listener
                } else {
                    outcome.dialler
                }),
                "{share:?}"
            );
        }
    }
}

/// Every encoding of a point of low order on Curve25519 and its twist: 0, 1, the two of order 8,
/// p - 1, p and p + 1, each also with the bit that X25519 ignores.
fn low_order() -> Vec<[u8; 32]> {
    let hex = |text: &str| PeerId::from_hex(text).unwrap().0;
    let edge = |least: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (least, 0x7f);
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let points = [
        [0; 32],
        one,
        hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        edge(0xec),
        edge(0xed),
        edge(0xee),
    ];
    let with_ignored_bit = points.map(|mut point| {
        point[31] |= 0x80;
        point
    });
    [points, with_ignored_bit].concat()
}

#[test]
fn keys_of_low_order_are_refused_wherever_they_stand() {
    let zero = Some(Fault::ZeroSecret.into());
    for low in low_order() {
        let (mut honest, mut liar) = (end(1), end(2));
        let (key, own) = (
            *RatchetKey::generate(&mut liar.rng).public(),
            *liar.identity.public(),
        );
        for (key, identity) in [(low, own), (key, low)] {
            let (ended, answer) = dial_by_hand(&mut liar, &mut honest, &key, &identity, &identity);
            assert_eq!(ended.err(), zero, "dialler with {low:?}");
            assert_ne!(answer[..SEALED], [0; SEALED]);
            assert_eq!(
                listen_by_hand(&mut liar, &mut honest, &key, &identity, &identity).err(),
                zero,
                "listener with {low:?}"
            );
        }
    }
}

#[test]
fn another_version_is_refused_and_named() {
    for version in [0u16, VERSION - 1, VERSION + 1, 0xffff] {
        for bent in [0, 1] {
            let outcome = meet(&mut end(1), &mut end(2), |nth, cell| {
                if nth == bent {
                    cell[..2].copy_from_slice(&version.to_be_bytes());
                }
            });
            let met = if bent == 0 {
                outcome.listener
            } else {
                outcome.dialler
            };
            assert_eq!(
                met.and_then(Result::err),
                Some(HandshakeError::OtherVersion(version))
            );
        }
    }
}

#[test]
fn identity_other_than_the_committed_one_is_refused() {
    let (mut honest, mut liar, other) = (end(1), end(2), end(3));
    let key = *RatchetKey::generate(&mut liar.rng).public();
    let (own, other) = (*liar.identity.public(), *other.identity.public());
    let fault = Some(Fault::OtherOpening.into());
    assert_eq!(
        dial_by_hand(&mut liar, &mut honest, &key, &own, &other)
            .0
            .err(),
        fault
    );
    assert_eq!(
        listen_by_hand(&mut liar, &mut honest, &key, &own, &other).err(),
        fault
    );
    assert!(
        dial_by_hand(&mut liar, &mut honest, &key, &own, &own)
            .0
            .is_ok()
    );
    assert!(listen_by_hand(&mut liar, &mut honest, &key, &own, &own).is_ok());
}

#[test]
fn a_member_in_the_middle_gets_in_and_the_words_give_it_away() {
    let (mut alice, mut bob, mut mallory) = (end(1), end(2).on(OTHER_WIRE), end(3));
    let near = meet(&mut alice, &mut mallory, faithfully);
    mallory.wire = OTHER_WIRE;
    let far = meet(&mut mallory, &mut bob, faithfully);
    let (at_alice, at_bob) = (
        near.dialler.unwrap().unwrap(),
        far.listener.unwrap().unwrap(),
    );
    assert_eq!((at_alice.peer, at_bob.peer), (mallory.id(), mallory.id()));
    assert_ne!(at_alice.words, at_bob.words);
    assert_eq!(at_alice.words, near.listener.unwrap().unwrap().words);
}

#[test]
fn an_identity_without_its_secret_gets_as_far_as_the_first_cell() {
    let (mut bob, victim, mut liar) = (end(1), end(2), end(3));
    // By hand, so that the keys of the link can be computed from what the liar has.
    let key = RatchetKey::generate(&mut liar.rng);
    let claimed = *victim.identity.public();
    let commitment = kdf::sha256(kdf::COMMIT_DIALLER, &[&NONCE, &claimed]);
    let (share, ya) = by_hand(&mut liar, key.public(), &commitment, &[0; 32]);
    let (listens, yb) = bob.answer(&ya).unwrap();
    let isk = share
        .finish_initiator(&field(&yb, SHARE), &associated(&ya), &associated(&yb))
        .unwrap();
    let channel = liar.channel();
    let confirmations = Confirmations::new(&channel, &isk, &ya, &yb);
    let ta = confirm(
        &confirmations.dialler,
        &confirmations.tags.a,
        &claimed,
        &NONCE,
    );
    let (ended, tb) = listens.receive(&ta, &bob.identity, &mut bob.rng);
    let at_bob = ended.unwrap();
    assert_eq!(at_bob.peer, victim.id(), "claimed, not proven");

    let remote = field(&yb, KEY);
    let seeds = |identity: &Identity| {
        let transcript = Transcript {
            channel: &channel,
            cells: [&ya, &yb, &ta, &tb],
            ids: [victim.id(), bob.id()],
            nonces: [NONCE, field(&yb, THIRD)],
        };
        let shared = [
            kdf::x25519(key.secret(), &remote).unwrap(),
            kdf::x25519(identity.secret(), &remote).unwrap(),
            kdf::x25519(key.secret(), bob.identity.public()).unwrap(),
        ];
        transcript.seeds(
            &isk,
            shared,
            Own::Spent(*key.public()),
            RemoteRatchetKey(remote),
        )
    };
    let now = Instant::now();
    let mut at_bob = at_bob.ratchet(now, Direction::Listener);
    let mut liars = DoubleRatchet::new(now, Direction::Dialler, seeds(&liar.identity));
    assert!(!passes(&mut liars, &mut at_bob, now, &mut liar.rng));
    assert!(!passes(&mut at_bob, &mut liars, now, &mut liar.rng));
    let mut real = DoubleRatchet::new(now, Direction::Dialler, seeds(&victim.identity));
    assert!(
        passes(&mut real, &mut at_bob, now, &mut liar.rng),
        "with the secret there is a link"
    );
}

/// A whole handshake and both ratchets, made by one party that knows the phrase and only the public
/// identity keys of the two people, but none of their secrets.
fn forge(
    wire: Wire,
    phrase: &Secret<32>,
    people: [&[u8; 32]; 2],
    rngs: &mut [ChaCha20Rng; 2],
) -> ([Message; 4], [Seeds; 2]) {
    let [dialler, listener] = people;
    let channel = End { wire, ..end(0) }.channel();
    let [rng_d, rng_l] = rngs;

    let share_d = share(&channel, phrase, rng_d);
    let key_d = RatchetKey::generate(rng_d);
    let nonce_d = random(rng_d);
    let ya = opening(
        &share_d,
        &key_d,
        &kdf::sha256(kdf::COMMIT_DIALLER, &[&nonce_d, dialler]),
    );

    let share_l = share(&channel, phrase, rng_l);
    let key_l = RatchetKey::generate(rng_l);
    let (nonce_l, blind) = (random(rng_l), random(rng_l));
    let mut yb = opening(&share_l, &key_l, &nonce_l);
    yb[FOURTH..FOURTH + 32]
        .copy_from_slice(&kdf::sha256(kdf::COMMIT_LISTENER, &[&blind, listener]));

    let isk = share_d
        .finish_initiator(share_l.public(), &associated(&ya), &associated(&yb))
        .unwrap();
    let Confirmations {
        tags,
        dialler: seals_ta,
        listener: seals_tb,
    } = &Confirmations::new(&channel, &isk, &ya, &yb);
    let ta = confirm(seals_ta, &tags.a, dialler, &nonce_d);
    let tb = confirm(seals_tb, &tags.b, listener, &blind);

    let transcript = Transcript {
        channel: &channel,
        cells: [&ya, &yb, &ta, &tb],
        ids: people.map(PeerId::of),
        nonces: [nonce_d, nonce_l],
    };
    // Identity is never combined with identity: one of the two ephemeral secrets is always enough.
    let shared = || {
        [
            kdf::x25519(key_d.secret(), key_l.public()).unwrap(),
            kdf::x25519(key_l.secret(), dialler).unwrap(),
            kdf::x25519(key_d.secret(), listener).unwrap(),
        ]
    };
    let (remote_d, remote_l) = (
        RemoteRatchetKey(*key_l.public()),
        RemoteRatchetKey(*key_d.public()),
    );
    let at_dialler = transcript.seeds(&isk, shared(), Own::Spent(*key_d.public()), remote_d);
    let at_listener = transcript.seeds(&isk, shared(), Own::Key(key_l), remote_l);
    ([ya, yb, ta, tb], [at_dialler, at_listener])
}

/// The bytes that the two ends send in their first seconds.
fn conversation(
    mut ends: [DoubleRatchet; 2],
    rngs: &mut [ChaCha20Rng; 2],
    start: Instant,
) -> Vec<[u8; CELL]> {
    let mut cells = Vec::new();
    for tick in 0..40 {
        for from in [0, 1] {
            let mut cell = [0; CELL];
            cell[HEADER] = tick;
            let now = start + Duration::from_millis(100) * tick.into();
            ends[from].seal(now, &mut rngs[from], &mut cell).unwrap();
            cells.push(cell);
            ends[1 - from].open(&mut cell).unwrap();
        }
    }
    cells
}

/// A recording of a link proves nothing about anyone to an outsider, because this test makes one
/// up, byte for byte, without either identity's secret.
#[test]
fn phrase_is_enough_to_forge_a_recording() {
    let (mut alice, mut bob, now) = (end(1), end(2), Instant::now());
    let mut draws = [alice.rng.clone(), bob.rng.clone()];
    let people = [*alice.identity.public(), *bob.identity.public()];
    let outcome = meet(&mut alice, &mut bob, faithfully);
    let real = ratchets(
        now,
        outcome.dialler.unwrap().unwrap(),
        outcome.listener.unwrap().unwrap(),
    );
    let said = conversation(real, &mut [alice.rng, bob.rng], now);

    let (cells, [dialler, listener]) =
        forge(WIRE, &alice.phrase, [&people[0], &people[1]], &mut draws);
    assert_eq!(cells[..], outcome.cells[..]);
    let forged = [
        DoubleRatchet::new(now, Direction::Dialler, dialler),
        DoubleRatchet::new(now, Direction::Listener, listener),
    ];
    assert!(
        conversation(forged, &mut draws, now) == said,
        "the cells of the conversation"
    );
}
