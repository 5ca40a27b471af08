//! The end of a run: the exit status with its meanings, and a failure as one line for the user.

mod counters;
mod status;

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use crate::sys::stream::Output;

pub use counters::{ExitCounters, RunPhase};
pub use status::Status;

/// How long a reader of stderr that does not read delays the end of a run.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reports on stderr how many messages a run that ended at once left undelivered.
pub fn tell_undelivered(counters: &ExitCounters) {
    let line = match counters.undelivered() {
        0 => return,
        1 => "1 message was not delivered".to_string(),
        count => format!("{count} messages were not delivered"),
    };
    say(&line);
}

/// Writes one line to stderr, or two, the second being advice. A reader that does not read delays
/// this for a moment only.
pub fn say(line: &str) {
    // If stderr takes anything, it takes a line.
    if !Output::stderr().wait(PATIENCE) {
        return;
    }
    let lines: String = line.lines().map(|l| format!("sesame: {l}\n")).collect();
    // If stderr cannot be written, there is no other place for this.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// A failure, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed, with its object.
    pub what: String,
    /// What the user can do about it; may be empty.
    pub advice: String,
    /// The exit status.
    pub status: Status,
}

impl Failure {
    /// Wrong usage: the run has not started.
    pub fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            status: Status::Usage,
        }
    }

    /// A failure at run time.
    pub fn runtime(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            status: Status::Failed,
        }
    }

    /// A signal ended the program before it began to run.
    pub fn signal(number: i32) -> Self {
        Self {
            what: format!("ended by signal {number}"),
            advice: String::new(),
            status: Status::Signal(number.try_into().unwrap_or(0)),
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

    /// Writes it to stderr, each line after `sesame: `, and returns the exit status.
    pub fn report(&self) -> Status {
        // The user who sent the signal, or asked for the panic, needs no message.
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
