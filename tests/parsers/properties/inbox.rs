//! The inbox of one peer against a model that keeps every message and counts anew after each step.

use std::sync::Arc;

use sesame::proto::frame::Fragment;
use sesame::proto::inbox::Inbox;
use sesame::proto::{Fault, MAX_TEXT, MessageId, WINDOW_BYTES, WINDOW_MESSAGES};

use super::choices::Choices;

/// At most this many steps of an input are taken.
const STEPS: usize = 200;
/// How many messages a burst has.
const BURST: usize = 2000;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting,
    /// Released with this `seq`.
    Out(u64),
    /// Taken, withdrawn or dropped.
    Gone,
}

struct Message {
    /// 0 if the sender has forgotten it.
    number: u64,
    mid: MessageId,
    direct: bool,
    text: String,
    state: State,
}

struct Partial {
    mid: MessageId,
    direct: bool,
    text: Vec<u8>,
}

/// The part of a receiver in PROTOCOL.md, section 9.
#[derive(Default)]
struct Model {
    messages: Vec<Message>,
    partial: Option<Partial>,
    received: u64,
    seq: u64,
    told: Option<u64>,
}

impl Model {
    /// The number and the bytes of the messages that are neither gone nor forgotten.
    fn window(&self) -> (usize, usize) {
        let held = self.messages.iter();
        let held = held.filter(|it| it.number > 0 && it.state != State::Gone);
        held.fold((0, 0), |(count, bytes), it| {
            (count + 1, bytes + it.text.len())
        })
    }

    /// Whether a message is complete. `None`: a fault.
    fn fragment(&mut self, fragment: &Fragment<'_>) -> Option<bool> {
        if fragment.number <= self.received {
            return Some(false);
        }
        if fragment.number - 1 != self.received {
            return None;
        }
        let mut partial = match (self.partial.take(), fragment.mid) {
            (None, Some(mid)) => Partial {
                mid,
                direct: fragment.direct,
                text: Vec::new(),
            },
            (Some(partial), None) => partial,
            _ => return None,
        };
        partial.text.extend(fragment.text);
        if partial.direct != fragment.direct || partial.text.len() > MAX_TEXT {
            return None;
        }
        if !fragment.last {
            self.partial = Some(partial);
            return Some(false);
        }
        let text = String::from_utf8(partial.text).ok()?;
        let (count, bytes) = self.window();
        if count + 1 > WINDOW_MESSAGES || bytes + text.len() > WINDOW_BYTES {
            return None;
        }
        self.received += 1;
        self.messages.push(Message {
            number: self.received,
            mid: partial.mid,
            direct: partial.direct,
            text,
            state: State::Waiting,
        });
        Some(true)
    }

    fn connect(&mut self) {
        self.partial = None;
        self.told = None;
    }

    fn forgotten(&mut self) -> bool {
        let out = self.messages.iter();
        let out = out.filter(|it| matches!(it.state, State::Out(_)));
        let (count, bytes) = out.fold((0, 0), |(count, bytes), it| {
            (count + 1, bytes + it.text.len())
        });
        if count > WINDOW_MESSAGES || bytes > WINDOW_BYTES {
            return false;
        }
        self.connect();
        self.received = 0;
        self.discard();
        self.messages.iter_mut().for_each(|it| it.number = 0);
        true
    }

    fn withdraw(&mut self, number: u64) -> bool {
        if number == u64::MAX || number < self.received {
            return false;
        }
        self.partial = None;
        self.received = number;
        self.discard();
        true
    }

    fn waiting(&mut self) -> impl Iterator<Item = &mut Message> {
        let messages = self.messages.iter_mut();
        messages.filter(|it| it.state == State::Waiting)
    }

    fn discard(&mut self) {
        self.waiting().for_each(|it| it.state = State::Gone);
    }

    fn release(&mut self) -> Option<(u64, MessageId, bool, String)> {
        let seq = self.seq + 1;
        let next = self.waiting().next()?;
        next.state = State::Out(seq);
        let released = (seq, next.mid, next.direct, next.text.clone());
        self.seq = seq;
        Some(released)
    }

    fn taken(&mut self, seq: u64) {
        let is_taken = |state| matches!(state, State::Out(out) if out <= seq);
        let messages = self.messages.iter_mut();
        messages
            .filter(|it| is_taken(it.state))
            .for_each(|it| it.state = State::Gone);
    }

    fn ack_due(&self) -> Option<u64> {
        let held = self.messages.iter();
        let mut held = held.filter(|it| it.number > 0 && it.state != State::Gone);
        let handed_over = held.next().map_or(self.received, |first| first.number - 1);
        (self.told != Some(handed_over)).then_some(handed_over)
    }

    /// Forgets what nothing depends on any more.
    fn tidy(&mut self) {
        self.messages.retain(|it| it.state != State::Gone);
    }
}

fn compare(inbox: &Inbox, model: &mut Model) {
    model.tidy();
    assert_eq!(inbox.received(), model.received);
    assert_eq!(inbox.ack_due(), model.ack_due());
    let seq = model.seq;
    let waiting = model.waiting().count() as u64;
    assert_eq!(inbox.seqs(), (seq, seq + waiting));
    assert_eq!(inbox.has_waiting(), waiting > 0);
    let next = model.waiting().next().map(|next| next.text.len());
    assert_eq!(inbox.next_bytes(), next);
}

/// A text of some length; a long one is as long as a fragment may be, or as a message.
fn text(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.byte() {
        kind @ 0..=0xdf => choices.take(usize::from(kind & 15)).to_vec(),
        0xe0..=0xef => vec![b'x'; 948],
        0xf0..=0xfe => vec![b'x'; MAX_TEXT],
        0xff => vec![b'x'; MAX_TEXT + 1],
    }
}

/// Takes the steps of a peer and of its user, some bytes for each.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let seq = u64::from(choices.byte());
    let mut inbox = Inbox::counting_from(seq);
    let mut model = Model {
        seq,
        ..Model::default()
    };
    for _ in 0..STEPS {
        let Some(step) = choices.next() else {
            break;
        };
        match step & 7 {
            0..=2 => fragment(step, &mut choices, &mut inbox, &mut model),
            3 => release(step, &mut inbox, &mut model),
            4 => take(step, &mut inbox, &mut model),
            5 => {
                let due = inbox.ack_due();
                if let Some(number) = due {
                    inbox.ack_sent(number);
                    model.told = Some(number);
                }
            }
            6 => connect(step, &mut inbox, &mut model),
            _ => give_up(step, &mut choices, &mut inbox, &mut model),
        }
        compare(&inbox, &mut model);
    }
}

fn fragment(step: u8, choices: &mut Choices<'_>, inbox: &mut Inbox, model: &mut Model) {
    let next = model.received.saturating_add(1);
    let number = match step >> 3 & 15 {
        14 => next.saturating_sub(1).max(1),
        15 => next.saturating_add(1),
        _ => next,
    };
    let flags = if step & 3 == 2 { 3 } else { choices.byte() };
    let text = text(choices);
    let fragment = Fragment {
        number,
        mid: (flags & 1 != 0).then_some(MessageId([flags; 16])),
        last: flags & 2 != 0,
        direct: flags & 4 != 0,
        text: &text,
    };
    let got = inbox.fragment(&fragment);
    let expected = model.fragment(&fragment);
    assert_eq!(got.as_ref().ok(), expected.as_ref(), "{got:?}");
    if got.is_err() {
        // The connection is closed, and another one begins.
        inbox.connect();
        model.connect();
    }
}

fn release(step: u8, inbox: &mut Inbox, model: &mut Model) {
    for _ in 0..=step >> 3 & 3 {
        let released = inbox.release();
        let expected = model.release();
        let released = released.map(|(seq, it)| (seq, it.mid, it.direct, it.text));
        let expected =
            expected.map(|(seq, mid, direct, text)| (seq, mid, direct, Arc::from(text.as_str())));
        assert_eq!(released, expected);
    }
}

fn take(step: u8, inbox: &mut Inbox, model: &mut Model) {
    let (released, _) = inbox.seqs();
    let seq = released.saturating_sub(u64::from(step >> 3 & 7));
    inbox.taken(seq);
    model.taken(seq);
}

fn connect(step: u8, inbox: &mut Inbox, model: &mut Model) {
    if step & 8 == 0 {
        inbox.connect();
        return model.connect();
    }
    let got = inbox.forgotten();
    assert_eq!(got.is_ok(), model.forgotten());
    assert!(matches!(got, Ok(()) | Err(Fault::ForgotAgain)));
}

fn give_up(step: u8, choices: &mut Choices<'_>, inbox: &mut Inbox, model: &mut Model) {
    match step >> 3 & 7 {
        0 => {
            inbox.discard();
            model.discard();
        }
        1 => burst(inbox, model),
        kind => {
            let number = match kind {
                2 => u64::MAX,
                3 => u64::MAX - 1,
                4 => model.received.saturating_sub(1),
                _ => model.received.saturating_add(u64::from(choices.byte() & 7)),
            };
            assert_eq!(inbox.withdraw(number).is_ok(), model.withdraw(number));
        }
    }
}

/// Many short messages, to fill the window.
fn burst(inbox: &mut Inbox, model: &mut Model) {
    inbox.connect();
    model.connect();
    let (mut count, _) = model.window();
    let mid = MessageId([1; 16]);
    for number in (model.received..u64::MAX)
        .take(BURST)
        .map(|before| before + 1)
    {
        let got = inbox.fragment(&Fragment {
            number,
            mid: Some(mid),
            last: true,
            direct: false,
            text: b"",
        });
        if count == WINDOW_MESSAGES {
            return assert_eq!(got, Err(Fault::OverfilledWindow));
        }
        assert_eq!(got, Ok(true));
        count += 1;
        model.received = number;
        model.messages.push(Message {
            number,
            mid,
            direct: false,
            text: String::new(),
            state: State::Waiting,
        });
    }
}

/// Messages whole and cut, withdrawals, peers that forget, and a full window.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        // Two whole messages, released, taken and acknowledged.
        vec![0, 2, 2, b'h', b'i', 5, 2, 0, 3, 4, 5, 3, 4, 5],
        // A message of three fragments, and one that a new connection cuts.
        vec![
            9, 0, 1, 2, 0xc3, b'x', 0, 0, 1, b'y', 0, 2, 1, b'z', 3, 0, 1, 1, b'a', 6, 0, 2, 1,
            b'b',
        ],
        // A withdrawal, with and without messages at the user.
        vec![0, 2, 1, b'a', 2, 1, b'b', 3, 0x3f, 2, 5, 4, 5, 2, 0, 3, 12],
        // The peer forgets.
        vec![0, 2, 1, b'a', 2, 1, b'b', 3, 14, 2, 1, b'c', 3, 3, 4, 5],
        // Windows of long and of short messages.
        [
            &[0][..],
            &[2, 0xf0].repeat(17),
            &[3, 4, 14],
            &[2, 0xf0].repeat(16),
        ]
        .concat(),
        [&[0][..], &[15; 5], &[3, 4, 14, 15]].concat(),
        // A window of long messages, taken, leaves room for another one.
        [
            &[0][..],
            &[2, 0xf0].repeat(16),
            &[27; 4],
            &[4],
            &[2, 0xf0].repeat(16),
        ]
        .concat(),
        // The last numbers.
        vec![0, 0x1f, 2, 1, b'a', 2, 0, 0x17, 3, 4, 5],
    ]
}
