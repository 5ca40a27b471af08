//! The cells of the handshake: it succeeds at both ends if all four arrive unchanged, and at neither
//! end that has got or sent another one; and an end that knows the phrase and lies about the rest is
//! refused.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::cpace::{Isk, Share, lv_cat};
use sesame::proto::handshake::{Channel, Dialler, Established, HandshakeError, Listener, Message};
use sesame::proto::ratchet::Direction;
use sesame::proto::{CELL, Identity, PeerId, VERSION, kdf};
use sesame::secret::Secret;

use super::choices::Choices;

const EXPORTER: [u8; 64] = [0xee; 64];
const FINGERPRINTS: [[u8; 32]; 2] = [[0xd1; 32], [0x11; 32]];
const PRS: [u8; 32] = [7; 32];
/// The bytes that a Ta or Tb seals.
const CONFIRMED: usize = CELL - 64 - kdf::TAG;

fn secret<const N: usize>(bytes: [u8; N]) -> Secret<N> {
    Secret::fill_with(|place| *place = bytes)
}

fn channel() -> Channel {
    Channel {
        exporter: secret(EXPORTER),
        fingerprints: FINGERPRINTS,
    }
}

/// An honest end.
struct End {
    rng: ChaCha20Rng,
    identity: Identity,
    prs: Secret<32>,
}

impl End {
    fn new(seed: u64, prs: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        Self {
            identity: Identity::generate(&mut rng),
            rng,
            prs: secret(prs),
        }
    }

    fn dial(&mut self) -> (Dialler, Message) {
        Dialler::start(channel(), &self.prs, &self.identity, &mut self.rng)
    }

    fn answer(&mut self, ya: &[u8; CELL]) -> Result<(Listener, Message), HandshakeError> {
        Listener::answer(channel(), &self.prs, &self.identity, &mut self.rng, ya)
    }
}

/// Takes a kind, and what it needs.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.byte() % 4 {
        0 | 1 => meets(choices),
        2 => listener_meets_liar(choices),
        _ => dialler_meets_liar(choices),
    }
}

/// Two honest ends, between which someone changes cells.
fn meets(mut choices: Choices<'_>) {
    let kind = choices.byte();
    let same_phrase = kind & 0x10 == 0;
    let mut dialler = End::new(1, PRS);
    let mut listener = End::new(2, if same_phrase { PRS } else { [8; 32] });
    // The cell that is changed, if there is one.
    let changed = usize::from(kind & 7);
    let replaced = kind & 8 != 0;
    let mut is_honest = same_phrase;
    let mut carry = |number: usize, right: &Message| {
        let mut cell = right.clone();
        if number == changed && replaced {
            let begin = choices.take(CELL);
            cell[..begin.len()].copy_from_slice(begin);
        } else if number == changed {
            while let Some(high) = choices.next() {
                let at = usize::from(u16::from_be_bytes([high, choices.byte()])) % CELL;
                cell[at] ^= choices.byte();
            }
        }
        is_honest &= cell == *right;
        (cell, is_honest)
    };
    let (dials, ya) = dialler.dial();
    let (ya, honest) = carry(0, &ya);
    let (listens, yb) = match listener.answer(&ya) {
        Ok(answered) => answered,
        Err(error) => {
            assert!(!honest);
            return is_right_error(&ya, error);
        }
    };
    let (yb, honest) = carry(1, &yb);
    let (dials, ta) = match dials.receive(&yb, &dialler.identity) {
        Ok(confirming) => confirming,
        Err(error) => {
            assert!(!honest);
            return is_right_error(&yb, error);
        }
    };
    let (ta, honest) = carry(2, &ta);
    let (listened, tb) = listens.receive(&ta, &listener.identity, &mut listener.rng);
    assert_eq!(listened.is_ok(), honest, "{:?}", listened.err());
    let (tb, honest) = carry(3, &tb);
    let dialled = dials.receive(&tb, &dialler.identity);
    assert_eq!(dialled.is_ok(), honest, "{:?}", dialled.err());
    if let (Ok(dialled), Ok(listened)) = (dialled, listened) {
        assert_eq!(dialled.peer, listener.identity.id());
        assert_eq!(listened.peer, dialler.identity.id());
        assert_eq!(dialled.words, listened.words);
        are_linked(dialled, listened);
    }
}

fn is_right_error(cell: &[u8; CELL], error: HandshakeError) {
    let version = u16::from_be_bytes([cell[0], cell[1]]);
    match error {
        HandshakeError::OtherVersion(other) => assert!(other == version && other != VERSION),
        HandshakeError::Fault(_) => assert_eq!(version, VERSION),
        error => panic!("{error:?} before a confirmation"),
    }
}

/// Both ends have the same keys: the first cells open.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]
fn are_linked(dialled: Established, listened: Established) {
    let now = std::time::Instant::now();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut ends = [
        dialled.ratchet(now, Direction::Dialler),
        listened.ratchet(now, Direction::Listener),
    ];
    for from in [0, 1, 0] {
        let mut cell = [0x5a; CELL];
        let later = now + Duration::from_secs(2);
        ends[from].seal(later, &mut rng, &mut cell).unwrap();
        ends[1 - from].open(&mut cell).unwrap();
        assert!(cell[HEADER..][..PAYLOAD] == [0x5a; PAYLOAD]);
    }
}

/// Keys with which X25519 gives zero: 0, 1, -1, and one of order 8.
const LOW_ORDER: [[u8; 32]; 4] = {
    let mut keys = [[0; 32]; 4];
    keys[1][0] = 1;
    keys[2] = [0xff; 32];
    keys[2][0] = 0xec;
    keys[2][31] = 0x7f;
    keys[3] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    keys
};

/// What an end claims that knows the phrase and keeps to the form of the cells.
struct Claims<'a> {
    /// The X25519 key of its Ya or Yb.
    key: [u8; 32],
    /// The identity key that it shows.
    identity: [u8; 32],
    /// What it opens its commitment with.
    opens: [u8; 32],
    /// The commitment, if it is not the right one.
    commitment: Option<[u8; 32]>,
    /// The rest of what its confirmation seals.
    padding: &'a [u8],
}

impl<'a> Claims<'a> {
    fn new(mut choices: Choices<'a>, victim: &End) -> Self {
        let kind = choices.byte();
        let mut bytes = |kind: u8| match kind & 3 {
            0 => LOW_ORDER[usize::from(choices.byte() & 3)],
            1 => *victim.identity.public(),
            _ => {
                let mut bytes = [0x33; 32];
                let begin = choices.take(32);
                bytes[..begin.len()].copy_from_slice(begin);
                bytes
            }
        };
        Self {
            key: bytes(kind),
            identity: bytes(kind >> 2),
            opens: bytes(kind >> 4),
            commitment: (kind & 0x40 != 0).then(|| bytes(3)),
            padding: choices.take(CONFIRMED - 64),
        }
    }

    /// Whether all that it says is right, so that it must be believed.
    fn are_right(&self, label: &[u8], victim: &End) -> bool {
        let any = secret([1; 32]);
        let gives_zero = |key: &[u8; 32]| kdf::x25519(&any, key).is_err();
        self.commitment
            .is_none_or(|commitment| commitment == self.right_commitment(label))
            && PeerId::of(&self.identity) != victim.identity.id()
            && !gives_zero(&self.key)
            && !gives_zero(&self.identity)
    }

    fn right_commitment(&self, label: &[u8]) -> [u8; 32] {
        kdf::sha256(label, &[&self.opens, &self.identity])
    }

    /// A Ya or Yb with the commitment at this place.
    fn opening(&self, share: &Share, label: &[u8], at: usize) -> Message {
        let mut cell = Box::new([0; CELL]);
        cell[..2].copy_from_slice(&VERSION.to_be_bytes());
        cell[2..34].copy_from_slice(share.public());
        cell[34..66].copy_from_slice(&self.key);
        let commitment = self.commitment.unwrap_or(self.right_commitment(label));
        cell[at..at + 32].copy_from_slice(&commitment);
        cell
    }

    /// A Ta or Tb with this tag.
    fn confirmation(&self, tag: &[u8; 64], isk: &Isk, label: &[u8]) -> Message {
        let key = kdf::derive::<32>(&EXPORTER[32..], isk.expose(), label, &[]);
        let mut text = [0; CONFIRMED];
        text[..32].copy_from_slice(&self.identity);
        text[32..64].copy_from_slice(&self.opens);
        text[64..][..self.padding.len()].copy_from_slice(self.padding);
        let sealed = kdf::seal(&key, tag, &mut text);
        let mut cell = Box::new([0; CELL]);
        cell[..64].copy_from_slice(tag);
        cell[64..CELL - kdf::TAG].copy_from_slice(&text);
        cell[CELL - kdf::TAG..].copy_from_slice(&sealed);
        cell
    }
}

fn share_of_liar() -> Share {
    let [dialler, listener] = &FINGERPRINTS;
    let ci = lv_cat(&[kdf::CHANNEL, &VERSION.to_be_bytes(), dialler, listener]);
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    Share::new(&PRS, &ci, &EXPORTER[..32], &mut rng)
}

fn share_of(cell: &[u8; CELL]) -> [u8; 32] {
    cell[2..34].try_into().unwrap()
}

fn associated(cell: &[u8; CELL]) -> Vec<u8> {
    [&cell[..2], &cell[34..]].concat()
}

fn tags(isk: &Isk, ya: &[u8; CELL], yb: &[u8; CELL]) -> [[u8; 64]; 2] {
    let (ada, adb) = (associated(ya), associated(yb));
    let sid = &EXPORTER[..32];
    let tags = isk.tags(sid, &share_of(ya), &ada, &share_of(yb), &adb);
    [tags.a, tags.b]
}

fn listener_meets_liar(choices: Choices<'_>) {
    let mut listener = End::new(2, PRS);
    let claims = Claims::new(choices, &listener);
    let share = share_of_liar();
    let ya = claims.opening(&share, kdf::COMMIT_DIALLER, 66);
    let (listens, yb) = listener.answer(&ya).unwrap();
    assert_eq!(listens.dialler_key(), claims.key);
    let isk = share.finish_initiator(&share_of(&yb), &associated(&ya), &associated(&yb));
    let isk = isk.unwrap();
    let [tag, _] = tags(&isk, &ya, &yb);
    let ta = claims.confirmation(&tag, &isk, kdf::CONFIRM_DIALLER);
    let (ended, _) = listens.receive(&ta, &listener.identity, &mut listener.rng);
    is_judged(
        ended,
        claims.are_right(kdf::COMMIT_DIALLER, &listener),
        &claims,
    );
}

fn dialler_meets_liar(choices: Choices<'_>) {
    let mut dialler = End::new(1, PRS);
    let claims = Claims::new(choices, &dialler);
    let share = share_of_liar();
    let (dials, ya) = dialler.dial();
    let mut yb = claims.opening(&share, kdf::COMMIT_LISTENER, 98);
    // Its nonce.
    yb[66..98].fill(5);
    let (dials, _) = dials.receive(&yb, &dialler.identity).unwrap();
    let isk = share.finish_responder(&share_of(&ya), &associated(&ya), &associated(&yb));
    let isk = isk.unwrap();
    let [_, tag] = tags(&isk, &ya, &yb);
    let tb = claims.confirmation(&tag, &isk, kdf::CONFIRM_LISTENER);
    let ended = dials.receive(&tb, &dialler.identity);
    is_judged(
        ended,
        claims.are_right(kdf::COMMIT_LISTENER, &dialler),
        &claims,
    );
}

fn is_judged(ended: Result<Established, HandshakeError>, is_right: bool, claims: &Claims<'_>) {
    match ended {
        Ok(established) => {
            assert!(is_right);
            assert_eq!(established.peer, PeerId::of(&claims.identity));
            assert_eq!(established.words.split(' ').count(), 6);
        }
        Err(error) => assert!(!is_right, "{error:?}"),
    }
}

/// An honest handshake, one with another phrase, changes in each part of each cell, and liars of each
/// kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0, 4], vec![0, 0x14]];
    for (cell, at) in [
        (0, 0u16),
        (0, 2),
        (0, 40),
        (0, 70),
        (0, 200),
        (1, 2),
        (1, 100),
    ]
    .into_iter()
    .chain([
        (2, 0),
        (2, 64),
        (2, 100),
        (2, 1023),
        (3, 0),
        (3, 70),
        (3, 1023),
    ]) {
        let [high, low] = at.to_be_bytes();
        seeds.push(vec![0, cell, high, low, 0x80]);
    }
    for cell in 0..4 {
        seeds.push([&[0, 8 | cell, 0, 1][..], &[0; 32]].concat());
    }
    for kind in [0x3f, 0x7f, 0x3c, 0x33, 0x37, 0x31, 0x3d] {
        for end in [2, 3] {
            seeds.push([&[end, kind][..], &[7; 100]].concat());
        }
    }
    seeds
}
