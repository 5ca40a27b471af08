//! The messages that one peer has not acknowledged (PROTOCOL.md, section 9).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::frame::Payload;
use super::{Fault, MessageId, WINDOW_BYTES, WINDOW_MESSAGES, give_back};

/// A message to peers. Its recipients share the text.
#[derive(Clone)]
pub struct Outgoing {
    /// The random id.
    pub mid: MessageId,
    /// Whether it goes to named peers only.
    pub direct: bool,
    /// The text.
    pub text: Arc<str>,
    /// The caller's own mark.
    pub token: u64,
    /// When it was accepted.
    pub queued_at: Instant,
}

/// The messages owed to one peer, in order, bounded by the window. It outlives connections.
#[derive(Default)]
pub struct Outbox {
    entries: VecDeque<Outgoing>,
    bytes: usize,
    /// Everything up to this number is acknowledged; the first entry has the next number.
    acknowledged: u64,
    /// The highest number of which any fragment was ever sealed.
    sent: u64,
    /// How many entries, and how many bytes of the next, were sealed on the present connection.
    position: usize,
    offset: usize,
    withdrawal: Option<Withdrawal>,
}

struct Withdrawal {
    number: u64,
    sent: bool,
}

impl Outbox {
    /// Whether there is room for another message of this many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.entries.len() < WINDOW_MESSAGES && self.bytes + bytes <= WINDOW_BYTES
    }

    /// Whether at least half of the window is used.
    pub fn is_half_full(&self) -> bool {
        2 * self.entries.len() >= WINDOW_MESSAGES || 2 * self.bytes >= WINDOW_BYTES
    }

    /// Whether a withdrawal is not acknowledged yet. Until then nothing new may be pushed.
    pub fn is_stalled(&self) -> bool {
        self.withdrawal.is_some()
    }

    /// How many messages are owed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no message is owed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes of text are owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the message was accepted that has waited longest.
    pub fn oldest(&self) -> Option<Instant> {
        Some(self.entries.front()?.queued_at)
    }

    /// Adds a message. The caller must have asked [`Self::has_room`] and [`Self::is_stalled`].
    pub fn push(&mut self, message: Outgoing) {
        self.bytes += message.text.len();
        self.entries.push_back(message);
    }

    /// Whether [`Self::connect`] is possible, after [`Self::forgotten`] if the other end has
    /// forgotten.
    ///
    /// # Errors
    /// The peer claims to have heard messages that were never sent.
    pub fn can_connect(&self, heard: u64, forgotten: bool) -> Result<(), Fault> {
        if heard > if forgotten { 0 } else { self.sent } {
            return Err(Fault::HeardUnsent);
        }
        Ok(())
    }

    /// A new connection begins; its other end has received everything up to `heard`.
    pub fn connect(&mut self, heard: u64) {
        self.position = heard.saturating_sub(self.acknowledged) as usize;
        self.offset = 0;
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.sent = false;
        }
    }

    /// The other end has forgotten everything. Returns the messages that were sent and not
    /// acknowledged, since they may or may not have been handed over. The rest is numbered from 1
    /// again.
    pub fn forgotten(&mut self) -> Vec<Outgoing> {
        let uncertain = (self.sent - self.acknowledged).min(self.entries.len() as u64) as usize;
        let lost: Vec<_> = self.entries.drain(..uncertain).collect();
        self.bytes -= lost.iter().map(|message| message.text.len()).sum::<usize>();
        (self.acknowledged, self.sent, self.position, self.offset) = (0, 0, 0, 0);
        self.withdrawal = None;
        lost
    }

    /// Takes an ACK. Returns the messages that it acknowledges.
    ///
    /// # Errors
    /// Messages up to that number were never sent.
    pub fn acknowledge(&mut self, number: u64) -> Result<Vec<Outgoing>, Fault> {
        if number > self.sent {
            return Err(Fault::AcknowledgedUnsent);
        }
        if self
            .withdrawal
            .as_ref()
            .is_some_and(|withdrawal| number >= withdrawal.number)
        {
            self.withdrawal = None;
        }
        let fresh = number.saturating_sub(self.acknowledged);
        self.acknowledged += fresh;
        let count = fresh.min(self.entries.len() as u64) as usize;
        if fresh > self.position as u64 {
            // The peer still had this message from an earlier connection.
            self.offset = 0;
        }
        self.position = (self.position as u64).saturating_sub(fresh) as usize;
        let acknowledged: Vec<_> = self.entries.drain(..count).collect();
        give_back(&mut self.entries);
        self.bytes -= acknowledged.iter().map(|it| it.text.len()).sum::<usize>();
        Ok(acknowledged)
    }

    /// Gives everything up, and returns it. The peer learns of it when there is a connection.
    pub fn withdraw(&mut self) -> Vec<Outgoing> {
        let lost: Vec<_> = self.entries.drain(..).collect();
        let number = (self.acknowledged + lost.len() as u64).max(self.sent);
        self.bytes = 0;
        (self.sent, self.position, self.offset) = (number, 0, 0);
        // Numbers up to this one stay used; the acknowledgement of the withdrawal covers them.
        self.withdrawal = Some(Withdrawal {
            number,
            sent: false,
        });
        lost
    }

    /// Whether a cell sealed now would carry something from this outbox.
    pub fn has_work(&self) -> bool {
        match &self.withdrawal {
            Some(withdrawal) => !withdrawal.sent,
            None => self.position < self.entries.len(),
        }
    }

    /// Puts into a payload what fits.
    pub fn fill(&mut self, payload: &mut Payload) {
        if let Some(withdrawal) = &mut self.withdrawal {
            if !withdrawal.sent {
                withdrawal.sent = payload.withdraw(withdrawal.number);
            }
            return;
        }
        while let Some(message) = self.entries.get(self.position) {
            let number = self.acknowledged + self.position as u64 + 1;
            let text = message.text.as_bytes();
            let Some((taken, last)) =
                payload.message(number, &message.mid, message.direct, text, self.offset)
            else {
                return;
            };
            self.sent = self.sent.max(number);
            if !last {
                self.offset += taken;
                return;
            }
            self.offset = 0;
            self.position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(token: u64, text: &str) -> Outgoing {
        Outgoing {
            mid: MessageId([0; 16]),
            direct: false,
            text: text.into(),
            token,
            queued_at: Instant::now(),
        }
    }

    fn filled(outbox: &mut Outbox) -> Payload {
        let mut payload = Payload::default();
        outbox.fill(&mut payload);
        payload
    }

    fn tokens(messages: Vec<Outgoing>) -> Vec<u64> {
        messages.iter().map(|message| message.token).collect()
    }

    #[test]
    fn message_cut_by_a_lost_link_starts_again() {
        let mut outbox = Outbox::default();
        outbox.push(message(1, &"x".repeat(3000)));
        let first = filled(&mut outbox);
        let second = filled(&mut outbox);
        assert_ne!(first.as_slice(), second.as_slice());
        outbox.connect(0);
        assert_eq!(filled(&mut outbox).as_slice(), first.as_slice());
    }

    #[test]
    fn new_connection_continues_after_what_was_heard() {
        let mut outbox = Outbox::default();
        (1..=3).for_each(|token| outbox.push(message(token, "x")));
        filled(&mut outbox);
        outbox.connect(2);
        assert_eq!(outbox.len(), 3);
        assert!(outbox.has_work());
        assert_eq!(tokens(outbox.acknowledge(3).unwrap()), [1, 2, 3]);
        assert!(outbox.can_connect(4, false).is_err());
        assert!(outbox.can_connect(2, true).is_err());
        assert!(outbox.acknowledge(4).is_err());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn sent_messages_are_lost_when_the_peer_forgot() {
        let mut outbox = Outbox::default();
        outbox.push(message(1, "x"));
        filled(&mut outbox);
        outbox.push(message(2, "y"));
        assert_eq!(tokens(outbox.forgotten()), [1]);
        outbox.connect(0);
        filled(&mut outbox);
        assert_eq!(tokens(outbox.acknowledge(1).unwrap()), [2]);
    }

    #[test]
    fn a_withdrawal_holds_the_rest_until_it_is_acknowledged() {
        let mut outbox = Outbox::default();
        (1..=3).for_each(|token| outbox.push(message(token, "x")));
        filled(&mut outbox);
        assert_eq!(tokens(outbox.withdraw()), [1, 2, 3]);
        assert!(outbox.is_stalled() && outbox.has_work());
        let mut expected = Payload::default();
        expected.withdraw(3);
        assert_eq!(filled(&mut outbox).as_slice(), expected.as_slice());
        assert!(!outbox.has_work());
        assert_eq!(outbox.acknowledge(2).unwrap().len(), 0);
        assert!(outbox.is_stalled());
        assert_eq!(outbox.acknowledge(3).unwrap().len(), 0);
        assert!(!outbox.is_stalled());
        outbox.push(message(4, "z"));
        filled(&mut outbox);
        assert_eq!(tokens(outbox.acknowledge(4).unwrap()), [4]);
    }
}
