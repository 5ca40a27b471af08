//! The messages of one peer: reassembled, in order, each once, and kept until they are handed over
//! (PROTOCOL.md, section 9).

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::Fragment;
use super::{Fault, MAX_TEXT, MessageId, WINDOW_BYTES, WINDOW_MESSAGES, give_back};

/// A message that has arrived completely.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its number.
    number: u64,
    /// The random id.
    pub mid: MessageId,
    /// Whether it was to named peers only.
    pub direct: bool,
    /// The text.
    pub text: Arc<str>,
}

/// The messages of one peer that were not handed over yet, bounded by the window. It outlives
/// connections.
#[derive(Default)]
pub struct Inbox {
    /// Everything up to this number has arrived completely, or was withdrawn.
    received: u64,
    partial: Option<Partial>,
    waiting: VecDeque<Incoming>,
    /// Messages released to the front end and not taken yet: `seq`, number (0 if the sender has
    /// forgotten it since) and size.
    out: VecDeque<(u64, u64, usize)>,
    /// Messages of the present numbering that were not handed over, and their bytes.
    held: usize,
    bytes: usize,
    /// The number of messages released.
    seq: u64,
    /// The last acknowledgement sent on the present connection.
    told: Option<u64>,
}

struct Partial {
    mid: MessageId,
    direct: bool,
    text: Vec<u8>,
}

impl Inbox {
    /// An empty inbox whose first message gets the `seq` after this one.
    pub fn counting_from(seq: u64) -> Self {
        Self {
            seq,
            ..Self::default()
        }
    }

    /// A new connection begins: half a message is dropped, and an acknowledgement is due.
    pub fn connect(&mut self) {
        self.partial = None;
        self.told = None;
    }

    /// The other end has forgotten everything and numbers from 1 again. Messages that were not
    /// released are dropped: the sender has given them up, and would otherwise occupy more than the
    /// window here.
    ///
    /// # Errors
    /// More than the window is released and not taken yet: the peer forgets again and again.
    pub fn forgotten(&mut self) -> Result<(), Fault> {
        let bytes: usize = self.out.iter().map(|(_, _, bytes)| bytes).sum();
        if self.out.len() > WINDOW_MESSAGES || bytes > WINDOW_BYTES {
            return Err(Fault::ForgotAgain);
        }
        self.connect();
        (self.received, self.bytes, self.held) = (0, 0, 0);
        self.waiting.clear();
        self.out.iter_mut().for_each(|(_, number, _)| *number = 0);
        Ok(())
    }

    /// The number of the last message that has arrived completely.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a fragment. Returns whether it completed a message.
    ///
    /// # Errors
    /// A gap, a fragment out of place, a message that is too long or not UTF-8, or more than the
    /// window.
    pub fn fragment(&mut self, fragment: &Fragment<'_>) -> Result<bool, Fault> {
        if fragment.number <= self.received {
            return Ok(false);
        }
        if fragment.number != self.received + 1 {
            return Err(Fault::SkippedMessage);
        }
        let mut partial = match (self.partial.take(), fragment.mid) {
            (None, Some(mid)) => Partial {
                mid,
                direct: fragment.direct,
                text: Vec::new(),
            },
            (Some(partial), None) if partial.direct == fragment.direct => partial,
            _ => return Err(Fault::MisplacedFragment),
        };
        if partial.text.len() + fragment.text.len() > MAX_TEXT {
            return Err(Fault::TooLongMessage);
        }
        let text = match partial.text.as_slice() {
            [] if fragment.last => fragment.text,
            _ => {
                partial.text.extend_from_slice(fragment.text);
                &partial.text
            }
        };
        if !fragment.last {
            self.partial = Some(partial);
            return Ok(false);
        }
        let text = str::from_utf8(text).map_err(|_| Fault::MessageNotText)?;
        let text: Arc<str> = text.into();
        if self.held >= WINDOW_MESSAGES || self.bytes + text.len() > WINDOW_BYTES {
            return Err(Fault::OverfilledWindow);
        }
        self.held += 1;
        self.bytes += text.len();
        self.received = fragment.number;
        self.waiting.push_back(Incoming {
            number: fragment.number,
            mid: partial.mid,
            direct: partial.direct,
            text,
        });
        Ok(true)
    }

    /// Takes a WITHDRAW: the withdrawn messages that were not released are dropped.
    ///
    /// # Errors
    /// No message number would be left.
    pub fn withdraw(&mut self, number: u64) -> Result<(), Fault> {
        if number == u64::MAX {
            return Err(Fault::WithdrewEverything);
        }
        if number < self.received {
            return Err(Fault::WithdrewTooLittle);
        }
        self.partial = None;
        self.received = number;
        self.discard();
        Ok(())
    }

    /// Releases the next message, with its `seq`. It counts as handed over with [`Self::taken`].
    pub fn release(&mut self) -> Option<(u64, Incoming)> {
        let message = self.waiting.pop_front()?;
        self.seq += 1;
        self.out
            .push_back((self.seq, message.number, message.text.len()));
        Some((self.seq, message))
    }

    /// Drops the waiting messages, as if they had been handed over.
    pub fn discard(&mut self) {
        self.held -= self.waiting.len();
        self.bytes -= self
            .waiting
            .drain(..)
            .map(|message| message.text.len())
            .sum::<usize>();
    }

    /// The `seq` of the last message released, and that of the last one waiting.
    pub fn seqs(&self) -> (u64, u64) {
        (self.seq, self.seq + self.waiting.len() as u64)
    }

    /// Whether a message waits to be released.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The front end has everything up to `seq`.
    pub fn taken(&mut self, seq: u64) {
        while let Some((_, number, bytes)) = self.out.pop_front_if(|(out, _, _)| *out <= seq) {
            if number > 0 {
                self.held -= 1;
                self.bytes -= bytes;
            }
        }
        give_back(&mut self.out);
        give_back(&mut self.waiting);
    }

    /// The size of the next message that waits.
    pub fn next_bytes(&self) -> Option<usize> {
        self.waiting.front().map(|message| message.text.len())
    }

    /// The acknowledgement that the present connection should carry.
    pub fn ack_due(&self) -> Option<u64> {
        let number = self.handed_over();
        (self.told != Some(number)).then_some(number)
    }

    /// That acknowledgement was sealed.
    pub fn ack_sent(&mut self, number: u64) {
        self.told = Some(number);
    }

    fn handed_over(&self) -> u64 {
        let out = self.out.iter().map(|(_, number, _)| *number);
        let waiting = self.waiting.iter().map(|message| message.number);
        out.chain(waiting)
            .find(|number| *number > 0)
            .map_or(self.received, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MID: MessageId = MessageId([5; 16]);

    fn whole(number: u64, text: &[u8]) -> Fragment<'_> {
        Fragment {
            number,
            mid: Some(MID),
            last: true,
            direct: false,
            text,
        }
    }

    #[test]
    fn messages_are_acknowledged_when_they_are_handed_over() {
        let mut inbox = Inbox::default();
        for number in 1..=3 {
            assert_eq!(inbox.fragment(&whole(number, b"x")), Ok(true));
        }
        assert_eq!(inbox.ack_due(), Some(0));
        inbox.ack_sent(0);
        assert_eq!(inbox.ack_due(), None);
        let (seq, _) = inbox.release().unwrap();
        inbox.release();
        inbox.taken(seq);
        assert_eq!(inbox.ack_due(), Some(1));
        inbox.taken(2);
        assert_eq!(inbox.ack_due(), Some(2));
        assert_eq!(inbox.received(), 3);
    }

    #[test]
    fn a_double_is_dropped_and_a_gap_is_a_fault() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.fragment(&whole(1, b"x")), Ok(true));
        assert_eq!(inbox.fragment(&whole(1, b"x")), Ok(false));
        assert!(inbox.fragment(&whole(3, b"x")).is_err());
    }

    #[test]
    fn a_cut_message_arrives_once() {
        let mut inbox = Inbox::default();
        let first = Fragment {
            last: false,
            ..whole(1, b"he")
        };
        let rest = Fragment {
            mid: None,
            ..whole(1, b"llo")
        };
        assert_eq!(inbox.fragment(&first), Ok(false));
        inbox.connect();
        assert_eq!(inbox.fragment(&first), Ok(false));
        assert_eq!(inbox.fragment(&rest), Ok(true));
        assert_eq!(inbox.fragment(&rest), Ok(false));
        assert_eq!(
            inbox.release().map(|(_, message)| message.text),
            Some("hello".into())
        );
        assert_eq!(inbox.release(), None);
    }

    #[test]
    fn fragments_that_do_not_follow_are_faults() {
        let mut inbox = Inbox::default();
        assert!(
            inbox
                .fragment(&Fragment {
                    mid: None,
                    ..whole(1, b"x")
                })
                .is_err()
        );
        let mut inbox = Inbox::default();
        let _ = inbox.fragment(&Fragment {
            last: false,
            ..whole(1, b"x")
        });
        assert!(inbox.fragment(&whole(1, b"x")).is_err());
        let mut inbox = Inbox::default();
        assert!(inbox.fragment(&whole(1, b"\xff")).is_err());
        let mut inbox = Inbox::default();
        assert!(
            inbox
                .fragment(&whole(1, &vec![b'x'; MAX_TEXT + 1]))
                .is_err()
        );
    }

    #[test]
    fn the_window_is_a_bound() {
        let mut inbox = Inbox::default();
        let text = vec![b'x'; MAX_TEXT];
        for number in 1..=(WINDOW_BYTES / MAX_TEXT) as u64 {
            assert_eq!(inbox.fragment(&whole(number, &text)), Ok(true));
        }
        assert!(inbox.fragment(&whole(17, b"x")).is_err());
    }

    #[test]
    fn withdrawn_message_is_dropped_and_acknowledged_in_order() {
        let mut inbox = Inbox::default();
        for number in 1..=3 {
            let _ = inbox.fragment(&whole(number, b"x"));
        }
        let (seq, _) = inbox.release().unwrap();
        assert_eq!(inbox.withdraw(5), Ok(()));
        assert_eq!(inbox.release(), None);
        assert_eq!(inbox.ack_due(), Some(0));
        inbox.taken(seq);
        assert_eq!(inbox.ack_due(), Some(5));
        assert_eq!(inbox.fragment(&whole(6, b"y")), Ok(true));
        assert_eq!(inbox.release().map(|(seq, _)| seq), Some(2));
        assert!(inbox.withdraw(u64::MAX).is_err());
    }

    #[test]
    fn peer_that_forgot_begins_with_a_whole_window() {
        let mut inbox = Inbox::default();
        let text = vec![b'x'; MAX_TEXT];
        let whole_window = (WINDOW_BYTES / MAX_TEXT) as u64;
        (1..=whole_window)
            .for_each(|number| assert_eq!(inbox.fragment(&whole(number, &text)), Ok(true)));
        let (seq, _) = inbox.release().unwrap();
        inbox.forgotten().unwrap();
        assert_eq!(inbox.ack_due(), Some(0));
        assert_eq!(inbox.release(), None);
        (1..=whole_window)
            .for_each(|number| assert_eq!(inbox.fragment(&whole(number, &text)), Ok(true)));
        inbox.taken(seq);
        assert_eq!(inbox.ack_due(), Some(0));
        assert!(inbox.fragment(&whole(whole_window + 1, b"x")).is_err());
        let (seq, _) = inbox.release().unwrap();
        inbox.taken(seq);
        assert_eq!(inbox.ack_due(), Some(1));
    }

    #[test]
    fn peer_that_forgets_again_with_more_than_a_window_released_is_a_fault() {
        let short = (WINDOW_MESSAGES, String::new());
        let long = (WINDOW_BYTES / MAX_TEXT, "x".repeat(MAX_TEXT));
        for (window, text) in [short, long] {
            let mut inbox = Inbox::default();
            let receive = |inbox: &mut Inbox, number: usize, text: &str| {
                let fragment = whole(number as u64, text.as_bytes());
                assert_eq!(inbox.fragment(&fragment), Ok(true));
                assert!(inbox.release().is_some());
            };
            (1..=window).for_each(|number| receive(&mut inbox, number, &text));
            assert_eq!(inbox.forgotten(), Ok(()));
            receive(&mut inbox, 1, "x");
            assert_eq!(inbox.forgotten(), Err(Fault::ForgotAgain));
        }
    }
}
