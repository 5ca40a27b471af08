//! How a run ended.

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// `/quit`, Ctrl-C or Ctrl-D.
    Quit,
    /// The input ended.
    Eof,
    /// The last peer said goodbye.
    Goodbye,
    /// A signal.
    Signal,
    /// A panic; the process may continue with a new identity.
    Panic,
    /// A failure at run time.
    Failed,
}

impl ByeReason {
    /// The reason as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            ByeReason::Quit => "quit",
            ByeReason::Eof => "eof",
            ByeReason::Goodbye => "goodbye",
            ByeReason::Signal => "signal",
            ByeReason::Panic => "panic",
            ByeReason::Failed => "failed",
        }
    }
}

/// What the engine contributes to the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why the run ended.
    pub reason: ByeReason,
    /// Messages that fewer peers acknowledged than `--require` demands.
    pub unsatisfied: u64,
    /// Messages that were not sent because no peer was ever reached.
    pub unreached: u64,
    /// Whether the last peer left while the input was still open, in a run that had sent messages.
    pub left_early: bool,
    /// Whether every `--peer` answered, and with another passphrase.
    pub all_refused: bool,
}

impl Outcome {
    /// The outcome of a run without messages that ended for this reason.
    pub fn of(reason: ByeReason) -> Self {
        Self {
            reason,
            unsatisfied: 0,
            unreached: 0,
            left_early: false,
            all_refused: false,
        }
    }
}
