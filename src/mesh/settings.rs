//! What the user chose that the mesh needs to know.

use std::time::Duration;

use crate::proto::{Address, DisplayName};

/// The rate of this end's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// One cell on every link each so often, 10 ms to 10 s.
    Every(Duration),
    /// Data at once, where the other end chose the same.
    Off,
}

/// By how many of the peers that a message was queued for it must be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// By each of them.
    All,
    /// By one.
    Any,
    /// By so many, or by all where they are fewer.
    AtLeast(usize),
}

impl Require {
    /// How many of so many peers it takes.
    pub fn of(self, queued: usize) -> usize {
        match self {
            Require::All => queued,
            Require::Any => queued.min(1),
            Require::AtLeast(n) => queued.min(n),
        }
    }
}

/// A run's settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--display-name`, or the saved one.
    pub name: Option<DisplayName>,
    /// `--decoy`.
    pub decoy: bool,
    /// `--peer`.
    pub peers: Vec<Address>,
    /// The port that listens, if one does.
    pub listen_port: Option<u16>,
    /// `--advertise`.
    pub advertise: Option<Address>,
    /// `--forwarded`: connections from loopback count as forwarded from far away.
    pub forwarded: bool,
    /// `--cover`.
    pub cover: Cover,
    /// `--inactivity-timeout`.
    pub inactivity: Duration,
    /// `--give-up`.
    pub give_up: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--min-peers`: hold messages until so many are up; at least 1.
    pub min_peers: usize,
    /// `--require`.
    pub require: Require,
    /// `--stay`.
    pub stay: bool,
    /// Whether `queued`, `delivered` and every `done` are wanted (the JSON front end).
    pub report_each: bool,
    /// `--ack`: messages count as delivered on [`Command::Ack`](super::Command::Ack) alone.
    pub explicit_ack: bool,
}
