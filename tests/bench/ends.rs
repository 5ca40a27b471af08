//! Both ends of links, in one process and without a network, for benchmarks.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::mesh::{
    Action, CloseCause, Command, ConnId, Cover, Engine, Event, Request, Settings, Tag,
};
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::handshake::{Channel, Dialler, Listener};
use sesame::proto::ratchet::{Direction, DoubleRatchet};
use sesame::proto::{Address, CELL, Identity};
use sesame::secret::Secret;

/// How many messages are offered together, as the program does under load.
pub const TOGETHER: u64 = 64;
/// What each message says.
pub const TEXT: &str = "nothing but a line of text as long as those of a log file are: 95 bytes, \
    a line end is not sent";

fn phrase() -> Secret<32> {
    Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1))
}

fn channels() -> [Channel; 2] {
    [(); 2].map(|()| Channel {
        exporter: Secret::fill_with(|bytes: &mut [u8; 64]| bytes.fill(4)),
        fingerprints: [[5; 32], [6; 32]],
    })
}

/// The two ends of a link, the dialler first.
pub fn ratchets(now: Instant, rng: &mut ChaCha20Rng) -> [DoubleRatchet; 2] {
    let [one, other] = channels();
    let (identities, phrase) = ([(); 2].map(|()| Identity::generate(rng)), phrase());
    let (state, ya) = Dialler::start(one, &phrase, &identities[0], rng);
    let answer = Listener::answer(other, &phrase, &identities[1], rng, &ya);
    let (listener, yb) = answer.ok().unwrap();
    let (state, ta) = state.receive(&yb, &identities[0]).ok().unwrap();
    let (established, tb) = listener.receive(&ta, &identities[1], rng);
    let dialler = state.receive(&tb, &identities[0]).ok().unwrap();
    let mut ends = [
        dialler.ratchet(now, Direction::Dialler),
        established.ok().unwrap().ratchet(now, Direction::Listener),
    ];
    // The first cells of both sides, as on every link.
    let [one, other] = &mut ends;
    carry(now, rng, &[0; PAYLOAD], [&mut *one, &mut *other]);
    carry(now, rng, &[0; PAYLOAD], [other, one]);
    ends
}

/// Seals a cell at the first of two ends, and opens it at the other.
pub fn carry(
    now: Instant,
    rng: &mut ChaCha20Rng,
    payload: &[u8; PAYLOAD],
    [from, to]: [&mut DoubleRatchet; 2],
) {
    let mut cell = [0; CELL];
    cell[HEADER..][..PAYLOAD].copy_from_slice(payload);
    from.seal(now, rng, &mut cell).ok().unwrap();
    to.open(black_box(&mut cell)).ok().unwrap();
    assert!(cell[HEADER..][..PAYLOAD] == *payload);
}

/// An engine in the middle that is linked to each of the others; they have no links among themselves.
pub struct Star {
    /// The one in the middle comes first.
    engines: Vec<Engine>,
    /// A link to each of the others.
    links: Vec<Wires>,
    linked: usize,
    middle: fn(bool),
    /// The time that the engines know.
    pub now: Instant,
    /// How many messages have arrived.
    pub received: u64,
    /// How many cells all ends have sent.
    pub cells: u64,
}

/// What is on its way on a link. Of both ends, the one in the middle comes first.
#[derive(Default)]
struct Wires {
    conns: [Option<ConnId>; 2],
    bytes: [Vec<u8>; 2],
}

impl Star {
    /// The engines, not linked yet: one, and this many `others`. `middle` is called with `true`
    /// before the one in the middle has anything to do, and with `false` after it.
    pub fn new(cover: Cover, others: usize, middle: fn(bool)) -> Self {
        let now = Instant::now();
        let engine = |number: usize| {
            let settings = Settings {
                listen_port: Some(9000),
                cover,
                // The others reach each other in no other way, and would ask for circuits.
                carry: false,
                ..Settings::default()
            };
            let mut rng = ChaCha20Rng::seed_from_u64(number as u64 + 1);
            let identity = Identity::generate(&mut rng);
            Engine::new(settings, phrase(), identity, Box::new(rng), now)
        };
        middle(true);
        let first = engine(0);
        middle(false);
        Self {
            engines: std::iter::once(first)
                .chain((1..=others).map(engine))
                .collect(),
            links: (0..others).map(|_| Wires::default()).collect(),
            now,
            linked: 0,
            middle,
            received: 0,
            cells: 0,
        }
    }

    /// Makes the links, and sends some messages, after which all buffers have their size.
    pub fn prepare(&mut self) {
        for other in 0..self.links.len() {
            let number = remote(other).to_string();
            let request = self.request(Command::Connect(Address::parse(&number).unwrap()));
            self.at(0, |engine, now| engine.command(now, request));
        }
        self.drain();
        let others = self.links.len();
        while self.linked < 2 * others {
            self.pass();
        }
        self.send(TOGETHER);
        while self.received < TOGETHER * others as u64 {
            self.pass();
        }
    }

    /// Has an engine do something.
    fn at<T>(&mut self, number: usize, what: impl FnOnce(&mut Engine, Instant) -> T) -> T {
        if number > 0 {
            return what(&mut self.engines[number], self.now);
        }
        (self.middle)(true);
        let done = what(&mut self.engines[0], self.now);
        (self.middle)(false);
        done
    }

    fn request(&self, command: Command) -> Request {
        Request {
            tag: Tag::default(),
            read_at: self.now,
            command,
        }
    }

    /// The engine in the middle sends some messages; they arrive, and are acknowledged.
    pub fn send(&mut self, count: u64) {
        let text = || Command::Send {
            text: TEXT.into(),
            to: None,
        };
        let request = self.request(text());
        let requests = (0..count).map(|_| Request {
            command: text(),
            ..request.clone()
        });
        let offered = self.at(0, |engine, now| engine.offer_several(now, requests));
        assert_eq!(offered.messages, count);
        self.drain();
    }

    /// Goes on to the next deadline.
    pub fn pass(&mut self) {
        let now = self.now;
        let next = self
            .engines
            .iter()
            .filter_map(|engine| engine.poll_timeout(now))
            .min();
        self.now = now.max(next.unwrap());
        for number in 0..self.engines.len() {
            self.at(number, |engine, now| {
                if engine.poll_timeout(now).is_some_and(|at| at <= now) {
                    engine.handle_timeout(now);
                }
            });
        }
        self.drain();
    }

    /// Carries out what all engines want, until they want nothing more.
    fn drain(&mut self) {
        loop {
            let mut idle = true;
            for number in 0..self.engines.len() {
                idle &= !self.drain_one(number);
            }
            if idle {
                return;
            }
        }
    }

    fn drain_one(&mut self, number: usize) -> bool {
        let mut busy = false;
        while let Some(action) = self.at(number, |engine, _| engine.poll_action()) {
            busy = true;
            self.carry_out(number, action);
        }
        let mut shown = None;
        while let Some(event) = self.at(number, |engine, _| engine.poll_event()) {
            busy = true;
            match event {
                Event::Message { who, seq, .. } => {
                    self.received += 1;
                    shown = Some((who.id, seq));
                }
                Event::PeerUp { .. } => self.linked += 1,
                _ => {}
            }
        }
        // A front end, too, acknowledges a batch at once.
        if let Some((peer, seq)) = shown {
            self.at(number, |engine, now| engine.handle_shown(now, peer, seq));
        }
        let (links, end) = match number {
            0 => (0..self.links.len(), 0),
            number => (number - 1..number, 1),
        };
        for link in links {
            let wires = &mut self.links[link];
            let Some(conn) = wires.conns[end].filter(|_| !wires.bytes[1 - end].is_empty()) else {
                continue;
            };
            busy = true;
            let mut bytes = std::mem::take(&mut wires.bytes[1 - end]);
            self.at(number, |engine, now| engine.handle_bytes(now, conn, &bytes));
            bytes.clear();
            self.links[link].bytes[1 - end] = bytes;
        }
        busy
    }

    fn carry_out(&mut self, number: usize, action: Action) {
        match action {
            Action::Dial { conn, addr } if number == 0 => {
                let ours = "192.0.2.1:2000".parse().unwrap();
                let other = (0..self.links.len())
                    .find(|other| addr.to_string() == remote(*other).to_string())
                    .unwrap();
                let accepted = self.at(other + 1, |engine, now| {
                    let conn = engine.handle_incoming(now, ours, false).unwrap();
                    let [_, channel] = channels();
                    engine.handle_connected(now, conn, ours, channel);
                    conn
                });
                self.links[other].conns = [Some(conn), Some(accepted)];
                let [channel, _] = channels();
                self.at(0, |engine, now| {
                    engine.handle_connected(now, conn, remote(other), channel);
                });
            }
            Action::Dial { conn, .. } => self.at(number, |engine, now| {
                engine.handle_closed(now, conn, CloseCause::Failed("no route".into()));
            }),
            Action::Transmit { conn, bytes, .. } => {
                self.cells += (bytes.len() / CELL) as u64;
                let end = usize::from(number > 0);
                let link = match number {
                    0 => {
                        let mut conns = self.links.iter().map(|wires| wires.conns[0]);
                        conns.position(|one| one == Some(conn)).unwrap()
                    }
                    number => number - 1,
                };
                self.links[link].bytes[end].extend_from_slice(&bytes);
                self.at(number, |engine, now| {
                    engine.handle_sent(now, conn, Duration::ZERO)
                });
            }
            Action::Admit { .. } => {}
            _ => panic!("nothing is looked up, closed or saved"),
        }
    }
}

/// Where one of the others listens.
fn remote(other: usize) -> SocketAddr {
    let [high, low] = (other as u16).to_be_bytes();
    SocketAddr::from(([192, 0, high, low], 9000))
}
