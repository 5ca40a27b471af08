//! All connections: which of them are links with which peer, when each has something due, and which
//! one stays if a pair has several (PROTOCOL.md, section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::action::{Action, Close};
use super::admission::source;
use super::conn::Conn;
use super::conn_id::ConnId;
use super::deadlines::Deadlines;
use super::output::Output;
use super::peer::{MAX_PEERS, Peer};
use super::roster::Roster;
use super::session_ids::SessionIds;
use super::settings::{Cover, Settings};
use super::sorted::SortedSet;
use crate::proto::conversation::Conversation;
use crate::proto::frame::{CircuitField, Gossip, Hello, Listening};
use crate::proto::link::{Introduction, Link, Sealed};
use crate::proto::ratchet::Direction;
use crate::proto::schedule::TickGrid;
use crate::proto::{Address, DisplayName, PeerId};

/// The most links from one source that is not loopback.
const LINKS_PER_SOURCE: usize = 16;
/// The most links that come through a forwarder on this computer, with `--forwarded`.
const FORWARDED_LINKS: usize = MAX_PEERS / 2;

/// All connections, by id.
///
/// Deadlines are kept and not searched for at each step: every change to a connection is noted, and
/// [`Self::keep_deadlines`] updates the deadlines of those connections at the end of the step.
pub(super) struct Connections {
    own: PeerId,
    settings: Arc<Settings>,
    /// The address that this end advertises.
    advertise: Option<Address>,
    all: BTreeMap<ConnId, Conn>,
    /// The connections that are links, by peer.
    links: BTreeMap<PeerId, BTreeSet<ConnId>>,
    next: u64,
    /// Counts the HELLOs of this end.
    hellos: u32,
    /// Session_ids that this end has sent to peers whose own HELLO never arrived.
    announced: SessionIds,
    grid: TickGrid,
    /// When each connection times out.
    ends: Deadlines<ConnId>,
    /// When each link has a cell to seal.
    cells: Deadlines<ConnId>,
    /// Connections whose deadlines may be out of date.
    touched: SortedSet<ConnId>,
    /// Connections that have ended, or whose link has, since [`Self::take_ended`].
    ended: Vec<ConnId>,
    /// How often the deadlines of a connection were computed; tests count it.
    #[cfg(test)]
    pub looks: u64,
}

/// Connections that [`Connections::seal_due`] has finished with.
#[derive(Default)]
pub(super) struct Finished {
    /// GOODBYE is sealed.
    pub over: Vec<ConnId>,
    /// The ratchet cannot continue.
    pub broken: Vec<ConnId>,
    /// How many bytes of a circuit's stream each link has sent, by its number there.
    pub carried: Vec<(ConnId, u32, usize)>,
    /// How many bytes of cells were sealed for connections that circuits carry.
    pub relayed: Vec<(ConnId, usize)>,
}

impl Connections {
    /// No connections yet.
    pub(super) fn new(own: PeerId, settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            own,
            advertise: settings.advertise.clone(),
            settings,
            all: BTreeMap::new(),
            links: BTreeMap::new(),
            next: 0,
            hellos: 0,
            announced: SessionIds::default(),
            grid: TickGrid::new(now, Duration::ZERO),
            ends: Deadlines::default(),
            cells: Deadlines::default(),
            touched: SortedSet::default(),
            ended: Vec::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Advertises this address on new links, or none.
    pub(super) fn advertise(&mut self, address: Option<Address>) {
        self.advertise = address;
    }

    /// Sets the clock grid on which new links place their ticks.
    pub(super) fn set_grid(&mut self, grid: TickGrid) {
        self.grid = grid;
    }

    /// The clock grid on which new links place their ticks.
    pub(super) fn grid(&self) -> TickGrid {
        self.grid
    }

    /// Adds a connection.
    pub(super) fn add(&mut self, conn: Conn) -> ConnId {
        let id = ConnId(self.next);
        self.next += 1;
        self.touched.insert(id);
        self.all.insert(id, conn);
        id
    }

    /// The connection with this id.
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.all.get(&id)
    }

    /// The connection with this id, for changes.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.touched.insert(id);
        self.all.get_mut(&id)
    }

    /// Notes that the other end is at an address of this computer. No deadline depends on that.
    pub(super) fn note_own_computer(&mut self, id: ConnId) {
        if let Some(conn) = self.all.get_mut(&id) {
            conn.own_computer = true;
        }
    }

    /// The link of this connection.
    pub(super) fn link(&self, id: ConnId) -> Option<&Link> {
        self.get(id)?.link()
    }

    /// The link of this connection, for changes.
    pub(super) fn link_mut(&mut self, id: ConnId) -> Option<&mut Link> {
        self.get_mut(id)?.link_mut()
    }

    /// The address at which this end dialled the connection.
    pub(super) fn dialled(&self, id: ConnId) -> Option<&Address> {
        self.get(id)?.dialled.as_ref()
    }

    /// All connections, in order of id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.all.iter().map(|(id, conn)| (*id, conn))
    }

    /// All ids, in order.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.all.keys().copied().collect()
    }

    /// Whether there are no connections.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All links.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.all.values().filter_map(Conn::link)
    }

    /// The connections whose link is with this peer, in order of id.
    pub(super) fn with(&self, peer: &PeerId) -> Vec<ConnId> {
        let with = self.links.get(peer);
        with.into_iter().flatten().copied().collect()
    }

    /// The links with this peer, in order of id.
    fn links_with(&self, peer: &PeerId) -> impl Iterator<Item = (ConnId, &Link)> {
        let with = self.links.get(peer).into_iter().flatten();
        with.filter_map(|id| Some((*id, self.link(*id)?)))
    }

    /// The connections whose peer has been sent HELLO and has not sent its own.
    pub(super) fn arriving(&self) -> impl Iterator<Item = (ConnId, PeerId)> {
        self.iter()
            .filter_map(|(id, conn)| Some((id, conn.arriving()?)))
    }

    /// Whether a connection other than this one has a link with this peer, which has proven its
    /// identity there.
    pub(super) fn has_other_proven(&self, id: ConnId, peer: &PeerId) -> bool {
        let mut others = self.links_with(peer).filter(|(other, _)| *other != id);
        others.any(|(_, link)| link.is_proven())
    }

    /// The longest interval of this end's cells on any link.
    pub(super) fn longest_interval(&self) -> Duration {
        let intervals = self.links().filter_map(Link::interval);
        intervals.max().unwrap_or_default()
    }

    /// The other end of a connection, for the user.
    pub(super) fn shown(&self, id: ConnId) -> String {
        let shown = self.get(id).and_then(Conn::shown);
        shown.unwrap_or_else(|| "a closed connection".into())
    }

    /// The handshake of a connection is done: it now has this link.
    pub(super) fn begin_link(&mut self, id: ConnId, link: Link) {
        let peer = link.peer();
        if let Some(conn) = self.get_mut(id) {
            conn.begin_link(link);
            self.links.entry(peer).or_default().insert(id);
        }
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.end_link(id);
        self.ended.push(id);
        self.touched.insert(id);
        self.all.remove(&id)
    }

    /// Ends a connection in one of two ways. Returns the address that this end had dialled.
    pub(super) fn close(
        &mut self,
        now: Instant,
        id: ConnId,
        how: Close,
    ) -> Option<Option<Address>> {
        self.end_link(id);
        let conn = self.get_mut(id)?;
        let dialled = conn.dialled.take();
        match how {
            Close::Abort => drop(self.remove(id)),
            Close::Flush => conn.flush(now),
        }
        Some(dialled)
    }

    /// The connections that have ended since the last call, or whose link has.
    pub(super) fn take_ended(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.ended)
    }

    fn end_link(&mut self, id: ConnId) {
        let Some(peer) = self.link(id).map(Link::peer) else {
            return;
        };
        self.ended.push(id);
        if let Some(with) = self.links.get_mut(&peer) {
            with.remove(&id);
            if with.is_empty() {
                self.links.remove(&peer);
            }
        }
    }

    /// Whether the source of a connection has as many links as it may have, or, if not `proven`, as
    /// many connections whose peer has not proven itself. A peer that the user `named` always gets
    /// a link. Loopback may have any number, except that connections which are forwarded from
    /// elsewhere get at most half of all links.
    pub(super) fn has_enough(&self, id: ConnId, proven: bool, named: bool) -> bool {
        let Some(conn) = self.get(id) else {
            return true;
        };
        let links = || {
            let is_like = |link: &Link| link.link_seq().is_some() == proven;
            let all = self.all.values();
            all.filter(move |conn| conn.link().is_some_and(is_like))
        };
        let forwarded = |conn: &Conn| match conn.relay() {
            Some(relay) => relay.is_forwarded,
            None => !conn.is_dialled() && conn.is_with_own_computer(),
        };
        if self.settings.forwarded && forwarded(conn) {
            return links().filter(|conn| forwarded(conn)).count() >= FORWARDED_LINKS;
        }
        let Some(here) = conn.counts_at().filter(|ip| !ip.is_loopback()) else {
            return false;
        };
        let alike = links()
            .filter_map(Conn::counts_at)
            .filter(|ip| source(*ip) == source(here));
        !named && alike.count() >= LINKS_PER_SOURCE
    }

    /// Sends HELLO with this name to a peer that has proven itself. `circuit_ms`: the milliseconds
    /// between the cells of the circuit that carries the connection, if one does. `known` is this end's
    /// session_id of the conversation with the peer, if they have one. Each HELLO gets a greater
    /// `link_seq`, so only connections that sent one compete for being the newest.
    pub(super) fn introduce(
        &mut self,
        rng: &mut dyn CryptoRng,
        id: ConnId,
        circuit_ms: Option<u32>,
        known: Option<u64>,
        name: Option<DisplayName>,
    ) {
        let Some(peer) = self.link(id).map(Link::peer) else {
            return;
        };
        self.hellos = self.hellos.saturating_add(1);
        let link_seq = self.hellos;
        let session_id = known.unwrap_or_else(|| self.announce(rng, peer));
        let introduction = Introduction {
            interval_ms: match (circuit_ms, self.settings.cover) {
                (Some(interval_ms), _) => interval_ms,
                (None, Cover::Every(interval)) => {
                    interval.as_millis().try_into().unwrap_or(u32::MAX)
                }
                (None, Cover::Off) => 0,
            },
            circuits: CircuitField {
                carries: self.settings.carry && circuit_ms.is_none(),
                is_relayed: circuit_ms.is_some(),
            },
            local: self.settings.lan,
            listening: self.listening(),
            name,
            link_seq,
            oldest_live: link_seq,
            session_id,
        };
        let grid = self.grid;
        if let Some(link) = self.link_mut(id) {
            link.introduce(introduction, grid);
        }
    }

    fn listening(&self) -> Listening {
        // Where others see connections come from, a proxy is.
        let port = self.settings.listen_port.filter(|_| !self.settings.proxied);
        match (&self.advertise, port) {
            (Some(address), _) => Listening::At(address.clone()),
            (None, Some(port)) => Listening::Port(port),
            (None, None) => Listening::No,
        }
    }

    /// This end's session_id for a peer without a conversation: the same on all connections that
    /// await the peer's HELLO, until it is forgotten and they are closed. A link that sends GOODBYE
    /// does not count, as its session_id was forgotten.
    fn announce(&mut self, rng: &mut dyn CryptoRng, peer: PeerId) -> u64 {
        let told: BTreeMap<PeerId, u64> = self
            .links()
            .filter(|link| link.hello().is_none())
            .filter_map(|link| Some((link.peer(), link.session_id()?)))
            .collect();
        let session_id = told
            .get(&peer)
            .copied()
            .or_else(|| self.announced.get(&peer))
            .unwrap_or_else(|| rng.next_u64().max(1));
        let has_conn = |id: &PeerId| told.contains_key(id);
        self.announced.tell(peer, session_id, has_conn);
        session_id
    }

    /// The session_id sent to a peer is no longer valid, or now belongs to a conversation.
    pub(super) fn forget_announced(&mut self, peer: &PeerId) {
        self.announced.forget(peer);
    }

    /// The one connection that both ends keep, of those with this peer on which HELLO has arrived.
    pub(super) fn one_that_stays(&self, peer: PeerId) -> Option<ConnId> {
        let greeted = || {
            let links = self.links_with(&peer);
            links.filter_map(|(id, link)| Some((id, link, link.hello()?)))
        };
        let newest = greeted().max_by_key(|(_, _, hello)| hello.link_seq)?.2;
        let lesser_dials = if self.own < peer {
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
        // A direct connection comes before all circuits.
        alive
            .max_by_key(|(_, link, hello)| (!link.is_relayed(), rank(link, hello)))
            .map(|(id, _, _)| id)
    }

    /// Tells this user's new name on all links.
    pub(super) fn rename(&mut self, name: &DisplayName) {
        for id in self.ids() {
            if let Some(link) = self.link_mut(id) {
                link.rename(Some(name.clone()));
            }
        }
    }

    /// Queues gossip for all peers except the one that it is about.
    pub(super) fn tell_others(&mut self, gossip: &Gossip) {
        let may_know = |link: &Link| link.peer() != gossip.id && link.hello().is_some();
        for id in self.ids() {
            if self.link(id).is_some_and(may_know)
                && let Some(conn) = self.get_mut(id)
            {
                conn.tell(gossip.clone());
            }
        }
    }

    /// The connections with a tick due now that [`Self::skip_due`] skips unless their last cell has
    /// left by then.
    pub(super) fn in_doubt(&self, now: Instant) -> impl Iterator<Item = ConnId> {
        let due = self.cells.due(now).into_iter();
        due.filter(move |id| self.link(*id).is_some_and(|link| link.is_in_doubt(now)))
    }

    /// Skips the ticks that are due on links whose last cell has not left.
    pub(super) fn skip_due(&mut self, now: Instant) {
        for id in self.cells.due(now) {
            if let Some(link) = self.link_mut(id) {
                link.skip(now);
            }
        }
    }

    /// Seals the cells that are due, each with what is owed to the link's peer.
    pub(super) fn seal_due(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        rng: &mut dyn CryptoRng,
        output: &mut Output,
    ) -> Finished {
        self.note_changed(roster);
        let mut may_seal = self.cells.due(now);
        may_seal.extend(self.touched.iter().copied());
        self.note_oldest_live(&may_seal);
        let mut finished = Finished::default();
        for conn in may_seal {
            let Some(link) = self.link_mut(conn).filter(|link| !link.is_early(now)) else {
                continue;
            };
            let peer = roster.get_mut(&link.peer());
            // A stranger has no conversation before its HELLO.
            let mut none = Conversation::new(0, 0);
            let conversation = peer.and_then(Peer::conversation_mut).unwrap_or(&mut none);
            match link.seal(now, rng, conversation) {
                Ok(Some(Sealed { bytes, at, carried })) => {
                    let streams = carried.into_iter().map(|(id, length)| (conn, id, length));
                    finished.carried.extend(streams);
                    let (is_over, length) = (link.is_over(), bytes.len());
                    output.act(Action::Transmit { conn, bytes, at });
                    if self.get(conn).is_some_and(Conn::is_relayed) {
                        finished.relayed.push((conn, length));
                    }
                    if is_over {
                        finished.over.push(conn);
                    }
                }
                Ok(None) => {}
                Err(_) => finished.broken.push(conn),
            }
        }
        finished
    }

    /// Fixes in each HELLO which connections with its receiver are open at the moment of sealing.
    fn note_oldest_live(&mut self, may_seal: &SortedSet<ConnId>) {
        for id in may_seal.iter() {
            let Some(link) = self.all.get_mut(id).and_then(Conn::link_mut) else {
                continue;
            };
            if link.next_hello().is_none() {
                continue;
            }
            let peer = link.peer();
            let with = self.links_with(&peer);
            let oldest_live = with.filter_map(|(_, link)| link.link_seq()).min();
            let link = self.all.get_mut(id).and_then(Conn::link_mut);
            if let (Some(hello), Some(oldest_live)) = (link.and_then(Link::next_hello), oldest_live)
            {
                hello.oldest_live = oldest_live;
            }
        }
    }

    /// What these peers are owed may have changed, and so may what their links have to seal.
    fn note_changed(&mut self, roster: &mut Roster) {
        for peer in roster.drain_changed() {
            self.touched
                .extend(self.links.get(&peer).into_iter().flatten().copied());
        }
    }

    /// Updates the deadlines of the connections that were changed.
    pub(super) fn keep_deadlines(&mut self, now: Instant, roster: &mut Roster) {
        self.note_changed(roster);
        for id in self.touched.drain() {
            #[cfg(test)]
            (self.looks += 1);
            let conn = self.all.get(&id);
            let ends = conn.map(|conn| conn.ends_at(self.settings.inactivity));
            let link = conn.and_then(Conn::link);
            let cell = link.and_then(|link| {
                let peer = roster.get(&link.peer());
                match peer.and_then(Peer::conversation) {
                    Some(conversation) => link.deadline(now, conversation),
                    None => link.deadline(now, &Conversation::new(0, 0)),
                }
            });
            self.ends.set(id, ends);
            self.cells.set(id, cell);
        }
    }

    /// The connections that have timed out.
    pub(super) fn expired(&self, now: Instant) -> SortedSet<ConnId> {
        self.ends.due(now)
    }

    /// The first moment at which a connection times out or has a cell to seal.
    pub(super) fn deadline(&self) -> Option<Instant> {
        debug_assert!(
            self.touched.is_empty(),
            "each step ends with deadlines kept"
        );
        self.ends
            .first()
            .into_iter()
            .chain(self.cells.first())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::conn::tests::established;
    use crate::proto::epochs;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn connections(now: Instant) -> (Connections, Roster) {
        let (own, settings) = (PeerId([0xff; 32]), Settings::default());
        let roster = Roster::new(own, settings.give_up);
        (Connections::new(own, Arc::new(settings), now), roster)
    }

    fn accept(connections: &mut Connections, now: Instant, host: u8) -> ConnId {
        let remote = ([192, 0, 2, host], 9000).into();
        connections.add(Conn::accept(now, remote, false, false))
    }

    #[test]
    fn only_touched_connections_are_looked_at() {
        let now = Instant::now();
        let (mut connections, mut roster) = connections(now);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut output = Output::default();
        let ids: Vec<_> = (0..200)
            .map(|host| accept(&mut connections, now, host))
            .collect();
        connections.keep_deadlines(now, &mut roster);
        assert_eq!(connections.looks, 200);
        for step in 0..100 {
            connections.get_mut(ids[7]);
            connections.skip_due(now);
            connections.seal_due(now, &mut roster, &mut rng, &mut output);
            connections.keep_deadlines(now, &mut roster);
            assert!(connections.deadline().is_some());
            assert_eq!(connections.looks, 201 + step);
        }
    }

    #[test]
    fn slow_handshake_expires_unless_it_was_closed() {
        let now = Instant::now();
        let (mut connections, mut roster) = connections(now);
        let [slow, closed, flushed] = [1, 2, 3].map(|host| accept(&mut connections, now, host));
        connections.keep_deadlines(now, &mut roster);
        let at = connections.deadline().unwrap();
        assert!(connections.expired(now).is_empty());
        assert_eq!(connections.close(now, closed, Close::Abort), Some(None));
        assert_eq!(connections.close(now, flushed, Close::Flush), Some(None));
        assert_eq!(connections.close(now, closed, Close::Abort), None);
        connections.keep_deadlines(now, &mut roster);
        assert!(connections.deadline().unwrap() < at, "little time to flush");
        assert!(connections.expired(at).iter().eq([&slow, &flushed]));
    }

    /// A connection of a peer, with its handshake done.
    fn link(connections: &mut Connections, now: Instant, seed: u64) -> (ConnId, PeerId) {
        let id = accept(connections, now, 1);
        let established = established(seed);
        let peer = established.peer;
        let link = Link::new(now, Direction::Listener, established, false, epochs::PERIOD);
        connections.begin_link(id, link);
        (id, peer)
    }

    #[test]
    fn links_are_found_by_peer_until_they_end() {
        let now = Instant::now();
        let (mut connections, _) = connections(now);
        let [(first, peer), (second, same), (other, another)] =
            [1, 1, 2].map(|seed| link(&mut connections, now, seed));
        assert!(peer == same && peer != another);
        assert_eq!(connections.with(&peer), [first, second]);
        assert_eq!(connections.with(&another), [other]);
        assert!(
            !connections.has_other_proven(first, &peer),
            "neither is proven"
        );
        connections.close(now, first, Close::Flush);
        assert_eq!(connections.with(&peer), [second]);
        connections.remove(second);
        assert!(connections.with(&peer).is_empty() && connections.links.len() == 1);
    }

    #[test]
    fn hello_names_the_oldest_link_that_is_open_as_it_is_sealed() {
        let now = Instant::now();
        let (mut connections, mut roster) = connections(now);
        let (mut rng, mut output) = (ChaCha20Rng::seed_from_u64(1), Output::default());
        let [first, second, third] = [1, 1, 1].map(|seed| link(&mut connections, now, seed).0);
        for id in [first, second, third] {
            connections.introduce(&mut rng, id, None, None, None);
        }
        // The first cells, which carry only padding.
        connections.seal_due(now, &mut roster, &mut rng, &mut output);
        connections.keep_deadlines(now, &mut roster);
        assert_eq!(connections.cells.first(), None, "they have not left");
        connections.remove(first);
        connections.link_mut(third).unwrap().sent(Duration::ZERO);
        connections.keep_deadlines(now, &mut roster);
        let due = connections.cells.due(now);
        assert!(due.iter().eq([&third]));
        connections.note_oldest_live(&due);
        let link = connections.link_mut(third).unwrap();
        assert_eq!(link.link_seq(), Some(3));
        assert_eq!(link.next_hello().map(|hello| hello.oldest_live), Some(2));
    }
}
