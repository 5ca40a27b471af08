//! What an engine with many links costs, without a network, under virtual time: processor time and
//! heap. `scripts/bench scale` runs it. `cargo bench --bench engine`.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sesame::mesh::Cover;
use sesame::secret::alloc::Wiping;

use ends::Star;

#[path = "ends.rs"]
#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod ends;

/// Links, the interval, and for how long the cost is taken, both in seconds.
const MESHES: [(usize, u64, u64); 4] = [(15, 1, 60), (63, 1, 60), (127, 5, 120), (256, 5, 120)];

/// The program's allocator. It counts the bytes that the engine in the middle holds: a block begins
/// with the mark of the engine that asked for it, since another may free it.
struct Counting;

/// Room for the mark that keeps the alignment of what follows.
const MARK: usize = 64;

static IN_THE_MIDDLE: AtomicBool = AtomicBool::new(false);
static HELD: AtomicI64 = AtomicI64::new(0);
static SPENT: Mutex<(Option<Instant>, Duration)> = Mutex::new((None, Duration::ZERO));

#[global_allocator]
static COUNTING: Counting = Counting;

fn marked(layout: Layout) -> Layout {
    assert!(layout.align() <= MARK);
    Layout::from_size_align(layout.size() + MARK, MARK).unwrap()
}

// SAFETY: each block is one of the program's allocator, with room for the mark before it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let middle = IN_THE_MIDDLE.load(Ordering::Relaxed);
        if middle {
            HELD.fetch_add(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: the block has room for the mark, and is aligned as it.
        unsafe {
            let block = Wiping.alloc(marked(layout));
            assert!(!block.is_null());
            block.write(u8::from(middle));
            block.add(MARK)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `alloc` returned it, and has put the mark before it.
        unsafe {
            let block = block.sub(MARK);
            if block.read() == 1 {
                HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
            }
            Wiping.dealloc(block, marked(layout));
        }
    }
}

/// Is called before and after the engine in the middle does something.
fn middle(begins: bool) {
    let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
    if !begins {
        let since = spent.0.take().unwrap();
        spent.1 += since.elapsed();
    }
    IN_THE_MIDDLE.store(begins, Ordering::Relaxed);
    if begins {
        spent.0 = Some(Instant::now());
    }
}

fn main() {
    println!("| simulated peers | interval | % of a core, engine only | heap, engine only |");
    println!("| --- | --- | --- | --- |");
    for (links, interval, long) in MESHES {
        let held = HELD.load(Ordering::Relaxed);
        let cover = Cover::Every(Duration::from_secs(interval));
        let mut star = Star::new(cover, links, middle);
        star.prepare();
        let (begin, before) = (star.now, spent());
        while star.now < begin + Duration::from_secs(long) {
            star.pass();
        }
        let passed = star.now - begin;
        let share = 100.0 * (spent() - before).as_secs_f64() / passed.as_secs_f64();
        let heap = (HELD.load(Ordering::Relaxed) - held) as f64 / 1024.0 / 1024.0;
        println!("| {links} | {interval} s | {share:.2} | {heap:.1} MiB |");
    }
}

fn spent() -> Duration {
    SPENT.lock().unwrap_or_else(PoisonError::into_inner).1
}
