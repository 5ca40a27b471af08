//! Whether the time of an operation depends on its input, in the style of dudect (Reparaz, Balasch and
//! Verbauwhede, 2017): inputs of two classes in random order, the time of each measured, and Welch's
//! t-test between the classes. `cargo bench --bench timing [-- MEASUREMENTS]`.
//!
//! |t| above 4.5 means that the classes differ. A comparison that stops at the first difference runs
//! first: the measurement has to see it, or the others would show nothing. Ends with 1 if the
//! classes of an operation differ, or if those of that comparison do not.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed expectation ends the measurement, which needs a clock"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sesame::proto::cpace::{self, Element};
use sesame::proto::{kdf, kem};

/// Measurements of each operation.
const MEASUREMENTS: usize = 400_000;
/// dudect's threshold.
const DIFFER: f64 = 4.5;
/// Of all times, the part that is looked at, from the shortest on: the others are interrupts. Each
/// part has a test of its own, and the greatest t counts.
const PARTS: [f64; 4] = [0.5, 0.8, 0.95, 1.0];
/// Inputs of each class, so that none is known to the caches better than another.
const INPUTS: usize = 256;

/// An operation, and its inputs of both classes.
struct Case<T> {
    name: &'static str,
    /// How often the operation runs in one measurement.
    times: usize,
    classes: [Vec<T>; 2],
    operation: fn(&T),
}

impl<T: Clone> Case<T> {
    /// The greatest |t| of all parts.
    fn measure(&self, count: usize, rng: &mut ChaCha20Rng) -> f64 {
        let mut times: Vec<(u64, usize)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (class, nth) = (
                rng.next_u32() as usize % 2,
                rng.next_u32() as usize % INPUTS,
            );
            // A copy, always in one place: where an input lies in memory must not count.
            let input = &self.classes[class][nth].clone();
            let start = Instant::now();
            for _ in 0..self.times {
                (self.operation)(black_box(input));
            }
            times.push((start.elapsed().as_nanos() as u64, class));
        }
        // The first ones warm the caches up.
        times.drain(..count / 20);
        let mut sorted: Vec<_> = times.iter().map(|(time, _)| *time).collect();
        sorted.sort_unstable();
        let parts = PARTS.map(|part| sorted[((sorted.len() - 1) as f64 * part) as usize]);
        let t = |longest: u64| {
            let of = |class: usize| {
                let kept = times
                    .iter()
                    .filter(move |(time, of)| *of == class && *time <= longest);
                kept.map(|(time, _)| *time as f64)
            };
            welch(of(0), of(1)).abs()
        };
        parts.into_iter().map(t).fold(0.0, f64::max)
    }

    /// Measures, prints, and returns whether the classes differ.
    fn differs(&self, count: usize, rng: &mut ChaCha20Rng) -> bool {
        let t = self.measure(count, rng);
        let verdict = if t > DIFFER {
            "told apart"
        } else {
            "not told apart"
        };
        println!("{:<58} |t| = {t:>8.2}  {verdict}", self.name);
        t > DIFFER
    }
}

/// Welch's t of two samples.
fn welch(one: impl Iterator<Item = f64>, other: impl Iterator<Item = f64>) -> f64 {
    let (a, b) = (moments(one), moments(other));
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}

/// The mean, and the variance of the mean.
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let before = value - mean;
        mean += before / count;
        squares += before * (value - mean);
    }
    (mean, squares / (count - 1.0) / count)
}

fn fill<T>(mut make: impl FnMut() -> T) -> Vec<T> {
    (0..INPUTS).map(|_| make()).collect()
}

fn main() -> ExitCode {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next();
    let count = count.unwrap_or(MEASUREMENTS);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let random = |rng: &mut ChaCha20Rng| {
        let mut bytes = [0; 64];
        rng.fill_bytes(&mut bytes);
        bytes
    };

    // A right tag and a received one, which differ in the first byte or in the last.
    let tags = |rng: &mut ChaCha20Rng, at: usize| {
        fill(|| {
            let right = random(rng);
            let mut received = right;
            received[at] ^= 1;
            (right, received)
        })
    };
    let leaky = Case {
        name: "comparison that stops early: first byte, last byte",
        times: 50,
        classes: [tags(&mut rng, 0), tags(&mut rng, 63)],
        operation: |(right, received): &([u8; 64], [u8; 64])| {
            let pairs = right.iter().zip(received);
            black_box(
                pairs
                    .take_while(|(a, b)| black_box(a) == black_box(b))
                    .count(),
            );
        },
    };
    let compared = Case {
        name: "comparison of tags: first byte, last byte",
        times: 50,
        classes: [tags(&mut rng, 0), tags(&mut rng, 63)],
        operation: |(right, received)| {
            black_box(kdf::same(right, received));
        },
    };

    let share = |rng: &mut ChaCha20Rng| {
        let prs = random(rng);
        cpace::calculate_generator(&prs[..32], b"", &prs[32..]).encode()
    };
    let one = share(&mut rng);
    let decoded = Case {
        name: "decoding of a share: one share, random shares",
        times: 1,
        classes: [fill(|| one.clone()), fill(|| share(&mut rng))],
        operation: |share| {
            black_box(Element::decode(share).is_ok());
        },
    };
    let scalar = |rng: &mut ChaCha20Rng| *cpace::sample_scalar(rng).expose();
    let y = scalar(&mut rng);
    let multiplied = Case {
        name: "K of a share: one secret scalar, random ones",
        times: 1,
        classes: [fill(|| (y, *one)), fill(|| (scalar(&mut rng), *one))],
        operation: |(y, share)| {
            black_box(cpace::scalar_mult_vfy(y, share).is_ok());
        },
    };
    let derived = Case {
        name: "generator: one PRS, random ones",
        times: 1,
        classes: [fill(|| [7; 64]), fill(|| random(&mut rng))],
        operation: |prs| {
            black_box(cpace::calculate_generator(&prs[..32], b"", &prs[32..]));
        },
    };

    let seed = kem::generate(&mut rng);
    let key = kem::encapsulation_key(&seed);
    let right = fill(|| (&seed, kem::encapsulate(&key, &mut rng).unwrap().0));
    let altered = fill(|| {
        let (mut ciphertext, _) = kem::encapsulate(&key, &mut rng).unwrap();
        ciphertext[rng.next_u32() as usize % kem::CIPHERTEXT] ^= 1;
        (&seed, ciphertext)
    });
    let decapsulated = Case {
        name: "ML-KEM's decapsulation: right ciphertexts, altered ones",
        times: 1,
        classes: [right, altered],
        operation: |(seed, ciphertext)| {
            black_box(kem::decapsulate(seed, ciphertext));
        },
    };

    let is_seen = leaky.differs(count, &mut rng);
    let slow = count / 4;
    let leaks = [
        compared.differs(count, &mut rng),
        decoded.differs(slow, &mut rng),
        multiplied.differs(slow, &mut rng),
        derived.differs(slow, &mut rng),
        decapsulated.differs(slow, &mut rng),
    ];
    ExitCode::from(u8::from(!is_seen || leaks.contains(&true)))
}
