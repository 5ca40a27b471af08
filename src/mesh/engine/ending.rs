//! The end of a run: what is owed first, then goodbye, then the last word.

use std::time::{Duration, Instant};

use super::{Close, Engine};
use crate::mesh::event::{ByeReason, DownReason, Event, Outcome, Undelivered};

/// Beyond two intervals: for GOODBYE to be written out and the other end to close.
const FAREWELL: Duration = Duration::from_secs(4);

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages come and go.
    Running,
    /// No more input; what is owed is waited for as long as acknowledgements keep coming.
    Draining { reason: ByeReason, until: Instant },
    /// GOODBYE is on its way.
    Leaving { reason: ByeReason, until: Instant },
    /// The last event is out.
    Over,
}

impl Engine {
    /// Whether GOODBYE is on its way, or was.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Over)
    }

    /// Whether the end was a command in the input itself.
    pub(super) fn was_told_to_quit(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                reason: ByeReason::Quit,
                ..
            } | Phase::Leaving {
                reason: ByeReason::Quit,
                ..
            }
        )
    }

    /// Whether a signal asked for the end: what it cut off was meant to be said, and cannot be.
    pub(super) fn was_signalled(&self) -> bool {
        let signal = ByeReason::Signal;
        matches!(self.phase, Phase::Draining { reason, .. } if reason == signal)
    }

    /// What is owed is waited for; then the run ends.
    pub(super) fn drain(&mut self, now: Instant, reason: ByeReason) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining {
                reason,
                until: now + self.settings.timeout,
            };
        }
    }

    /// Something was acknowledged: the wait for the rest begins anew.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if let Phase::Draining { until, .. } = &mut self.phase {
            *until = now + self.settings.timeout;
        }
    }

    /// Says goodbye to everybody, whatever is owed.
    pub(super) fn leave(&mut self, now: Instant, reason: ByeReason) {
        if self.is_leaving() {
            return;
        }
        self.phase = Phase::Leaving {
            reason,
            until: now + FAREWELL + 2 * self.longest_interval(),
        };
        let peers: Vec<_> = self
            .roster
            .iter()
            .map(|(id, peer)| (*id, peer.last_down))
            .collect();
        for (id, last_down) in peers {
            let owed = self
                .roster
                .get_mut(&id)
                .and_then(|peer| Some(peer.conversation.as_mut()?.outbox.withdraw()));
            let reason = match (reason, last_down) {
                (ByeReason::Panic, _) => Undelivered::Panic,
                (_, Some(DownReason::Protocol)) => Undelivered::Protocol,
                _ => Undelivered::Timeout,
            };
            self.give_up_tokens(
                &id,
                owed.unwrap_or_default().iter().map(|message| message.token),
                reason,
            );
        }
        let conns: Vec<_> = self.conns.keys().copied().collect();
        for id in conns {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            match conn.link_mut().filter(|link| link.hello().is_some()) {
                Some(link) => link.say_goodbye(true),
                None => self.close(now, id, Close::Abort),
            }
        }
    }

    /// A peer that left was the last one, and this run was not told to stay.
    pub(super) fn end_if_alone(&mut self, now: Instant) {
        let company = self
            .roster
            .iter()
            .any(|(_, peer)| peer.is_up() || peer.expected || peer.farewell.is_some());
        if self.phase == Phase::Running
            && !self.settings.stay
            && !company
            && !self.dialing.has_open_wish(&self.roster)
        {
            self.leave(now, ByeReason::Goodbye);
        }
    }

    pub(super) fn go_on_ending(&mut self, now: Instant) {
        if let Phase::Draining { reason, until } = self.phase
            && (self.ledger.is_empty() || now >= until)
        {
            self.leave(now, reason);
            self.seal_due(now);
        }
        if let Phase::Leaving { reason, until } = self.phase
            && (self.conns.is_empty() || now >= until)
        {
            let left: Vec<_> = self.conns.keys().copied().collect();
            for id in left {
                self.close(now, id, Close::Abort);
            }
            self.phase = Phase::Over;
            self.tell_refusals_now(now);
            self.events.push_back(Event::Bye(Outcome {
                reason,
                unsatisfied: self.ledger.unsatisfied() + self.abandoned,
                unreached: self.unreached,
                all_refused: self.dialing.all_refused(),
            }));
        }
    }

    /// What time alone brings about.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_conns(now);
        self.expire_stalled(now);
        self.expire_losses(now);
        self.tidy();
    }

    /// Peers that departed and have no connection any more owe nothing and are owed nothing.
    fn tidy(&mut self) {
        let busy: Vec<_> = self
            .conns
            .values()
            .filter_map(|conn| conn.link())
            .map(|link| link.peer())
            .collect();
        for (id, peer) in self.roster.iter_mut() {
            if !peer.is_up() && !peer.expected && peer.farewell.is_none() && !busy.contains(id) {
                peer.conversation = None;
            }
        }
    }

    pub(super) fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining { until, .. } | Phase::Leaving { until, .. } => Some(until),
            Phase::Running | Phase::Over => None,
        }
    }
}
