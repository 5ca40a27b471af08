//! When a link's cells leave (PROTOCOL.md, section 11).

use std::time::{Duration, Instant};

/// How long before its tick a cell is sealed, at most.
pub const LEAD: Duration = Duration::from_millis(3);
/// Padding on a link without ticks: keeps it alive and the ratchet turning.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The first tick lies within this time of the handshake, or within one interval if that is less.
pub const FIRST_TICK: Duration = Duration::from_millis(100);

/// One end's clock for one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A cell at each tick of an absolute schedule.
    Ticks {
        /// The time between two ticks.
        interval: Duration,
        /// The next tick.
        next: Instant,
    },
    /// This end chose `off` and does not know yet what the other chose: HELLO at once, and then
    /// nothing.
    Undecided {
        /// Whether HELLO went out.
        greeted: bool,
    },
    /// Both ends chose `off`: data at once, padding when `idle_until` passes.
    AtOnce {
        /// When padding is due.
        idle_until: Instant,
    },
}

/// What the clock says about sealing a cell now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A cell, to be written at this moment.
    At(Instant),
    /// Cells at once.
    Now,
    /// A tick passed while the cell before it was still on its way: none.
    Skipped,
    /// Nothing yet.
    No,
}

impl Pace {
    /// The clock of a link whose handshake ends now. `phase` is uniform in 0..1; `interval` is
    /// none for `off`.
    pub fn start(now: Instant, interval: Option<Duration>, phase: f64) -> Self {
        match interval {
            Some(interval) => Pace::ticks(now, interval, phase),
            None => Pace::Undecided { greeted: false },
        }
    }

    fn ticks(now: Instant, interval: Duration, phase: f64) -> Self {
        Pace::Ticks {
            interval,
            next: now + LEAD + interval.min(FIRST_TICK).mul_f64(phase),
        }
    }

    /// The other end's HELLO is in; `theirs` is its interval, none for `off`.
    pub fn decide(&mut self, now: Instant, theirs: Option<Duration>, phase: f64) {
        if let Pace::Undecided { greeted } = *self {
            *self = match theirs {
                Some(interval) => Pace::ticks(now, interval, phase),
                None if greeted => Pace::AtOnce {
                    idle_until: now + KEEP_ALIVE,
                },
                None => Pace::AtOnce { idle_until: now },
            };
        }
    }

    /// When [`Self::due`] may next say something else than no. `work`: whether there is more
    /// to send than padding; `busy`: whether what was sealed before has not gone out.
    pub fn deadline(&self, now: Instant, work: bool, busy: bool) -> Option<Instant> {
        match *self {
            Pace::Ticks { next, .. } => Some(next - LEAD),
            Pace::Undecided { greeted: true } => None,
            _ if busy => None,
            Pace::Undecided { greeted: false } => Some(now),
            Pace::AtOnce { .. } if work => Some(now),
            Pace::AtOnce { idle_until } => Some(idle_until),
        }
    }

    /// Asks, and moves the clock on if the answer is a cell or a skipped tick.
    pub fn due(&mut self, now: Instant, work: bool, busy: bool) -> Due {
        match self {
            Pace::Ticks { interval, next } => {
                if now + LEAD < *next {
                    return Due::No;
                }
                // A tick long past is not made up for: a burst would tell of load.
                let late = now.saturating_duration_since(*next);
                let missed = late > *interval / 4;
                let tick = *next;
                *next +=
                    *interval * (late.as_nanos() / interval.as_nanos()).min(u32::MAX.into()) as u32;
                while *next <= now + LEAD {
                    *next += *interval;
                }
                if busy || missed {
                    Due::Skipped
                } else {
                    Due::At(tick)
                }
            }
            _ if busy => Due::No,
            Pace::Undecided { greeted } => {
                let first = !std::mem::replace(greeted, true);
                if first { Due::Now } else { Due::No }
            }
            Pace::AtOnce { idle_until } => {
                if !work && now < *idle_until {
                    return Due::No;
                }
                *idle_until = now + KEEP_ALIVE;
                Due::Now
            }
        }
    }

    /// The time between this end's cells.
    pub fn interval(&self) -> Option<Duration> {
        match self {
            Pace::Ticks { interval, .. } => Some(*interval),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn ticks_keep_an_absolute_schedule_whatever_there_is_to_send() {
        let start = Instant::now();
        let mut pace = Pace::start(start, Some(100 * MS), 0.5);
        let first = start + LEAD + 50 * MS;
        for tick in 0..10u32 {
            let at = first + 100 * MS * tick;
            assert_eq!(pace.deadline(start, true, false), Some(at - LEAD));
            assert_eq!(pace.due(at - LEAD - MS, true, false), Due::No);
            assert_eq!(pace.due(at - MS, tick % 2 == 0, false), Due::At(at));
        }
    }

    #[test]
    fn a_tick_whose_predecessor_is_on_its_way_is_skipped() {
        let start = Instant::now();
        let mut pace = Pace::start(start, Some(100 * MS), 0.0);
        assert_eq!(pace.due(start, false, true), Due::Skipped);
        assert_eq!(pace.due(start + 50 * MS, false, false), Due::No);
        assert_eq!(
            pace.due(start + 101 * MS, false, false),
            Due::At(start + LEAD + 100 * MS)
        );
    }

    #[test]
    fn missed_ticks_are_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::start(start, Some(100 * MS), 0.0);
        let late = start + LEAD + 1050 * MS;
        assert_eq!(pace.due(late, true, false), Due::Skipped);
        assert_eq!(pace.due(late, true, false), Due::No);
        assert_eq!(pace.deadline(late, true, false), Some(start + 1100 * MS));
    }

    #[test]
    fn off_holds_only_where_both_chose_it() {
        let start = Instant::now();
        let mut pace = Pace::start(start, None, 0.0);
        assert_eq!(pace.due(start, false, false), Due::Now);
        assert_eq!(pace.due(start, true, false), Due::No);
        let mut other = pace;
        pace.decide(start, Some(20 * MS), 0.0);
        assert_eq!(pace.interval(), Some(20 * MS));
        other.decide(start, None, 0.0);
        assert_eq!(other.due(start, false, false), Due::No);
        assert_eq!(other.due(start, true, false), Due::Now);
        assert_eq!(other.due(start + KEEP_ALIVE, false, false), Due::Now);
        assert_eq!(other.due(start + KEEP_ALIVE, true, true), Due::No);
    }
}
