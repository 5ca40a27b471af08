//! How long one peer may delay messages to others (`--give-up`; SECURITY.md, "A member who lies").

use std::time::{Duration, Instant};

/// The messages and bytes that a peer has to take per second of `--give-up` before its time starts
/// again. Otherwise a peer that takes a message now and then would delay all others for ever.
const MESSAGES: u64 = 16;
const BYTES: u64 = 2048;

/// How long a peer's full outbox has paused the input while others had room.
#[derive(Default)]
pub(super) struct Patience {
    /// Since when it has paused the input, if it does now.
    since: Option<Instant>,
    /// How long it did so before.
    spent: Duration,
    /// How many messages it has taken meanwhile.
    messages: u64,
    bytes: u64,
    /// How often its messages were given up since it last caught up. Each time halves the limit.
    strikes: u32,
}

impl Patience {
    /// Notes whether it delays others now.
    pub(super) fn holds_up(&mut self, now: Instant, holds_up: bool) {
        match (holds_up, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.spent += now.saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// It has taken a message of this many bytes.
    pub(super) fn took(&mut self, now: Instant, bytes: usize, give_up: Duration) {
        self.messages += 1;
        self.bytes += bytes as u64;
        let secs = give_up.as_secs().max(1);
        if self.messages >= MESSAGES * secs || self.bytes >= BYTES * secs {
            *self = Self {
                since: self.since.map(|_| now),
                ..Self::default()
            };
        }
    }

    /// When it will have delayed others for too long, if nothing changes.
    pub(super) fn ends_at(&self, give_up: Duration) -> Option<Instant> {
        let allowed = give_up / 2_u32.saturating_pow(self.strikes);
        Some(self.since? + allowed.saturating_sub(self.spent))
    }

    /// Its messages were given up.
    pub(super) fn gave_up(&mut self) {
        *self = Self {
            strikes: self.strikes.saturating_add(1),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVE_UP: Duration = Duration::from_secs(60);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn occasional_message_does_not_reset_the_time() {
        let start = Instant::now();
        let mut patience = Patience::default();
        for pause in 0..5 {
            let at = start + secs(100 * pause);
            patience.holds_up(at, true);
            assert_eq!(patience.ends_at(GIVE_UP), Some(at + secs(60 - 10 * pause)));
            patience.holds_up(at + secs(10), false);
            patience.took(at + secs(10), 1000, GIVE_UP);
        }
        assert_eq!(patience.ends_at(GIVE_UP), None);
    }

    #[test]
    fn peer_that_takes_enough_resets_its_time() {
        let start = Instant::now();
        let mut patience = Patience::default();
        patience.holds_up(start, true);
        let then = start + secs(59);
        (0..MESSAGES * 60).for_each(|_| patience.took(then, 1, GIVE_UP));
        assert_eq!(patience.ends_at(GIVE_UP), Some(then + GIVE_UP));
    }

    #[test]
    fn peer_given_up_has_half_the_time_until_it_caught_up() {
        let start = Instant::now();
        let mut patience = Patience::default();
        for strike in 0..40 {
            patience.holds_up(start, true);
            assert_eq!(
                patience.ends_at(GIVE_UP),
                Some(start + GIVE_UP / 2_u32.saturating_pow(strike))
            );
            patience.gave_up();
        }
        patience.holds_up(start, true);
        patience.took(start, 1 << 20, GIVE_UP);
        assert_eq!(patience.ends_at(GIVE_UP), Some(start + GIVE_UP));
    }
}
