//! What two peers owe each other, on whatever connection it travels (PROTOCOL.md, section 9).

use super::Fault;
use super::frame::Hello;
use super::inbox::Inbox;
use super::outbox::{Outbox, Outgoing};

/// Both directions of the delivery between this end and one PeerId, and the session_ids by which the
/// ends notice that one has forgotten the other.
pub struct Conversation {
    session_id: u64,
    theirs: Option<u64>,
    /// Messages to the peer.
    pub outbox: Outbox,
    /// Messages from the peer.
    pub inbox: Inbox,
}

impl Conversation {
    /// A conversation with a new peer. `session_id` is random and not zero. `seq` of the peer's
    /// messages continues after this one.
    pub fn new(session_id: u64, seq: u64) -> Self {
        Self {
            session_id,
            theirs: None,
            outbox: Outbox::default(),
            inbox: Inbox::counting_from(seq),
        }
    }

    /// This end's session_id.
    pub fn session_id(&self) -> u64 {
        self.session_id
    }

    /// The other end's session_id as far as known, or 0.
    pub fn heard_session_id(&self) -> u64 {
        self.theirs.unwrap_or(0)
    }

    /// A connection begins with this HELLO. Returns the messages that are lost because the other
    /// end has forgotten them.
    ///
    /// # Errors
    /// The HELLO claims to have heard what was never sent, or the peer forgets too often. Nothing
    /// is changed then.
    pub fn connect(&mut self, hello: &Hello) -> Result<Vec<Outgoing>, Fault> {
        let forgotten = self.theirs.is_some_and(|known| known != hello.session_id);
        let heard = if hello.heard_session_id == self.session_id {
            hello.heard
        } else {
            0
        };
        self.outbox.can_connect(heard, forgotten)?;
        let lost = if forgotten {
            self.inbox.forgotten()?;
            self.outbox.forgotten()
        } else {
            Vec::new()
        };
        self.theirs = Some(hello.session_id);
        self.outbox.connect(heard);
        self.inbox.connect();
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::MessageId;
    use crate::proto::frame::Listening;

    fn hello(session_id: u64, heard: u64) -> Hello {
        Hello {
            circuits: None,
            local: false,
            epochs: false,
            session_id,
            heard_session_id: 1,
            heard,
            interval_ms: 100,
            link_seq: 1,
            oldest_live: 1,
            listening: Listening::No,
            name: None,
        }
    }

    #[test]
    fn a_hello_that_lies_changes_nothing() {
        let mut conversation = Conversation::new(1, 0);
        assert!(conversation.connect(&hello(2, 0)).unwrap().is_empty());
        conversation.outbox.push(Outgoing {
            mid: MessageId([0; 16]),
            direct: false,
            text: "owed".into(),
            token: 1,
            queued_at: std::time::Instant::now(),
        });
        for (session_id, heard) in [(2, 1), (3, 1)] {
            assert!(conversation.connect(&hello(session_id, heard)).is_err());
            assert_eq!(conversation.heard_session_id(), 2);
            assert_eq!(conversation.outbox.len(), 1, "it is still owed");
        }
        assert!(conversation.connect(&hello(2, 0)).unwrap().is_empty());
    }
}
