//! The cost of zeroing freed memory: the allocator against the system's own, in turn, in one run.
//! `cargo bench --bench allocator`.
#![allow(unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::time::Instant;

use sesame::secret::alloc::Wiping;

/// One round of typical use of memory: lines that grow as they are read, and messages of many
/// sizes, of which a thousand are alive at once.
fn round(allocator: &impl GlobalAlloc) {
    const LIVE: usize = 1000;
    let mut live = Vec::with_capacity(LIVE);
    for number in 0..20 * LIVE {
        let size = 64 << (number % 7);
        let layout = Layout::from_size_align(16, 1).unwrap();
        let whole = Layout::from_size_align(size, 1).unwrap();
        // SAFETY: each block is used within its size, and freed once with its layout.
        unsafe {
            let mut block = (allocator.alloc(layout), layout);
            while block.1.size() < size {
                let larger = block.1.size() * 2;
                block.0.write_bytes(0x5a, block.1.size());
                block.0 = allocator.realloc(block.0, block.1, larger);
                block.1 = Layout::from_size_align(larger, 1).unwrap();
            }
            block.0.write_bytes(0x5a, size);
            if live.len() == LIVE {
                let (old, layout) = live.swap_remove(number % LIVE);
                allocator.dealloc(old, layout);
            }
            live.push((block.0, whole));
        }
    }
    for (block, layout) in live {
        // SAFETY: as above.
        unsafe { allocator.dealloc(block, layout) };
    }
}

fn main() {
    const ROUNDS: usize = 101;
    let timed = |allocator: &dyn Fn()| {
        let before = Instant::now();
        allocator();
        before.elapsed().as_secs_f64()
    };
    let mut times: [Vec<f64>; 2] = Default::default();
    // In turn, so that other load affects both.
    for _ in 0..ROUNDS {
        times[0].push(timed(&|| round(&System)));
        times[1].push(timed(&|| round(&Wiping)));
    }
    let [system, wiping] = times.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    });
    println!(
        "median of {ROUNDS} rounds: system {:.2} ms, wiping {:.2} ms, {:.2} times",
        system * 1e3,
        wiping * 1e3,
        wiping / system
    );
}
