//! When a link's cells leave (PROTOCOL.md, section 12).

use std::time::{Duration, Instant};

/// A cell is sealed at most this long before its tick.
pub const LEAD: Duration = Duration::from_millis(3);
/// How often a link without ticks sends padding, to keep it alive and the ratchet turning.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Slots are at most this far apart, so that this is how long a link waits for its first tick at
/// most. The links of a process with one interval of that length or less all tick together, which
/// wakes it once.
pub const SLOT: Duration = Duration::from_millis(100);

/// The grid on which all ticks lie: a monotonic moment, and what the wall clock shows at it.
///
/// Slots are at whole fractions of an interval since 1970, so that the links of a process share its
/// wake-ups. All processes use the same grid. With a grid of its own, a process would mark all its
/// links: their ticks would differ by whole slots, and those of other processes would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickGrid {
    at: Instant,
    since_1970: Duration,
}

impl TickGrid {
    /// A grid from the two clocks, read together.
    pub fn new(at: Instant, since_1970: Duration) -> Self {
        Self { at, since_1970 }
    }

    /// By how much another grid is ahead of this one, or behind it.
    pub fn differs(&self, other: &Self) -> Duration {
        let (ours, theirs) = match other.at >= self.at {
            true => (self.since_1970 + (other.at - self.at), other.since_1970),
            false => (self.since_1970, other.since_1970 + (self.at - other.at)),
        };
        ours.abs_diff(theirs)
    }

    /// The first slot not before `now`.
    fn slot(&self, now: Instant, interval: Duration) -> Instant {
        let interval = interval.as_nanos().max(1);
        let slots = interval.div_ceil(SLOT.as_nanos());
        let here = (self.since_1970 + now.saturating_duration_since(self.at)).as_nanos();
        let number = (here * slots).div_ceil(interval);
        let ahead = (number * interval / slots).saturating_sub(here);
        now + Duration::from_nanos(ahead.try_into().unwrap_or(u64::MAX))
    }
}

/// One end's clock for one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellSchedule {
    /// This end's HELLO has not been sealed: it leaves as soon as it may, and so does the first
    /// cell.
    Opening,
    /// A cell at each tick of an absolute schedule.
    Ticks {
        /// The time between two ticks.
        interval: Duration,
        /// The next tick.
        next: Instant,
    },
    /// This end chose `off`, and does not know yet what the other end chose: no cell follows HELLO
    /// so far.
    Undecided,
    /// Both ends chose `off`: data leaves at once, and padding at `idle_until`.
    AtOnce {
        /// When padding is due.
        idle_until: Instant,
    },
}

/// Whether to seal a cell now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Seal one cell, to be written at this moment.
    At(Instant),
    /// Seal cells to be written at once.
    Now,
    /// A tick is too long past to seal a cell for it.
    Skipped,
    /// Nothing is due yet.
    No,
}

impl CellSchedule {
    /// The schedule once this end's HELLO is sealed; `interval` is `None` for `off`.
    pub fn start(now: Instant, interval: Option<Duration>, grid: TickGrid) -> Self {
        match interval {
            Some(interval) => CellSchedule::ticks(now, interval, grid),
            None => CellSchedule::Undecided,
        }
    }

    fn ticks(now: Instant, interval: Duration, grid: TickGrid) -> Self {
        CellSchedule::Ticks {
            interval,
            next: grid.slot(now + LEAD, interval),
        }
    }

    /// The other end's HELLO has arrived; `theirs` is its interval, `None` for `off`.
    pub fn decide(&mut self, now: Instant, theirs: Option<Duration>, grid: TickGrid) {
        if *self == CellSchedule::Undecided {
            *self = match theirs {
                Some(interval) => CellSchedule::ticks(now, interval, grid),
                None => CellSchedule::AtOnce {
                    idle_until: now + KEEP_ALIVE,
                },
            };
        }
    }

    /// When [`Self::due`] may next return something other than [`Due::No`]. `work`: there is more
    /// to send than padding. `busy`: an earlier cell has not left yet.
    pub fn deadline(&self, now: Instant, work: bool, busy: bool) -> Option<Instant> {
        match *self {
            CellSchedule::Ticks { next, .. } => Some(next - LEAD),
            CellSchedule::Opening | CellSchedule::Undecided => None,
            _ if busy => None,
            CellSchedule::AtOnce { .. } if work => Some(now),
            CellSchedule::AtOnce { idle_until } => Some(idle_until),
        }
    }

    /// When a cell is due, if there are ticks.
    pub fn next_tick(&self) -> Option<Instant> {
        match self {
            CellSchedule::Ticks { next, .. } => Some(*next - LEAD),
            _ => None,
        }
    }

    /// Whether [`Self::due`] returns [`Due::No`] whatever there is to send.
    pub fn is_early(&self, now: Instant) -> bool {
        matches!(self, CellSchedule::Ticks { next, .. } if now + LEAD < *next)
    }

    /// Whether a tick is due that is skipped if the previous cell has not left.
    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self, CellSchedule::Ticks { next, .. } if now + LEAD >= *next)
    }

    /// Moves past a tick that is due, because the previous cell has not left. Returns whether there
    /// was one.
    pub fn skip(&mut self, now: Instant) -> bool {
        self.is_due(now) && self.tick(now).is_some()
    }

    /// Whether to seal now; moves on past the tick if the answer is a cell or a skipped tick. While
    /// `busy`, a tick that is due waits for [`Self::skip`].
    pub fn due(&mut self, now: Instant, work: bool, busy: bool) -> Due {
        match self {
            _ if busy => Due::No,
            CellSchedule::Ticks { .. } if self.is_early(now) => Due::No,
            CellSchedule::Ticks { interval, .. } => {
                let missed_from = *interval / 4;
                match self.tick(now) {
                    // A tick that is long past is not made up for: a burst would show that the
                    // process was busy.
                    Some(tick) if now.saturating_duration_since(tick) <= missed_from => {
                        Due::At(tick)
                    }
                    _ => Due::Skipped,
                }
            }
            CellSchedule::Opening | CellSchedule::Undecided => Due::No,
            CellSchedule::AtOnce { idle_until } => {
                if !work && now < *idle_until {
                    return Due::No;
                }
                *idle_until = now + KEEP_ALIVE;
                Due::Now
            }
        }
    }

    /// The tick that is due. The next one will be the first for which a cell can still be sealed in
    /// time.
    fn tick(&mut self, now: Instant) -> Option<Instant> {
        let CellSchedule::Ticks { interval, next } = self else {
            return None;
        };
        let tick = *next;
        let late = now.saturating_duration_since(tick);
        *next += *interval * (late.as_nanos() / interval.as_nanos()).min(u32::MAX.into()) as u32;
        while *next <= now + LEAD {
            *next += *interval;
        }
        Some(tick)
    }

    /// The time between this end's cells.
    pub fn interval(&self) -> Option<Duration> {
        match self {
            CellSchedule::Ticks { interval, .. } => Some(*interval),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A grid with a slot as soon as a tick may follow `start`.
    fn grid(start: Instant) -> TickGrid {
        TickGrid::new(start + LEAD, Duration::ZERO)
    }

    #[test]
    fn ticks_keep_an_absolute_schedule_under_any_load() {
        let start = Instant::now();
        let mut schedule = CellSchedule::start(start, Some(100 * MS), grid(start));
        let first = start + LEAD;
        for tick in 0..10u32 {
            let at = first + 100 * MS * tick;
            assert_eq!(schedule.deadline(start, true, false), Some(at - LEAD));
            assert_eq!(schedule.due(at - LEAD - MS, true, false), Due::No);
            assert_eq!(schedule.due(at - MS, tick % 2 == 0, false), Due::At(at));
        }
    }

    #[test]
    fn the_first_tick_is_the_next_slot() {
        let start = Instant::now();
        for (interval, apart) in [(10, 10), (100, 100), (250, 84), (1000, 100), (10_000, 100)] {
            let first = |later: u32| {
                let now = start + later * MS;
                match CellSchedule::start(now, Some(interval * MS), grid(start)) {
                    CellSchedule::Ticks { next, .. } => next - start - LEAD,
                    _ => panic!("no ticks"),
                }
            };
            assert_eq!(first(0), Duration::ZERO);
            let second = first(1);
            assert!(
                second <= apart * MS && second > (apart - 1) * MS,
                "{second:?}"
            );
            // Each link with this interval ticks with one of those that began before it.
            let whole = interval.div_ceil(100) * second;
            assert!(whole.abs_diff(interval * MS) < MS / 100, "{whole:?}");
        }
    }

    /// Ticks do not show when a process started, or when it read the clocks.
    #[test]
    fn all_processes_share_one_grid() {
        let start = Instant::now();
        let epoch = Duration::from_secs(1_800_000_000);
        for interval in [10 * MS, 100 * MS, 1003 * MS] {
            let one = TickGrid::new(start, epoch + 3 * MS);
            let other = TickGrid::new(start + 1234 * MS, epoch + 1237 * MS);
            assert_eq!(one.differs(&other), Duration::ZERO);
            let now = start + 2222 * MS;
            assert_eq!(one.slot(now, interval), other.slot(now, interval));
            assert_eq!(
                one.slot(one.slot(now, interval), interval),
                one.slot(now, interval)
            );
        }
        let ahead = TickGrid::new(start, epoch + 5 * MS);
        let behind = TickGrid::new(start + 100 * MS, epoch + 100 * MS);
        assert_eq!(ahead.differs(&behind), 5 * MS);
        assert_eq!(behind.differs(&ahead), 5 * MS);
    }

    #[test]
    fn a_tick_whose_predecessor_is_on_its_way_is_skipped() {
        let start = Instant::now();
        let mut schedule = CellSchedule::start(start, Some(100 * MS), grid(start));
        assert!(!schedule.skip(start - MS), "nothing is due yet");
        assert!(schedule.is_due(start));
        assert_eq!(schedule.due(start, false, true), Due::No);
        assert!(schedule.skip(start));
        assert_eq!(schedule.due(start + 50 * MS, false, false), Due::No);
        assert_eq!(
            schedule.due(start + 101 * MS, false, false),
            Due::At(start + LEAD + 100 * MS)
        );
    }

    #[test]
    fn missed_ticks_are_not_made_up_for() {
        let start = Instant::now();
        let mut schedule = CellSchedule::start(start, Some(100 * MS), grid(start));
        let late = start + LEAD + 1050 * MS;
        assert_eq!(schedule.due(late, true, false), Due::Skipped);
        assert_eq!(schedule.due(late, true, false), Due::No);
        assert_eq!(
            schedule.deadline(late, true, false),
            Some(start + 1100 * MS)
        );
    }

    #[test]
    fn off_holds_only_where_both_chose_it() {
        let start = Instant::now();
        let grid = grid(start);
        let mut schedule = CellSchedule::start(start, None, grid);
        assert_eq!(schedule.due(start, true, false), Due::No);
        assert_eq!(schedule.deadline(start, true, false), None);
        let mut other = schedule;
        schedule.decide(start, Some(20 * MS), grid);
        assert_eq!(schedule.interval(), Some(20 * MS));
        other.decide(start, None, grid);
        assert_eq!(other.due(start, false, false), Due::No);
        assert_eq!(other.due(start, true, false), Due::Now);
        assert_eq!(other.due(start + KEEP_ALIVE, false, false), Due::Now);
        assert_eq!(other.due(start + KEEP_ALIVE, true, true), Due::No);
    }
}
