//! The phases of a run: what ends it, and when (USAGE.md, "Exit status").

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Event;
use super::outcome::{ByeReason, Outcome};
use super::settings::Settings;

/// Beyond two intervals: the time for GOODBYE to be written out and for the other end to close.
const FAREWELL: Duration = Duration::from_secs(4);

/// How long the end of the run waits until the front end has shown the last messages.
const SHOWING: Duration = Duration::from_secs(1);

/// How long the end of the run waits for acknowledgements before it reports the wait: most come
/// sooner.
const UNTOLD: Duration = Duration::from_secs(1);

/// The phase of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages come and go.
    Running,
    /// No more input. The run waits for acknowledgements as long as they keep coming.
    Draining { reason: ByeReason, until: Instant },
    /// All is acknowledged. The front end may be about to show the last messages, and their senders
    /// are to learn of that.
    Showing { reason: ByeReason, until: Instant },
    /// GOODBYE is on its way.
    Leaving { reason: ByeReason, until: Instant },
    /// All is reported, except messages that may still be offered and are refused.
    Over(ByeReason),
}

/// What still keeps the run from ending, in other parts of the engine.
#[derive(Clone, Copy, Default)]
pub(super) struct Unfinished {
    /// The request offered last waits for room or for a peer.
    pub waits: bool,
    /// Peers have messages to acknowledge.
    pub owed: bool,
    /// The front end has messages to show.
    pub unshown: bool,
}

/// The run of one engine, from its start to the last event.
pub(super) struct Lifecycle {
    settings: Arc<Settings>,
    phase: Phase,
    /// When to report that the end of the run waits for acknowledgements, unless that is done.
    tell_wait_at: Option<Instant>,
    /// When links say goodbye without waiting for their circuits.
    last_goodbye: Option<Instant>,
    /// How the run ended, once the last event has been taken.
    outcome: Option<Outcome>,
    /// The front end has no more input.
    input_ended: bool,
    /// Why no more input will come, and how long what waits for room may still wait.
    input_finished: Option<(ByeReason, Instant)>,
    /// Whether any peer was ever linked.
    reached_anybody: bool,
    /// The last peer that was up or redialled has left: the run ends as soon as no other is
    /// awaited.
    ends_when_alone: bool,
    /// In an interactive run, as last reported: whether a message would have a recipient, and
    /// whether all peers have left.
    audience: (bool, bool),
}

impl Lifecycle {
    /// A run that has just begun.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            phase: Phase::Running,
            tell_wait_at: None,
            last_goodbye: None,
            outcome: None,
            input_ended: false,
            input_finished: None,
            reached_anybody: false,
            ends_when_alone: false,
            audience: (false, false),
        }
    }

    /// Whether GOODBYE is on its way, or was.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Over(_))
    }

    /// Whether newly offered messages come too late.
    pub(super) fn is_ending(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Whether the run is over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Whether any peer was ever linked.
    pub(super) fn has_reached_anybody(&self) -> bool {
        self.reached_anybody
    }

    /// Ends the run once everything is acknowledged.
    pub(super) fn drain(&mut self, now: Instant, reason: ByeReason) {
        match &mut self.phase {
            Phase::Running => {
                let until = now + self.settings.timeout;
                self.phase = Phase::Draining { reason, until };
                self.tell_wait_at = Some(now + UNTOLD);
            }
            Phase::Draining { reason: before, .. } | Phase::Showing { reason: before, .. }
                if reason == ByeReason::Signal =>
            {
                *before = reason;
            }
            _ => {}
        }
    }

    /// No request will be offered any more.
    pub(super) fn end_of_input(&mut self, now: Instant) {
        self.input_ended = true;
        if !self.settings.stay.outlasts_input() {
            self.drain(now, ByeReason::Eof);
        }
    }

    /// All input has been read, and `reason` says why it ended; some of it may still be offered.
    pub(super) fn input_finished(&mut self, now: Instant, reason: ByeReason) {
        self.input_ended = true;
        let ends = reason == ByeReason::Quit || !self.settings.stay.outlasts_input();
        if ends && self.input_finished.is_none() {
            self.input_finished = Some((reason, now + self.settings.timeout));
        }
    }

    /// A peer acknowledged something: the wait for the rest starts again.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if let Phase::Draining { until, .. } = &mut self.phase {
            *until = now + self.settings.timeout;
        }
        self.note_taken(now);
    }

    /// A message was accepted: the wait of those behind it starts again.
    pub(super) fn note_taken(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.input_finished {
            *until = now + self.settings.timeout;
        }
    }

    /// A link is up.
    pub(super) fn note_link(&mut self) {
        self.reached_anybody = true;
        self.ends_when_alone = false;
    }

    /// A peer has left or was given up. Without `company` no other is up or redialled: the run ends
    /// as soon as no peer is awaited, unless `--stay` forbids it.
    pub(super) fn note_parting(&mut self, company: bool) {
        self.ends_when_alone =
            self.phase == Phase::Running && !self.settings.stay.outlasts_peers() && !company;
    }

    /// Whether the run ends as soon as no peer is awaited any more.
    pub(super) fn ends_when_alone(&self) -> bool {
        self.ends_when_alone && self.phase == Phase::Running
    }

    /// Whether it then ends by itself; an interactive run waits for a key.
    pub(super) fn ends_by_itself(&self) -> bool {
        !self.settings.interactive
    }

    /// Whether the front end was told that all peers have left.
    pub(super) fn has_told_left(&self) -> bool {
        self.audience.1
    }

    /// Whether [`Self::tell_audience`] may return an event.
    pub(super) fn has_audience(&self) -> bool {
        self.settings.interactive && self.phase == Phase::Running
    }

    /// The event for an interactive front end if this has changed: whether a message would reach
    /// `anybody`, and whether all peers have `left`.
    pub(super) fn tell_audience(&mut self, anybody: bool, left: bool) -> Option<Event> {
        let before = std::mem::replace(&mut self.audience, (anybody, left));
        (before != (anybody, left)).then_some(Event::Audience { anybody, left })
    }

    /// How long a request may wait when no more input will come.
    fn wait_ends(&self, waits: bool) -> Option<(ByeReason, Instant)> {
        self.input_finished
            .filter(|_| waits && self.phase == Phase::Running)
    }

    /// The reason for saying goodbye now, if it is time.
    pub(super) fn leaves(&mut self, now: Instant, unfinished: Unfinished) -> Option<ByeReason> {
        let Unfinished {
            waits,
            owed,
            unshown,
        } = unfinished;
        if let Some((reason, until)) = self.wait_ends(waits)
            && now >= until
        {
            return Some(reason);
        }
        if let Phase::Draining { reason, .. } = self.phase
            && !owed
        {
            let until = now + SHOWING;
            self.phase = Phase::Showing { reason, until };
        }
        match self.phase {
            Phase::Draining { reason, until } | Phase::Showing { reason, until } => {
                (now >= until || (!owed && !unshown)).then_some(reason)
            }
            _ => None,
        }
    }

    /// Once, after a while of waiting for acknowledgements at the end: returns how long the run
    /// still waits if none comes.
    pub(super) fn tells_wait(&mut self, now: Instant) -> Option<Duration> {
        let Phase::Draining { until, .. } = self.phase else {
            return None;
        };
        self.tell_wait_at.take_if(|at| *at <= now)?;
        Some(until.saturating_duration_since(now))
    }

    /// Goodbye leaves now, on links whose cells leave at least every `interval`. False if that was
    /// done before.
    pub(super) fn leave(&mut self, now: Instant, reason: ByeReason, interval: Duration) -> bool {
        if self.is_leaving() {
            return false;
        }
        let until = now + FAREWELL + 2 * interval;
        self.phase = Phase::Leaving { reason, until };
        self.last_goodbye = Some(until - FAREWELL / 2 - interval);
        true
    }

    /// When links that still carry circuits of this end say goodbye nevertheless.
    pub(super) fn last_goodbye(&self) -> Option<Instant> {
        self.last_goodbye
    }

    /// Whether that is now, once.
    pub(super) fn takes_last_goodbye(&mut self, now: Instant) -> bool {
        self.last_goodbye.take_if(|at| *at <= now).is_some()
    }

    /// Whether the run is over: GOODBYE has had its time, or no connection is left to send it on.
    pub(super) fn finish(&mut self, now: Instant, has_connections: bool) -> bool {
        let Phase::Leaving { reason, until } = self.phase else {
            return false;
        };
        let is_over = !has_connections || now >= until;
        if is_over {
            self.phase = Phase::Over(reason);
        }
        is_over
    }

    /// Why the run is over, until that is reported.
    pub(super) fn untold_end(&self) -> Option<ByeReason> {
        match self.phase {
            Phase::Over(reason) if self.outcome.is_none() => Some(reason),
            _ => None,
        }
    }

    /// Whether the last peer left while there was still input.
    pub(super) fn left_early(&self) -> bool {
        self.phase == Phase::Over(ByeReason::Goodbye) && !self.input_ended
    }

    /// The end has been reported.
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// How the run ended, once that has been reported.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// When [`Self::leaves`], [`Self::finish`] or [`Self::tells_wait`] returns something, if nothing
    /// else happens before.
    pub(super) fn deadline(&self, waits: bool) -> Option<Instant> {
        match self.phase {
            Phase::Draining { until, .. } => Some(self.tell_wait_at.unwrap_or(until).min(until)),
            Phase::Showing { until, .. } | Phase::Leaving { until, .. } => Some(until),
            Phase::Running => self.wait_ends(waits).map(|(_, until)| until),
            Phase::Over(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::settings::Stay;

    fn run(stay: Stay) -> (Lifecycle, Instant, Duration) {
        let settings = Settings {
            stay,
            ..Settings::default()
        };
        let timeout = settings.timeout;
        let lifecycle = Lifecycle::new(Arc::new(settings));
        (lifecycle, Instant::now(), timeout)
    }

    const OWED: Unfinished = Unfinished {
        waits: false,
        owed: true,
        unshown: false,
    };
    const UNSHOWN: Unfinished = Unfinished {
        waits: false,
        owed: false,
        unshown: true,
    };

    #[test]
    fn each_acknowledgement_prolongs_the_wait_at_the_end() {
        let (mut run, now, timeout) = run(Stay::No);
        run.end_of_input(now);
        assert!(run.is_ending() && !run.is_leaving());
        assert_eq!(run.deadline(false), Some(now + UNTOLD));
        assert_eq!(run.tells_wait(now), None);
        assert_eq!(run.tells_wait(now + UNTOLD), Some(timeout - UNTOLD));
        assert_eq!(run.deadline(false), Some(now + timeout));
        run.note_progress(now + timeout);
        assert_eq!(run.leaves(now + timeout, OWED), None);
        assert_eq!(run.leaves(now + 2 * timeout, OWED), Some(ByeReason::Eof));
    }

    #[test]
    fn released_message_has_a_second_to_be_shown() {
        let (mut run, now, _) = run(Stay::No);
        run.drain(now, ByeReason::Quit);
        assert_eq!(run.leaves(now, UNSHOWN), None);
        assert_eq!(run.deadline(false), Some(now + SHOWING));
        let shown = run.leaves(now, Unfinished::default());
        assert_eq!(shown, Some(ByeReason::Quit));
        assert_eq!(run.leaves(now + SHOWING, UNSHOWN), Some(ByeReason::Quit));
    }

    #[test]
    fn stay_outlasts_input_and_peers_but_not_quit() {
        let (mut run, now, timeout) = run(Stay::Always);
        run.end_of_input(now);
        run.note_parting(false);
        assert!(!run.is_ending() && !run.ends_when_alone());
        let waiting = Unfinished {
            waits: true,
            ..OWED
        };
        run.input_finished(now, ByeReason::Eof);
        assert_eq!(run.leaves(now + 2 * timeout, waiting), None);
        run.input_finished(now, ByeReason::Quit);
        assert_eq!(run.deadline(true), Some(now + timeout));
        assert_eq!(run.leaves(now + timeout, waiting), Some(ByeReason::Quit));
    }

    #[test]
    fn goodbye_is_sent_once_and_ends_without_connections() {
        let (mut run, now, _) = run(Stay::No);
        let interval = Duration::from_secs(10);
        assert!(run.leave(now, ByeReason::Signal, interval));
        assert!(!run.leave(now, ByeReason::Quit, interval));
        assert!(!run.finish(now, true) && run.untold_end().is_none());
        assert_eq!(run.deadline(false), Some(now + FAREWELL + 2 * interval));
        assert!(run.finish(now, false) && run.is_over());
        assert_eq!(run.untold_end(), Some(ByeReason::Signal));
        assert_eq!(run.deadline(false), None);
        run.end(Outcome::of(ByeReason::Signal));
        assert_eq!(run.untold_end(), None);
    }

    #[test]
    fn new_link_keeps_the_run_from_ending_alone() {
        let (mut run, ..) = run(Stay::No);
        run.note_parting(false);
        assert!(run.ends_when_alone() && !run.has_reached_anybody());
        run.note_link();
        assert!(!run.ends_when_alone() && run.has_reached_anybody());
        run.note_parting(true);
        assert!(!run.ends_when_alone());
    }

    #[test]
    fn audience_is_reported_when_it_changes() {
        let (mut run, ..) = run(Stay::No);
        assert!(run.tell_audience(false, false).is_none());
        assert!(run.tell_audience(true, false).is_some());
        assert!(run.tell_audience(true, false).is_none());
        assert!(run.tell_audience(false, true).is_some() && run.has_told_left());
    }
}
