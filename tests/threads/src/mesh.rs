//! Stands for `src/mesh`.

#[path = "../../../src/mesh/outcome.rs"]
mod outcome;

pub use outcome::{ByeReason, Outcome};

/// Stands for the text of a message.
pub struct Text;

impl Text {
    /// The most bytes.
    pub const MAX: usize = 32 << 10;
}
