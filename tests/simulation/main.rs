//! The mesh in virtual time: up to 16 peers of the real `proto` and `mesh` code on a simulated
//! network, everything from one seed.
//!
//! `cargo test --test simulation` runs some hundreds of seeds. `SESAME_SEEDS=10000` runs that many,
//! and `SESAME_SEED=17` only that one. With `SESAME_TRACE=1` (and `-- --nocapture`) it prints
//! everything that happens.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod clock;
mod dice;
mod invariants;
mod liar;
mod model;
mod network;
mod relays;
mod scenarios;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Seeds in the normal run.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {value}")),
    )
}

#[test]
fn mesh_heals_and_loses_no_message_on_any_seed() {
    if let Some(seed) = number("SESAME_SEED") {
        chaos::run(seed);
        return;
    }
    let seeds = number("SESAME_SEEDS").unwrap_or(SEEDS);
    let first = number("SESAME_FIRST").unwrap_or(0);
    let (next, failures) = (AtomicU64::new(first), AtomicU64::new(0));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + seeds {
            break;
        }
        if catch_unwind(AssertUnwindSafe(|| chaos::run(seed))).is_err() {
            println!("seed {seed} failed; SESAME_SEED={seed} runs only this one");
            failures.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    assert_eq!(failures.into_inner(), 0, "failed seeds, of {seeds}");
}

#[test]
fn a_seed_replays_to_the_same_end() {
    for seed in [3, 11] {
        assert_eq!(chaos::run(seed), chaos::run(seed), "seed {seed}");
    }
}
