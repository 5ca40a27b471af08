//! What the files need of the mesh.

/// As in `src/mesh/event.rs`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ByeReason {
    /// `/quit`.
    Quit,
    /// A failure at run time.
    Failed,
}

/// As in `src/mesh/event.rs`.
#[derive(Clone)]
pub struct Outcome {
    /// Why the run ended.
    pub reason: ByeReason,
    /// Messages that fewer peers acknowledged than `--require` demands.
    pub unsatisfied: u64,
    /// Messages that were not sent because no peer was ever reached.
    pub unreached: u64,
    /// Whether the last peer left while the input was still open.
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

/// Stands for the text of a message.
pub struct Text;

impl Text {
    /// The most bytes.
    pub const MAX: usize = 32 << 10;
}
