//! What the parts of a link take, in turn with the same of others, in one run. `scripts/bench micro`
//! runs it. Each figure is the median of many rounds; a ratio is to the baseline of its row.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::front::{Cut, Lines, parse_json, parse_line};
use sesame::mesh::Cover;
use sesame::proto::cell::PAYLOAD;
use sesame::proto::frame::Payload;
use sesame::proto::{CELL, MessageId, link};
use vodozemac::olm::{Account, SessionConfig};

use ends::{Star, TEXT, TOGETHER, carry, ratchets};

#[path = "../../ends.rs"]
mod ends;

const ROUNDS: usize = 201;

/// A part, how often it is done in a round, and what it is compared with.
struct Row<'a> {
    name: &'static str,
    each: u32,
    ours: Box<dyn FnMut() + 'a>,
    others: Vec<(&'static str, Box<dyn FnMut() + 'a>)>,
}

impl Row<'_> {
    fn print(mut self) {
        let mut times = vec![Vec::new(); 1 + self.others.len()];
        // In turn, so that other load affects all.
        for _ in 0..ROUNDS {
            times[0].push(timed(&mut self.ours));
            for ((_, other), times) in self.others.iter_mut().zip(&mut times[1..]) {
                times.push(timed(other));
            }
        }
        let medians: Vec<f64> = times
            .into_iter()
            .map(|times| median(times) / f64::from(self.each))
            .collect();
        let compared = self.others.iter().zip(&medians[1..]);
        let compared: Vec<_> = compared
            .map(|((name, _), time)| format!("{name} {time:.0} ns, {:.2}", medians[0] / time))
            .collect();
        println!(
            "| {} | {:.0} ns | {} |",
            self.name,
            medians[0],
            compared.join("; ")
        );
    }
}

fn timed(what: &mut Box<dyn FnMut() + '_>) -> f64 {
    let before = Instant::now();
    what();
    before.elapsed().as_nanos() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!("| what | sesame | baseline and ratio |");
    println!("| --- | --- | --- |");
    cell().print();
    turn().print();
    frames().print();
    messages().print();
    lines().print();
    objects().print();
}

/// Lines cut out of a chunk of input and parsed, beside the mere search for their ends.
fn lines() -> Row<'static> {
    let chunk = format!("{TEXT}\n").repeat(64).into_bytes();
    let plain = chunk.clone();
    let mut lines = Lines::new(Cut::Newline, 65_536);
    Row {
        name: "a line of input cut and parsed",
        each: 64,
        ours: Box::new(move || {
            lines.push(black_box(&chunk));
            while let Some(line) = lines.next_line() {
                black_box(parse_line(line.text.unwrap()).ok().unwrap());
            }
        }),
        others: vec![(
            "its end found and its bytes copied",
            Box::new(move || {
                for line in black_box(&plain).split(|byte| *byte == b'\n') {
                    black_box(line.to_vec());
                }
            }),
        )],
    }
}

/// A `send` in JSON, beside the same read as a tree of values.
fn objects() -> Row<'static> {
    let line = format!("{{\"type\":\"send\",\"text\":\"{TEXT}\",\"ref\":7}}");
    let same = line.clone();
    Row {
        name: "a `send` in JSON parsed",
        each: 1,
        ours: Box::new(move || {
            black_box(parse_json(black_box(&line), false).1.ok().unwrap());
        }),
        others: vec![(
            "serde_json::Value",
            Box::new(move || {
                black_box(serde_json::from_str::<serde_json::Value>(black_box(&same)).unwrap());
            }),
        )],
    }
}

/// 944 bytes sealed and opened, again and again in one direction.
fn cell() -> Row<'static> {
    let (now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
    let [mut sender, mut receiver] = ratchets(now, &mut rng);
    let payload = [0x5a; PAYLOAD];
    let (mut writer, mut reader) = noise();
    let (mut alice, mut bob) = olm();
    let mut wire = [0; CELL];
    let mut read = [0; CELL];
    Row {
        name: "a cell sealed and opened, in one direction",
        each: 16,
        ours: Box::new(move || {
            for _ in 0..16 {
                carry(now, &mut rng, &payload, [&mut sender, &mut receiver]);
            }
        }),
        others: vec![
            (
                "snow (Noise, no ratchet)",
                Box::new(move || {
                    for _ in 0..16 {
                        let length = writer.write_message(&payload, &mut wire).unwrap();
                        reader
                            .read_message(black_box(&wire[..length]), &mut read)
                            .unwrap();
                    }
                }),
            ),
            (
                "vodozemac (Olm)",
                Box::new(move || {
                    for _ in 0..16 {
                        let message = alice.encrypt(payload).unwrap();
                        black_box(bob.decrypt(&message).unwrap());
                    }
                }),
            ),
        ],
    }
}

/// Two cells to and fro, with a new key from each end.
fn turn() -> Row<'static> {
    let (mut now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
    let [mut one, mut other] = ratchets(now, &mut rng);
    let (mut alice, mut bob) = olm();
    Row {
        name: "a cell each way with a step of the ratchet each",
        each: 1,
        ours: Box::new(move || {
            now += Duration::from_secs(2);
            carry(now, &mut rng, &[0; PAYLOAD], [&mut one, &mut other]);
            carry(now, &mut rng, &[0; PAYLOAD], [&mut other, &mut one]);
        }),
        others: vec![(
            "vodozemac (Olm)",
            Box::new(move || {
                let message = alice.encrypt([0; PAYLOAD]).unwrap();
                bob.decrypt(&message).unwrap();
                let message = bob.encrypt([0; PAYLOAD]).unwrap();
                alice.decrypt(&message).unwrap();
            }),
        )],
    }
}

/// A message written into a payload and read again, beside the copying of its bytes.
fn frames() -> Row<'static> {
    let copy = |from: &[u8]| {
        let mut to = [0; 128];
        to[..from.len()].copy_from_slice(black_box(from));
        black_box(to);
    };
    Row {
        name: "a message written into a payload and read",
        each: 8,
        ours: Box::new(|| {
            let mut payload = Payload::default();
            for number in 1..=8 {
                payload.message(number, &MessageId([9; 16]), false, TEXT.as_bytes(), 0);
            }
            let read = |frame| {
                black_box(frame);
                Ok(())
            };
            link::frames(black_box(payload.as_slice()), read)
                .ok()
                .unwrap();
        }),
        others: vec![(
            "two copies of its bytes",
            Box::new(move || (0..16).for_each(|_| copy(TEXT.as_bytes()))),
        )],
    }
}

/// Messages offered to an engine, sent to another one, handed over there and acknowledged, beside
/// the cells that they take.
fn messages() -> Row<'static> {
    let mut pair = Star::new(Cover::Off, 1, |_| {});
    pair.prepare();
    let before = pair.cells;
    pair.send(TOGETHER);
    let cells = pair.cells - before;
    let (now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
    let [mut sender, mut receiver] = ratchets(now, &mut rng);
    Row {
        name: "a message offered, delivered and acknowledged",
        each: TOGETHER as u32,
        ours: Box::new(move || pair.send(TOGETHER)),
        others: vec![(
            "its part of the cells",
            Box::new(move || {
                for _ in 0..cells {
                    carry(now, &mut rng, &[0; PAYLOAD], [&mut sender, &mut receiver]);
                }
            }),
        )],
    }
}

fn noise() -> (snow::TransportState, snow::TransportState) {
    let builder = || snow::Builder::new("Noise_NN_25519_ChaChaPoly_BLAKE2s".parse().unwrap());
    let mut one = builder().build_initiator().unwrap();
    let mut two = builder().build_responder().unwrap();
    let (mut wire, mut read) = ([0; CELL], [0; CELL]);
    let length = one.write_message(&[], &mut wire).unwrap();
    two.read_message(&wire[..length], &mut read).unwrap();
    let length = two.write_message(&[], &mut wire).unwrap();
    one.read_message(&wire[..length], &mut read).unwrap();
    (
        one.into_transport_mode().unwrap(),
        two.into_transport_mode().unwrap(),
    )
}

fn olm() -> (vodozemac::olm::Session, vodozemac::olm::Session) {
    let (alice, mut bob) = (Account::new(), Account::new());
    bob.generate_one_time_keys(1);
    let key = *bob.one_time_keys().values().next().unwrap();
    let mut session = alice
        .create_outbound_session(SessionConfig::version_1(), bob.curve25519_key(), key)
        .unwrap();
    let first = session.encrypt("hello").unwrap();
    let vodozemac::olm::OlmMessage::PreKey(first) = first else {
        unreachable!("a session begins with such a message");
    };
    let mut theirs = bob
        .create_inbound_session(SessionConfig::version_1(), alice.curve25519_key(), &first)
        .unwrap()
        .session;
    let answer = theirs.encrypt("hello").unwrap();
    session.decrypt(&answer).unwrap();
    (session, theirs)
}
