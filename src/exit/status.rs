//! The exit status with its meanings.

/// The exit status of a run (USAGE.md, "Exit status").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Quit, goodbye or end of input, and everything accepted was acknowledged.
    Done,
    /// A failure at run time.
    Failed,
    /// Wrong usage; the run has not started.
    Usage,
    /// Some messages stayed undelivered.
    Undelivered,
    /// There were messages, and no peer was reached, or the last peer left early; worth trying
    /// again.
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
