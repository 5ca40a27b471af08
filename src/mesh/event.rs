//! What the mesh tells a front end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Tag, Text};
use crate::proto::{DisplayName, MessageId, PeerId};

/// A peer as it was at the moment of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its identity.
    pub id: PeerId,
    /// Its name, if it has a valid one.
    pub name: Option<DisplayName>,
    /// How people are shown it: the name, `name#digits` where names were alike, or 16 hex digits.
    pub shown: String,
}

/// Who had borne a name that another peer has taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its identity.
    pub id: PeerId,
    /// The name, which may look like the other one without being the same.
    pub name: DisplayName,
    /// When it was last here.
    pub left_at: Instant,
}

/// A peer that can be named in a command now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// How it is shown, and named.
    pub shown: String,
    /// Whether there is a link with it.
    pub up: bool,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link is authenticated and its HELLO is in.
    PeerUp {
        /// Who.
        who: Arc<Who>,
        /// The address of the other end of the link.
        addr: String,
        /// Whether the other end dialled.
        inbound: bool,
        /// Whether this continues an earlier link with the same identity.
        resumed: bool,
        /// The six verification words of this link, joined by spaces.
        sas: String,
        /// Who had borne its name and left, if it has taken that over.
        instead_of: Option<Arc<Predecessor>>,
    },
    /// A peer changed its name.
    PeerName {
        /// Who, under the new name.
        who: Arc<Who>,
        /// How it was shown before.
        before: String,
        /// Who had borne the new name and left.
        instead_of: Option<Arc<Predecessor>>,
    },
    /// The peers that can be named have changed. Only where somebody types at a terminal
    /// ([`Settings::interactive`](super::Settings)).
    Addressees(Vec<Addressee>),
    /// A peer has no link any more.
    PeerDown {
        /// Who.
        who: Arc<Who>,
        /// Why.
        reason: DownReason,
        /// Whether this end redials it.
        retrying: bool,
        /// Whether it is waited for, as `--away` says.
        awaited: bool,
    },
    /// A peer that vanished is waited for no longer.
    PeerGone {
        /// Who.
        who: Arc<Who>,
    },
    /// In an interactive run: whom what is typed would be for has changed. At the start nobody is
    /// here.
    Audience {
        /// Whether a message to everybody would be for anybody.
        anybody: bool,
        /// Whether the last peer has left, and nobody is waited for.
        left: bool,
    },
    /// In an interactive run: a message for which there is no peer is given back.
    Unsent {
        /// Its text.
        text: Text,
    },
    /// Somebody said something.
    Message {
        /// Who.
        who: Arc<Who>,
        /// What.
        text: Text,
        /// The message's id, the same for all who get it.
        mid: MessageId,
        /// The count of messages of that peer handed over here, from 1 without a gap.
        seq: u64,
        /// Whether it was to this peer alone (or to named peers).
        direct: bool,
    },
    /// A message was accepted for these peers.
    Queued {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// For whom.
        peers: Vec<PeerId>,
    },
    /// A peer's program has handed a message over.
    Delivered {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// By whom.
        peer: PeerId,
    },
    /// The last word on a message that was queued. Where every single report is not asked for
    /// ([`Settings::report_each`](super::Settings)), only messages with somebody in `undelivered`.
    Done {
        /// The `send` it answers.
        tag: Tag,
        /// The message's id.
        mid: MessageId,
        /// Who acknowledged it.
        delivered: Vec<PeerId>,
        /// Who did not, and why.
        undelivered: Vec<(Arc<Who>, Undelivered)>,
    },
    /// Answer to [`Command::Peers`](super::Command::Peers).
    Peers {
        /// The command it answers.
        tag: Tag,
        /// Everybody known, in order of id.
        peers: Vec<PeerInfo>,
    },
    /// Answer to [`Command::Stats`](super::Command::Stats).
    Stats {
        /// The command it answers.
        tag: Tag,
        /// One entry a link.
        links: Vec<LinkStats>,
    },
    /// Answer to [`Command::Whoami`](super::Command::Whoami).
    Whoami {
        /// The command it answers.
        tag: Tag,
        /// The own identity.
        id: PeerId,
        /// The own name.
        name: Option<DisplayName>,
        /// Whether this is a decoy session.
        decoy: bool,
    },
    /// Answer to [`Command::Verify`](super::Command::Verify).
    Verify {
        /// The command it answers.
        tag: Tag,
        /// Whose link.
        who: Arc<Who>,
        /// The six words, joined by spaces.
        sas: String,
    },
    /// A command without an answer of its own was done; only for people.
    Confirmed {
        /// The command it answers.
        tag: Tag,
        /// What was done.
        what: Confirmation,
    },
    /// Somebody with another passphrase.
    AuthFailed {
        /// Where it was met or came from.
        addr: String,
        /// Whether it dialled.
        inbound: bool,
        /// How many, together with those not told one by one.
        count: u64,
    },
    /// A command could not be done.
    Error {
        /// The command it answers.
        tag: Tag,
        /// The stable code.
        code: ErrorCode,
        /// One line for people: what is wrong and what to do.
        message: String,
    },
    /// Something a person may want to know, with the verbosity from which it is shown.
    Notice {
        /// 0 shows it always (but for `--quiet`), 1 with `-v`, 2 with `-vv`.
        level: u8,
        /// One line. It may hold what strangers sent: show it through the sanitiser.
        text: String,
    },
    /// The run is over; nothing follows.
    Bye(Outcome),
}

/// What was done for a command that has no event of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The address is being dialled.
    Connecting(String),
    /// The own name is now this.
    Named(DisplayName),
    /// A peer is ignored, or no longer.
    Ignored(Arc<Who>, bool),
}

/// Why a peer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It said so.
    Goodbye,
    /// The connection broke.
    Lost,
    /// Nothing valid came for too long.
    Timeout,
    /// Another process answers at its address.
    Replaced,
    /// It broke the protocol.
    Protocol,
    /// This end ended it.
    Local,
}

/// Why somebody did not acknowledge a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undelivered {
    /// It left.
    Goodbye,
    /// It came back as somebody new, or forgot us.
    Restarted,
    /// It took nothing for too long while others could.
    Stalled,
    /// It vanished, and was given up or had no room for more.
    Away,
    /// The time at the end of the run was up.
    Timeout,
    /// A panic forgot it.
    Panic,
    /// It broke the protocol.
    Protocol,
}

/// The stable codes of `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The line is no JSON object.
    BadJson,
    /// Unknown type, field or value.
    BadCommand,
    /// A text or a line is too long.
    TooLong,
    /// No known peer fits.
    NoSuchPeer,
    /// More than one peer fits.
    AmbiguousPeer,
    /// Nobody was there to send to.
    NoPeers,
    /// The address cannot be read.
    BadAddress,
    /// The name breaks the rules.
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

/// How a known peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Linked.
    Up,
    /// A first link to it is being made.
    Dialing,
    /// It was linked, and is redialled.
    Retrying,
    /// It was linked, cannot be dialled, and is waited for.
    Away,
    /// Others are linked to it; this end is not and does not try at the moment.
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
    /// Who.
    pub who: Arc<Who>,
    /// Where, if an address is known.
    pub addr: Option<String>,
    /// For how long it has been in this state.
    pub since: Duration,
    /// How it stands.
    pub state: PeerState,
    /// Whether what it says is dropped.
    pub ignored: bool,
}

/// One link of `/stats`. Counts are since the link came up.
#[derive(Clone, Debug)]
pub struct LinkStats {
    /// Whose link.
    pub who: Arc<Who>,
    /// The other end.
    pub addr: SocketAddr,
    /// The milliseconds between this end's cells; `None` where both ends chose `off`.
    pub interval_ms: Option<u64>,
    /// Cells sent.
    pub cells_sent: u64,
    /// Cells received.
    pub cells_received: u64,
    /// How many of those sent carried more than padding.
    pub data_cells_sent: u64,
    /// How many of those received carried more than padding.
    pub data_cells_received: u64,
    /// Bytes of cells sent.
    pub bytes_sent: u64,
    /// Bytes of cells received.
    pub bytes_received: u64,
    /// Ticks that passed without a cell, since the one before had not gone out.
    pub ticks_skipped: u64,
    /// The worst delay of a cell's departure behind its tick.
    pub worst_lateness: Duration,
    /// Diffie-Hellman steps of the ratchet, of both ends.
    pub ratchet_steps: u64,
    /// How old this end's newest ratchet key is.
    pub ratchet_age: Duration,
    /// From the sending of a message to its acknowledgement, smoothed; `None` before the first.
    pub round_trip: Option<Duration>,
    /// Messages to this peer without an acknowledgement.
    pub queued_messages: usize,
    /// Bytes of text in them.
    pub queued_bytes: usize,
    /// How long the link has been up.
    pub up_for: Duration,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// `/quit`, Ctrl-C or Ctrl-D.
    Quit,
    /// The input ended.
    Eof,
    /// The last peer said goodbye.
    Goodbye,
    /// A signal.
    Signal,
    /// A panic, after which the process goes on as somebody else.
    Panic,
    /// Something failed at run time.
    Failed,
}

impl ByeReason {
    /// The reason as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            ByeReason::Quit => "quit",
            ByeReason::Eof => "eof",
            ByeReason::Goodbye => "goodbye",
            ByeReason::Signal => "signal",
            ByeReason::Panic => "panic",
            ByeReason::Failed => "failed",
        }
    }
}

/// What the engine knows of the exit status when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why the run ended.
    pub reason: ByeReason,
    /// Messages that fewer peers than `--require` says acknowledged.
    pub unsatisfied: u64,
    /// Messages for which nobody was reached.
    pub unreached: u64,
    /// Whether the last peer left while the input of a run that had sent messages was open.
    pub left_early: bool,
    /// Whether every `--peer` was reached and has another passphrase.
    pub all_refused: bool,
}

impl Outcome {
    /// A run without any message that ended for this reason.
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

impl Event {
    /// Whether it tells what became of a message that was sent.
    pub fn tells_of_sent_message(&self) -> bool {
        matches!(
            self,
            Event::Queued { .. } | Event::Delivered { .. } | Event::Done { .. }
        )
    }
}
