//! What the hot paths cost, in counts that are the same on every machine: `scripts/counts` runs this
//! under valgrind for the instructions, and without it for the allocations.
//!
//! `cargo bench --bench counts -- PATH COUNT` goes a path that often and prints how many
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
use sesame::mesh::Cover;
use sesame::proto::cell::PAYLOAD;
use sesame::proto::frame::Payload;
use sesame::proto::{MessageId, link};
use sesame::secret::alloc::Wiping;

use ends::{Star, TEXT, TOGETHER, carry, ratchets};

#[path = "ends.rs"]
mod ends;

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

/// Goes a path that often, and counts the allocations.
type Path = fn(u64) -> u64;

/// The paths by name.
const PATHS: [(&str, Path); 4] = [
    ("messages", messages),
    ("cells", cells),
    ("frames", frames),
    ("ticks", ticks),
];

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
    let mut pair = Star::new(Cover::Off, 1, |_| {});
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
    let mut pair = Star::new(Cover::Every(Duration::from_millis(100)), 1, |_| {});
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
            carry(now, &mut rng, &payload, [&mut sender, &mut receiver]);
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
