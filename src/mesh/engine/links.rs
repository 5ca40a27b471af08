//! Links: from the end of a handshake to the last cell, and which one stays if a pair has several
//! (PROTOCOL.md, section 10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ConnId, Engine};
use crate::mesh::action::Close;
use crate::mesh::conn::{Conn, Whereabouts};
use crate::mesh::connections::Finished;
use crate::mesh::event::{DownReason, Event, Predecessor, Undelivered};
use crate::mesh::peer::{Connected, Peer};
use crate::mesh::targets::Claim;
use crate::proto::conversation::Conversation;
use crate::proto::frame::{Gossip, Hello, Linked, Listening};
use crate::proto::handshake::{Established, Message};
use crate::proto::link::{self, Link};
use crate::proto::ratchet::Direction;
use crate::proto::{Address, Fault, PeerId};

/// How this end is linked to a peer that is up.
fn linked_to(peer: &Peer) -> Linked {
    match peer.place.is_relayed {
        true => Linked::ByCircuit,
        false => Linked::Directly,
    }
}

impl Engine {
    /// The handshake is done: the connection becomes a link, on which each end first has to prove
    /// its identity.
    pub(super) fn begin_link(
        &mut self,
        now: Instant,
        id: ConnId,
        direction: Direction,
        established: Established,
    ) {
        let peer_id = established.peer;
        if self.is_led_astray(now, id, &peer_id) || self.has_enough(id, false) {
            self.close(now, id, Close::Abort);
            return;
        }
        if let Some((address, site)) = self.connections.get(id).and_then(Conn::dialled_at) {
            self.dialing.answered(&address, site, peer_id);
        }
        let busy = direction == Direction::Listener;
        let period = self.settings.epoch_period;
        let link = Link::new(now, direction, established, busy, period);
        self.connections.begin_link(id, link);
    }

    /// The other end's first cell has opened, which proves its identity. If the peer may have a
    /// link, it gets a HELLO; otherwise the connection is closed before the peer could take it for
    /// a link.
    fn take_proof(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let Some(link) = conn.link() else {
            return;
        };
        let (peer_id, dialled) = (link.peer(), conn.dialled.clone());
        let is_relayed = conn.is_relayed();
        self.member_came(id);
        let hint = dialled.as_ref().and_then(|it| self.dialing.hint(it));
        let is_needless = match is_relayed {
            true => self.is_surely_here(now, &peer_id),
            false => {
                let is_known = self.is_where_it_says(id, &peer_id);
                is_known || self.is_needless_hint(now, hint, &peer_id)
            }
        };
        if let Some(address) = dialled {
            self.has_reached(now, id, &address, peer_id);
        }
        if is_needless {
            self.close(now, id, Close::Abort);
            return;
        }
        let may_link = if self.has_enough(id, true) {
            Err("too many links with its address")
        } else if !self.may_replace(now, id, &peer_id) {
            Err("it replaced its link too often")
        } else if self.roster.get(&peer_id).is_some_and(Peer::defers_much) {
            Err("its earlier messages have not been shown yet")
        } else if !self.find_place(now, id, &peer_id) {
            Err("no place is free")
        } else {
            Ok(())
        };
        if let Err(why) = may_link {
            let line = format!("refused a link with {}: {why}", self.roster.show(&peer_id));
            self.output.verbose(line);
            self.close(now, id, Close::Abort);
            return;
        }
        let conversation = self.roster.conversation(&peer_id);
        let known = conversation.map(Conversation::session_id);
        let (rng, name) = (&mut *self.rng, self.name.clone());
        let circuit_ms = self.circuits.interval_ms(id).filter(|_| is_relayed);
        self.connections.introduce(rng, id, circuit_ms, known, name);
    }

    /// Whether the source of a connection has enough links; see [`Connections::has_enough`].
    ///
    /// [`Connections::has_enough`]: crate::mesh::connections::Connections::has_enough
    fn has_enough(&self, id: ConnId, proven: bool) -> bool {
        let named = self.is_named(id);
        self.connections.has_enough(id, proven, named)
    }

    /// Whether the user named the address at which a connection was dialled.
    fn is_named(&self, id: ConnId) -> bool {
        let dialled = self.connections.dialled(id);
        dialled.is_some_and(|address| self.dialing.is_users(address))
    }

    /// Whether the peer may replace its present link. Each of its connections that awaits HELLO
    /// counts, as it may do so too.
    fn may_replace(&self, now: Instant, id: ConnId, peer_id: &PeerId) -> bool {
        let awaited = self
            .connections
            .arriving()
            .filter(|(conn, peer)| *conn != id && peer == peer_id);
        let awaited = awaited.count().try_into().unwrap_or(u32::MAX);
        let is_relayed = self.connections.get(id).is_some_and(Conn::is_relayed);
        let peer = self.roster.get(peer_id).filter(|peer| peer.is_up());
        // A direct connection takes over from a circuit for good.
        let peer = peer.filter(|peer| !peer.place.is_relayed || is_relayed);
        peer.is_none_or(|peer| peer.may_replace(now, awaited))
    }

    /// Whether a dial reached a peer that is already linked and has itself advertised this address:
    /// a second link would add no knowledge.
    fn is_where_it_says(&self, id: ConnId, peer_id: &PeerId) -> bool {
        let dial = || {
            let conn = self.connections.get(id)?;
            Some((conn.dialled.as_ref()?, conn.remote.as_ref()?.address()))
        };
        let direct = |peer: &&Peer| peer.direct_conn().is_some();
        let peer = self.roster.get(peer_id).filter(direct);
        let said = peer.and_then(|peer| peer.place.address.as_ref());
        said.zip(dial())
            .is_some_and(|(said, (dialled, remote))| said == dialled || *said == remote)
    }

    /// A peer has answered at a dialled address, and may have replaced the peer that was there
    /// before. If it advertises this very address, that may now be gossiped.
    fn has_reached(&mut self, now: Instant, id: ConnId, address: &Address, peer_id: PeerId) {
        let Some((_, site)) = self.connections.get(id).and_then(Conn::dialled_at) else {
            return;
        };
        let hint = self.dialing.hint(address);
        self.met_at(address, peer_id, hint);
        let before = self.dialing.reached(address, site, peer_id);
        self.forget_replaced(now, before, &peer_id);
        let peer = self.roster.get_mut(&peer_id);
        let Some(peer) = peer.filter(|peer| peer.place.address.as_ref() == Some(address)) else {
            return;
        };
        let peer_link = linked_to(peer);
        if !std::mem::replace(&mut peer.place.is_reached, true) && peer.is_up() {
            self.connections.tell_others(&Gossip {
                id: peer_id,
                linked: peer_link,
                address: Some(address.clone()),
            });
        }
    }

    /// Whether there is a place for a peer that has proven itself. If all are taken, a peer that is
    /// not up is dropped for it, if there is one.
    fn find_place(&mut self, now: Instant, id: ConnId, peer_id: &PeerId) -> bool {
        let named = self.is_named(id);
        let arriving = self.connections.arriving().map(|(_, peer)| peer).collect();
        if self.roster.has_place(peer_id, named, &arriving) {
            return true;
        }
        let Some(absent) = self
            .roster
            .least_missed()
            .filter(|absent| absent != peer_id)
        else {
            return false;
        };
        self.output.verbose(format!(
            "gave up waiting for {}: too many peers vanished without a goodbye",
            self.roster.show(&absent)
        ));
        self.give_up(now, &absent, Undelivered::Away);
        true
    }

    pub(super) fn receive_on_link(&mut self, now: Instant, id: ConnId, cell: &mut Message) {
        let Some(link) = self.connections.link_mut(id) else {
            return;
        };
        let is_proven = link.is_proven();
        let result = match (is_proven, link.open(now, &mut *self.rng, cell)) {
            (true, Ok(payload)) => link::frames(payload, |frame| self.take_frame(now, id, frame)),
            (false, Ok(_)) => {
                self.take_proof(now, id);
                Ok(())
            }
            (_, Err(fault)) => Err(fault),
        };
        if let Err(fault) = result {
            let line = format!(
                "closed the connection with {}: {fault}",
                self.connections.shown(id)
            );
            self.output.verbose(line);
            self.end_link(now, id, DownReason::Protocol);
            self.close(now, id, Close::Abort);
        }
    }

    /// HELLO has arrived: there is a link. Decides which connection stays.
    pub(super) fn take_hello(
        &mut self,
        now: Instant,
        id: ConnId,
        hello: Hello,
    ) -> Result<(), Fault> {
        let grid = self.connections.grid();
        let Some(link) = self.connections.link_mut(id) else {
            return Ok(());
        };
        link.greet(now, hello.clone(), grid)?;
        let (peer_id, session_id) = (link.peer(), link.session_id());
        if let Some(address) = self.connections.dialled(id).cloned() {
            self.dialing.linked(now, &mut *self.rng, &address);
        }
        let stays = self.connections.one_that_stays(peer_id);
        if stays != Some(id) {
            self.close(now, id, Close::Abort);
            return Ok(());
        }
        let conn = self.connections.get(id);
        let remote = conn.and_then(Conn::counts_at);
        let via = conn.and_then(Conn::relay).map(|relay| relay.id);
        let is_relayed = self.connections.link(id).is_some_and(Link::is_relayed);
        let Some(peer) = self.roster.entry(now, peer_id) else {
            self.close(now, id, Close::Abort);
            return Ok(());
        };
        let forgotten = peer
            .conversation()
            .is_some_and(|conversation| Some(conversation.session_id()) != session_id);
        let takes_over = peer.place.is_relayed && !is_relayed;
        let Some(session_id) = session_id
            .filter(|_| !forgotten && (!peer.is_up() || takes_over || peer.replaces(now)))
        else {
            // The next connection will announce the valid session_id, after a while.
            self.close(now, id, Close::Abort);
            return Ok(());
        };
        // A HELLO that lies costs its sender this connection, and changes nothing else.
        let Connected {
            resumed,
            lost,
            replaced,
            untold_end,
        } = peer
            .connect(now, id, session_id, &hello)
            .inspect_err(|_| self.dialing.rest(now, &mut *self.rng, &peer_id))?;
        peer.place.remote = remote;
        (peer.place.is_relayed, peer.place.via) = (is_relayed, via);
        self.roster.tell_deferred(&peer_id, &mut self.output);
        self.connections.forget_announced(&peer_id);
        if let Some(replaced) = replaced {
            self.close(now, replaced, Close::Abort);
        }
        self.undelivered(&peer_id, &lost, Undelivered::Restarted);
        if let Some(reason) = untold_end {
            self.tell_down(&peer_id, reason);
        }
        let was_up = untold_end == Some(DownReason::Replaced);
        self.learn_address(now, id, peer_id, &hello.listening);
        let (name, output) = (hello.name, &mut self.output);
        let instead_of = self.roster.take_name(now, &peer_id, name, was_up, output);
        self.tell_up(id, peer_id, resumed, instead_of);
        self.introduce(id, peer_id);
        self.tell_observed(id);
        self.lan.note_change();
        if !is_relayed {
            self.drop_needless_dials(now, &peer_id);
        }
        self.drop_needless_circuits(now, &peer_id);
        self.circuits.note_change();
        self.lifecycle.note_link();
        Ok(())
    }

    /// Learns where the peer can be dialled, from what it says and from the connection itself.
    fn learn_address(&mut self, now: Instant, id: ConnId, peer_id: PeerId, listening: &Listening) {
        let conn = self.connections.get(id);
        let Some(Whereabouts {
            address,
            seen,
            scopes,
            voucher,
        }) = conn.and_then(|conn| conn.whereabouts(listening, &self.settings))
        else {
            return;
        };
        if let Some(address) = &address {
            let claim = Claim {
                address: address.clone(),
                peer: peer_id,
                teller: peer_id,
                voucher,
                seen,
                scopes,
                polite: false,
            };
            self.dialing.learn(now, &mut *self.rng, &self.roster, claim);
            if seen {
                self.met_at(address, peer_id, None);
            }
        }
        // An address that nobody here has reached or observed is not gossiped: it may be a
        // stranger's.
        let target = address.as_ref().and_then(|it| self.dialing.get(it));
        let reached = seen || target.is_some_and(|target| target.peer == Some(peer_id));
        if let Some(peer) = self.roster.get_mut(&peer_id) {
            (peer.place.address, peer.place.is_reached) = (address, reached);
        }
    }

    fn tell_up(
        &mut self,
        id: ConnId,
        peer_id: PeerId,
        resumed: bool,
        instead_of: Option<Arc<Predecessor>>,
    ) {
        let (Some(conn), Some(peer)) = (self.connections.get(id), self.roster.get(&peer_id)) else {
            return;
        };
        let (Some(link), Some(remote)) = (conn.link(), &conn.remote) else {
            return;
        };
        let inbound = link.direction() == Direction::Listener;
        let addr = peer
            .place
            .address
            .clone()
            .filter(|_| inbound)
            .unwrap_or_else(|| remote.address())
            .to_string();
        let sas = link.words().to_owned();
        let event = Event::PeerUp {
            via: self.via(peer),
            who: peer.who(),
            addr,
            inbound,
            resumed,
            sas,
            instead_of,
        };
        self.roster.tell_of_link(&peer_id, event, &mut self.output);
        self.roster.note_addressees();
    }

    /// Queues gossip for the peer of a new link, and about it for others.
    fn introduce(&mut self, id: ConnId, peer_id: PeerId) {
        let linked = |(other, peer): (&PeerId, &Peer)| Gossip {
            id: *other,
            linked: linked_to(peer),
            address: peer.place.address.clone().filter(|_| peer.place.is_reached),
        };
        let up: Vec<Gossip> = self
            .roster
            .iter()
            .filter(|(_, peer)| peer.is_up())
            .map(linked)
            .collect();
        for gossip in up {
            if gossip.id == peer_id {
                self.connections.tell_others(&gossip);
            } else if let Some(conn) = self.connections.get_mut(id) {
                conn.tell(gossip);
            }
        }
    }

    /// Drops circuits, not yet links, for which this end has asked to a peer that is already here.
    pub(super) fn drop_needless_circuits(&mut self, now: Instant, peer: &PeerId) {
        let needless = |conn: &Conn| conn.awaited() == Some(*peer);
        let circuits = self.connections.iter().filter(|(_, conn)| needless(conn));
        let circuits: Vec<_> = circuits.map(|(id, _)| id).collect();
        for id in circuits {
            self.close(now, id, Close::Abort);
        }
    }

    /// Drops dials, not yet links, to addresses of a peer that is already here.
    fn drop_needless_dials(&mut self, now: Instant, peer: &PeerId) {
        let aims = |address: &Address| {
            self.dialing
                .get(address)
                .is_some_and(|target| target.is_for(peer))
        };
        let needless =
            |conn: &Conn| conn.link().is_none() && conn.dialled.as_ref().is_some_and(aims);
        let dials = self.connections.iter().filter(|(_, conn)| needless(conn));
        let dials: Vec<_> = dials.map(|(id, _)| id).collect();
        for id in dials {
            if let Some(address) = self.connections.dialled(id).cloned() {
                let hint = self.dialing.hint(&address);
                if self.dialing.was_needless(&address, peer) {
                    self.met_at(&address, *peer, hint);
                }
            }
            self.close(now, id, Close::Abort);
        }
    }

    pub(super) fn sent(&mut self, id: ConnId, lateness: Duration) {
        if let Some(link) = self.connections.link_mut(id) {
            link.sent(lateness);
        }
    }

    /// Seals the cells that are due.
    pub(super) fn seal_due(&mut self, now: Instant) {
        let (roster, output) = (&mut self.roster, &mut self.output);
        let rng = &mut *self.rng;
        let Finished {
            over,
            broken,
            carried,
            relayed,
        } = self.connections.seal_due(now, roster, rng, output);
        self.streams_sent(&carried);
        for (id, length) in relayed {
            self.will_seal(id, length);
        }
        for id in over {
            self.close(now, id, Close::Flush);
        }
        for id in broken {
            self.end_link(now, id, DownReason::Protocol);
            self.close(now, id, Close::Abort);
        }
    }
}
