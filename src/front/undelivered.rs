//! Reports undelivered messages in few lines: a million lost messages are one range.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mesh::{Undelivered, Who};

/// How long a report waits for more of its kind.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many ranges one report holds.
const MAX_RANGES: usize = 1000;

/// Input lines with the same fate, until they are reported.
#[derive(Default)]
pub(super) struct Fates {
    ranges: BTreeMap<String, Ranges>,
    total: usize,
    since: Option<Instant>,
}

/// Line numbers as ranges; lines without a number are only counted.
#[derive(Default)]
struct Ranges {
    spans: Vec<(u64, u64)>,
    count: u64,
}

/// A fate, and the lines that share it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// What happened, in words.
    pub what: String,
    /// The number of messages.
    pub count: u64,
    /// `line 7` or `lines 120-450, 452`.
    pub lines: String,
}

/// The fate of a message that a peer did not acknowledge.
fn fate(who: &Arc<Who>, why: Undelivered) -> String {
    format!("not delivered to {}: {}", who.shown, why.as_str())
}

impl Fates {
    /// The final event for one line's message. Messages that a panic forgets are not named.
    pub(super) fn last_word(
        &mut self,
        now: Instant,
        undelivered: &[(Arc<Who>, Undelivered)],
        line: u64,
    ) {
        for (who, why) in undelivered {
            if *why != Undelivered::Panic {
                self.add(now, fate(who, *why), line);
            }
        }
    }

    /// Adds a line with this fate.
    pub(super) fn add(&mut self, now: Instant, what: String, line: u64) {
        self.since.get_or_insert(now);
        let ranges = self.ranges.entry(what).or_default();
        ranges.count += 1;
        match ranges.spans.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => {
                ranges.spans.push((line, line));
                self.total += 1;
            }
        }
    }

    /// When to report them.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.total >= MAX_RANGES {
            since
        } else {
            since + PATIENCE
        })
    }

    /// Takes all, to report them.
    pub(super) fn take(&mut self) -> Vec<Fate> {
        self.since = None;
        self.total = 0;
        std::mem::take(&mut self.ranges)
            .into_iter()
            .map(|(what, ranges)| Fate {
                what,
                count: ranges.count,
                lines: ranges.show(),
            })
            .collect()
    }
}

impl Ranges {
    fn show(mut self) -> String {
        self.spans.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.spans.len());
        for (first, last) in self.spans {
            match joined.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        let one = matches!(joined[..], [(first, last)] if first == last);
        let mut text = String::from(if one { "line " } else { "lines " });
        for (number, (first, last)) in joined.into_iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            // Writing to a String cannot fail.
            let _ = if first == last {
                write!(text, "{comma}{first}")
            } else {
                write!(text, "{comma}{first}-{last}")
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::clock;

    fn told(lines: impl IntoIterator<Item = u64>) -> String {
        let mut fates = Fates::default();
        for line in lines {
            fates.add(clock::now(), "x".into(), line);
        }
        fates.take().remove(0).lines
    }

    #[test]
    fn exactly_the_lines_are_named() {
        assert_eq!(told([7]), "line 7");
        assert_eq!(told((120..=450).chain([452])), "lines 120-450, 452");
        assert_eq!(told([5, 3, 4, 9, 1]), "lines 1, 3-5, 9");
        assert_eq!(told(1..=1_000_000), "lines 1-1000000");
    }

    #[test]
    fn report_comes_after_a_second_or_when_it_is_long() {
        let now = clock::now();
        let mut fates = Fates::default();
        assert_eq!(fates.due(), None);
        fates.add(now, "x".into(), 1);
        assert_eq!(fates.due(), Some(now + PATIENCE));
        (2..3000)
            .step_by(2)
            .for_each(|line| fates.add(now, "x".into(), line * 2));
        assert_eq!(fates.due(), Some(now));
        fates.take();
        assert_eq!(fates.due(), None);
    }
}
