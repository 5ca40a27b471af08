//! What the engine tells people about itself: notices, lists, counts.

use std::time::{Duration, Instant};

use super::Engine;
use crate::mesh::command::Tag;
use crate::mesh::event::{Event, LinkStats, PeerInfo, PeerState};
use crate::mesh::peer::Peer;
use crate::proto::{CELL, PeerId};

/// Between two `auth_failed`.
const PAUSE: Duration = Duration::from_secs(1);

/// Events that the front end has not asked for, from which on diagnostics are left out: strangers
/// cause as many as they like, and those must not keep anything else from happening.
const DIAGNOSTICS: usize = 1024;

impl Engine {
    fn notice(&mut self, level: u8, text: String) {
        if !self.is_backlogged() && (level == 0 || self.events.len() < DIAGNOSTICS) {
            self.events.push_back(Event::Notice { level, text });
        }
    }

    /// Something that needs attention.
    pub(super) fn attention(&mut self, text: String) {
        self.notice(0, text);
    }

    /// Something for `-v`.
    pub(super) fn verbose(&mut self, text: String) {
        self.notice(1, text);
    }

    /// Something for `-vv`.
    pub(super) fn debug(&mut self, text: String) {
        self.notice(2, text);
    }

    /// A listener that was dialled has another phrase.
    pub(super) fn refused_by(&mut self, address: String) {
        self.refusals.untold += 1;
        self.refusals.last = Some((address, false));
    }

    /// A dialler has another phrase.
    pub(super) fn refused_from(&mut self, remote: String) {
        self.refusals.untold += 1;
        self.refusals.last = Some((remote, true));
    }

    pub(super) fn tell_refusals(&mut self, now: Instant) {
        if !self.is_backlogged() && self.refusals.told_at.is_none_or(|at| at + PAUSE <= now) {
            self.tell_refusals_now(now);
        }
    }

    pub(super) fn tell_refusals_now(&mut self, now: Instant) {
        if let Some((addr, inbound)) = self.refusals.last.take() {
            let count = std::mem::take(&mut self.refusals.untold);
            self.refusals.told_at = Some(now);
            self.events.push_back(Event::AuthFailed {
                addr,
                inbound,
                count,
            });
        }
    }

    pub(super) fn refusals_deadline(&self) -> Option<Instant> {
        self.refusals
            .last
            .as_ref()
            .filter(|_| !self.is_backlogged())?;
        Some(self.refusals.told_at? + PAUSE)
    }

    /// Tells the editor who can be named, if that may have changed.
    pub(super) fn tell_addressees(&mut self) {
        if std::mem::take(&mut self.tells_addressees) {
            let all = self.roster.addressees();
            self.events.push_back(Event::Addressees(all));
        }
    }

    fn state(&self, id: &PeerId) -> Option<PeerState> {
        let peer = self.roster.get(id)?;
        if peer.is_up() {
            Some(PeerState::Up)
        } else if peer.departure().is_some() {
            None
        } else if peer.is_awaited() {
            let trying = self.dialing.is_trying(id, &self.roster);
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

    pub(super) fn list_peers(&mut self, now: Instant, tag: Tag) {
        let info = |(id, peer): (&PeerId, &Peer)| {
            Some(PeerInfo {
                who: peer.who(),
                addr: peer
                    .place
                    .address
                    .as_ref()
                    .or_else(|| Some(self.dialing.addresses(id).next()?.0))
                    .map(ToString::to_string),
                since: now.saturating_duration_since(peer.since),
                state: self.state(id)?,
                ignored: peer.ignored,
            })
        };
        let peers = self.roster.iter().filter_map(info).collect();
        self.events.push_back(Event::Peers { tag, peers });
    }

    pub(super) fn list_stats(&mut self, now: Instant, tag: Tag) {
        let links = self.conns.values().filter_map(|conn| {
            let (link, addr) = (conn.link()?, conn.remote?);
            link.hello()?;
            let peer = self.roster.get(&link.peer())?;
            let outbox = &peer.conversation()?.outbox;
            let counters = link.counters();
            let (ratchet_steps, stepped_at) = link.ratchet_steps();
            let bytes = |cells: u64| cells * CELL as u64;
            Some(LinkStats {
                who: peer.who(),
                addr,
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
                round_trip: peer.uptake.round_trip,
                queued_messages: outbox.len(),
                queued_bytes: outbox.bytes(),
                up_for: now.saturating_duration_since(link.started_at()),
            })
        });
        let links = links.collect();
        self.events.push_back(Event::Stats { tag, links });
    }
}
