//! What the exit status depends on, and the one place that computes it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};

use super::status::Status;
use crate::mesh::{ByeReason, Outcome};

/// The phase of a run. Every thread sees a change at once, ahead of what waits in the channels.
#[derive(Default)]
pub struct RunPhase(AtomicU8);

const ENDING: u8 = 1;
const OVER: u8 = 2;

impl RunPhase {
    /// The end was requested: messages that are read from now on are not sent, and do not count.
    pub fn ask_end(&self) {
        self.0.fetch_max(ENDING, Ordering::Relaxed);
    }

    /// Whether the end was requested, or has come.
    pub fn is_ending(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENDING
    }

    /// The engine has reported its last event.
    pub fn finish(&self) {
        self.0.fetch_max(OVER, Ordering::Relaxed);
    }

    /// Whether the engine has reported its last event.
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= OVER
    }
}

/// Everything that the exit status depends on. Each part of the program adds what only it knows.
#[derive(Default)]
pub struct ExitCounters {
    /// The phase of the run.
    pub phase: RunPhase,
    /// The engine's part, once the engine has ended.
    outcome: OnceLock<Outcome>,
    bad_lines: AtomicU64,
    untaken: AtomicU64,
    signal: AtomicI32,
    lost: AtomicBool,
    panicked: AtomicBool,
    failed: AtomicBool,
}

impl ExitCounters {
    /// An input line could not become a message: it is too long, or not UTF-8.
    pub fn count_bad_line(&self) {
        self.bad_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// How many input lines could not become a message.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }

    /// A message was parsed. Until the engine has taken it, a panic would lose it, wherever it
    /// waits.
    pub fn count_parsed(&self) {
        self.untaken.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine has taken this many of the messages that were parsed.
    pub fn count_taken(&self, messages: u64) {
        self.untaken.fetch_sub(messages, Ordering::Relaxed);
    }

    /// How many messages were parsed and not yet taken by the engine.
    pub fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }

    /// Something failed at run time.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether something failed at run time.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// This signal ends the run.
    pub fn end_by(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
    }

    /// This signal ends the run, unless another one came before.
    pub fn end_by_first(&self, signal: i32) {
        let order = Ordering::Relaxed;
        // If there is a signal already, it came before.
        let _ = self.signal.compare_exchange(0, signal, order, order);
    }

    /// The signal that ended the run.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// A panic has lost a message, in this run or before it.
    pub fn count_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// The run ends by a panic, after which only failures and losses count.
    pub fn end_by_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// How the engine has ended.
    pub fn record(&self, outcome: &Outcome) {
        self.outcome.get_or_init(|| outcome.clone());
    }

    /// How many messages were not delivered as required, apart from bad lines.
    pub fn undelivered(&self) -> u64 {
        self.lost_by_engine().saturating_add(self.untaken())
    }

    /// How many of the messages that the engine took were not delivered as required.
    fn lost_by_engine(&self) -> u64 {
        let outcome = self.outcome.get();
        outcome.map_or(0, |it| it.unsatisfied.saturating_add(it.unreached))
    }

    /// Whether any message was lost, or any line that should have been one.
    pub fn has_lost_any(&self) -> bool {
        self.has_lost(self.untaken())
    }

    /// The same, if only `untaken` of the messages that the engine has not taken count.
    fn has_lost(&self, untaken: u64) -> bool {
        self.lost_by_engine() > 0
            || untaken > 0
            || self.lost.load(Ordering::Relaxed)
            || self.bad_lines() > 0
    }

    /// The exit status. If several apply, the first of 1, 5, 4, 3, 128+N, 0 counts (2 is for runs that
    /// never started).
    pub fn status(&self) -> Status {
        let unknown = Outcome::of(ByeReason::Quit);
        let outcome = self.outcome.get().unwrap_or(&unknown);
        let panicked = self.panicked.load(Ordering::Relaxed);
        // The user did not mean messages after a quit to be sent, but meant those that a signal or
        // a panic cuts off.
        let untaken = if panicked || self.signal().is_some() {
            self.untaken()
        } else {
            0
        };
        let unreached = !panicked && outcome.unreached > 0;
        if self.has_failed() || outcome.reason == ByeReason::Failed {
            Status::Failed
        } else if unreached && outcome.all_refused {
            Status::Refused
        } else if unreached || (!panicked && outcome.left_early) {
            Status::Unreached
        } else if self.has_lost(untaken) {
            Status::Undelivered
        } else {
            match self.signal().map(u8::try_from) {
                Some(Ok(number)) => Status::Signal(number),
                _ => Status::Done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(unsatisfied: u64, unreached: u64, all_refused: bool) -> ExitCounters {
        let counters = ExitCounters::default();
        counters.record(&Outcome {
            unsatisfied,
            unreached,
            all_refused,
            ..Outcome::of(ByeReason::Eof)
        });
        counters
    }

    #[test]
    fn status_is_the_first_that_applies() {
        assert_eq!(ended(0, 0, false).status().code(), 0);
        let refused = ended(0, 0, true);
        assert_eq!(refused.status().code(), 0, "but nothing was to be said");
        let early = ExitCounters::default();
        early.record(&Outcome {
            unsatisfied: 1,
            left_early: true,
            ..Outcome::of(ByeReason::Goodbye)
        });
        assert_eq!(early.status().code(), 4);
        for (counters, status) in [
            (ended(0, 0, false), 143),
            (ended(1, 0, false), 3),
            (ended(1, 1, false), 4),
            (ended(1, 1, true), 5),
        ] {
            counters.end_by(15);
            assert_eq!(counters.status().code(), status);
            counters.fail();
            assert_eq!(counters.status().code(), 1);
        }
    }

    #[test]
    fn line_that_never_became_a_message_is_undelivered() {
        let bad = ended(0, 0, false);
        bad.count_bad_line();
        assert_eq!(bad.status().code(), 3);
        let lost = ended(0, 0, false);
        lost.count_lost();
        assert_eq!(lost.status().code(), 3);
        let failed = ExitCounters::default();
        failed.record(&Outcome::of(ByeReason::Failed));
        assert_eq!(failed.status().code(), 1);
    }

    #[test]
    fn message_that_was_cut_off_counts_after_a_signal_only() {
        let counters = ended(0, 0, false);
        counters.count_parsed();
        assert_eq!(counters.status().code(), 0, "it stood behind a quit");
        counters.end_by(15);
        assert_eq!(counters.status().code(), 3);
        counters.count_taken(1);
        assert_eq!(counters.status().code(), 143);
    }

    #[test]
    fn panic_that_ends_a_run_counts_only_losses() {
        for (counters, lost) in [
            (ended(0, 0, true), false),
            (ended(0, 1, true), true),
            (ended(1, 0, false), true),
        ] {
            counters.end_by_panic();
            assert_eq!(counters.has_lost_any(), lost);
            assert_eq!(counters.status().code(), if lost { 3 } else { 0 });
        }
        let counters = ended(0, 0, false);
        counters.end_by_panic();
        counters.count_parsed();
        assert!(counters.has_lost_any());
        assert_eq!(counters.status().code(), 3);
    }
}
