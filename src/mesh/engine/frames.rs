//! What each frame does, and how messages reach the front end.

use std::time::Instant;

use super::{ConnId, Engine};
use crate::mesh::targets::Claim;
use crate::proto::frame::{Fragment, Frame, Gossip, Linked};
use crate::proto::{Address, Fault, PeerId};

impl Engine {
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        id: ConnId,
        frame: Frame<'_>,
    ) -> Result<(), Fault> {
        // An earlier frame may have ended the link.
        let Some(link) = self.connections.link_mut(id) else {
            return Ok(());
        };
        link.expect_greeted(&frame)?;
        let peer_id = link.peer();
        match frame {
            Frame::Hello(hello) => return self.take_hello(now, id, hello),
            // The ratchet of a connection needs them, whether or not it is the link.
            Frame::Kem(fragment) => return link.take_kem(&mut *self.rng, &fragment),
            _ => {}
        }
        let peer = self.roster.get(&peer_id);
        if peer.is_none_or(|peer| peer.conn() != Some(id)) {
            // This end has already said goodbye on it.
            return Ok(());
        }
        match frame {
            Frame::Hello(_) | Frame::Kem(_) => {}
            Frame::Message(fragment) => self.take_fragment(&peer_id, &fragment)?,
            Frame::Ack(number) => self.take_ack(now, &peer_id, number)?,
            Frame::Withdraw(number) => {
                if let Some(conversation) = self.roster.conversation_mut(&peer_id) {
                    conversation.inbox.withdraw(number)?;
                }
                self.roster.tell_deferred(&peer_id, &mut self.output);
            }
            Frame::Peers(entries) => self.take_gossip(now, id, peer_id, entries),
            Frame::Name(name) => {
                let _ = self
                    .roster
                    .take_name(now, &peer_id, name, true, &mut self.output);
            }
            Frame::Circuit(frame) => self.take_circuit_frame(now, id, peer_id, frame)?,
            Frame::Observed(ip) => self.take_observed(id, ip)?,
            Frame::Local(addresses) => self.take_local(now, id, peer_id, &addresses)?,
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
            self.roster.tell_deferred(id, &mut self.output);
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
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let scopes = conn.scopes(&self.settings);
        let (Some(scopes), Some(remote)) = (scopes, conn.remote.clone()) else {
            return;
        };
        let beside = conn.own_address_dialled(self.settings.forwarded);
        let own = self.id();
        self.circuits.note_change();
        self.lan.note_change();
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
            if linked == Linked::No {
                if let Some(peer) = self.roster.get_mut(&id) {
                    peer.unvouch(&from);
                }
                continue;
            }
            let Some(peer) = self.roster.entry(now, id) else {
                continue;
            };
            peer.vouch(from, linked == Linked::Directly);
            let (needless, departed) = (peer.direct_conn().is_some(), peer.departure());
            let address = address.and_then(|address| remote.hear(address));
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
                    voucher: remote.voucher(),
                    seen: false,
                    scopes,
                    polite: own > id,
                };
                self.dialing.learn(now, &mut *self.rng, &self.roster, claim);
            }
        }
    }

    /// Releases messages to the front end, peer by peer, as the budget allows; then reports the
    /// goodbyes of peers without further messages.
    pub(super) fn release(&mut self, now: Instant) {
        self.release.run(&mut self.roster, &mut self.output);
        for id in self.roster.farewells() {
            self.tell_farewell(now, &id);
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
        if let Some(conversation) = self.roster.conversation_mut(id) {
            conversation.inbox.taken(seq);
        }
    }
}
