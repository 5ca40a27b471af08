//! The one rate limiter: a token bucket, for events and for processor time.

use std::time::{Duration, Instant};

/// A bucket that fills at a steady rate.
///
/// It stores only the moment at which it will be full again. Amounts are measured in the time that
/// they take to refill, so one type serves tokens and processor time: a token of a bucket that
/// earns five per second is 200 ms.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// How long it takes to fill from empty.
    size: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket that takes this long to fill from empty.
    pub(super) const fn full(size: Duration) -> Self {
        Self {
            size,
            full_at: None,
        }
    }

    /// When it is full again; `None` if nothing was ever taken.
    pub(super) fn full_at(&self) -> Option<Instant> {
        self.full_at
    }

    /// Whether it is full.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// When it will hold this amount (at most its size) if nothing more is taken; `None`: it always
    /// has.
    pub(super) fn ready_at(&self, amount: Duration) -> Option<Instant> {
        let at = self.full_at? + amount;
        // Before the clock's first moment: it has held the amount for a long time.
        at.checked_sub(self.size)
    }

    /// Whether it holds this amount. In debt it holds nothing, not even an amount of zero.
    pub(super) fn holds(&self, now: Instant, amount: Duration) -> bool {
        amount <= self.size && self.ready_at(amount).is_none_or(|at| at <= now)
    }

    /// Takes this amount. What the bucket does not hold becomes a debt.
    pub(super) fn take(&mut self, now: Instant, amount: Duration) {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(full_at + amount);
    }

    /// Takes this amount if the bucket holds it; returns whether it did.
    pub(super) fn try_take(&mut self, now: Instant, amount: Duration) -> bool {
        let may = self.holds(now, amount);
        if may {
            self.take(now, amount);
        }
        may
    }

    /// Puts back what was taken and not used.
    pub(super) fn give_back(&mut self, amount: Duration) {
        self.full_at = self.full_at.and_then(|at| at.checked_sub(amount));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Duration = Duration::from_millis(200);

    fn taken(bucket: &mut Bucket, now: Instant) -> usize {
        let taken = std::iter::repeat_with(|| bucket.try_take(now, TOKEN));
        taken.take_while(|taken| *taken).count()
    }

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let (mut bucket, start) = (Bucket::full(30 * TOKEN), Instant::now());
        assert_eq!(bucket.ready_at(TOKEN), None);
        assert!(bucket.holds(start, 30 * TOKEN) && !bucket.holds(start, 31 * TOKEN));
        assert_eq!(taken(&mut bucket, start), 30);
        assert_eq!(bucket.ready_at(TOKEN), Some(start + TOKEN));
        assert_eq!(taken(&mut bucket, start + TOKEN / 2), 0);
        assert_eq!(taken(&mut bucket, start + TOKEN * 5 / 2), 2);
        assert_eq!(taken(&mut bucket, start + 3 * TOKEN), 1);
        assert!(!bucket.is_full(start + 32 * TOKEN));
        assert!(bucket.is_full(start + 33 * TOKEN));
        assert_eq!(taken(&mut bucket, start + 1000 * TOKEN), 30);
    }

    #[test]
    fn debt_has_to_be_earned_first() {
        let (mut bucket, start) = (Bucket::full(TOKEN), Instant::now());
        bucket.take(start, 10 * TOKEN);
        assert!(!bucket.holds(start + 8 * TOKEN, Duration::ZERO));
        assert!(bucket.holds(start + 9 * TOKEN, Duration::ZERO));
        assert_eq!(bucket.ready_at(TOKEN), Some(start + 10 * TOKEN));
    }

    #[test]
    fn amount_given_back_never_overfills() {
        let (mut bucket, start) = (Bucket::full(3 * TOKEN), Instant::now());
        bucket.give_back(5 * TOKEN);
        assert_eq!(taken(&mut bucket, start), 3);
        bucket.give_back(TOKEN);
        assert_eq!(taken(&mut bucket, start), 1);
        bucket.give_back(50 * TOKEN);
        assert_eq!(taken(&mut bucket, start), 3);
    }
}
