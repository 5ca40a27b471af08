//! The end of a run: outstanding messages, then goodbye, then the last event.

use std::time::{Duration, Instant};

use super::Engine;
use crate::mesh::action::Close;
use crate::mesh::event::Event;
use crate::mesh::lifecycle::Unfinished;
use crate::mesh::outcome::{ByeReason, Outcome};

/// If all other peers have left, how long a peer that vanished still keeps the run from ending.
const COMPANY: Duration = Duration::from_secs(60);

impl Engine {
    /// Says goodbye to all peers, whatever is still owed.
    pub(super) fn leave(&mut self, now: Instant, reason: ByeReason) {
        let interval = self.connections.longest_interval();
        if !self.lifecycle.leave(now, reason, interval) {
            return;
        }
        self.delivery.stop();
        self.delivery
            .give_up_all(&mut self.roster, &mut self.output, reason);
        for id in self.connections.ids() {
            let Some(conn) = self.connections.get_mut(id) else {
                continue;
            };
            if conn.has_said_goodbye() {
                continue;
            }
            match conn.link_mut().filter(|link| link.hello().is_some()) {
                // Its circuits say goodbye first.
                Some(_) if self.circuits.carries_own(id) => {}
                Some(link) => link.say_goodbye(true),
                None => self.close(now, id, Close::Abort),
            }
        }
    }

    /// A peer has left or was given up. After the last one the run ends, unless `--stay` forbids
    /// it: at once, or when the last peer that vanished a moment ago has been away for long enough.
    pub(super) fn end_if_alone(&mut self, now: Instant) {
        let company = self.roster.iter().any(|(id, peer)| {
            let redialled = || self.is_trying(id);
            peer.is_up() || peer.is_leaving() || peer.is_awaited() && redialled()
        });
        self.lifecycle.note_parting(company);
        self.end_when_alone(now);
    }

    fn end_when_alone(&mut self, now: Instant) {
        if self.lifecycle.ends_by_itself() && self.is_alone(now) {
            self.leave(now, ByeReason::Goodbye);
        }
    }

    fn is_alone(&mut self, now: Instant) -> bool {
        self.roster.refresh();
        self.may_end_alone() && self.company_ends_at().is_none_or(|at| at <= now)
    }

    /// Whether the run ends as soon as no peer is awaited any more. It does not while an address
    /// that the user named is being tried, since the user may have named it after all had left, nor
    /// while a peer that has proven itself is about to send HELLO, unless the user was already told
    /// that all have left.
    fn may_end_alone(&self) -> bool {
        self.lifecycle.ends_when_alone()
            && !self.dialing.has_open_wish(&self.roster)
            && (self.lifecycle.has_told_left() || self.connections.arriving().next().is_none())
    }

    /// Tells an interactive front end which peers would get what is typed, if that has changed.
    pub(super) fn tell_audience(&mut self, now: Instant) {
        if !self.lifecycle.has_audience() {
            return;
        }
        let anybody = self.roster.iter().any(|(_, peer)| peer.is_present());
        let left = self.is_alone(now);
        if let Some(event) = self.lifecycle.tell_audience(anybody, left) {
            self.output.tell(event);
        }
    }

    /// When every peer that vanished has been away for too long to keep the run alive.
    fn company_ends_at(&self) -> Option<Instant> {
        Some(self.roster.lost_last()? + COMPANY)
    }

    /// When the run ends because no peer is awaited any more.
    pub(super) fn alone_deadline(&self) -> Option<Instant> {
        let at = self.company_ends_at()?;
        (!self.lifecycle.has_told_left() && self.may_end_alone()).then_some(at)
    }

    pub(super) fn go_on_ending(&mut self, now: Instant) {
        self.end_when_alone(now);
        if let Some(limit) = self.lifecycle.tells_wait(now) {
            let peers = self.pending(now);
            if !peers.is_empty() {
                self.output.tell(Event::WaitsToEnd { peers, limit });
            }
        }
        let unfinished = Unfinished {
            waits: self.delivery.waits(),
            owed: self.delivery.is_owed(),
            unshown: !self.release.is_empty(),
        };
        if let Some(reason) = self.lifecycle.leaves(now, unfinished) {
            self.leave(now, reason);
            self.seal_due(now);
        }
        if self.lifecycle.finish(now, !self.connections.is_empty()) {
            for id in self.connections.ids() {
                self.close(now, id, Close::Abort);
            }
            self.output.tell_refusals_now(now);
        }
    }

    /// The last event, once. Messages that are refused until it is asked for still count in it.
    pub(super) fn last_word(&mut self) -> Option<Event> {
        let reason = self.lifecycle.untold_end()?;
        let outcome = Outcome {
            unsatisfied: self.delivery.unsatisfied(),
            unreached: self.delivery.unreached(),
            left_early: self.lifecycle.left_early() && self.delivery.has_any(),
            all_refused: self.dialing.all_refused(),
            ..Outcome::of(reason)
        };
        self.lifecycle.end(outcome.clone());
        Some(Event::Bye(outcome))
    }

    /// Acts on the time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_conns(now);
        self.delivery
            .expire(now, &mut self.roster, &mut self.output);
        self.expire_away(now);
        self.expire_losses(now);
        if self.lifecycle.takes_last_goodbye(now) {
            self.say_all_goodbyes();
        }
    }
}
