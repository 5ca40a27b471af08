//! The first that a run has to tell.

use crate::mesh::Tag;
use crate::proto::{DisplayName, PeerId};

/// What is said first.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The version of the program.
    pub version: &'static str,
    /// The own identity.
    pub id: PeerId,
    /// The addresses that listen.
    pub listen: Vec<String>,
    /// The own name.
    pub name: Option<DisplayName>,
    /// Whether this is a decoy session.
    pub decoy: bool,
    /// Where this run goes on after a panic, what asked for it; `panicked` is said before.
    pub after_panic: Option<Tag>,
}
