//! The user's settings, as far as the mesh needs them.

use std::time::Duration;

use crate::proto::{Address, DEFAULT_PORT, DisplayName, epochs};

/// The rate of this end's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// One cell per link and interval, from 10 ms to 10 s.
    Every(Duration),
    /// Data leaves at once, if the other end chose the same.
    Off,
}

/// How many of a message's recipients have to acknowledge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// All of them.
    All,
    /// One of them.
    Any,
    /// This number of them, or all if they are fewer.
    AtLeast(usize),
}

impl Require {
    /// How many acknowledgements a message to `queued` peers needs.
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
    /// The run ends with the last goodbye, and with its input.
    No,
    /// The run goes on after the last goodbye, and ends with its input.
    Input,
    /// The run goes on after both.
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

/// The settings of a run, already checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--display-name`, or the saved one.
    pub name: Option<DisplayName>,
    /// `--decoy`.
    pub decoy: bool,
    /// `--peer`.
    pub peers: Vec<Address>,
    /// The port that the user's listeners have, if there are any.
    pub listen_port: Option<u16>,
    /// `--advertise`.
    pub advertise: Option<Address>,
    /// `--forwarded`: connections from loopback count as forwarded from far away.
    pub forwarded: bool,
    /// `--proxy`: all dials are made by a proxy, which also resolves names. Then `forwarded` is set
    /// too.
    pub proxied: bool,
    /// Whether this node carries circuits for others; not with `--no-carry`.
    pub carry: bool,
    /// `--onion`: connections also come through an onion service, whose address is in `advertise`.
    /// Then `proxied` is set too.
    pub onion: bool,
    /// `--lan`: this node follows the beacons of its local networks, and exchanges addresses in them
    /// with other members. Never together with `proxied`.
    pub lan: bool,
    /// `--cover`.
    pub cover: Cover,
    /// The longest time from a post-quantum epoch of a link to the exchange for the next one.
    pub epoch_period: Duration,
    /// `--inactivity-timeout`.
    pub inactivity: Duration,
    /// `--give-up`.
    pub give_up: Duration,
    /// `--timeout`: how long `--min-peers` holds messages back, and how long the end of the run
    /// waits for each further acknowledgement.
    pub timeout: Duration,
    /// How long each message waits while there is no peer to send it to; `None`: as long as the run
    /// lasts.
    pub wait_for_peer: Option<Duration>,
    /// `--min-peers`: hold messages until this number of peers is up; at least 1.
    pub min_peers: usize,
    /// `--require`.
    pub require: Require,
    /// `--stay`.
    pub stay: Stay,
    /// `--away`: how long to wait for a peer that vanished without a goodbye.
    pub away: Duration,
    /// Whether to report `queued`, `delivered` and every `done` (for the JSON front end).
    pub report_each: bool,
    /// Whether a user types at a terminal (the chat front end). Then the engine reports which peers
    /// can be named and would get a message; a message to a name that another peer has taken over
    /// has to be confirmed; a message for which there is no peer is given back at once; and the run
    /// does not end by itself when all have left.
    pub interactive: bool,
    /// `--ack`: messages count as delivered only on [`Command::Ack`](super::Command::Ack).
    pub explicit_ack: bool,
}

impl Default for Settings {
    /// The settings of a run without options: the defaults of USAGE.md, in plain mode.
    fn default() -> Self {
        Self {
            name: None,
            decoy: false,
            peers: Vec::new(),
            listen_port: Some(DEFAULT_PORT),
            advertise: None,
            forwarded: false,
            proxied: false,
            carry: true,
            onion: false,
            lan: false,
            cover: Cover::Every(Duration::from_millis(100)),
            epoch_period: epochs::PERIOD,
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
