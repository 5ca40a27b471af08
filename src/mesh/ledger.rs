//! What every peer is owed: one entry per message, until each of its recipients has acknowledged it
//! or never will.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::Tag;
use super::event::{Event, Undelivered, Who};
use super::output::Output;
use super::settings::Require;
use crate::proto::{MessageId, PeerId};

/// The entries of all messages under way.
pub(super) struct Ledger {
    require: Require,
    report_each: bool,
    /// Places for entries. They end in another order than they begin, since one peer may take long;
    /// a free place is used again before the memory grows.
    places: Vec<Place>,
    free: Vec<usize>,
    /// How many messages were ever accepted.
    opened: u64,
    unsatisfied: u64,
}

/// How many bits of a token say which place it has; all outboxes together hold fewer messages.
const PLACE_BITS: u32 = 24;

/// How many places remain after a burst.
const KEPT: usize = 64;

#[derive(Default)]
struct Place {
    /// Of its last entry: the number of the message, and below it that of this place.
    token: u64,
    entry: Option<Entry>,
}

struct Entry {
    tag: Tag,
    mid: MessageId,
    queued: usize,
    outstanding: usize,
    delivered: usize,
    delivered_to: Vec<PeerId>,
    undelivered: BTreeMap<PeerId, (Arc<Who>, Undelivered)>,
}

fn number_of_place(token: u64) -> usize {
    (token & ((1 << PLACE_BITS) - 1)) as usize
}

impl Ledger {
    /// No entries. With `report_each` every step of every message is an event.
    pub(super) fn new(require: Require, report_each: bool) -> Self {
        Self {
            require,
            report_each,
            places: Vec::new(),
            free: Vec::new(),
            opened: 0,
            unsatisfied: 0,
        }
    }

    /// A message was accepted for this number of peers. Returns its token; tokens grow.
    pub(super) fn open(&mut self, tag: Tag, mid: MessageId, queued: usize) -> u64 {
        self.opened += 1;
        let entry = Entry {
            tag,
            mid,
            queued,
            outstanding: queued,
            delivered: 0,
            delivered_to: Vec::new(),
            undelivered: BTreeMap::new(),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let token = self.opened << PLACE_BITS | number as u64;
        self.places[number] = Place {
            token,
            entry: Some(entry),
        };
        token
    }

    /// The place of a token's entry, unless another one has it by now.
    fn place(&mut self, token: u64) -> Option<&mut Place> {
        let place = self.places.get_mut(number_of_place(token))?;
        (place.token == token).then_some(place)
    }

    fn entry(&mut self, token: u64) -> Option<&mut Entry> {
        self.place(token)?.entry.as_mut()
    }

    /// A peer has acknowledged a message.
    pub(super) fn delivered(&mut self, token: u64, peer: PeerId, output: &mut Output) {
        let report_each = self.report_each;
        let Some(entry) = self.entry(token) else {
            return;
        };
        entry.delivered += 1;
        if report_each {
            entry.delivered_to.push(peer);
            output.tell(Event::Delivered {
                tag: entry.tag.clone(),
                mid: entry.mid,
                peer,
            });
        }
        self.settle(token, output);
    }

    /// A peer will never acknowledge a message.
    pub(super) fn undelivered(
        &mut self,
        token: u64,
        who: &Arc<Who>,
        reason: Undelivered,
        output: &mut Output,
    ) {
        let Some(entry) = self.entry(token) else {
            return;
        };
        entry.undelivered.insert(who.id, (Arc::clone(who), reason));
        self.settle(token, output);
    }

    /// Whether any message was ever accepted.
    pub(super) fn has_any(&self) -> bool {
        self.opened > 0
    }

    /// Whether no message is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Messages that were acknowledged by fewer peers than required.
    pub(super) fn unsatisfied(&self) -> u64 {
        self.unsatisfied
    }

    fn settle(&mut self, token: u64, output: &mut Output) {
        let require = self.require;
        let Some(place) = self.place(token) else {
            return;
        };
        let ended = place.entry.take_if(|entry| {
            entry.outstanding -= 1;
            entry.outstanding == 0
        });
        let Some(entry) = ended else {
            return;
        };
        self.free.push(number_of_place(token));
        if self.is_empty() && self.places.len() > KEPT {
            (self.places, self.free) = Default::default();
        }
        let satisfied = entry.delivered >= require.of(entry.queued);
        self.unsatisfied += u64::from(!satisfied);
        if self.report_each || !entry.undelivered.is_empty() {
            output.tell(Event::Done {
                tag: entry.tag,
                mid: entry.mid,
                delivered: entry.delivered_to,
                undelivered: entry.undelivered.into_values().collect(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u8) -> Arc<Who> {
        Arc::new(Who {
            id: PeerId([n; 32]),
            name: None,
            shown: n.to_string(),
        })
    }

    fn run(require: Require, report_each: bool) -> (u64, Vec<Event>) {
        let mut ledger = Ledger::new(require, report_each);
        let mut output = Output::default();
        let first = ledger.open(Tag::default(), MessageId([1; 16]), 2);
        let second = ledger.open(Tag::default(), MessageId([2; 16]), 2);
        ledger.delivered(second, PeerId([1; 32]), &mut output);
        ledger.delivered(second, PeerId([2; 32]), &mut output);
        assert!(!ledger.is_empty());
        ledger.undelivered(first, &who(1), Undelivered::Stalled, &mut output);
        ledger.delivered(first, PeerId([2; 32]), &mut output);
        assert!(ledger.is_empty());
        ledger.delivered(first, PeerId([2; 32]), &mut output);
        let events = std::iter::from_fn(|| output.poll_event());
        (ledger.unsatisfied(), events.collect())
    }

    #[test]
    fn each_message_has_one_final_event() {
        let (unsatisfied, events) = run(Require::All, true);
        assert_eq!(unsatisfied, 1);
        let done: Vec<_> = events
            .iter()
            .filter(|event| matches!(event, Event::Done { .. }))
            .collect();
        assert_eq!((events.len(), done.len()), (5, 2));
    }

    #[test]
    fn only_failures_are_reported_without_reports() {
        let (unsatisfied, events) = run(Require::Any, false);
        assert_eq!((unsatisfied, events.len()), (0, 1));
        assert_eq!(run(Require::AtLeast(2), false).0, 1);
        assert_eq!(run(Require::AtLeast(1), false).0, 0);
    }
}
