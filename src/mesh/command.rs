//! What a front end asks of the mesh.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::proto::{Address, DisplayName, PeerId};

/// The text of a message: shared, never printed by accident.
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

/// What a program wrote into `ref`, given back with every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A string of up to 64 bytes.
    Text(Arc<str>),
    /// An integer of 64 bits, signed or unsigned.
    Integer(i128),
}

/// Where a command came from, so that its answers can say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The program's own mark.
    pub reference: Option<Reference>,
    /// The number of the input line, from 1.
    pub line: u64,
}

/// A PEER as a user writes it: a display name, at least 8 hex digits, or `name#digits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerQuery(pub String);

/// A command with its origin.
#[derive(Clone, Debug)]
pub struct Request {
    /// What answers carry.
    pub tag: Tag,
    /// When the line was read: a message's wait for a first peer counts from here.
    pub read_at: Instant,
    /// What to do.
    pub command: Command,
}

/// What the engine can be told. The same type serves slash commands, keys and JSON.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a text to every peer, or to those named.
    Send {
        /// What to say, at most [`Text::MAX`] bytes.
        text: Text,
        /// To whom; `None` is everybody.
        to: Option<Vec<PeerQuery>>,
    },
    /// With `--ack`: everything of this peer up to this `seq` is taken over.
    Ack {
        /// Whose messages.
        peer: PeerId,
        /// The last `seq` taken over.
        seq: u64,
    },
    /// Keep connected to an address.
    Connect(Address),
    /// Say goodbye to one peer, and forget it.
    Disconnect(PeerQuery),
    /// Change the own display name.
    Name(DisplayName),
    /// Drop what a peer says, without telling it.
    Ignore {
        /// Whom.
        peer: PeerQuery,
        /// On or off; `None` changes it to the other.
        on: Option<bool>,
    },
    /// List the peers.
    Peers,
    /// Count cells and queues.
    Stats,
    /// Tell the own id and name.
    Whoami,
    /// Show the verification words of one link.
    Verify(PeerQuery),
    /// Send what is owed, say goodbye, end.
    Quit,
}

impl Command {
    /// Whether this command keeps its place behind messages that wait (USAGE.md, "Order and
    /// flow control"); the others overtake them.
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
