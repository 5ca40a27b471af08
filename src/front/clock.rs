//! The one place where the front ends read the clock.

use std::time::{Duration, Instant};

use time::{OffsetDateTime, UtcOffset};

/// The monotonic time.
#[allow(clippy::disallowed_methods)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The local clock, in UTC.
#[allow(clippy::disallowed_methods)]
pub(super) fn utc() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The time of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The monotonic time, for deadlines.
    pub now: Instant,
    /// The time to show to users and programs.
    pub utc: OffsetDateTime,
}

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        Self {
            now: now(),
            utc: utc(),
        }
    }

    /// The time in UTC, this long ago.
    pub(super) fn utc_before(&self, age: Duration) -> OffsetDateTime {
        let age = time::Duration::try_from(age).ok();
        age.and_then(|age| self.utc.checked_sub(age))
            .unwrap_or(self.utc)
    }

    /// The local time; or UTC, if the system does not tell its time zone.
    pub(super) fn local(&self) -> OffsetDateTime {
        local(self.utc)
    }

    /// The local time of day this long ago, `12:04`.
    pub(super) fn time_of_day(&self, age: Duration) -> String {
        time_of_day(local(self.utc_before(age)))
    }
}

/// Appends RFC 3339 in UTC with milliseconds, `2024-05-01T12:04:05.123Z`.
pub(super) fn push_stamp(out: &mut Vec<u8>, utc: OffsetDateTime) {
    let utc = utc.to_offset(UtcOffset::UTC);
    let year = u32::try_from(utc.year()).unwrap_or(0);
    let parts = [
        (year, 4, b'-'),
        (u32::from(u8::from(utc.month())), 2, b'-'),
        (u32::from(utc.day()), 2, b'T'),
        (u32::from(utc.hour()), 2, b':'),
        (u32::from(utc.minute()), 2, b':'),
        (u32::from(utc.second()), 2, b'.'),
        (u32::from(utc.millisecond()), 3, b'Z'),
    ];
    for (value, digits, after) in parts {
        push_digits(out, value, digits);
        out.push(after);
    }
}

/// The time of day, `12:04`.
pub(super) fn time_of_day(time: OffsetDateTime) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

fn local(utc: OffsetDateTime) -> OffsetDateTime {
    utc.to_offset(UtcOffset::local_offset_at(utc).unwrap_or(UtcOffset::UTC))
}

fn push_digits(out: &mut Vec<u8>, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = value / 10_u32.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_milliseconds_and_ends_in_z() {
        let mut out = Vec::new();
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_714_565_045_007_900_000);
        push_stamp(&mut out, at.unwrap());
        assert_eq!(out, b"2024-05-01T12:04:05.007Z");
    }
}
