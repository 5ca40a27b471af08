//! The end of links, and what it means for the peer (PROTOCOL.md, section 10): a loss that another
//! connection may repair, a goodbye, or another process in its place.

use std::time::{Duration, Instant};

use super::{ConnId, Engine};
use crate::mesh::action::Close;
use crate::mesh::event::{DownReason, Event, Undelivered};
use crate::mesh::peer::{Parting, Peer};
use crate::proto::PeerId;
use crate::proto::frame::{Gossip, Linked};
use crate::proto::outbox::Outgoing;

/// How long the loss of a link may stay unreported while another connection may take over.
const TAKE_OVER: Duration = Duration::from_secs(2);

impl Engine {
    /// Another process answered where this peer was expected. If the peer is nowhere else, it is
    /// gone. But if both have been up at the same time, they share an address, as behind a router
    /// that leads to the other one, and this peer may still be running.
    pub(super) fn forget_replaced(&mut self, now: Instant, peer: Option<PeerId>, by: &PeerId) {
        let Some(id) = peer else {
            return;
        };
        let met = self.roster.get(by).and_then(|other| other.history.met);
        let was_beside = |peer: &Peer| {
            let both = met.zip(peer.history.heard);
            both.is_some_and(|(met, heard)| met <= heard)
        };
        let gone = self
            .roster
            .get(&id)
            .is_some_and(|peer| peer.is_awaited() && !was_beside(peer));
        if gone
            && !self
                .dialing
                .addresses(&id)
                .any(|(_, target)| target.is_witnessed(&id))
        {
            self.output.verbose(format!(
                "gave up waiting for {}: another process answers at its address",
                self.roster.show(&id)
            ));
            self.give_up(now, &id, Undelivered::Restarted);
        }
    }

    /// Stops waiting for a peer that vanished.
    pub(super) fn give_up(&mut self, now: Instant, id: &PeerId, reason: Undelivered) {
        let last_here = self.roster.get(id).map_or(now, |peer| peer.since);
        // No other connection takes over any more.
        let peer = self.roster.get_mut(id);
        if let Some(reason) = peer.and_then(Peer::take_untold_loss) {
            self.tell_down(id, reason);
        }
        self.part(now, id, Parting::GiveUp, reason);
        if let Some(who) = self.roster.get(id).map(Peer::who) {
            self.roster
                .tell_of_link(id, Event::PeerGone { who }, &mut self.output);
        }
        self.free_names(last_here, id);
    }

    /// Gives up the peers that have been away for long enough. Each counts as having left.
    pub(super) fn expire_away(&mut self, now: Instant) {
        if self.lifecycle.is_ending() {
            return;
        }
        for id in self.roster.away(now, self.settings.away) {
            self.give_up(now, &id, Undelivered::Away);
            self.end_if_alone(now);
        }
    }

    /// A peer has left at this moment: its names are free. A peer that shared one of its names from
    /// the start now has that name to itself, and a notice says whom the name means.
    pub(super) fn free_names(&mut self, at: Instant, id: &PeerId) {
        for who in self.roster.leave(at, id) {
            self.output.attention(format!(
                "the name {} now means only {}: the other peer with this name ({}…) left",
                who.shown,
                who.id.hex_prefix(16),
                id.hex_prefix(8)
            ));
        }
    }

    /// Two peers part: this end forgets what it owes the other, and no longer waits for it.
    pub(super) fn part(
        &mut self,
        now: Instant,
        id: &PeerId,
        parting: Parting,
        reason: Undelivered,
    ) {
        let Some(peer) = self.roster.get_mut(id) else {
            return;
        };
        let owed = peer.part(now, parting);
        let is_forgotten = peer.conversation().is_none();
        if parting != Parting::GiveUp {
            self.roster.unvouch(id);
            self.connections.tell_others(&Gossip {
                id: *id,
                linked: Linked::No,
                address: None,
            });
        }
        if is_forgotten {
            self.conversation_dropped(now, id);
        }
        self.dialing.departed(now, &mut *self.rng, id);
        self.drop_needless_circuits(now, id);
        self.circuits.note_change();
        self.undelivered(id, &owed, reason);
    }

    /// Forgets what was between the two. Connections that have not become links yet have announced
    /// a session_id that is no longer valid.
    fn conversation_dropped(&mut self, now: Instant, id: &PeerId) {
        self.connections.forget_announced(id);
        self.roster.tell_deferred(id, &mut self.output);
        for conn in self.connections.with(id) {
            let link = self.connections.link(conn);
            if link.is_some_and(|link| link.hello().is_none()) {
                self.close(now, conn, Close::Abort);
            }
        }
    }

    /// A peer will never acknowledge these messages.
    pub(super) fn undelivered(&mut self, id: &PeerId, lost: &[Outgoing], reason: Undelivered) {
        self.delivery
            .undelivered(&self.roster, &mut self.output, id, lost, reason);
    }

    /// The connection of a link has broken.
    pub(super) fn link_lost(&mut self, now: Instant, id: ConnId) {
        self.end_link(now, id, DownReason::Lost);
    }

    pub(super) fn link_timed_out(&mut self, now: Instant, id: ConnId) {
        self.end_link(now, id, DownReason::Timeout);
        self.close(now, id, Close::Abort);
    }

    /// Works out what the end of a link means for its peer. The caller ends the connection itself.
    pub(super) fn end_link(&mut self, now: Instant, id: ConnId, reason: DownReason) {
        let Some(link) = self.connections.link(id) else {
            return;
        };
        let (peer_id, heard_at) = (link.peer(), link.heard_at());
        let lasted = heard_at.saturating_duration_since(link.started_at());
        // Only connections on which the peer has proven its identity: otherwise others could keep
        // its loss from being reported.
        let taking_over = self.connections.has_other_proven(id, &peer_id);
        let Some(peer) = self.roster.get_mut(&peer_id) else {
            return;
        };
        let (was_up, since) = (peer.conn() == Some(id), peer.since);
        let untold_until = match was_up {
            true => now + TAKE_OVER,
            false => match peer.untold_until() {
                Some(until) => until,
                None => return,
            },
        };
        if was_up {
            peer.lose(now, reason, Some(untold_until));
            peer.history.heard = Some(heard_at);
            peer.history.linked_for += lasted;
            if reason == DownReason::Protocol {
                self.dialing.rest(now, &mut *self.rng, &peer_id);
            } else {
                self.dialing.lost(now, &mut *self.rng, &peer_id, since);
            }
            self.roster.unvouch(&peer_id);
            self.connections.tell_others(&Gossip {
                id: peer_id,
                linked: Linked::No,
                address: None,
            });
        }
        if !taking_over {
            self.tell_loss(&peer_id);
        }
    }

    /// Reports lost links that no other connection has taken over.
    pub(super) fn expire_losses(&mut self, now: Instant) {
        for id in self.roster.untold_losses(now) {
            self.tell_loss(&id);
        }
    }

    /// Reports that a link was lost, unless that was done before.
    fn tell_loss(&mut self, id: &PeerId) {
        let peer = self.roster.get_mut(id);
        if let Some(reason) = peer.and_then(Peer::take_untold_loss) {
            self.tell_down(id, reason);
        }
    }

    pub(super) fn tell_down(&mut self, id: &PeerId, reason: DownReason) {
        let Some(peer) = self.roster.get(id) else {
            return;
        };
        let awaited = peer.is_awaited();
        let event = Event::PeerDown {
            who: peer.who(),
            reason,
            retrying: awaited && self.is_trying(id),
            awaited,
        };
        self.roster.tell_of_link(id, event, &mut self.output);
        self.roster.note_addressees();
    }

    /// GOODBYE has arrived: the messages that wait to be released are reported first.
    pub(super) fn take_goodbye(&mut self, now: Instant, peer_id: PeerId, leaving: bool) {
        let parting = Parting::Goodbye { leaving };
        self.part(now, &peer_id, parting, Undelivered::Goodbye);
        let conns = self.connections.with(&peer_id);
        for conn in conns {
            self.close(now, conn, Close::Abort);
        }
    }

    /// Everything that a peer had sent before its GOODBYE has been released.
    pub(super) fn tell_farewell(&mut self, now: Instant, id: &PeerId) {
        let peer = self.roster.get_mut(id);
        let Some(leaving) = peer.and_then(Peer::take_farewell) else {
            return;
        };
        self.conversation_dropped(now, id);
        self.tell_down(id, DownReason::Goodbye);
        if leaving {
            self.free_names(now, id);
            self.end_if_alone(now);
        }
    }
}
