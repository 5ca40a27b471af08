//! The end of a run: what is owed first, then goodbye, then the last word.

use std::time::{Duration, Instant};

use super::{Close, Engine};
use crate::mesh::event::{ByeReason, DownReason, Event, Outcome, Undelivered};

/// Beyond two intervals: for GOODBYE to be written out and the other end to close.
const FAREWELL: Duration = Duration::from_secs(4);

/// How long a peer that vanished keeps a run from ending whose last other peer has left.
const COMPANY: Duration = Duration::from_secs(60);

/// How long the end waits for messages that were let out to be shown.
const SHOWING: Duration = Duration::from_secs(1);

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages come and go.
    Running,
    /// No more input; what is owed is waited for as long as acknowledgements keep coming.
    Draining { reason: ByeReason, until: Instant },
    /// All is acknowledged. What was let out may just be on its way to the user: whoever said it
    /// shall know.
    Showing { reason: ByeReason, until: Instant },
    /// GOODBYE is on its way.
    Leaving { reason: ByeReason, until: Instant },
    /// But for messages that nobody has offered yet, all is told.
    Over(ByeReason),
}

impl Engine {
    /// Whether GOODBYE is on its way, or was.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Over(_))
    }

    /// Whether messages that are offered come too late.
    pub(super) fn is_ending(&self) -> bool {
        self.phase != Phase::Running
    }

    /// What is owed is waited for; then the run ends.
    pub(super) fn drain(&mut self, now: Instant, reason: ByeReason) {
        match &mut self.phase {
            Phase::Running => {
                let until = now + self.settings.timeout;
                self.phase = Phase::Draining { reason, until };
            }
            Phase::Draining { reason: before, .. } | Phase::Showing { reason: before, .. }
                if reason == ByeReason::Signal =>
            {
                *before = reason;
            }
            _ => {}
        }
    }

    /// All of the input has been read; `reason` is why there is no more. What the engine has not
    /// taken of it by then is owed like the rest.
    pub fn input_finished(&mut self, now: Instant, reason: ByeReason) {
        self.input_ended = true;
        let ends = reason == ByeReason::Quit || !self.settings.stay.outlasts_input();
        if ends && self.input_finished.is_none() {
            self.input_finished = Some((reason, now + self.settings.timeout));
        }
        self.settle(now);
    }

    /// Something was acknowledged: the wait for the rest begins anew.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if let Phase::Draining { until, .. } = &mut self.phase {
            *until = now + self.settings.timeout;
        }
        self.put_off_last_call(now);
    }

    /// There was room, or somebody for a message: from here on those behind it wait.
    pub(super) fn put_off_last_call(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.input_finished {
            *until = now + self.settings.timeout;
        }
    }

    /// Until when a request may wait, where no more input will come.
    fn pause_ends(&self) -> Option<(ByeReason, Instant)> {
        self.input_finished
            .filter(|_| self.waits && self.phase == Phase::Running)
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
        self.wait_until = None;
        let peers: Vec<_> = self
            .roster
            .iter()
            .map(|(id, peer)| (*id, peer.loss()))
            .collect();
        for (id, loss) in peers {
            let owed = self
                .roster
                .get_mut(&id)
                .and_then(|peer| Some(peer.conversation_mut()?.outbox.withdraw()));
            let reason = match (reason, loss) {
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
            if conn.has_said_goodbye() {
                continue;
            }
            match conn.link_mut().filter(|link| link.hello().is_some()) {
                Some(link) => link.say_goodbye(true),
                None => self.close(now, id, Close::Abort),
            }
        }
    }

    /// A peer has left or was given up. If it was the last one, the run ends, unless it was told to
    /// stay: at once, or when the last peer that vanished a moment ago has been away for long enough.
    pub(super) fn end_if_alone(&mut self, now: Instant) {
        let company = self.roster.iter().any(|(id, peer)| {
            let redialled = || self.dialing.is_trying(id, &self.roster);
            peer.is_up() || peer.is_leaving() || peer.is_awaited() && redialled()
        });
        self.ends_when_alone =
            self.phase == Phase::Running && !self.settings.stay.outlasts_peers() && !company;
        self.end_when_alone(now);
    }

    fn end_when_alone(&mut self, now: Instant) {
        if self.is_alone(now) && !self.settings.interactive {
            self.leave(now, ByeReason::Goodbye);
        }
    }

    fn is_alone(&self, now: Instant) -> bool {
        self.may_end_alone() && self.alone_at().is_none_or(|at| at <= now)
    }

    /// Whether the run ends as soon as nobody is waited for any longer. Not while an address that the
    /// user named is tried, which may have been named since everybody left, or while a peer that has
    /// proven itself is about to greet; who was told already that all have left is told when it has.
    fn may_end_alone(&self) -> bool {
        let told = self.audience.1;
        self.ends_when_alone
            && self.phase == Phase::Running
            && !self.dialing.has_open_wish(&self.roster)
            && (told || self.arriving().next().is_none())
    }

    /// Tells who would get what is typed, where somebody types, and that has changed.
    pub(super) fn tell_audience(&mut self, now: Instant) {
        if !self.settings.interactive || self.phase != Phase::Running {
            return;
        }
        let anybody = self.roster.iter().any(|(_, peer)| peer.is_present());
        let left = self.is_alone(now);
        if std::mem::replace(&mut self.audience, (anybody, left)) != (anybody, left) {
            self.events.push_back(Event::Audience { anybody, left });
        }
    }

    /// When every peer that vanished has been away for so long that it is no company.
    fn alone_at(&self) -> Option<Instant> {
        let awaited = self.roster.iter().filter(|(_, peer)| peer.is_awaited());
        awaited.map(|(_, peer)| peer.since + COMPANY).max()
    }

    /// When the run ends because nobody is waited for any longer.
    pub(super) fn alone_deadline(&self) -> Option<Instant> {
        let told = self.audience.1;
        self.alone_at().filter(|_| !told && self.may_end_alone())
    }

    pub(super) fn go_on_ending(&mut self, now: Instant) {
        self.end_when_alone(now);
        if let Some((reason, until)) = self.pause_ends()
            && now >= until
        {
            self.leave(now, reason);
            self.seal_due(now);
        }
        if let Phase::Draining { reason, .. } = self.phase
            && self.ledger.is_empty()
        {
            let until = now + SHOWING;
            self.phase = Phase::Showing { reason, until };
        }
        if let Phase::Draining { reason, until } | Phase::Showing { reason, until } = self.phase
            && (now >= until || (self.ledger.is_empty() && self.out_messages == 0))
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
            self.phase = Phase::Over(reason);
            self.tell_refusals_now(now);
        }
    }

    /// The last event, once. What was refused until it is asked for counts.
    pub(super) fn last_word(&mut self) -> Option<Event> {
        let Phase::Over(reason) = self.phase else {
            return None;
        };
        if self.outcome.is_some() {
            return None;
        }
        let outcome = Outcome {
            unsatisfied: self.ledger.unsatisfied() + self.abandoned,
            unreached: self.unreached,
            left_early: reason == ByeReason::Goodbye && !self.input_ended && self.ledger.has_any(),
            all_refused: self.dialing.all_refused(),
            ..Outcome::of(reason)
        };
        self.outcome = Some(outcome.clone());
        Some(Event::Bye(outcome))
    }

    /// What time alone brings about.
    pub(super) fn expire(&mut self, now: Instant) {
        // The request that waits is offered again after this.
        self.wait_until = self.wait_until.filter(|until| *until > now);
        self.expire_conns(now);
        self.expire_stalled(now);
        self.expire_away(now);
        self.expire_losses(now);
    }

    pub(super) fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining { until, .. }
            | Phase::Showing { until, .. }
            | Phase::Leaving { until, .. } => Some(until),
            Phase::Running => self.pause_ends().map(|(_, until)| until),
            Phase::Over(_) => None,
        }
    }
}
