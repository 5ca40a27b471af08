//! Requests that keep their order.

use std::time::Instant;

use super::Engine;
use crate::mesh::command::{Command, Offered, Request};
use crate::mesh::delivery::Sending;
use crate::mesh::event::ErrorCode;

impl Engine {
    /// Takes a request that keeps its order; events answer it. Returns it if a queue is full or no
    /// peer is up yet: offer it again after any change.
    pub fn offer(&mut self, now: Instant, request: Request) -> Option<Request> {
        self.offer_several(now, std::iter::once(request)).waits
    }

    /// Takes requests in turn, as [`Self::offer`] does, up to one that waits. What follows a change
    /// is done once for all of them, and small messages share cells.
    pub fn offer_several(
        &mut self,
        now: Instant,
        requests: impl Iterator<Item = Request>,
    ) -> Offered {
        let mut offered = Offered::default();
        for request in requests {
            let is_message = matches!(request.command, Command::Send { .. });
            offered.waits = self.take(now, request);
            if offered.waits.is_some() {
                break;
            }
            offered.messages += u64::from(is_message);
        }
        self.settle(now);
        offered
    }

    fn take(&mut self, now: Instant, request: Request) -> Option<Request> {
        self.delivery.begin_offer(now, &mut self.roster);
        match request.command {
            Command::Send { .. } => self.send(now, request),
            // The end of the run can always be reported.
            _ if self.is_backlogged() && !matches!(request.command, Command::Quit) => Some(request),
            _ => {
                self.execute(now, request);
                None
            }
        }
    }

    fn send(&mut self, now: Instant, request: Request) -> Option<Request> {
        if self.is_backlogged() {
            return Some(request);
        }
        if self.lifecycle.is_ending() {
            self.refuse(&request);
            return None;
        }
        let reached = self.lifecycle.has_reached_anybody();
        let (roster, output) = (&mut self.roster, &mut self.output);
        match self.delivery.send(now, roster, output, &request, reached) {
            Sending::Queued => self.lifecycle.note_taken(now),
            Sending::Waits => return Some(request),
            Sending::Declined => {}
            Sending::Unreachable => self.refuse(&request),
        }
        None
    }

    /// The run is about to end: messages for which there is no peer are refused at once from now
    /// on.
    pub fn stop_waiting(&mut self, now: Instant) {
        self.delivery.stop_waiting();
        self.settle(now);
    }

    /// Refuses a request that can reach no peer.
    pub(super) fn refuse(&mut self, request: &Request) {
        if !matches!(request.command, Command::Send { .. }) {
            return;
        }
        let reached = self.lifecycle.has_reached_anybody();
        let message = match self.roster.up() > 0 || self.lifecycle.is_ending() && reached {
            true => "not sent: the run ended first",
            false => "not sent: nobody is connected",
        };
        let (code, message) = (ErrorCode::NoPeers, message.to_owned());
        self.delivery
            .abandon(&mut self.output, request, code, message, reached);
    }
}
