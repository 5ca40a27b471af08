//! The first event of a run.

use std::net::SocketAddr;

use crate::mesh::Tag;
use crate::proto::{Address, DisplayName, PeerId};

/// What the first event reports.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The version of the program.
    pub version: &'static str,
    /// This end's id.
    pub id: PeerId,
    /// The addresses of the listeners.
    pub listen: Vec<SocketAddr>,
    /// `--advertise`.
    pub advertise: Option<Address>,
    /// This user's name.
    pub name: Option<DisplayName>,
    /// Whether this is a decoy session.
    pub decoy: bool,
    /// If this run continues after a panic, what asked for it; `panicked` is reported first.
    pub after_panic: Option<Tag>,
}
