//! The two ends of a link, in one process and without a network, for benchmarks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::mesh::{Action, Command, ConnId, Cover, Engine, Event, Request, Settings, Tag};
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

/// Two engines with a link between them.
pub struct Pair {
    engines: [Engine; 2],
    conns: [Option<ConnId>; 2],
    wires: [Vec<u8>; 2],
    now: Instant,
    linked: usize,
    /// How many messages have arrived.
    pub received: u64,
    /// How many cells both ends have sent.
    pub cells: u64,
}

impl Pair {
    /// The engines, not linked yet.
    pub fn new(cover: Cover) -> Self {
        let now = Instant::now();
        let engine = |number: u64| {
            let settings = Settings {
                listen_port: Some(9000),
                cover,
                ..Settings::default()
            };
            let mut rng = ChaCha20Rng::seed_from_u64(number);
            let identity = Identity::generate(&mut rng);
            Engine::new(settings, phrase(), identity, Box::new(rng), now)
        };
        Self {
            engines: [engine(1), engine(2)],
            conns: [None, None],
            wires: [Vec::new(), Vec::new()],
            now,
            linked: 0,
            received: 0,
            cells: 0,
        }
    }

    /// Links the engines, and sends some messages, after which all buffers have their size.
    pub fn prepare(&mut self) {
        let address = Address::parse("192.0.2.1:9000").unwrap();
        let request = self.request(Command::Connect(address));
        self.engines[0].command(self.now, request);
        self.drain();
        while self.linked < 2 {
            self.pass();
        }
        self.send(TOGETHER);
        while self.received < TOGETHER {
            self.pass();
        }
    }

    fn request(&self, command: Command) -> Request {
        Request {
            tag: Tag::default(),
            read_at: self.now,
            command,
        }
    }

    /// The first engine sends some messages; they arrive, and are acknowledged.
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
        let offered = self.engines[0].offer_several(self.now, requests);
        assert_eq!(offered.messages, count);
        self.drain();
    }

    /// Goes on to the next deadline.
    pub fn pass(&mut self) {
        let next = self
            .engines
            .iter()
            .filter_map(|engine| engine.poll_timeout(self.now))
            .min();
        self.now = self.now.max(next.unwrap());
        for engine in &mut self.engines {
            if engine
                .poll_timeout(self.now)
                .is_some_and(|at| at <= self.now)
            {
                engine.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    /// Carries out what both engines want, until they want nothing more.
    fn drain(&mut self) {
        loop {
            let mut idle = true;
            for side in 0..2 {
                idle &= !self.drain_one(side);
            }
            if idle {
                return;
            }
        }
    }

    fn drain_one(&mut self, side: usize) -> bool {
        let mut busy = false;
        while let Some(action) = self.engines[side].poll_action() {
            busy = true;
            match action {
                Action::Dial { conn, .. } => {
                    let ours = "192.0.2.2:2000".parse().unwrap();
                    let theirs = "192.0.2.1:9000".parse().unwrap();
                    let other = self.engines[1].handle_incoming(self.now, ours, false);
                    self.conns = [Some(conn), other];
                    let [one, two] = channels();
                    self.engines[1].handle_connected(self.now, other.unwrap(), ours, two);
                    self.engines[0].handle_connected(self.now, conn, theirs, one);
                }
                Action::Transmit { conn, bytes, .. } => {
                    self.cells += (bytes.len() / CELL) as u64;
                    self.wires[side].extend_from_slice(&bytes);
                    self.engines[side].handle_sent(self.now, conn, Duration::ZERO);
                }
                Action::Admit { .. } => {}
                _ => panic!("nothing is looked up, closed or saved"),
            }
        }
        let mut shown = None;
        while let Some(event) = self.engines[side].poll_event() {
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
            self.engines[side].handle_shown(self.now, peer, seq);
        }
        let mut bytes = std::mem::take(&mut self.wires[1 - side]);
        if let Some(conn) = self.conns[side].filter(|_| !bytes.is_empty()) {
            busy = true;
            self.engines[side].handle_bytes(self.now, conn, &bytes);
            bytes.clear();
            self.wires[1 - side] = bytes;
        }
        busy
    }
}
