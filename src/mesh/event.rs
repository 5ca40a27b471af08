//! What the mesh reports to a front end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Tag, Text};
use super::outcome::Outcome;
use crate::proto::{Address, DisplayName, MessageId, PeerId};

/// A peer as it was at the moment of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The identity of the peer.
    pub id: PeerId,
    /// Its name; `None` if it has none or an invalid one.
    pub name: Option<DisplayName>,
    /// How the user sees it: the name, `name#digits` if names are alike, or 16 hex digits.
    pub shown: String,
}

/// The peer that bore a name before another one took it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The identity of that peer.
    pub id: PeerId,
    /// The name, which may only look like the other peer's.
    pub name: DisplayName,
    /// When that peer was last here.
    pub left_at: Instant,
}

/// A peer that can be named in a command now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// How the peer is shown, and named.
    pub shown: String,
    /// Whether there is a link with it.
    pub up: bool,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link is authenticated and its HELLO has arrived.
    PeerUp {
        /// The peer at the other end.
        who: Arc<Who>,
        /// The address of the other end of the link.
        addr: String,
        /// Whether the other end dialled.
        inbound: bool,
        /// Whether this continues an earlier link with the same identity.
        resumed: bool,
        /// The six verification words of this link, joined by spaces.
        sas: String,
        /// The relay, if the link is a circuit.
        via: Option<Arc<Who>>,
        /// The peer that bore this name before and has left, if there is one.
        instead_of: Option<Arc<Predecessor>>,
    },
    /// A peer changed its name.
    PeerName {
        /// The peer, under its new name.
        who: Arc<Who>,
        /// How it was shown before.
        before: String,
        /// The peer that bore the new name before and has left, if there is one.
        instead_of: Option<Arc<Predecessor>>,
    },
    /// The peers that can be named have changed. Only in an interactive run
    /// ([`Settings::interactive`](super::Settings)).
    Addressees(Vec<Addressee>),
    /// The link to a peer ended; every message of that link comes first.
    PeerDown {
        /// The peer whose link ended.
        who: Arc<Who>,
        /// Why the link ended.
        reason: DownReason,
        /// Whether this end redials it.
        retrying: bool,
        /// Whether this end waits for the peer to come back, as `--away` says.
        awaited: bool,
    },
    /// A peer that vanished is given up.
    PeerGone {
        /// The peer that is given up.
        who: Arc<Who>,
    },
    /// In an interactive run: which peers would get a message has changed. At the start there are
    /// none.
    Audience {
        /// Whether a message to all would have a recipient.
        anybody: bool,
        /// Whether the last peer has left, and none is awaited.
        left: bool,
    },
    /// In an interactive run: a message for which there is no peer is given back.
    Unsent {
        /// The text of the message.
        text: Text,
    },
    /// In an interactive run: what is dialled while no peer is up has changed. At the start nothing
    /// is.
    Dialing {
        /// The dial that began last, of the addresses that are dialled until a peer answers.
        last: Option<DialAttempt>,
        /// How many further addresses are dialled.
        others: usize,
    },
    /// In an interactive run: the peers, or their messages, have changed of which some message
    /// waits for its acknowledgement for more than a moment. At the start there are none.
    Unacknowledged(Vec<PendingMessages>),
    /// A message from a peer.
    Message {
        /// The sender.
        who: Arc<Who>,
        /// At most [`Text::MAX`] bytes.
        text: Text,
        /// Random, and the same for all recipients.
        mid: MessageId,
        /// Counts the messages of this peer that were handed over here, from 1 without a gap.
        seq: u64,
        /// Whether the message went to named peers only.
        direct: bool,
    },
    /// A message was accepted for these peers.
    Queued {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// The recipients.
        peers: Vec<PeerId>,
    },
    /// A peer's program has handed a message over.
    Delivered {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// The peer that has the message.
        peer: PeerId,
    },
    /// The final event for a message that was queued. Unless every step is reported
    /// ([`Settings::report_each`](super::Settings)), only messages that some peer did not
    /// acknowledge get one.
    Done {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// The peers that acknowledged it.
        delivered: Vec<PeerId>,
        /// The peers that did not, and why.
        undelivered: Vec<(Arc<Who>, Undelivered)>,
    },
    /// Answer to [`Command::Peers`](super::Command::Peers).
    Peers {
        /// The command it answers.
        tag: Tag,
        /// All known peers, in order of id; then the addresses without a peer.
        peers: Vec<PeerInfo>,
    },
    /// Answer to [`Command::Pending`](super::Command::Pending).
    Pending {
        /// The command it answers.
        tag: Tag,
        /// Each peer that has not acknowledged everything, in order of id.
        peers: Vec<PendingMessages>,
    },
    /// The run is about to end and has waited for acknowledgements for a while. Shown to users
    /// only.
    WaitsToEnd {
        /// The peers that have not acknowledged everything, in order of id.
        peers: Vec<PendingMessages>,
        /// How long the run still waits if no acknowledgement comes.
        limit: Duration,
    },
    /// Answer to [`Command::Stats`](super::Command::Stats).
    Stats {
        /// The command it answers.
        tag: Tag,
        /// One entry per link.
        links: Vec<LinkStats>,
    },
    /// Answer to [`Command::Whoami`](super::Command::Whoami).
    Whoami {
        /// The command it answers.
        tag: Tag,
        /// This end's id, which a panic changes.
        id: PeerId,
        /// This user's name, if there is one.
        name: Option<DisplayName>,
        /// Whether this is a decoy session.
        decoy: bool,
    },
    /// Answer to [`Command::Verify`](super::Command::Verify).
    Verify {
        /// The command it answers.
        tag: Tag,
        /// The peer at the other end of the link.
        who: Arc<Who>,
        /// The six words, joined by spaces.
        sas: String,
    },
    /// A command without an answer of its own was carried out; shown to users only.
    Confirmed {
        /// The command it answers.
        tag: Tag,
        /// What was done.
        what: Confirmation,
    },
    /// The other end of a connection has another passphrase.
    AuthFailed {
        /// The address that was dialled, or from which it came.
        addr: String,
        /// Whether the other end dialled.
        inbound: bool,
        /// The number of such attempts since the last event, this one included.
        count: u64,
    },
    /// A command failed.
    Error {
        /// The command it answers.
        tag: Tag,
        /// The stable code.
        code: ErrorCode,
        /// One line for the user: what is wrong and what to do.
        message: String,
    },
    /// A remark for the user, with the verbosity from which it is shown.
    Notice {
        /// 0: always, except with `--quiet`; 1: with `-v`; 2: with `-vv`.
        level: u8,
        /// One line. It may contain text from strangers: show it through the sanitiser.
        text: String,
    },
    /// Others can dial this end at another address from now on.
    Advertised {
        /// The address.
        address: Address,
    },
    /// The run is over; nothing follows.
    Bye(Outcome),
}

/// What was done for a command that has no event of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The address is being dialled.
    Connecting(String),
    /// The new name of this user.
    Named(DisplayName),
    /// The peer is ignored (true), or no longer (false).
    Ignored(Arc<Who>, bool),
}

/// Why a peer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It sent GOODBYE.
    Goodbye,
    /// The connection broke.
    Lost,
    /// Nothing valid arrived for too long.
    Timeout,
    /// Another process answers at its address.
    Replaced,
    /// It violated the protocol.
    Protocol,
    /// This end ended it.
    Local,
}

/// Why a peer did not acknowledge a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undelivered {
    /// It left.
    Goodbye,
    /// It came back with a new identity, or forgot this end.
    Restarted,
    /// It took nothing for too long while others could.
    Stalled,
    /// It vanished and was given up, or its outbox was full.
    Away,
    /// The wait at the end of the run timed out.
    Timeout,
    /// A panic here forgot the message.
    Panic,
    /// It violated the protocol.
    Protocol,
}

/// The stable codes of `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The line is not a JSON object.
    BadJson,
    /// An unknown type or field, or a wrong value.
    BadCommand,
    /// A text or a line is too long.
    TooLong,
    /// The PEER matches no known peer.
    NoSuchPeer,
    /// The PEER matches more than one peer.
    AmbiguousPeer,
    /// There was no peer to send to.
    NoPeers,
    /// The address is invalid.
    BadAddress,
    /// The name is invalid.
    BadName,
}

impl ErrorCode {
    /// The code as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadJson => "bad_json",
            ErrorCode::BadCommand => "bad_command",
            ErrorCode::TooLong => "too_long",
            ErrorCode::NoSuchPeer => "no_such_peer",
            ErrorCode::AmbiguousPeer => "ambiguous_peer",
            ErrorCode::NoPeers => "no_peers",
            ErrorCode::BadAddress => "bad_address",
            ErrorCode::BadName => "bad_name",
        }
    }
}

impl DownReason {
    /// The reason as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            DownReason::Goodbye => "goodbye",
            DownReason::Lost => "lost",
            DownReason::Timeout => "timeout",
            DownReason::Replaced => "replaced",
            DownReason::Protocol => "protocol",
            DownReason::Local => "local",
        }
    }
}

impl Undelivered {
    /// The reason as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Undelivered::Goodbye => "goodbye",
            Undelivered::Restarted => "restarted",
            Undelivered::Stalled => "stalled",
            Undelivered::Away => "away",
            Undelivered::Timeout => "timeout",
            Undelivered::Panic => "panic",
            Undelivered::Protocol => "protocol",
        }
    }
}

/// The state of a known peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// There is a link with it.
    Up,
    /// This end is making a first link to it.
    Dialing,
    /// Its link was lost, and this end redials it.
    Retrying,
    /// Its link was lost; this end cannot dial it and waits for it.
    Away,
    /// Other peers are linked to it. This end is not, and is not trying.
    Known,
}

impl PeerState {
    /// The state as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Up => "up",
            PeerState::Dialing => "dialing",
            PeerState::Retrying => "retrying",
            PeerState::Away => "away",
            PeerState::Known => "known",
        }
    }
}

/// One line of `/peers`.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The peer, under its current name; `None` for an address that the user named and at which no
    /// peer has answered.
    pub who: Option<Arc<Who>>,
    /// Its address, if one is known.
    pub addr: Option<String>,
    /// How long it has been in this state.
    pub since: Duration,
    /// Whether it is linked, awaited or only known.
    pub state: PeerState,
    /// The relay, if its link is a circuit.
    pub via: Option<Arc<Who>>,
    /// Whether this end drops what it says.
    pub ignored: bool,
    /// Why the last dial of the address failed, if it did.
    pub error: Option<String>,
}

/// The messages that one peer has not acknowledged.
#[derive(Clone, Debug)]
pub struct PendingMessages {
    /// The peer that has not acknowledged them.
    pub who: Arc<Who>,
    /// The number of messages, at least 1.
    pub messages: usize,
    /// Bytes of text in them.
    pub bytes: usize,
    /// How long ago the oldest of them was accepted.
    pub age: Duration,
}

/// One of the dials of an address that go on until a peer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialAttempt {
    /// The address.
    pub addr: String,
    /// Counts the dials of this address since a peer last answered there, from 1.
    pub attempt: u32,
    /// Why the last dial that has ended failed, if one has.
    pub error: Option<String>,
}

/// One link of `/stats`. Counts are since the link came up.
#[derive(Clone, Debug)]
pub struct LinkStats {
    /// The peer at the other end of the link.
    pub who: Arc<Who>,
    /// The address of the other end.
    pub addr: String,
    /// The milliseconds between this end's cells; `None` if both ends chose `off`.
    pub interval_ms: Option<u64>,
    /// Cells sent.
    pub cells_sent: u64,
    /// Cells received.
    pub cells_received: u64,
    /// Sent cells that carried more than padding.
    pub data_cells_sent: u64,
    /// Received cells that carried more than padding.
    pub data_cells_received: u64,
    /// Sent cells times 1,024.
    pub bytes_sent: u64,
    /// Received cells times 1,024.
    pub bytes_received: u64,
    /// Ticks without a cell, because the kernel had not sent the previous one.
    pub ticks_skipped: u64,
    /// The longest time between a tick and the departure of its cell.
    pub worst_lateness: Duration,
    /// Diffie-Hellman steps of the ratchet, at both ends.
    pub ratchet_steps: u64,
    /// How old this end's newest ratchet key is.
    pub ratchet_age: Duration,
    /// The post-quantum epoch: how many exchanges of the KEM its root key holds.
    pub epoch: u64,
    /// How long ago the epoch began; in epoch 0, how long ago the handshake ended.
    pub epoch_age: Duration,
    /// The smoothed time from a message to its acknowledgement; `None` before the first.
    pub round_trip: Option<Duration>,
    /// Messages to this peer without an acknowledgement.
    pub queued_messages: usize,
    /// Bytes of text in them.
    pub queued_bytes: usize,
    /// How long the link has been up.
    pub up_for: Duration,
    /// The circuits of others that it carries.
    pub carried_circuits: usize,
    /// Bytes of their streams sent on it, and of earlier ones.
    pub carried_bytes: u64,
}

impl Event {
    /// Whether this event reports the fate of a sent message.
    pub fn tells_of_sent_message(&self) -> bool {
        matches!(
            self,
            Event::Queued { .. } | Event::Delivered { .. } | Event::Done { .. }
        )
    }
}
