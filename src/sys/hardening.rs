//! What was achieved to keep others out of this process.

use std::io;

use super::reason;

/// What [`harden`](super::harden::harden) or the [`sandbox`](super::sandbox) achieved, one line
/// each, for the diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardening {
    /// What holds now.
    pub done: Vec<String>,
    /// What does not, and why.
    pub failed: Vec<String>,
    /// Whether other processes of this user could look into this image until now.
    pub was_open: bool,
}

impl Hardening {
    pub(super) fn note(&mut self, what: &str, result: io::Result<()>) {
        match result {
            Ok(()) => self.done.push(what.into()),
            Err(error) => self.failed.push(not_ensured(what, &error)),
        }
    }
}

/// A line about something that could not be achieved.
pub(super) fn not_ensured(what: &str, error: &io::Error) -> String {
    format!("cannot ensure that {what}: {}", reason(error))
}
