//! What each frame does, and what peers said on its way to the front end.

use std::sync::Arc;
use std::time::Instant;

use super::{ConnId, Engine};
use crate::mesh::admission::network;
use crate::mesh::event::{Event, Predecessor};
use crate::mesh::peer::RENAME_PAUSE;
use crate::mesh::release::TURN;
use crate::mesh::targets::Claim;
use crate::proto::frame::{Fragment, Frame, Gossip};
use crate::proto::{Address, DisplayName, Fault, PeerId};

impl Engine {
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        id: ConnId,
        frame: Frame<'_>,
    ) -> Result<(), Fault> {
        // A frame before this one may have ended the link.
        let Some(link) = self.connections.link(id) else {
            return Ok(());
        };
        link.expect_greeted(&frame)?;
        let peer_id = link.peer();
        if let Frame::Hello(hello) = frame {
            return self.take_hello(now, id, hello);
        }
        let peer = self.roster.get(&peer_id);
        if peer.is_none_or(|peer| peer.conn() != Some(id)) {
            // This end has said goodbye on it already.
            return Ok(());
        }
        match frame {
            Frame::Hello(_) => {}
            Frame::Message(fragment) => self.take_fragment(&peer_id, &fragment)?,
            Frame::Ack(number) => self.take_ack(now, &peer_id, number)?,
            Frame::Withdraw(number) => {
                if let Some(conversation) = self
                    .roster
                    .get_mut(&peer_id)
                    .and_then(|peer| peer.conversation_mut())
                {
                    conversation.inbox.withdraw(number)?;
                }
                self.tell_deferred(&peer_id);
            }
            Frame::Peers(entries) => self.take_gossip(now, id, peer_id, entries),
            Frame::Name(name) => {
                let _ = self.take_name(now, &peer_id, name, true);
            }
            Frame::Goodbye { leaving } => self.take_goodbye(now, peer_id, leaving),
        }
        Ok(())
    }

    fn take_fragment(&mut self, id: &PeerId, fragment: &Fragment<'_>) -> Result<(), Fault> {
        let Some(peer) = self.roster.get_mut(id) else {
            return Ok(());
        };
        let ignored = peer.ignored;
        let Some(conversation) = peer.conversation_mut() else {
            return Ok(());
        };
        conversation.inbox.fragment(fragment)?;
        if ignored {
            conversation.inbox.discard();
            self.tell_deferred(id);
        }
        Ok(())
    }

    fn take_ack(&mut self, now: Instant, id: &PeerId, number: u64) -> Result<(), Fault> {
        let Some(peer) = self.roster.get_mut(id) else {
            return Ok(());
        };
        let give_up = self.settings.give_up;
        let acknowledged = peer.acknowledge(now, number, give_up)?;
        let progress = !acknowledged.is_empty();
        self.delivery.delivered(&mut self.output, *id, acknowledged);
        if progress {
            self.lifecycle.note_progress(now);
        }
        Ok(())
    }

    fn take_gossip(&mut self, now: Instant, id: ConnId, from: PeerId, entries: Vec<Gossip>) {
        let forwarded = self.settings.forwarded;
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let (Some(scopes), Some(remote)) = (conn.scopes(forwarded), conn.remote) else {
            return;
        };
        let beside = conn.own_address_dialled(forwarded);
        let own = self.id();
        for Gossip {
            id,
            linked,
            address,
        } in entries
        {
            if !self
                .roster
                .get_mut(&from)
                .is_some_and(|peer| peer.may_tell(now))
            {
                return;
            }
            if !linked {
                if let Some(peer) = self.roster.get_mut(&id) {
                    peer.vouchers.remove(&from);
                }
                continue;
            }
            let Some(peer) = self.roster.entry(now, id) else {
                continue;
            };
            peer.vouchers.insert(from);
            let (needless, departed) = (peer.is_up(), peer.departure());
            let address = address.and_then(|address| address.heard_over(remote));
            let is_taken = |address: &Address| {
                scopes.admit_address(address) || beside.is_some_and(|ip| address.ip() == Some(ip))
            };
            let Some(address) = address.filter(|address| departed.is_none() && is_taken(address))
            else {
                continue;
            };
            if !needless {
                let claim = Claim {
                    address,
                    peer: id,
                    teller: from,
                    network: network(remote.ip()),
                    seen: false,
                    scopes,
                    polite: own > id,
                };
                self.dialing.learn(now, &mut *self.rng, &self.roster, claim);
            }
        }
    }

    /// A peer's name, from HELLO or NAME. `tell`: people know it under the one before. They are told
    /// at most one a second; of those between the last one counts. Gives who had borne the name and left,
    /// for the caller to tell where this does not.
    pub(super) fn take_name(
        &mut self,
        now: Instant,
        id: &PeerId,
        name: Option<DisplayName>,
        tell: bool,
    ) -> Option<Arc<Predecessor>> {
        let backlogged = self.output.is_backlogged();
        let has_left = self.roster.has_left(id);
        let peer = self.roster.get_mut(id)?;
        let too_soon = peer
            .naming
            .told_at
            .is_some_and(|at| now < at + RENAME_PAUSE);
        peer.naming.next = None;
        if tell && (too_soon || backlogged || !peer.showing.deferred.is_empty()) {
            peer.naming.told_at.get_or_insert(now);
            peer.naming.next = Some(name);
            return None;
        }
        if peer.naming.name == name && !has_left {
            return None;
        }
        if tell {
            peer.naming.told_at = Some(now);
        }
        let before = peer.who();
        let instead_of = self.roster.rename(id, name);
        let peer = self.roster.get(id).filter(|_| tell);
        let Some(peer) = peer else {
            return instead_of;
        };
        self.output.tell(Event::PeerName {
            who: peer.who(),
            before: before.shown.clone(),
            instead_of,
        });
        None
    }

    /// Tells names whose second has passed.
    pub(super) fn tell_names(&mut self, now: Instant) {
        if self.output.is_backlogged() {
            return;
        }
        for id in self.roster.new_names(now) {
            if let Some(name) = self
                .roster
                .get_mut(&id)
                .and_then(|peer| peer.naming.next.take())
            {
                let _ = self.take_name(now, &id, name, true);
            }
        }
    }

    /// Lets messages out to the front end, in turns, as the budget allows; then the farewells of
    /// those who have nothing more to say.
    pub(super) fn release(&mut self, now: Instant) {
        while self.release.has_budget() {
            let Some(id) = self.release.next_turn(self.roster.talkers()) else {
                break;
            };
            self.release_from(&id);
        }
        for id in self.roster.farewells() {
            self.tell_farewell(now, &id);
        }
    }

    /// A turn of one peer: as much as a fast talker may say before the next one is heard.
    fn release_from(&mut self, id: &PeerId) {
        for _ in 0..TURN {
            if !self.release.has_budget() {
                return;
            }
            let Some(peer) = self.roster.get_mut(id) else {
                return;
            };
            let Some((seq, message)) = peer.conversation_mut().and_then(|it| it.inbox.release())
            else {
                return;
            };
            let bytes = message.text.len();
            peer.showing.seq = seq;
            peer.showing.out.push_back((seq, bytes));
            self.release.take(bytes);
            self.output.tell(Event::Message {
                who: peer.who(),
                text: message.text.into(),
                mid: message.mid,
                seq,
                direct: message.direct,
            });
            self.tell_deferred(id);
        }
    }

    pub(super) fn take_shown(&mut self, id: &PeerId, seq: u64) {
        let Some(peer) = self.roster.get_mut(id) else {
            return;
        };
        self.release.shown(peer, seq);
        if !self.settings.explicit_ack {
            self.taken(id, seq);
        }
    }

    /// A peer's messages up to this `seq` count as handed over.
    pub(super) fn taken(&mut self, id: &PeerId, seq: u64) {
        if let Some(conversation) = self
            .roster
            .get_mut(id)
            .and_then(|peer| peer.conversation_mut())
        {
            conversation.inbox.taken(seq);
        }
    }
}
