//! What two peers owe each other, whatever connection carries it (PROTOCOL.md, section 9).

use std::sync::Arc;

use super::Fault;
use super::frame::Hello;
use super::inbox::Inbox;
use super::outbox::{Outbox, Outgoing};

/// Both directions of the delivery between this end and one PeerId, and the memories by which the
/// ends notice that one has forgotten the other.
pub struct Conversation {
    memory: u64,
    theirs: Option<u64>,
    /// What they are owed.
    pub outbox: Outbox,
    /// What they have said.
    pub inbox: Inbox,
}

impl Conversation {
    /// Begins to know a peer; `memory` is random and not zero. Its messages are counted on from
    /// `seq`.
    pub fn new(memory: u64, seq: u64) -> Self {
        Self {
            memory,
            theirs: None,
            outbox: Outbox::default(),
            inbox: Inbox::counting_from(seq),
        }
    }

    /// This end's memory.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The other's memory as far as known, or 0.
    pub fn heard_memory(&self) -> u64 {
        self.theirs.unwrap_or(0)
    }

    /// A connection begins with this HELLO. Returns what is lost because the other end has
    /// forgotten it.
    ///
    /// # Errors
    /// It says that it heard what was never sent, or forgets too much.
    pub fn connect(&mut self, hello: &Hello) -> Result<Vec<Arc<Outgoing>>, Fault> {
        let lost = if self.theirs.is_some_and(|known| known != hello.memory) {
            self.inbox.forgotten()?;
            self.outbox.forgotten()
        } else {
            Vec::new()
        };
        self.theirs = Some(hello.memory);
        let heard = if hello.heard_memory == self.memory {
            hello.heard
        } else {
            0
        };
        self.outbox.connect(heard)?;
        self.inbox.connect();
        Ok(lost)
    }
}
