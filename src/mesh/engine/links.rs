//! Links: from the end of a handshake to the last cell, and which one stays where a pair has
//! several (PROTOCOL.md, section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Conn, FORWARDED_LINKS, LINKS_PER_SOURCE, Stage};
use super::{ConnId, Engine};
use crate::mesh::action::{Action, Close};
use crate::mesh::admission::{network, source};
use crate::mesh::backoff;
use crate::mesh::dialing::Claim;
use crate::mesh::event::{DownReason, Event, Predecessor, Undelivered};
use crate::mesh::peer::{Connected, Peer};
use crate::mesh::scope::Scopes;
use crate::mesh::settings::Cover;
use crate::proto::conversation::Conversation;
use crate::proto::frame::{Gossip, Hello, Listening};
use crate::proto::handshake::{Established, Message};
use crate::proto::link::{self, Introduction, Link, Sealed};
use crate::proto::ratchet::Direction;
use crate::proto::schedule::TickOffset;
use crate::proto::{Address, Fault, PeerId};

/// What became of one peer's links and waits to be told behind its messages, at most, beside what
/// the links bring that it has by then.
const MAX_DEFERRED: usize = 32;

impl Engine {
    /// The handshake is done: the connection becomes a link, on which each end has to prove first
    /// who it is.
    pub(super) fn begin_link(
        &mut self,
        now: Instant,
        id: ConnId,
        direction: Direction,
        established: Established,
    ) {
        let peer_id = established.peer;
        if self.has_enough(id, false) {
            self.close(now, id, Close::Abort);
            return;
        }
        if let Some((address, ip)) = self.dialled_at(id) {
            self.dialing.answered(&address, ip, peer_id);
        }
        let busy = direction == Direction::Listener;
        let link = Link::new(now, direction, established, busy);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::Linked(Box::new(link));
        }
    }

    /// The other end's first cell has opened: the peer is who it says. Where it can have a link it
    /// gets a HELLO; else the connection is closed before the peer could take it for one.
    fn take_proof(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Some(link) = conn.link() else {
            return;
        };
        let (peer_id, dialled) = (link.peer(), conn.dialled.clone());
        self.member_came(id);
        let is_needless = self.is_where_it_says(id, &peer_id);
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
        } else if self.defers_much(&peer_id) {
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
        let introduction = self.introduction(peer_id);
        let offset = self.draw_offset();
        if let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) {
            link.introduce(introduction, offset);
        }
    }

    /// Whether the peer may replace the link that it has, together with its connections on which
    /// HELLO is awaited: each of them may come to do so.
    fn may_replace(&self, now: Instant, id: ConnId, peer_id: &PeerId) -> bool {
        let awaited = self
            .arriving()
            .filter(|(conn, peer)| *conn != id && peer == peer_id);
        let awaited = awaited.count().try_into().unwrap_or(u32::MAX);
        let peer = self.roster.get(peer_id).filter(|peer| peer.is_up());
        peer.is_none_or(|peer| peer.may_replace(now, awaited))
    }

    /// Whether the front end is so slow that enough of the peer's links wait to be told already.
    fn defers_much(&self, peer_id: &PeerId) -> bool {
        let peer = self.roster.get(peer_id);
        peer.is_some_and(|peer| peer.showing.deferred.len() >= MAX_DEFERRED)
    }

    /// The connections whose peer gets a HELLO, and whose own is awaited.
    pub(super) fn arriving(&self) -> impl Iterator<Item = (ConnId, PeerId)> {
        let links = self
            .conns
            .iter()
            .filter_map(|(id, conn)| Some((*id, conn.link()?)));
        links
            .filter(|(_, link)| link.link_seq().is_some() && link.hello().is_none())
            .map(|(id, link)| (id, link.peer()))
    }

    /// What HELLO says to a peer. Its order grows with each HELLO, so that no connection without
    /// one counts for which of them is the newest.
    fn introduction(&mut self, peer_id: PeerId) -> Introduction {
        self.hellos = self.hellos.saturating_add(1);
        let link_seq = self.hellos;
        let session_id = self.session_id_of(peer_id);
        Introduction {
            interval_ms: match self.settings.cover {
                Cover::Every(interval) => interval.as_millis().try_into().unwrap_or(u32::MAX),
                Cover::Off => 0,
            },
            listening: self.listening(),
            name: self.name.clone(),
            link_seq,
            oldest_live: link_seq,
            session_id,
        }
    }

    /// A HELLO says which connections with its receiver are open as it is sealed.
    fn note_oldest_live(&mut self) {
        let is_next = |conn: &mut Conn| {
            let link = conn.link_mut()?;
            let peer = link.peer();
            link.next_hello().map(|_| peer)
        };
        let greeted: BTreeSet<PeerId> = self.conns.values_mut().filter_map(is_next).collect();
        for peer in greeted {
            let links = self.conns.values().filter_map(|conn| conn.link());
            let with = links.filter(|link| link.peer() == peer);
            let Some(oldest_live) = with.filter_map(Link::link_seq).min() else {
                continue;
            };
            let links = self.conns.values_mut().filter_map(|conn| conn.link_mut());
            let next = links.filter(|link| link.peer() == peer);
            for introduction in next.filter_map(Link::next_hello) {
                introduction.oldest_live = oldest_live;
            }
        }
    }

    /// This end's session_id of a peer, for HELLO: the same on all connections that wait for the peer's
    /// own, until it is forgotten and they are closed. What a link says goodbye with was forgotten.
    fn session_id_of(&mut self, peer_id: PeerId) -> u64 {
        let peer = self.roster.get(&peer_id);
        if let Some(conversation) = peer.and_then(Peer::conversation) {
            return conversation.session_id();
        }
        let links = self.conns.values().filter_map(|conn| conn.link());
        let told: BTreeMap<PeerId, u64> = links
            .filter(|link| link.hello().is_none())
            .filter_map(|link| Some((link.peer(), link.session_id()?)))
            .collect();
        let session_id = told
            .get(&peer_id)
            .copied()
            .or_else(|| self.announced.get(&peer_id))
            .unwrap_or_else(|| self.rng.next_u64().max(1));
        self.announced
            .tell(peer_id, session_id, |id| told.contains_key(id));
        session_id
    }

    /// Whether a dial was answered by somebody who is here already and has said itself that it is
    /// there: no second link is needed to know it.
    fn is_where_it_says(&self, id: ConnId, peer_id: &PeerId) -> bool {
        let dial = || {
            let conn = self.conns.get(&id)?;
            Some((conn.dialled.as_ref()?, Address::from(conn.remote?)))
        };
        let peer = self.roster.get(peer_id).filter(|peer| peer.is_up());
        let said = peer.and_then(|peer| peer.place.address.as_ref());
        said.zip(dial())
            .is_some_and(|(said, (dialled, remote))| said == dialled || *said == remote)
    }

    /// The address that a connection was dialled at, and where that led.
    fn dialled_at(&self, id: ConnId) -> Option<(Address, IpAddr)> {
        let conn = self.conns.get(&id)?;
        Some((conn.dialled.clone()?, conn.remote?.ip()))
    }

    /// A peer is at an address that was dialled, and may have replaced whoever was there before. If
    /// it is the one that it advertises, others may be told of it now.
    fn has_reached(&mut self, now: Instant, id: ConnId, address: &Address, peer_id: PeerId) {
        let Some((_, ip)) = self.dialled_at(id) else {
            return;
        };
        let before = self.dialing.reached(now, address, ip, peer_id);
        self.forget_replaced(now, before, &peer_id);
        let peer = self.roster.get_mut(&peer_id);
        let Some(peer) = peer.filter(|peer| peer.place.address.as_ref() == Some(address)) else {
            return;
        };
        if !std::mem::replace(&mut peer.place.is_reached, true) && peer.is_up() {
            self.tell_others(Gossip {
                id: peer_id,
                linked: true,
                address: Some(address.clone()),
            });
        }
    }

    /// Whether the source of a connection has as many links as it may, or (not `proven`) as many
    /// connections whose peer has not proven itself. Those whom the user named always get one.
    /// Loopback may have any number, but where it forwards from elsewhere those take no more than half
    /// of all.
    fn has_enough(&self, id: ConnId, proven: bool) -> bool {
        let ip = |conn: &Conn| conn.remote.map(|remote| remote.ip().to_canonical());
        let Some(conn) = self.conns.get(&id) else {
            return true;
        };
        let links = || {
            self.conns.values().filter(|conn| {
                conn.link()
                    .is_some_and(|link| link.link_seq().is_some() == proven)
            })
        };
        let forwarded = |conn: &Conn| !conn.is_dialled() && conn.is_with_own_computer();
        if self.settings.forwarded && forwarded(conn) {
            return links().filter(|conn| forwarded(conn)).count() >= FORWARDED_LINKS;
        }
        let Some(here) = ip(conn).filter(|ip| !ip.is_loopback()) else {
            return false;
        };
        let named = conn
            .dialled
            .as_ref()
            .is_some_and(|address| self.dialing.is_users(address));
        let alike = links()
            .filter_map(ip)
            .filter(|ip| source(*ip) == source(here));
        !named && alike.count() >= LINKS_PER_SOURCE
    }

    /// Whether there is a place for a peer that has proven itself; where there is none, one that is
    /// not up makes it, if there is one.
    fn find_place(&mut self, now: Instant, id: ConnId, peer_id: &PeerId) -> bool {
        let dialled = self.conns.get(&id).and_then(|conn| conn.dialled.as_ref());
        let named = dialled.is_some_and(|address| self.dialing.is_users(address));
        let arriving = self.arriving().map(|(_, peer)| peer).collect();
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

    fn draw_offset(&mut self) -> TickOffset {
        TickOffset {
            grid: self.grid,
            draw: backoff::fraction(&mut *self.rng),
        }
    }

    fn listening(&self) -> Listening {
        match (&self.settings.advertise, self.settings.listen_port) {
            (Some(address), _) => Listening::At(address.clone()),
            (None, Some(port)) => Listening::Port(port),
            (None, None) => Listening::No,
        }
    }

    pub(super) fn receive_on_link(&mut self, now: Instant, id: ConnId, cell: &mut Message) {
        let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) else {
            return;
        };
        let result = match (link.is_proven(), link.open(now, cell)) {
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
                self.shown_remote(id)
            );
            self.output.verbose(line);
            self.end_link(now, id, DownReason::Protocol);
            self.close(now, id, Close::Abort);
        }
    }

    /// HELLO: there is a link. Decides which connection stays.
    pub(super) fn take_hello(
        &mut self,
        now: Instant,
        id: ConnId,
        hello: Hello,
    ) -> Result<(), Fault> {
        let offset = self.draw_offset();
        let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) else {
            return Ok(());
        };
        link.greet(now, hello.clone(), offset)?;
        let (peer_id, session_id) = (link.peer(), link.session_id());
        if let Some(address) = self.conns.get(&id).and_then(|conn| conn.dialled.clone()) {
            self.dialing.linked(now, &mut *self.rng, &address);
        }
        let stays = self.connection_that_stays(peer_id);
        if stays != Some(id) {
            self.close(now, id, Close::Abort);
            return Ok(());
        }
        let remote = self.conns.get(&id).and_then(|conn| conn.remote);
        let Some(peer) = self.roster.entry(now, peer_id) else {
            self.close(now, id, Close::Abort);
            return Ok(());
        };
        let forgotten = peer
            .conversation()
            .is_some_and(|conversation| Some(conversation.session_id()) != session_id);
        let Some(session_id) =
            session_id.filter(|_| !forgotten && (!peer.is_up() || peer.replaces(now)))
        else {
            // The next connection will have the session_id that counts, and come after a while.
            self.close(now, id, Close::Abort);
            return Ok(());
        };
        // A HELLO that lies costs this connection, and changes nothing else.
        let Connected {
            resumed,
            lost,
            replaced,
            untold_end,
        } = peer
            .connect(now, id, session_id, &hello)
            .inspect_err(|_| self.dialing.rest(now, &mut *self.rng, &peer_id))?;
        peer.place.remote = remote.map(|remote| remote.ip());
        self.tell_deferred(&peer_id);
        self.announced.forget(&peer_id);
        if let Some(replaced) = replaced {
            self.close(now, replaced, Close::Abort);
        }
        self.undelivered(&peer_id, &lost, Undelivered::Restarted);
        if let Some(reason) = untold_end {
            self.tell_down(&peer_id, reason);
        }
        let was_up = untold_end == Some(DownReason::Replaced);
        self.learn_address(now, id, peer_id, &hello.listening);
        let instead_of = self.take_name(now, &peer_id, hello.name, was_up);
        self.tell_up(id, peer_id, resumed, instead_of);
        self.introduce(id, peer_id);
        self.drop_needless_dials(now, &peer_id);
        self.lifecycle.note_link();
        Ok(())
    }

    /// Of the connections with a peer on which HELLO came in, the one that both ends keep.
    fn connection_that_stays(&self, peer: PeerId) -> Option<ConnId> {
        let greeted = || {
            let links = self
                .conns
                .iter()
                .filter_map(|(id, conn)| Some((*id, conn.link()?)));
            links
                .filter(move |(_, link)| link.peer() == peer)
                .filter_map(|(id, link)| Some((id, link, link.hello()?)))
        };
        let newest = greeted().max_by_key(|(_, _, hello)| hello.link_seq)?.2;
        let lesser_dials = if self.id() < peer {
            Direction::Dialler
        } else {
            Direction::Listener
        };
        let rank = |link: &Link, hello: &Hello| {
            let order = match link.direction() {
                Direction::Dialler => link.link_seq(),
                Direction::Listener => Some(hello.link_seq),
            };
            (link.direction() == lesser_dials, order)
        };
        let alive = greeted().filter(|(_, _, hello)| hello.link_seq >= newest.oldest_live);
        alive
            .max_by_key(|(_, link, hello)| rank(link, hello))
            .map(|(id, _, _)| id)
    }

    /// Which addresses are taken from the other end of a link.
    pub(super) fn taken_over(&self, id: ConnId) -> Option<Scopes> {
        let conn = self.conns.get(&id)?;
        let (remote, dialled) = (conn.remote?.ip(), conn.is_dialled());
        Some(match conn.is_with_own_computer() {
            true if self.settings.forwarded => Scopes::PUBLIC,
            true => Scopes::over_own_computer(dialled),
            false => Scopes::over(remote),
        })
    }

    /// The address of this computer, other than loopback, at which the user dialled the other end:
    /// those who run beside it listen there too.
    pub(super) fn own_address_dialled(&self, id: ConnId) -> Option<IpAddr> {
        let conn = self.conns.get(&id)?;
        let ours = conn.is_dialled() && conn.is_with_own_computer() && !self.settings.forwarded;
        let ip = conn.remote?.ip().to_canonical();
        ours.then_some(ip)
    }

    /// Where the peer can be dialled, by its own word and by what is seen.
    fn learn_address(&mut self, now: Instant, id: ConnId, peer_id: PeerId, listening: &Listening) {
        let (Some(conn), Some(scopes)) = (self.conns.get(&id), self.taken_over(id)) else {
            return;
        };
        let (Some(remote), dialled) = (conn.remote, conn.is_dialled()) else {
            return;
        };
        // A port at the other end's own address. Where that is forwarded from somewhere else, its
        // ports are not there.
        let may_be_elsewhere = self.settings.forwarded && conn.is_with_own_computer();
        let at_its_own = |ip: IpAddr| ip == remote.ip().to_canonical() && !may_be_elsewhere;
        let (address, seen) = match listening {
            Listening::No => (None, true),
            Listening::Port(_) if dialled => (Some(Address::from(remote)), true),
            Listening::Port(port) if at_its_own(remote.ip().to_canonical()) => (
                Some(Address {
                    port: *port,
                    ..remote.into()
                }),
                true,
            ),
            Listening::At(address) if address.ip().is_some_and(at_its_own) => {
                (address.clone().heard_over(remote), true)
            }
            Listening::At(address) if scopes.admit_address(address) => {
                (address.clone().heard_over(remote), false)
            }
            Listening::Port(_) | Listening::At(_) => (None, false),
        };
        if let Some(address) = &address {
            let claim = Claim {
                address: address.clone(),
                peer: peer_id,
                teller: peer_id,
                network: network(remote.ip()),
                seen,
                scopes,
                polite: false,
            };
            self.dialing.learn(now, &mut *self.rng, &self.roster, claim);
        }
        // What nobody here has reached or seen is not passed on: it may be a stranger's.
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
        let (Some(conn), Some(peer)) = (self.conns.get(&id), self.roster.get(&peer_id)) else {
            return;
        };
        let (Some(link), Some(remote)) = (conn.link(), conn.remote) else {
            return;
        };
        let inbound = link.direction() == Direction::Listener;
        let addr = peer
            .place
            .address
            .clone()
            .filter(|_| inbound)
            .unwrap_or_else(|| Address::from(remote))
            .to_string();
        let sas = link.words().to_owned();
        let event = Event::PeerUp {
            who: peer.who(),
            addr,
            inbound,
            resumed,
            sas,
            instead_of,
        };
        self.tell_of_link(&peer_id, event);
        self.roster.note_addressees();
    }

    /// Gossip for a new link, and about it.
    fn introduce(&mut self, id: ConnId, peer_id: PeerId) {
        let linked = |(other, peer): (&PeerId, &Peer)| Gossip {
            id: *other,
            linked: true,
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
                self.tell_others(gossip);
            } else if let Some(conn) = self.conns.get_mut(&id) {
                conn.tell(gossip);
            }
        }
    }

    /// Tells everybody but the one whom it is about.
    pub(super) fn tell_others(&mut self, gossip: Gossip) {
        for conn in self.conns.values_mut() {
            let may_know = |link: &Link| link.peer() != gossip.id && link.hello().is_some();
            if conn.link().is_some_and(may_know) {
                conn.tell(gossip.clone());
            }
        }
    }

    /// Dials that have not come to a link yet, at addresses of a peer that is here now.
    fn drop_needless_dials(&mut self, now: Instant, peer: &PeerId) {
        let aims = |address: &Address| {
            self.dialing
                .get(address)
                .is_some_and(|target| target.is_for(peer))
        };
        let needless =
            |conn: &Conn| conn.link().is_none() && conn.dialled.as_ref().is_some_and(aims);
        let dials: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| needless(conn))
            .map(|(id, _)| *id)
            .collect();
        for id in dials {
            if let Some(address) = self.conns.get(&id).and_then(|conn| conn.dialled.clone()) {
                self.dialing.was_needless(now, &address, peer);
            }
            self.close(now, id, Close::Abort);
        }
    }

    pub(super) fn conns_with(&self, id: &PeerId) -> Vec<ConnId> {
        let with = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.link().is_some_and(|link| link.peer() == *id));
        with.map(|(conn, _)| *conn).collect()
    }

    pub(super) fn sent(&mut self, id: ConnId, lateness: Duration) {
        if let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) {
            link.sent(lateness);
        }
    }

    /// Passes over the ticks that are due on links whose last cell has not left.
    pub(super) fn skip_due(&mut self, now: Instant) {
        let links = self.conns.values_mut().filter_map(|conn| conn.link_mut());
        links.for_each(|link| link.skip(now));
    }

    /// Seals the cells that are due.
    pub(super) fn seal_due(&mut self, now: Instant) {
        self.note_oldest_live();
        let mut over = Vec::new();
        let mut broken = Vec::new();
        for (id, conn) in &mut self.conns {
            let Some(link) = conn.link_mut().filter(|link| !link.is_early(now)) else {
                continue;
            };
            let conversation = self
                .roster
                .get_mut(&link.peer())
                .and_then(|peer| peer.conversation_mut());
            // Before its HELLO a stranger has none.
            let mut none = Conversation::new(0, 0);
            let conversation = conversation.unwrap_or(&mut none);
            match link.seal(now, &mut *self.rng, conversation) {
                Ok(Some(Sealed { bytes, at })) => {
                    self.output.act(Action::Transmit {
                        conn: *id,
                        bytes,
                        at,
                    });
                    if link.is_over() {
                        over.push(*id);
                    }
                }
                Ok(None) => {}
                Err(_) => broken.push(*id),
            }
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
