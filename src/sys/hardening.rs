//! What keeps other processes out of this one.

use std::io;

use super::reason;

/// What [`harden`](super::harden::harden) or the [`sandbox`](super::sandbox) achieved, one line
/// each, for the diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardening {
    /// The protections that are in force.
    pub done: Vec<String>,
    /// The protections that are not, and why.
    pub failed: Vec<String>,
    /// Whether other processes of this user could read this image until now.
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

/// A line about a protection that could not be ensured.
pub(super) fn not_ensured(what: &str, error: &io::Error) -> String {
    format!("cannot ensure that {what}: {}", reason(error))
}
