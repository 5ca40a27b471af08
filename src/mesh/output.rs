//! The engine's output: actions for the I/O layer and events for the front end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::action::Action;
use super::command::Tag;
use super::event::{ErrorCode, Event};

/// The most messages that are released to the front end and not yet shown.
pub(super) const MAX_UNSHOWN: usize = 4096;

/// With this number of events waiting, the engine begins nothing that causes more: it accepts no
/// message and no connection, dials no address, and drops minor events.
const BACKLOG: usize = 2 * MAX_UNSHOWN;

/// With this number of events waiting, diagnostics are dropped: strangers can cause any number of
/// them, and must not hold up the rest.
const DIAGNOSTICS: usize = 1024;

/// The shortest time between two `auth_failed` events.
const PAUSE: Duration = Duration::from_secs(1);

/// Two queues, in the order in which the engine filled them.
#[derive(Default)]
pub(super) struct Output {
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    refusals: Refusals,
}

/// `auth_failed` events, at most one per second.
#[derive(Default)]
struct Refusals {
    told_at: Option<Instant>,
    untold: u64,
    /// The last such connection's other end, and whether it dialled.
    last: Option<(String, bool)>,
}

impl Output {
    /// Queues an action for the I/O layer.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Queues an event for the front end.
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The next action.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether an event waits.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether too many events wait, so that input which causes more should wait.
    pub(super) fn is_backlogged(&self) -> bool {
        self.events.len() >= BACKLOG
    }

    fn notice(&mut self, level: u8, text: String) {
        if !self.is_backlogged() && (level == 0 || self.events.len() < DIAGNOSTICS) {
            self.tell(Event::Notice { level, text });
        }
    }

    /// A notice that needs attention.
    pub(super) fn attention(&mut self, text: String) {
        self.notice(0, text);
    }

    /// A notice for `-v`.
    pub(super) fn verbose(&mut self, text: String) {
        self.notice(1, text);
    }

    /// A notice for `-vv`.
    pub(super) fn debug(&mut self, text: String) {
        self.notice(2, text);
    }

    /// Reports that a request cannot be carried out.
    pub(super) fn error(&mut self, tag: Tag, code: ErrorCode, message: String) {
        self.tell(Event::Error { tag, code, message });
    }

    /// The other end of a connection has another phrase; `inbound` if it dialled.
    pub(super) fn refused(&mut self, remote: String, inbound: bool) {
        self.refusals.untold += 1;
        self.refusals.last = Some((remote, inbound));
    }

    /// Reports other phrases, once a second has passed and the front end has room.
    pub(super) fn tell_refusals(&mut self, now: Instant) {
        if !self.is_backlogged() && self.refusals.told_at.is_none_or(|at| at + PAUSE <= now) {
            self.tell_refusals_now(now);
        }
    }

    /// Reports other phrases without waiting.
    pub(super) fn tell_refusals_now(&mut self, now: Instant) {
        if let Some((addr, inbound)) = self.refusals.last.take() {
            let count = std::mem::take(&mut self.refusals.untold);
            self.refusals.told_at = Some(now);
            self.tell(Event::AuthFailed {
                addr,
                inbound,
                count,
            });
        }
    }

    /// When [`Self::tell_refusals`] has something to report.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refusals
            .last
            .as_ref()
            .filter(|_| !self.is_backlogged())?;
        Some(self.refusals.told_at? + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: &mut Output) -> Vec<u64> {
        let events = std::iter::from_fn(|| output.poll_event());
        let counts = events.filter_map(|event| match event {
            Event::AuthFailed { count, .. } => Some(count),
            _ => None,
        });
        counts.collect()
    }

    #[test]
    fn other_phrases_of_one_second_are_one_event() {
        let (mut output, now) = (Output::default(), Instant::now());
        for _ in 0..3 {
            output.refused("192.0.2.1:9000".into(), true);
            output.tell_refusals(now);
        }
        assert_eq!(told(&mut output), [1]);
        assert_eq!(output.deadline(), Some(now + PAUSE));
        output.tell_refusals(now + PAUSE);
        assert_eq!(told(&mut output), [2]);
        assert_eq!(output.deadline(), None);
    }

    #[test]
    fn diagnostics_stop_before_anything_else_does() {
        let mut output = Output::default();
        (0..2 * BACKLOG).for_each(|_| output.verbose("a stranger came".into()));
        assert_eq!(output.events.len(), DIAGNOSTICS);
        (0..2 * BACKLOG).for_each(|_| output.attention("look".into()));
        assert_eq!(output.events.len(), BACKLOG);
        assert!(output.is_backlogged());
        output.refused("192.0.2.1:9000".into(), true);
        assert_eq!(output.deadline(), None);
    }
}
