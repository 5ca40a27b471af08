//! How long to wait before the next try: exponential with full jitter.

use std::time::Duration;

use rand_core::CryptoRng;

/// The upper bound of the first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The upper bound of the longest wait.
const LAST: Duration = Duration::from_secs(60);
/// The same after an answer with another phrase.
const REFUSED_FIRST: Duration = Duration::from_secs(5);
const REFUSED_LAST: Duration = Duration::from_secs(600);

/// The upper bound of each wait after a listener broke off, perhaps only because it was busy.
const SOON: Duration = Duration::from_secs(2);

/// A number, uniform in 0..1.
pub(super) fn fraction(rng: &mut dyn CryptoRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The wait after this number of failures in a row (at least one).
pub(super) fn after_failures(failures: u32, rng: &mut dyn CryptoRng) -> Duration {
    bound(FIRST, 2, LAST, failures).mul_f64(fraction(rng))
}

/// The wait after this number of answers with another phrase in a row (at least one).
pub(super) fn after_refusals(refusals: u32, rng: &mut dyn CryptoRng) -> Duration {
    bound(REFUSED_FIRST, 4, REFUSED_LAST, refusals).mul_f64(0.5 + fraction(rng) / 2.0)
}

/// The wait after a listener broke off, perhaps only because it was busy.
pub(super) fn soon(rng: &mut dyn CryptoRng) -> Duration {
    SOON.mul_f64(fraction(rng))
}

fn bound(first: Duration, factor: u32, last: Duration, times: u32) -> Duration {
    let growth = factor
        .checked_pow(times.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.checked_mul(growth).unwrap_or(last).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn waits_grow_to_their_bound_and_are_spread() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        for failures in [1, 2, 8, 100] {
            let waits: Vec<_> = (0..200)
                .map(|_| after_failures(failures, &mut rng))
                .collect();
            let limit = bound(FIRST, 2, LAST, failures);
            assert!(waits.iter().all(|wait| *wait <= limit));
            assert!(
                waits.iter().any(|wait| *wait > limit / 2)
                    && waits.iter().any(|wait| *wait < limit / 2)
            );
        }
        assert_eq!(bound(FIRST, 2, LAST, 100), LAST);
        assert_eq!(bound(REFUSED_FIRST, 4, REFUSED_LAST, 5), REFUSED_LAST);
    }
}
