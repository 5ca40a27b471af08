//! Answers to questions of the user: who can be named, lists and counters.

use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use crate::mesh::command::Tag;
use crate::mesh::event::{Event, LinkStats, PeerInfo, PeerState, PendingMessages, Who};
use crate::mesh::peer::Peer;
use crate::mesh::target::Target;
use crate::mesh::waits;
use crate::proto::{Address, CELL, PeerId};

impl Engine {
    /// Tells the editor which names can be completed, if that may have changed.
    pub(super) fn tell_addressees(&mut self) {
        if self.roster.take_note_of_addressees() && self.settings.interactive {
            let all = self.roster.addressees();
            self.output.tell(Event::Addressees(all));
        }
    }

    /// Whether the engine now tells the front end what the user waits for.
    fn reports_waits(&self) -> bool {
        self.settings.interactive && !self.lifecycle.is_leaving() && !self.output.is_backlogged()
    }

    /// Tells an interactive front end what the user waits for, if that has changed: dials while no
    /// peer is up, and acknowledgements.
    pub(super) fn tell_waits(&mut self, now: Instant) {
        if !self.reports_waits() {
            return;
        }
        self.roster.refresh();
        if self
            .waits
            .may_dial_others(self.dialing.version(), self.roster.version())
        {
            let dials = self.dialing.attempted(&self.roster);
            let alone = self.roster.up() == 0;
            if let Some(event) = self.waits.tell_dials(dials.filter(|_| alone)) {
                self.output.tell(event);
            }
        }
        let pending = match self.delivery.is_owed() {
            true => self.pending(now),
            false => Vec::new(),
        };
        if let Some(event) = self.waits.tell_pending(pending) {
            self.output.tell(event);
        }
    }

    /// When [`Self::tell_waits`] has something to report, if nothing else happens before.
    pub(super) fn waits_deadline(&self, now: Instant) -> Option<Instant> {
        if !self.reports_waits() || !self.delivery.is_owed() {
            return None;
        }
        let oldest = |(_, peer): (&PeerId, &Peer)| peer.conversation()?.outbox.oldest();
        let due = self
            .roster
            .iter()
            .filter_map(oldest)
            .map(|oldest| oldest + waits::UNTOLD);
        due.filter(|due| *due > now).min()
    }

    fn state(&self, id: &PeerId) -> Option<PeerState> {
        let peer = self.roster.get(id)?;
        if peer.is_up() {
            Some(PeerState::Up)
        } else if peer.departure().is_some() {
            None
        } else if peer.is_awaited() {
            let trying = self.is_trying(id);
            Some(if trying {
                PeerState::Retrying
            } else {
                PeerState::Away
            })
        } else if self.dialing.is_trying(id, &self.roster) || self.dialing.is_dialling(id) {
            Some(PeerState::Dialing)
        } else {
            (!peer.vouchers.is_empty()).then_some(PeerState::Known)
        }
    }

    /// The relay of a peer's link, if that is a circuit.
    pub(super) fn via(&self, peer: &Peer) -> Option<Arc<Who>> {
        let relay = peer.place.via.filter(|_| peer.is_up())?;
        Some(self.roster.get(&relay)?.who())
    }

    pub(super) fn list_peers(&mut self, now: Instant, tag: Tag) {
        let info = |(id, peer): (&PeerId, &Peer)| {
            let address = peer.place.address.as_ref();
            let address = address.or_else(|| Some(self.dialing.addresses(id).next()?.0));
            let target = address.and_then(|address| self.dialing.get(address));
            Some(PeerInfo {
                who: Some(peer.who()),
                addr: address.map(ToString::to_string),
                since: now.saturating_duration_since(peer.since),
                state: self.state(id)?,
                via: self.via(peer),
                ignored: peer.ignored,
                error: target.and_then(|target| target.error.clone()),
            })
        };
        let unanswered = |(address, target): (&Address, &Target)| PeerInfo {
            who: None,
            addr: Some(address.to_string()),
            since: now.saturating_duration_since(target.since),
            state: if target.stopped {
                PeerState::Known
            } else {
                PeerState::Dialing
            },
            via: None,
            ignored: false,
            error: target.error.clone(),
        };
        let peers = self.roster.iter().filter_map(info);
        let unanswered = self.dialing.unanswered(&self.roster).map(unanswered);
        let peers = peers.chain(unanswered).collect();
        self.output.tell(Event::Peers { tag, peers });
    }

    pub(super) fn list_pending(&mut self, now: Instant, tag: Tag) {
        let peers = self.pending(now);
        self.output.tell(Event::Pending { tag, peers });
    }

    /// The messages that each peer has not acknowledged.
    pub(super) fn pending(&self, now: Instant) -> Vec<PendingMessages> {
        let pending = |(_, peer): (&PeerId, &Peer)| {
            let outbox = &peer.conversation()?.outbox;
            Some(PendingMessages {
                who: peer.who(),
                messages: outbox.len(),
                bytes: outbox.bytes(),
                age: now.saturating_duration_since(outbox.oldest()?),
            })
        };
        self.roster.iter().filter_map(pending).collect()
    }

    pub(super) fn list_stats(&mut self, now: Instant, tag: Tag) {
        let links = self.connections.iter().filter_map(|(id, conn)| {
            let (link, remote) = (conn.link()?, conn.remote.as_ref()?);
            link.hello()?;
            let peer = self.roster.get(&link.peer())?;
            let outbox = &peer.conversation()?.outbox;
            let counters = link.counters();
            let (ratchet_steps, stepped_at) = link.ratchet_steps();
            let (epoch, since) = link.epoch();
            let bytes = |cells: u64| cells * CELL as u64;
            Some(LinkStats {
                who: peer.who(),
                addr: remote.address().to_string(),
                interval_ms: link.interval().map(|interval| interval.as_millis() as u64),
                cells_sent: counters.cells[0],
                cells_received: counters.cells[1],
                data_cells_sent: counters.data_cells[0],
                data_cells_received: counters.data_cells[1],
                bytes_sent: bytes(counters.cells[0]),
                bytes_received: bytes(counters.cells[1]),
                ticks_skipped: counters.ticks_skipped,
                worst_lateness: counters.worst_lateness,
                ratchet_steps,
                ratchet_age: now.saturating_duration_since(stepped_at),
                epoch,
                epoch_age: now.saturating_duration_since(since),
                round_trip: peer.uptake.round_trip,
                queued_messages: outbox.len(),
                queued_bytes: outbox.bytes(),
                up_for: now.saturating_duration_since(link.started_at()),
                carried_circuits: self.circuits.carried_on(id),
                carried_bytes: link.circuits().carried_bytes(),
            })
        });
        let links = links.collect();
        self.output.tell(Event::Stats { tag, links });
    }
}
