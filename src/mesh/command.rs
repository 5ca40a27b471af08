//! What a front end asks the mesh to do.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::proto::{Address, DisplayName, PeerId};

/// The text of a message: shared, and without Display or Debug output of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Arc<str>);

impl Text {
    /// The most bytes of UTF-8 that one message holds.
    pub const MAX: usize = crate::proto::MAX_TEXT;

    /// The text, for showing or sending.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub(super) fn share(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

/// The value of `ref` in a program's command; every answer carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// At most 64 bytes.
    Text(Arc<str>),
    /// An integer of 64 bits, signed or unsigned.
    Integer(i128),
}

/// Where a command came from, so that its answers can say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The program's own `ref`, if it gave one.
    pub reference: Option<Reference>,
    /// The number of the input line, from 1.
    pub line: u64,
}

/// A PEER as a user writes it: a display name, at least 8 hex digits, or `name#digits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerQuery(pub String);

/// A command and where it came from.
#[derive(Clone, Debug)]
pub struct Request {
    /// The `ref` and line number that answers carry.
    pub tag: Tag,
    /// When the line was read: the time that a message may wait for a first peer begins here.
    pub read_at: Instant,
    /// What the user or program asked for.
    pub command: Command,
}

/// What has become of requests that were offered together.
#[derive(Default)]
pub struct Offered {
    /// The request that waits.
    pub waits: Option<Request>,
    /// How many messages were taken.
    pub messages: u64,
}

/// What the engine can be asked to do. Slash commands, keys and JSON share this type.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a text to every peer, or to those named.
    Send {
        /// At most [`Text::MAX`] bytes.
        text: Text,
        /// The recipients; `None` means all peers.
        to: Option<Vec<PeerQuery>>,
    },
    /// With `--ack`: the program has taken over all messages of this peer up to this `seq`.
    Ack {
        /// The sender of the messages.
        peer: PeerId,
        /// The `seq` of the last message taken over.
        seq: u64,
    },
    /// Keep connected to an address.
    Connect(Address),
    /// Say goodbye to one peer, and forget it.
    Disconnect(PeerQuery),
    /// Change this user's display name.
    Name(DisplayName),
    /// Drop what a peer says, without telling it.
    Ignore {
        /// The peer to ignore.
        peer: PeerQuery,
        /// On or off; `None` toggles.
        on: Option<bool>,
    },
    /// List the peers.
    Peers,
    /// List the messages that peers have not acknowledged.
    Pending,
    /// Show the counters of cells and queues.
    Stats,
    /// Show this user's id and name.
    Whoami,
    /// Show the verification words of one link.
    Verify(PeerQuery),
    /// Send what is outstanding, say goodbye and end.
    Quit,
}

impl Command {
    /// Whether this command keeps its place behind messages that wait (USAGE.md, "Order and flow
    /// control"). Other commands overtake them.
    pub fn keeps_order(&self) -> bool {
        matches!(
            self,
            Command::Send { .. }
                | Command::Name(_)
                | Command::Disconnect(_)
                | Command::Ignore { .. }
                | Command::Quit
        )
    }
}
