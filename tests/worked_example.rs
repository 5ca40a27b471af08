//! The worked example of PROTOCOL.md, section 15: every value on the page is computed again, by the
//! code that also runs, from the inputs on the page.
//!
//! The test fails if a value differs, is missing, or is not computed here, and then prints the
//! correct values of the whole section.
// A failed expectation is a failed test, in the helpers too, and an Instant can be had in no other
// way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unimplemented,
    clippy::disallowed_methods
)]

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write;
use std::time::{Duration, Instant};

use rand_core::{TryCryptoRng, TryRng};
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::cpace::{self, Element, Isk};
use sesame::proto::epochs::{self, Epochs};
use sesame::proto::frame::{self, Frame, Hello, Listening, Payload};
use sesame::proto::handshake::{Channel, Dialler, Listener};
use sesame::proto::ratchet::{Direction, DoubleRatchet};
use sesame::proto::{
    Address, CELL, DisplayName, Identity, MessageId, PeerId, VERSION, kdf, kem, phrase,
};
use sesame::secret::Secret;
use sha2::{Digest, Sha256, Sha512};

const TEXT: &str = include_str!("../src/proto/PROTOCOL.md");

/// The bytes on one line of the section.
const LINE: usize = 56;
/// A run of at least this many zeros is written as `zero(n)`.
const ZEROS: usize = 24;

/// The values of the section, by name.
fn written() -> BTreeMap<String, Vec<u8>> {
    let (_, section) = TEXT.split_once("\n## 15 ").unwrap();
    let mut values: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut name = String::new();
    let mut inside = false;
    for line in section.lines() {
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        if !inside || line.is_empty() {
            continue;
        }
        let terms = match line.split_once(" = ") {
            Some((left, terms)) => {
                name = left.trim().to_owned();
                assert!(!values.contains_key(&name), "{name} stands there twice");
                terms
            }
            None => line,
        };
        let value = values.entry(name.clone()).or_default();
        if let Some(text) = terms
            .trim()
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            value.extend(text.bytes());
            continue;
        }
        terms
            .split_whitespace()
            .filter(|term| *term != "||")
            .for_each(|term| value.extend(bytes(term)));
    }
    values
}

fn bytes(term: &str) -> Vec<u8> {
    if let Some(count) = term
        .strip_prefix("zero(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return vec![0; count.parse().unwrap()];
    }
    let digit = |at: usize| u8::from_str_radix(&term[at..at + 2], 16);
    (0..term.len())
        .step_by(2)
        .map(|at| digit(at).unwrap_or_else(|_| panic!("{term:?} is not hex")))
        .collect()
}

/// A value in the form of the section.
fn shown(name: &str, value: &[u8]) -> String {
    if name == "words" {
        return format!("{name:<13} = \"{}\"\n", String::from_utf8_lossy(value));
    }
    let mut terms = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros >= ZEROS {
            terms.push(format!("zero({zeros})"));
            rest = &rest[zeros..];
            continue;
        }
        let next_zeros = rest
            .windows(ZEROS)
            .position(|run| run.iter().all(|byte| *byte == 0));
        let (term, after) = rest.split_at(next_zeros.unwrap_or(rest.len()).min(LINE));
        terms.push(term.iter().map(|byte| format!("{byte:02x}")).collect());
        rest = after;
    }
    let mut out = format!("{name:<13} = ");
    for (nth, term) in terms.iter().enumerate() {
        let link = if nth == 0 { "" } else { "\n                " };
        let _ = write!(out, "{link}{term}");
    }
    out + "\n"
}

/// The computed values, compared with the written ones.
struct Example {
    written: BTreeMap<String, Vec<u8>>,
    computed: Vec<(String, Vec<u8>)>,
}

impl Example {
    /// An input, whose value is taken from the page.
    fn input<const N: usize>(&mut self, name: &str) -> [u8; N] {
        let value = self
            .written
            .get(name)
            .unwrap_or_else(|| panic!("the input {name} is missing"))
            .clone();
        let array = value
            .as_slice()
            .try_into()
            .unwrap_or_else(|_| panic!("{name} has {N} bytes"));
        self.is(name, &value);
        array
    }

    fn is(&mut self, name: &str, value: &[u8]) {
        self.computed.push((name.to_owned(), value.to_vec()));
    }

    fn settle(self) {
        let names: Vec<_> = self
            .computed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let wrong: Vec<_> = self
            .computed
            .iter()
            .filter(|(name, value)| self.written.get(name) != Some(value))
            .collect();
        let unknown: Vec<_> = self
            .written
            .keys()
            .filter(|name| !names.contains(&name.as_str()))
            .collect();
        if wrong.is_empty() && unknown.is_empty() {
            return;
        }
        let right: String = self
            .computed
            .iter()
            .map(|(name, value)| shown(name, value))
            .collect();
        let wrong: Vec<_> = wrong.iter().map(|(name, _)| name).collect();
        panic!(
            "section 15 is stale: {wrong:?} are wrong or missing, {unknown:?} are not computed. It should be:\n{right}"
        );
    }
}

/// Returns the given values, one per draw.
#[derive(Default)]
struct Tape(VecDeque<[u8; 32]>);

impl TryRng for Tape {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("everything is drawn as 32 or 64 bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("everything is drawn as 32 or 64 bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for part in out.chunks_mut(32) {
            let draw = self.0.pop_front();
            part.copy_from_slice(&draw.expect("one draw more than the example has"));
        }
        Ok(())
    }
}

impl TryCryptoRng for Tape {}

fn tape<const N: usize>(draws: [[u8; 32]; N]) -> Tape {
    Tape(draws.into())
}

fn secret(bytes: [u8; 32]) -> Secret<32> {
    Secret::fill_with(|place| *place = bytes)
}

fn public(bytes: [u8; 32]) -> [u8; 32] {
    kdf::x25519_public(&secret(bytes))
}

fn diffie_hellman(own: [u8; 32], other: &[u8; 32]) -> [u8; 32] {
    *kdf::x25519(&secret(own), other).unwrap().expose()
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// The phrase's key, which takes a while.
fn prs(given: &[u8]) -> (Vec<u8>, Secret<32>) {
    let normal = phrase::normalise(given).unwrap();
    let work = vec![argon2::Block::default(); phrase::WORK_BLOCKS];
    (
        normal.as_bytes().to_vec(),
        phrase::derive(&normal, false, work).unwrap(),
    )
}

fn greeting(
    interval_ms: u32,
    session_id: u64,
    heard_session_id: u64,
    listening: Listening,
    name: &str,
) -> Hello {
    let name = DisplayName::from_wire(name).ok();
    Hello {
        circuits: None,
        local: false,
        epochs: true,
        interval_ms,
        link_seq: 1,
        oldest_live: 1,
        session_id,
        heard_session_id,
        heard: 0,
        listening,
        name,
    }
}

/// One end's chains and the cells that it seals, step by step.
struct Sealing<'a> {
    example: &'a mut Example,
    ends: [DoubleRatchet; 2],
    epochs: [Epochs; 2],
    tapes: [Tape; 2],
    chains: [[u8; 32]; 2],
    cells: usize,
}

impl Sealing<'_> {
    /// The next cell of an end, and its arrival.
    fn cell(&mut self, from: Direction, now: Instant, payload: &Payload) -> [u8; CELL] {
        self.cells += 1;
        let (nth, end) = (self.cells, from as usize);
        let keys = kdf::expand::<64>(&self.chains[end], kdf::CHAIN);
        self.chains[end] = part(&keys[..], 0);
        let key: [u8; 32] = part(&keys[..], 32);

        let mut cell = [0; CELL];
        cell[HEADER..][..payload.as_slice().len()].copy_from_slice(payload.as_slice());
        let frames: [u8; PAYLOAD] = part(&cell, HEADER);
        self.ends[end]
            .seal(now, &mut self.tapes[end], &mut cell)
            .unwrap();

        // The page's formulas for a cell, compared with the ratchet's result.
        let aad = [&self.transcript()[..], &[end as u8], &cell[..HEADER]].concat();
        let mut text = frames;
        let tag = kdf::seal(&key, &aad, &mut text);
        assert_eq!(cell[HEADER..], [&text[..], &tag].concat());

        self.example.is(&format!("frames {nth}"), &frames);
        self.example.is(&format!("MK {nth}"), &key);
        self.example.is(&format!("cell {nth}"), &cell);
        cell
    }

    fn transcript(&self) -> [u8; 32] {
        let (_, th) = self
            .example
            .computed
            .iter()
            .find(|(name, _)| name == "th")
            .unwrap();
        part(th, 0)
    }

    fn arrives(&mut self, at: Direction, mut cell: [u8; CELL]) {
        self.ends[at as usize].open(&mut cell).unwrap();
        let mut frames = &cell[HEADER..HEADER + PAYLOAD];
        while let Some(frame) = frame::decode(&mut frames).unwrap() {
            let Frame::Kem(fragment) = frame else {
                continue;
            };
            let (exchange, draws) = (&mut self.epochs[at as usize], &mut self.tapes[at as usize]);
            if let Some(secret) = exchange.take(draws, &fragment).unwrap() {
                self.ends[at as usize].mix(at.other(), secret);
            }
        }
    }

    /// The next cell of an end, with the next part of its exchange.
    fn kem_cell(&mut self, from: Direction, now: Instant) -> [u8; CELL] {
        let (mut payload, end) = (Payload::default(), from as usize);
        self.epochs[end].begin_if_due(now, &mut self.tapes[end]);
        self.epochs[end].fill(&mut payload, PAYLOAD);
        assert!(!payload.is_empty());
        let cell = self.cell(from, now, &payload);
        if let Some(secret) = self.epochs[end].sealed() {
            self.ends[end].mix(from, secret);
        }
        cell
    }
}

#[test]
fn the_worked_example_is_what_the_code_does() {
    let mut example = Example {
        written: written(),
        computed: Vec::new(),
    };

    let given = example
        .written
        .get("phrase given")
        .expect("the input phrase given is missing")
        .clone();
    example.is("phrase given", &given);
    let exporter: [u8; 64] = example.input("exporter");
    let fingerprints = [example.input("fpD"), example.input("fpL")];
    let (id_secret_d, id_secret_l) = (example.input("idD secret"), example.input("idL secret"));
    let (draw_d, eph_d, nonce_d) = (
        example.input("draw yD"),
        example.input("eD secret"),
        example.input("nonceD"),
    );
    let (draw_l, eph_l) = (example.input("draw yL"), example.input("eL secret"));
    let (nonce_l, blind) = (example.input("nonceL"), example.input("blind"));
    let (step_d, step_l) = (example.input("step D"), example.input("step L"));
    let (seed, m): ([u8; 64], _) = (example.input("seed"), example.input("m"));
    let (mix_d, mix_l) = (example.input("step D 2"), example.input("step L 2"));
    let mid = MessageId(example.input("message id"));
    let session_ids =
        [example.input("session_id D"), example.input("session_id L")].map(u64::from_be_bytes);

    let (normal, prs) = prs(&given);
    example.is("phrase", &normal);
    example.is("PRS", prs.expose());

    let dialler = Identity::generate(&mut tape([id_secret_d]));
    let listener = Identity::generate(&mut tape([id_secret_l]));
    example.is("idD", dialler.public());
    example.is("idL", listener.public());
    example.is("PeerIdD", &dialler.id().0);
    example.is("PeerIdL", &listener.id().0);

    // The handshake as it runs.
    let channel = || Channel {
        exporter: Secret::fill_with(|bytes| *bytes = exporter),
        fingerprints,
    };
    let mut tape_d = tape([draw_d, eph_d, nonce_d, step_d, m, mix_d]);
    let mut tape_l = tape([
        draw_l,
        eph_l,
        nonce_l,
        blind,
        step_l,
        part(&seed, 0),
        part(&seed, 32),
        mix_l,
    ]);
    let (dials, ya) = Dialler::start(channel(), &prs, &dialler, &mut tape_d);
    let (listens, yb) = Listener::answer(channel(), &prs, &listener, &mut tape_l, &ya).unwrap();
    let (dials, ta) = dials.receive(&yb, &dialler).unwrap();
    let (at_listener, tb) = listens.receive(&ta, &listener, &mut tape_l);
    let (at_dialler, at_listener) = (dials.receive(&tb, &dialler).unwrap(), at_listener.unwrap());

    // The same by the formulas of section 5.
    let (sid, salt) = exporter.split_at(32);
    let ci = cpace::lv_cat(&[
        b"sesame-v1",
        &VERSION.to_be_bytes(),
        &fingerprints[0],
        &fingerprints[1],
    ]);
    example.is("CI", &ci);
    example.is("gen_str", &cpace::generator_string(prs.expose(), &ci, sid));
    let generator = cpace::calculate_generator(prs.expose(), &ci, sid).encode();
    example.is("g", &*generator);
    let scalars = [draw_d, draw_l].map(|draw| *cpace::sample_scalar(&mut tape([draw])).expose());
    example.is("yD", &scalars[0]);
    example.is("yL", &scalars[1]);
    let shares = scalars.map(|y| cpace::scalar_mult(&y, &Element::decode(&generator).unwrap()));
    example.is("Ya", &shares[0]);
    example.is("Yb", &shares[1]);
    let (public_d, public_l) = (public(eph_d), public(eph_l));
    example.is("eD", &public_d);
    example.is("eL", &public_l);
    let commit_d = kdf::sha256(b"sesame-v1 commit dialler", &[&nonce_d, dialler.public()]);
    let commit_l = kdf::sha256(b"sesame-v1 commit listener", &[&blind, listener.public()]);
    example.is("commitD", &commit_d);
    example.is("commitL", &commit_l);
    example.is("Ya cell", &*ya);
    example.is("Yb cell", &*yb);
    let version = VERSION.to_be_bytes();
    assert_eq!(
        ya[..98],
        [&version[..], &shares[0], &public_d, &commit_d].concat()
    );
    assert_eq!(
        yb[..130],
        [&version[..], &shares[1], &public_l, &nonce_l, &commit_l].concat()
    );

    let k = cpace::scalar_mult_vfy(&scalars[0], &shares[1]).unwrap();
    assert_eq!(k, cpace::scalar_mult_vfy(&scalars[1], &shares[0]).unwrap());
    example.is("K", &*k);
    let [ad_a, ad_b] = [&ya, &yb].map(|cell| [&cell[..2], &cell[34..]].concat());
    let isk = Isk::derive(
        sid,
        &k,
        &cpace::transcript_ir(&shares[0], &ad_a, &shares[1], &ad_b),
    );
    example.is("ISK", isk.expose());
    let mac_key = Sha512::new()
        .chain_update(b"CPaceMac")
        .chain_update(sid)
        .chain_update(isk.expose())
        .finalize();
    example.is("mac_key", &mac_key);
    let tags = isk.tags(sid, &shares[0], &ad_a, &shares[1], &ad_b);
    example.is("tagD", &tags.a);
    example.is("tagL", &tags.b);
    example.is(
        "prk",
        &hkdf::Hkdf::<Sha256>::extract(Some(salt), isk.expose()).0,
    );
    for (name, label) in [
        ("keyD", b"sesame-v1 confirm dialler".as_slice()),
        ("keyL", b"sesame-v1 confirm listener"),
    ] {
        example.is(name, &*kdf::derive::<32>(salt, isk.expose(), label, &[]));
    }
    example.is("Ta cell", &*ta);
    example.is("Tb cell", &*tb);
    assert_eq!(
        (ta[..64].to_vec(), tb[..64].to_vec()),
        (tags.a.to_vec(), tags.b.to_vec())
    );

    let th = kdf::sha256(
        b"sesame-v1 transcript",
        &[&fingerprints[0], &fingerprints[1], &*ya, &*yb, &*ta, &*tb],
    );
    assert_eq!(
        (at_dialler.seeds.transcript, at_listener.seeds.transcript),
        (th, th)
    );
    example.is("th", &th);
    let shared = [
        diffie_hellman(eph_d, &public_l),
        diffie_hellman(id_secret_d, &public_l),
        diffie_hellman(eph_d, listener.public()),
    ];
    assert_eq!(shared[0], diffie_hellman(eph_l, &public_d));
    assert_eq!(shared[1], diffie_hellman(eph_l, dialler.public()));
    assert_eq!(shared[2], diffie_hellman(id_secret_l, &public_d));
    example.is("X25519 eD eL", &shared[0]);
    example.is("X25519 idD eL", &shared[1]);
    example.is("X25519 idL eD", &shared[2]);
    let ikm = [isk.expose(), shared.concat().as_slice()].concat();
    let keys = kdf::derive::<96>(salt, &ikm, b"sesame-v1 root", &th);
    let (root, chains): ([u8; 32], [[u8; 32]; 2]) = (
        part(&keys[..], 0),
        [part(&keys[..], 32), part(&keys[..], 64)],
    );
    example.is("RK", &root);
    example.is("CKD", &chains[0]);
    example.is("CKL", &chains[1]);
    assert_eq!(
        (at_dialler.peer, at_listener.peer),
        (PeerId::of(listener.public()), PeerId::of(dialler.public()))
    );
    assert_eq!(at_dialler.words, at_listener.words);
    let ikm = [
        &dialler.id().0[..],
        &listener.id().0,
        &nonce_d,
        &nonce_l,
        &ad_a,
        &ad_b,
    ]
    .concat();
    example.is(
        "words number",
        &*kdf::derive::<16>(b"sesame-v1 words", &ikm, b"sesame-v1 words", &[]),
    );
    example.is("words", at_dialler.words.as_bytes());

    // The first cells.
    let start = Instant::now();
    let ends = [
        at_dialler.ratchet(start, Direction::Dialler),
        at_listener.ratchet(start, Direction::Listener),
    ];
    let mut sealing = Sealing {
        example: &mut example,
        ends,
        epochs: [Direction::Dialler, Direction::Listener]
            .map(|end| Epochs::new(start, end, epochs::PERIOD)),
        tapes: [tape_d, tape_l],
        chains,
        cells: 0,
    };
    let second = start + Duration::from_secs(1);
    let (d, l) = (Direction::Dialler, Direction::Listener);
    let payload = |fill: &dyn Fn(&mut Payload) -> bool| {
        let mut payload = Payload::default();
        assert!(fill(&mut payload));
        payload
    };

    // Both first cells carry only padding, and leave before the other end's has arrived.
    let one = sealing.cell(d, start, &payload(&|_| true));
    let two = sealing.cell(l, start, &payload(&|_| true));
    sealing.arrives(l, one);
    sealing.arrives(d, two);

    let hello = greeting(100, session_ids[0], 0, Listening::Port(9000), "Alice");
    let three = sealing.cell(d, start, &payload(&|payload| payload.hello(&hello)));
    sealing.arrives(l, three);
    let home = Listening::At(Address::parse("home.example:9001").unwrap());
    let hello = greeting(250, session_ids[1], session_ids[0], home, "Zoë");
    let four = sealing.cell(
        l,
        start,
        &payload(&|payload| payload.hello(&hello) && payload.ack(0)),
    );
    sealing.arrives(d, four);

    // A second later the dialler steps, while the listener's next cell is on its way.
    let remote = public_l;
    let keys = kdf::derive::<64>(
        &root,
        &diffie_hellman(step_d, &remote),
        b"sesame-v1 ratchet",
        &[],
    );
    let root: [u8; 32] = part(&keys[..], 0);
    sealing.chains[0] = part(&keys[..], 32);
    sealing.example.is("key D", &public(step_d));
    sealing.example.is("RK after D", &root);
    sealing.example.is("CKD new", &part::<32>(&keys[..], 32));
    let text = "Hello, Zoë!".as_bytes();
    let five = sealing.cell(
        d,
        second,
        &payload(&|payload| payload.ack(0) && payload.message(1, &mid, false, text, 0).is_some()),
    );
    let six = sealing.cell(l, second, &payload(&|_| true));
    sealing.arrives(l, five);
    sealing.arrives(d, six);

    // The listener answers with a step of its own.
    let keys = kdf::derive::<64>(
        &root,
        &diffie_hellman(step_l, &public(step_d)),
        b"sesame-v1 ratchet",
        &[],
    );
    let root: [u8; 32] = part(&keys[..], 0);
    sealing.chains[1] = part(&keys[..], 32);
    sealing.example.is("key L", &public(step_l));
    sealing.example.is("RK after L", &root);
    sealing.example.is("CKL new", &part::<32>(&keys[..], 32));
    let seven = sealing.cell(l, second, &payload(&|payload| payload.ack(1)));
    sealing.arrives(d, seven);

    // The listener sends the key of the first exchange, and the dialler the ciphertext.
    let key = kem::encapsulation_key(&Secret::fill_with(|place| *place = seed));
    sealing.example.is("ek", &key[..]);
    for _ in 0..2 {
        let cell = sealing.kem_cell(l, second);
        sealing.arrives(d, cell);
    }
    let (ciphertext, shared) = kem::encapsulate(&key, &mut tape([m])).unwrap();
    let shared = *shared.expose();
    sealing.example.is("ct", &ciphertext[..]);
    sealing.example.is("ss", &shared);
    let exchange = kdf::sha256(b"sesame-v1 epoch", &[&key[..], &ciphertext[..]]);
    sealing.example.is("exchange", &exchange);
    for _ in 0..2 {
        let cell = sealing.kem_cell(d, second);
        sealing.arrives(l, cell);
    }

    // One more second later the dialler mixes, and the listener follows.
    let third = second + Duration::from_secs(1);
    let ikm = [diffie_hellman(mix_d, &public(step_l)), shared].concat();
    let keys = kdf::derive::<64>(&root, &ikm, b"sesame-v1 epoch root", &exchange);
    let root: [u8; 32] = part(&keys[..], 0);
    sealing.chains[0] = part(&keys[..], 32);
    sealing.example.is("key D 2", &public(mix_d));
    sealing.example.is("RK after D 2", &root);
    sealing.example.is("CKD new 2", &part::<32>(&keys[..], 32));
    let twelve = sealing.cell(d, third, &payload(&|_| true));
    sealing.arrives(l, twelve);
    let keys = kdf::derive::<64>(
        &root,
        &diffie_hellman(mix_l, &public(mix_d)),
        b"sesame-v1 ratchet",
        &[],
    );
    sealing.chains[1] = part(&keys[..], 32);
    sealing.example.is("key L 2", &public(mix_l));
    sealing
        .example
        .is("RK after L 2", &part::<32>(&keys[..], 0));
    sealing.example.is("CKL new 2", &part::<32>(&keys[..], 32));
    let thirteen = sealing.cell(l, third, &payload(&|_| true));
    sealing.arrives(d, thirteen);
    assert_eq!(sealing.ends.each_ref().map(DoubleRatchet::steps), [4, 4]);
    assert_eq!(sealing.ends.each_ref().map(DoubleRatchet::epoch), [1, 1]);
    assert_eq!((twelve[40], thirteen[40]), (1, 1));
    assert!(sealing.tapes.iter().all(|tape| tape.0.is_empty()));

    example.settle();
}
