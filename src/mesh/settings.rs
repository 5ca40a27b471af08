//! What the user chose that the mesh needs to know.

use std::time::Duration;

use crate::proto::{Address, DEFAULT_PORT, DisplayName};

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

/// What keeps a run going (`--stay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It ends when the last peer has said goodbye, and when its input has ended.
    No,
    /// It goes on after the last goodbye, and ends when its input has ended.
    Input,
    /// It goes on after both.
    Always,
}

impl Stay {
    /// Whether the run goes on after its last peer has said goodbye.
    pub fn outlasts_peers(self) -> bool {
        self != Self::No
    }

    /// Whether the run goes on after its input has ended.
    pub fn outlasts_input(self) -> bool {
        self == Self::Always
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
    /// `--timeout`: how long `--min-peers` holds messages back, and how long the end of the run waits
    /// without a single further acknowledgement.
    pub timeout: Duration,
    /// How long each message waits while there is no peer to send it to; `None`: as long as the run
    /// lasts.
    pub wait_for_peer: Option<Duration>,
    /// `--min-peers`: hold messages until so many are up; at least 1.
    pub min_peers: usize,
    /// `--require`.
    pub require: Require,
    /// `--stay`.
    pub stay: Stay,
    /// `--away`: how long a peer that vanished without a goodbye is waited for.
    pub away: Duration,
    /// Whether `queued`, `delivered` and every `done` are wanted (the JSON front end).
    pub report_each: bool,
    /// Whether somebody types at a terminal (the chat front end): it is told who can be named and
    /// whom messages would be for, a message to a name that another peer has taken over needs a
    /// second word, a message for which there is no peer is given back at once, and the run does not
    /// end by itself when nobody is left.
    pub interactive: bool,
    /// `--ack`: messages count as delivered on [`Command::Ack`](super::Command::Ack) alone.
    pub explicit_ack: bool,
}

impl Default for Settings {
    /// What a run without options has: the defaults of USAGE.md, in plain mode.
    fn default() -> Self {
        Self {
            name: None,
            decoy: false,
            peers: Vec::new(),
            listen_port: Some(DEFAULT_PORT),
            advertise: None,
            forwarded: false,
            cover: Cover::Every(Duration::from_millis(100)),
            inactivity: Duration::from_secs(30),
            give_up: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            wait_for_peer: Some(Duration::from_secs(30)),
            min_peers: 1,
            require: Require::All,
            stay: Stay::No,
            away: Duration::from_secs(1800),
            report_each: false,
            interactive: false,
            explicit_ack: false,
        }
    }
}
