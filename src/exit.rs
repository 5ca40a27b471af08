//! How a run ends: the exit status with its meanings, and a failure as one line for people.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

use crate::channels::ExitCounters;
use crate::mesh::{ByeReason, Outcome};

/// What the exit status tells (USAGE.md, "Exit status").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Quit, goodbye or end of input, and everything accepted was acknowledged.
    Done,
    /// It failed at run time.
    Failed,
    /// Wrong usage; nothing was started.
    Usage,
    /// Something stayed undelivered.
    Undelivered,
    /// There were messages, and nobody was reached, or the last peer left early; worth trying again.
    Unreached,
    /// There were messages, and every `--peer` has another passphrase; not worth trying again.
    Refused,
    /// Ended by this signal.
    Signal(u8),
}

impl Status {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::Undelivered => 3,
            Status::Unreached => 4,
            Status::Refused => 5,
            Status::Signal(number) => 128u8.saturating_add(number),
        }
    }
}

impl From<Status> for std::process::ExitCode {
    fn from(status: Status) -> Self {
        status.code().into()
    }
}

/// The status of a run that has ended. Of those that apply the first of 1, 5, 4, 3, 128+N, 0 counts
/// (2 is for runs that never started).
pub fn status(outcome: &Outcome, counters: &ExitCounters) -> u8 {
    applying(outcome, counters).code()
}

/// Says on stderr what a run that ended at once left undelivered.
pub fn tell_undelivered(outcome: &Outcome) {
    let count = outcome.unsatisfied.saturating_add(outcome.unreached);
    let line = match count {
        0 => return,
        1 => "1 message was not delivered".to_string(),
        _ => format!("{count} messages were not delivered"),
    };
    say(&line);
}

/// Writes a line to stderr, or two of which the second is advice. One who does not read it holds up the end for a moment alone.
pub fn say(line: &str) {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::io::Errno;
        const LOOKS: usize = 10;
        let patience = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let stderr = io::stderr();
        let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
        // What takes anything takes a line. More signals may come meanwhile, but not for ever.
        let looks = (0..LOOKS).map(|_| poll(&mut fds, Some(&patience)));
        let mut seen = looks.skip_while(|ready| *ready == Err(Errno::INTR));
        if !matches!(seen.next(), Some(Ok(1..))) {
            return;
        }
    }
    let lines: String = line.lines().map(|l| format!("sesame: {l}\n")).collect();
    // Nothing is left to do where it cannot be written.
    let _ = io::stderr().write_all(lines.as_bytes());
}

fn applying(outcome: &Outcome, counters: &ExitCounters) -> Status {
    let bad_lines = counters.bad_lines.load(Ordering::Relaxed);
    let carried = counters.carried.load(Ordering::Relaxed);
    let signal = counters.signal.load(Ordering::Relaxed);
    // Messages behind a quit in the input were not meant to be sent; what a signal cuts off was.
    let cut_off = signal != 0 && counters.untaken.load(Ordering::Relaxed) > 0;
    if counters.failed.load(Ordering::Relaxed) || outcome.reason == ByeReason::Failed {
        Status::Failed
    } else if outcome.unreached > 0 && outcome.all_refused {
        Status::Refused
    } else if outcome.unreached > 0 || outcome.left_early {
        Status::Unreached
    } else if outcome.unsatisfied > 0 || bad_lines > 0 || carried || cut_off {
        Status::Undelivered
    } else {
        match u8::try_from(signal) {
            Ok(number) if number > 0 => Status::Signal(number),
            _ => Status::Done,
        }
    }
}

/// What went wrong, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, and to what.
    pub what: String,
    /// What to do about it; may be empty.
    pub advice: String,
    /// With what the program ends.
    pub status: Status,
}

impl Failure {
    /// Wrong usage: nothing was started.
    pub fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            status: Status::Usage,
        }
    }

    /// It failed at run time.
    pub fn runtime(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            status: Status::Failed,
        }
    }

    /// A signal ended the program before it began to run.
    pub fn signal(number: u8) -> Self {
        Self {
            what: format!("ended by signal {number}"),
            advice: String::new(),
            status: Status::Signal(number),
        }
    }

    /// A panic ended the program before it began to run.
    pub fn panic() -> Self {
        Self {
            what: "ended by a panic".into(),
            advice: String::new(),
            status: Status::Done,
        }
    }

    /// Says it on stderr, each line behind `sesame: `, and gives the status to end with.
    pub fn report(&self) -> Status {
        // Whoever sent a signal, or asked for a panic, knows.
        if !matches!(self.status, Status::Signal(_) | Status::Done) {
            say(&self.to_string());
        }
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, "\n{}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(unsatisfied: u64, unreached: u64, all_refused: bool) -> Outcome {
        Outcome {
            reason: ByeReason::Eof,
            unsatisfied,
            unreached,
            left_early: false,
            all_refused,
        }
    }

    #[test]
    fn the_first_that_applies_counts() {
        let counters = ExitCounters::default();
        assert_eq!(status(&outcome(0, 0, false), &counters), 0);
        assert_eq!(
            status(&outcome(0, 0, true), &counters),
            0,
            "refused, but nothing was to be said"
        );
        let early = Outcome {
            left_early: true,
            ..outcome(1, 0, false)
        };
        assert_eq!(status(&early, &counters), 4);
        counters.signal.store(15, Ordering::Relaxed);
        assert_eq!(status(&outcome(0, 0, false), &counters), 143);
        assert_eq!(status(&outcome(1, 0, false), &counters), 3);
        assert_eq!(status(&outcome(1, 1, false), &counters), 4);
        assert_eq!(status(&outcome(1, 1, true), &counters), 5);
        counters.failed.store(true, Ordering::Relaxed);
        assert_eq!(status(&outcome(1, 1, true), &counters), 1);
    }

    #[test]
    fn lines_that_never_became_messages_are_undelivered() {
        let counters = ExitCounters::default();
        counters.bad_lines.store(1, Ordering::Relaxed);
        assert_eq!(status(&outcome(0, 0, false), &counters), 3);
        let counters = ExitCounters::default();
        counters.carried.store(true, Ordering::Relaxed);
        assert_eq!(status(&outcome(0, 0, false), &counters), 3);
        let failed = Outcome {
            reason: ByeReason::Failed,
            ..outcome(0, 0, false)
        };
        assert_eq!(status(&failed, &ExitCounters::default()), 1);
    }

    #[test]
    fn failure_with_advice_has_two_lines() {
        let failure = Failure::usage("--ack needs --json", "add it");
        assert_eq!(failure.to_string(), "--ack needs --json\nadd it");
        let failure = Failure::usage("no passphrase entered", "");
        assert_eq!(failure.to_string(), "no passphrase entered");
        assert_eq!(failure.status.code(), 2);
        assert_eq!(Failure::signal(2).status.code(), 130);
    }
}
