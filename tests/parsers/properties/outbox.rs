//! The outbox for one peer against a model that keeps each message under its number: what it puts into
//! cells is the next part of the next message, and it counts what is owed.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sesame::proto::cell::PAYLOAD;
use sesame::proto::frame::{Fragment, Frame, Payload, decode};
use sesame::proto::outbox::{Outbox, Outgoing};
use sesame::proto::{DisplayName, MAX_TEXT, MessageId, WINDOW_BYTES, WINDOW_MESSAGES};

use super::choices::Choices;

/// At most this many steps of an input are taken.
const STEPS: usize = 200;
/// How many messages a burst has.
const BURST: usize = 2000;
/// The most bytes of a cell that may stay free while a message waits: too few for its head and 32
/// bytes of text.
const SLIVER: usize = 28 + 32;

/// The part of a sender in PROTOCOL.md, section 9.
struct Model {
    /// The messages that are owed, by their numbers.
    owed: BTreeMap<u64, Outgoing>,
    /// The number of the next message.
    next: u64,
    acknowledged: u64,
    /// The highest number of which anything was sent.
    sent: u64,
    /// The number of the message to send next on this connection, and how much of it was sent.
    position: (u64, usize),
    /// The number up to which all is given up, and whether this connection carried it.
    withdrawal: Option<(u64, bool)>,
}

impl Model {
    fn new() -> Self {
        Self {
            owed: BTreeMap::new(),
            next: 1,
            acknowledged: 0,
            sent: 0,
            position: (1, 0),
            withdrawal: None,
        }
    }

    fn bytes(&self) -> usize {
        self.owed.values().map(|message| message.text.len()).sum()
    }

    fn push(&mut self, message: Outgoing) {
        self.owed.insert(self.next, message);
        self.next += 1;
    }

    fn connect(&mut self, heard: u64) {
        self.position = (heard.max(self.acknowledged) + 1, 0);
        if let Some((_, sent)) = &mut self.withdrawal {
            *sent = false;
        }
    }

    fn acknowledge(&mut self, number: u64) -> Option<Vec<Outgoing>> {
        if number > self.sent {
            return None;
        }
        if self
            .withdrawal
            .is_some_and(|(withdrawn, _)| withdrawn <= number)
        {
            self.withdrawal = None;
        }
        self.acknowledged = self.acknowledged.max(number);
        if self.position.0 <= self.acknowledged {
            self.position = (self.acknowledged + 1, 0);
        }
        let left = self.owed.split_off(&(self.acknowledged + 1));
        let acknowledged = std::mem::replace(&mut self.owed, left);
        Some(acknowledged.into_values().collect())
    }

    fn withdraw(&mut self) -> Vec<Outgoing> {
        let last = self.next - 1;
        self.withdrawal = Some((last, false));
        self.sent = last;
        std::mem::take(&mut self.owed).into_values().collect()
    }

    fn forgotten(&mut self) -> Vec<Outgoing> {
        let unsent = self.owed.split_off(&(self.sent + 1));
        let lost = std::mem::take(&mut self.owed).into_values().collect();
        *self = Self::new();
        unsent.into_values().for_each(|message| self.push(message));
        lost
    }

    fn has_work(&self) -> bool {
        match self.withdrawal {
            Some((_, sent)) => !sent,
            None => self.owed.contains_key(&self.position.0),
        }
    }

    /// Takes a fragment from a cell, which must be the next one.
    fn fragment(&mut self, fragment: &Fragment<'_>) {
        assert_eq!(self.withdrawal, None, "it waits for an acknowledgement");
        let (number, offset) = self.position;
        let message = &self.owed[&number];
        let text = &message.text.as_bytes()[offset..];
        assert_eq!(fragment.number, number);
        assert_eq!(fragment.mid, (offset == 0).then_some(message.mid));
        assert_eq!(fragment.direct, message.direct);
        assert!(text.starts_with(fragment.text));
        assert_eq!(fragment.last, text.len() == fragment.text.len());
        self.sent = self.sent.max(number);
        self.position = match fragment.last {
            true => (number + 1, 0),
            false => (number, offset + fragment.text.len()),
        };
    }
}

fn tokens(messages: &[Outgoing]) -> Vec<u64> {
    messages.iter().map(|message| message.token).collect()
}

/// Whether a message of `more` bytes fits into a window that holds this.
fn fits(count: usize, bytes: usize, more: usize) -> bool {
    count < WINDOW_MESSAGES && bytes + more <= WINDOW_BYTES
}

fn compare(outbox: &Outbox, model: &Model) {
    let bytes = model.bytes();
    assert_eq!((outbox.len(), outbox.bytes()), (model.owed.len(), bytes));
    assert_eq!(outbox.is_empty(), model.owed.is_empty());
    assert_eq!(outbox.is_stalled(), model.withdrawal.is_some());
    assert_eq!(outbox.has_work(), model.has_work());
    let oldest = model.owed.values().map(|message| message.queued_at).min();
    assert_eq!(outbox.oldest(), oldest);
    let many = outbox.len() >= WINDOW_MESSAGES / 2 || bytes >= WINDOW_BYTES / 2;
    assert_eq!(outbox.is_half_full(), many);
    for more in [0, 1, MAX_TEXT] {
        assert_eq!(outbox.has_room(more), fits(outbox.len(), bytes, more));
    }
}

/// Both, and what the messages are made of.
struct Both {
    outbox: Outbox,
    model: Model,
    pushed: u64,
    start: Instant,
}

impl Both {
    fn push(&mut self, length: usize) {
        let fits = fits(self.outbox.len(), self.outbox.bytes(), length);
        assert_eq!(self.outbox.has_room(length), fits);
        if self.outbox.is_stalled() || !fits {
            return;
        }
        self.pushed += 1;
        let byte = (self.pushed % 256) as u8;
        let text: String = (0..length)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect();
        let message = Outgoing {
            mid: MessageId([byte; 16]),
            direct: byte.is_multiple_of(3),
            text: text.into(),
            token: self.pushed,
            queued_at: self.start + Duration::from_millis(self.pushed),
        };
        self.outbox.push(message.clone());
        self.model.push(message);
    }

    /// Seals a cell in which this much is used already.
    fn fill(&mut self, used: usize) {
        let mut payload = Payload::default();
        let name = DisplayName::from_user("x").unwrap();
        while PAYLOAD - payload.room() < used && payload.name(Some(&name)) {}
        let begin = payload.as_slice().len();
        let had_work = self.model.has_work();
        self.outbox.fill(&mut payload);
        let mut rest = &payload.as_slice()[begin..];
        while let Some(frame) = decode(&mut rest).unwrap() {
            match frame {
                Frame::Message(fragment) => self.model.fragment(&fragment),
                Frame::Withdraw(number) => {
                    assert_eq!(self.model.withdrawal, Some((number, false)));
                    self.model.withdrawal = Some((number, true));
                    assert!(rest.is_empty());
                }
                other => panic!("{other:?}"),
            }
        }
        // It is as full as it can be.
        let is_full = payload.room() < SLIVER;
        assert!(!self.model.has_work() || is_full, "{}", payload.room());
        assert!(begin > 0 || !had_work || payload.as_slice().len() > begin);
    }
}

/// Takes the steps of a sender and of its peer, a byte or two for each.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut both = Both {
        outbox: Outbox::default(),
        model: Model::new(),
        pushed: 0,
        start: Instant::now(),
    };
    for _ in 0..STEPS {
        let Some(step) = choices.next() else {
            break;
        };
        let more = step >> 3;
        match step & 7 {
            0 => both.push(usize::from(more)),
            1 => both.push(match more {
                31 => MAX_TEXT,
                30 => 932,
                more => usize::from(more) * 100,
            }),
            2 => both.fill(0),
            3 => both.fill(usize::from(more) * 31),
            4 => {
                let (outbox, model) = (&mut both.outbox, &mut both.model);
                let number = match more {
                    31 => model.sent + 1,
                    more => model.sent.saturating_sub(u64::from(more)),
                };
                let got = outbox.acknowledge(number).ok();
                let expected = model.acknowledge(number);
                assert_eq!(got.as_deref().map(tokens), expected.as_deref().map(tokens));
            }
            5 => {
                let (outbox, model) = (&mut both.outbox, &mut both.model);
                let heard = match more {
                    31 => model.sent + 1,
                    more => model.sent.saturating_sub(u64::from(more)),
                };
                let can = outbox.can_connect(heard, false).is_ok();
                assert_eq!(can, heard <= model.sent);
                assert_eq!(outbox.can_connect(heard, true).is_ok(), heard == 0);
                if can {
                    outbox.connect(heard);
                    model.connect(heard);
                }
            }
            6 => {
                // A user withdraws only what is owed.
                if !both.outbox.is_empty() {
                    let lost = both.outbox.withdraw();
                    assert_eq!(tokens(&lost), tokens(&both.model.withdraw()));
                }
            }
            _ if more == 31 => (0..BURST).for_each(|_| both.push(0)),
            _ => {
                let lost = both.outbox.forgotten();
                assert_eq!(tokens(&lost), tokens(&both.model.forgotten()));
                both.outbox.connect(0);
                both.model.connect(0);
            }
        }
        compare(&both.outbox, &both.model);
    }
}

/// Messages whole and cut, acknowledgements, new connections, withdrawals, peers that forget, and a full
/// window.
pub fn seeds() -> Vec<Vec<u8>> {
    let push = |length: u8| length << 3;
    let long = |hundreds: u8| hundreds << 3 | 1;
    let fill = 2;
    let acknowledge = |back: u8| back << 3 | 4;
    let connect = |back: u8| back << 3 | 5;
    let (withdraw, forget, burst) = (6, 7, 0xff);
    vec![
        vec![
            push(2),
            push(0),
            push(3),
            fill,
            acknowledge(1),
            acknowledge(0),
            acknowledge(31),
        ],
        vec![
            long(30),
            long(29),
            fill,
            fill,
            connect(0),
            fill,
            fill,
            fill,
            fill,
            acknowledge(0),
        ],
        vec![
            push(1),
            push(1),
            push(1),
            fill,
            connect(1),
            fill,
            connect(3),
            fill,
            connect(31),
        ],
        vec![
            push(1),
            long(20),
            fill,
            withdraw,
            fill,
            connect(1),
            fill,
            acknowledge(0),
            push(4),
            fill,
        ],
        vec![
            push(1),
            fill,
            push(2),
            forget,
            fill,
            acknowledge(0),
            long(12),
            fill,
            forget,
            fill,
        ],
        vec![push(5), 0xf3, 0xfb, 0xeb, long(31), 0xcb, fill, fill],
        [[long(31); 17].as_slice(), &[fill; 4]].concat(),
        [
            [burst; 5].as_slice(),
            &[fill, fill, acknowledge(3), burst, withdraw],
        ]
        .concat(),
    ]
}
