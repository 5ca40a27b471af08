//! What the hot paths cost, in counts that are the same on every machine: `scripts/counts` runs this
//! under valgrind for the instructions, and without it for the allocations.
//!
//! `cargo bench --bench counts -- PATH COUNT` goes a path so many times and prints how many
//! allocations that took after the preparations.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sesame::mesh::{Action, Command, ConnId, Cover, Engine, Event, Request, Settings, Tag};
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::frame::Payload;
use sesame::proto::handshake::{Channel, Dialler, Listener};
use sesame::proto::link;
use sesame::proto::ratchet::{Direction, DoubleRatchet};
use sesame::proto::{Address, CELL, Identity, MessageId};
use sesame::secret::Secret;
use sesame::secret::alloc::Wiping;

/// The program's allocator, which counts.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is left to the program's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Wiping.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { Wiping.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Wiping.realloc(block, layout, size) }
    }
}

/// Goes a path so many times, and counts the allocations.
type Path = fn(u64) -> u64;

/// The paths by name.
const PATHS: [(&str, Path); 4] = [
    ("messages", messages),
    ("cells", cells),
    ("frames", frames),
    ("ticks", ticks),
];

/// How many messages are offered together, as the program does under load.
const TOGETHER: u64 = 64;
const TEXT: &str = "nothing but a line of text, as long as those of a log file are: 95 bytes, a line end is not sent";

fn main() {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let (name, count) = (words.next(), words.next());
    let path = PATHS
        .iter()
        .find(|(path, _)| Some(*path) == name.as_deref());
    let count = count.and_then(|count| count.parse().ok());
    let Some(((name, path), count)) = path.zip(count) else {
        let names: Vec<_> = PATHS.iter().map(|(name, _)| *name).collect();
        eprintln!("counts: give one of {}, and how often", names.join(", "));
        std::process::exit(2);
    };
    println!("{name}: {} allocations", path(count));
}

/// How many allocations something makes.
fn allocations(what: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    what();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Messages from one engine to another, up to the acknowledgement.
fn messages(count: u64) -> u64 {
    let mut pair = Pair::new(Cover::Off);
    let mut left = count;
    pair.prepare();
    allocations(|| {
        while left > 0 {
            let some = left.min(TOGETHER);
            pair.send(some);
            left -= some;
        }
        assert_eq!(pair.received, count + TOGETHER);
    })
}

/// Ticks of a silent link, both ends.
fn ticks(count: u64) -> u64 {
    let mut pair = Pair::new(Cover::Every(Duration::from_millis(100)));
    pair.prepare();
    allocations(|| {
        let until = pair.cells + 2 * count;
        while pair.cells < until {
            pair.pass();
        }
    })
}

/// Cells of padding, sealed and opened.
fn cells(count: u64) -> u64 {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let now = Instant::now();
    let [mut sender, mut receiver] = ratchets(now, &mut rng);
    let payload = [0x5a; PAYLOAD];
    allocations(|| {
        for _ in 0..count {
            let mut cell = [0; CELL];
            cell[HEADER..][..PAYLOAD].copy_from_slice(&payload);
            sender.seal(now, &mut rng, &mut cell).ok().unwrap();
            receiver.open(&mut cell).ok().unwrap();
            assert!(cell[HEADER..][..PAYLOAD] == payload);
        }
    })
}

/// Messages put into payloads and read from them.
fn frames(count: u64) -> u64 {
    let mut payload = Payload::default();
    allocations(|| {
        for number in 1..=count {
            let message = |payload: &mut Payload| {
                payload.message(number, &MessageId([9; 16]), false, TEXT.as_bytes(), 0)
            };
            if message(&mut payload).is_some_and(|(_, last)| last) {
                continue;
            }
            let mut read = 0;
            link::frames(payload.as_slice(), |frame| {
                read += 1;
                black_box(frame);
                Ok(())
            })
            .ok()
            .unwrap();
            assert!(read > 1);
            payload = Payload::default();
            message(&mut payload).unwrap();
        }
    })
}

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
fn ratchets(now: Instant, rng: &mut ChaCha20Rng) -> [DoubleRatchet; 2] {
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
    for (from, to) in [(0, 1), (1, 0)] {
        let mut cell = [0; CELL];
        ends[from].seal(now, rng, &mut cell).ok().unwrap();
        ends[to].open(&mut cell).ok().unwrap();
    }
    ends
}

/// Two engines with a link between them.
struct Pair {
    engines: [Engine; 2],
    conns: [Option<ConnId>; 2],
    wires: [Vec<u8>; 2],
    now: Instant,
    linked: usize,
    received: u64,
    cells: u64,
}

impl Pair {
    fn new(cover: Cover) -> Self {
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
    fn prepare(&mut self) {
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

    fn send(&mut self, count: u64) {
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
    fn pass(&mut self) {
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
