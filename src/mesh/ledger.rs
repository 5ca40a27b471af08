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
    /// The next token.
    next: u64,
    /// By token. They end in another order, since one peer may take long.
    entries: BTreeMap<u64, Entry>,
    unsatisfied: u64,
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

impl Ledger {
    /// No entries. With `report_each` every step of every message is an event.
    pub(super) fn new(require: Require, report_each: bool) -> Self {
        Self {
            require,
            report_each,
            next: 0,
            entries: BTreeMap::new(),
            unsatisfied: 0,
        }
    }

    /// A message was accepted for this number of peers. Returns its token.
    pub(super) fn open(&mut self, tag: Tag, mid: MessageId, queued: usize) -> u64 {
        let token = self.next;
        self.next += 1;
        let entry = Entry {
            tag,
            mid,
            queued,
            outstanding: queued,
            delivered: 0,
            delivered_to: Vec::new(),
            undelivered: BTreeMap::new(),
        };
        self.entries.insert(token, entry);
        token
    }

    /// A peer has acknowledged a message.
    pub(super) fn delivered(&mut self, token: u64, peer: PeerId, output: &mut Output) {
        let report_each = self.report_each;
        let Some(entry) = self.entries.get_mut(&token) else {
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
        let Some(entry) = self.entries.get_mut(&token) else {
            return;
        };
        entry.undelivered.insert(who.id, (Arc::clone(who), reason));
        self.settle(token, output);
    }

    /// Whether any message was ever accepted.
    pub(super) fn has_any(&self) -> bool {
        self.next > 0
    }

    /// Whether no message is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages that were acknowledged by fewer peers than required.
    pub(super) fn unsatisfied(&self) -> u64 {
        self.unsatisfied
    }

    fn settle(&mut self, token: u64, output: &mut Output) {
        let require = self.require;
        let Some(entry) = self.entries.get_mut(&token) else {
            return;
        };
        entry.outstanding -= 1;
        if entry.outstanding > 0 {
            return;
        }
        let satisfied = entry.delivered >= require.of(entry.queued);
        let Some(entry) = self.entries.remove(&token) else {
            return;
        };
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
