//! Connections up to the end of their handshake.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Channel, ConnId, Engine};
use crate::mesh::action::{Action, Close, CloseCause};
use crate::mesh::admission::{Evicted, Verdict};
use crate::mesh::dialing::DialStep;
use crate::mesh::peer::MAX_PEERS;
use crate::mesh::peer::Peer;
use crate::proto::cell::Assembler;
use crate::proto::conversation::Conversation;
use crate::proto::frame::Gossip;
use crate::proto::handshake::{
    Dialler, DiallerConfirming, Established, HandshakeError, Listener, Message,
};
use crate::proto::link::Link;
use crate::proto::ratchet::Direction;
use crate::proto::{Address, CELL, Fault, Host};

/// From the TCP connection to the end of the handshake (PROTOCOL.md, section 11).
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From Ta to Tb, or what stands in its place.
const ANSWER: Duration = Duration::from_millis(20);
/// After GOODBYE or a refusal: for the rim to write it out.
const FLUSH: Duration = Duration::from_secs(5);
/// Links from one source that is not loopback.
pub(super) const LINKS_PER_SOURCE: usize = 16;
/// Links that came through a forwarder on this computer, with `--forwarded`.
pub(super) const FORWARDED_LINKS: usize = MAX_PEERS / 2;

/// One connection.
pub(super) struct Conn {
    /// The address that was dialled; none if the other end dialled.
    pub dialled: Option<Address>,
    /// The other end, once known.
    pub remote: Option<SocketAddr>,
    /// The other end is at another address of this computer than loopback.
    pub own_computer: bool,
    /// What it has come to.
    pub stage: Stage,
    assembler: Assembler,
    /// Until when the present stage may last; links have clocks of their own.
    deadline: Instant,
}

/// What a connection has come to.
pub(super) enum Stage {
    /// TCP and TLS are being made.
    Connecting,
    /// The dialler has sent Ya.
    SentYa(Box<Dialler>),
    /// The dialler has sent Ta.
    SentTa(Box<DiallerConfirming>),
    /// The listener waits for Ya.
    AwaitsYa(Channel),
    /// The listener has sent Yb.
    SentYb(Box<Listener>),
    /// Ta has come, and waits for its turn.
    Waits(Box<Listener>, Message),
    /// The handshake is done.
    Linked(Box<Link>),
    /// The rim writes out what is left: a GOODBYE, or the answer to a stranger.
    Flushing {
        /// Which of the two.
        goodbye: bool,
    },
    /// Between two stages, while a message is worked on.
    Moving,
}

impl Conn {
    /// Tells the peer of a link something about another one.
    pub fn tell(&mut self, mut gossip: Gossip) {
        let Some(remote) = self.remote else {
            return;
        };
        gossip.address = gossip.address.and_then(|address| address.told_over(remote));
        if let Some(link) = self.link_mut() {
            link.tell(gossip);
        }
    }

    fn new(dialled: Option<Address>, remote: Option<SocketAddr>, deadline: Instant) -> Self {
        Self {
            dialled,
            remote,
            own_computer: false,
            stage: Stage::Connecting,
            assembler: Assembler::default(),
            deadline,
        }
    }

    /// The link, after the handshake.
    pub fn link(&self) -> Option<&Link> {
        match &self.stage {
            Stage::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// The link, to be changed.
    pub fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// Whether GOODBYE was given to the rim, which has not said yet that it is out.
    pub fn has_said_goodbye(&self) -> bool {
        matches!(self.stage, Stage::Flushing { goodbye: true })
    }

    /// Whether this end dialled.
    pub fn is_dialled(&self) -> bool {
        self.dialled.is_some()
    }

    /// Whether the other end is this computer itself, as far as this end can see: a forwarder may
    /// pass everything on to or from anywhere.
    pub fn is_with_own_computer(&self) -> bool {
        self.own_computer || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// The other end's IP address, once known.
    pub fn ip(&self) -> Option<IpAddr> {
        self.remote.map(|remote| remote.ip().to_canonical())
    }
}

impl Engine {
    fn new_conn(&mut self, conn: Conn) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(id, conn);
        id
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        own_computer: bool,
    ) -> Option<ConnId> {
        if self.lifecycle.is_leaving() || self.output.is_backlogged() {
            return None;
        }
        let ip = remote.ip().to_canonical();
        let mut conn = Conn::new(None, Some(remote), now + HANDSHAKE);
        conn.own_computer = own_computer;
        let own_computer = conn.is_with_own_computer();
        let id = self.new_conn(conn);
        self.output
            .debug(format!("incoming connection from {remote}"));
        let evicted = self.admission.accept(id, ip, own_computer, &mut *self.rng);
        self.evict(now, evicted.filter(|evicted| *evicted != id));
        if evicted == Some(id) {
            // Nobody else has heard of it yet.
            self.conns.remove(&id);
            return None;
        }
        Some(id)
    }

    /// Closes a connection that lost its place.
    fn evict(&mut self, now: Instant, evicted: Evicted) {
        if let Some(evicted) = evicted {
            self.output.debug(format!(
                "too many unauthenticated connections; closing one from {}",
                self.shown_remote(evicted)
            ));
            self.close(now, evicted, Close::Abort);
        }
    }

    /// Gives up a connection that has proven nothing, if there is one, for the sake of one that
    /// cannot be accepted.
    pub(super) fn make_room(&mut self, now: Instant) {
        let evicted = self.admission.make_room(&mut *self.rng);
        self.evict(now, evicted);
    }

    /// Dials what is due.
    pub(super) fn dial(&mut self, now: Instant) {
        while !self.lifecycle.is_leaving()
            && !self.output.is_backlogged()
            && let Some(addr) = self.dialing.next(now, &self.roster)
        {
            let conn = self.new_conn(Conn::new(Some(addr.clone()), None, now + HANDSHAKE));
            self.output.debug(format!("dialling {addr}"));
            let step = self.dialing.dialled(now, &self.roster, &addr, conn);
            self.output.act(match (step, addr.host) {
                (DialStep::LookUp, Host::Name(name)) => Action::LookUp { conn, name },
                (_, host) => {
                    let port = addr.port;
                    let addr = Address { host, port };
                    Action::Dial { conn, addr }
                }
            });
        }
    }

    /// What a name of gossip stands for is known: it is judged anew each time.
    pub(super) fn looked_up(&mut self, now: Instant, id: ConnId, numbers: &[IpAddr]) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (Stage::Connecting, Some(address)) = (&conn.stage, conn.dialled.clone()) else {
            return;
        };
        conn.deadline = now + HANDSHAKE;
        let numbers: Vec<_> = numbers.iter().map(IpAddr::to_canonical).collect();
        if let Some(ip) = self.dialing.looked_up(&address, &numbers) {
            let addr = Address::from_ip(ip, address.port);
            self.output.debug(format!("{address} resolves to {addr}"));
            self.output.act(Action::Dial { conn: id, addr });
            return;
        }
        let mut numbers = numbers.iter();
        let why = match numbers.any(|ip| self.dialing.may_lead_to(&address, *ip)) {
            true => "too many dials to gossiped addresses there have failed",
            false => "a peer gossiped this name, and it resolves to this computer or its network",
        };
        self.tell_failed_dial(&address, "", false, CloseCause::Failed(why.into()));
        self.close(now, id, Close::Abort);
    }

    pub(super) fn connected(
        &mut self,
        now: Instant,
        id: ConnId,
        remote: SocketAddr,
        channel: Channel,
    ) {
        let Some(conn) = self
            .conns
            .get_mut(&id)
            .filter(|conn| matches!(conn.stage, Stage::Connecting))
        else {
            return;
        };
        conn.remote = Some(remote);
        if conn.dialled.is_none() {
            conn.stage = Stage::AwaitsYa(channel);
            return;
        }
        let (state, ya) = Dialler::start(channel, &self.phrase, &self.identity, &mut *self.rng);
        conn.stage = Stage::SentYa(Box::new(state));
        conn.deadline = now + HANDSHAKE;
        self.transmit(id, ya, None);
    }

    pub(super) fn received(&mut self, now: Instant, id: ConnId, mut bytes: &[u8]) {
        while let Some(conn) = self.conns.get_mut(&id) {
            if matches!(conn.stage, Stage::Flushing { .. }) {
                return;
            }
            let Some(cell) = conn.assembler.next(&mut bytes) else {
                return;
            };
            self.receive_cell(now, id, cell);
        }
    }

    fn receive_cell(&mut self, now: Instant, id: ConnId, mut cell: Message) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.link().is_some() {
            self.receive_on_link(now, id, &mut cell);
            return;
        }
        match std::mem::replace(&mut conn.stage, Stage::Moving) {
            Stage::SentYa(state) => match state.receive(&cell, &self.identity) {
                Ok((state, ta)) => {
                    conn.stage = Stage::SentTa(Box::new(state));
                    self.transmit(id, ta, None);
                }
                Err(error) => self.handshake_failed(now, id, error, Close::Abort),
            },
            Stage::SentTa(state) => match state.receive(&cell, &self.identity) {
                Ok(established) => self.established(now, id, Direction::Dialler, established),
                Err(error) => self.handshake_failed(now, id, error, Close::Abort),
            },
            Stage::AwaitsYa(channel) => self.answer_ya(now, id, channel, &cell),
            Stage::SentYb(state) => self.ask_answer(now, id, state, cell),
            // Whoever sends more than one message at a time does not speak the protocol.
            _ => {
                self.handshake_failed(now, id, Fault("a message out of turn").into(), Close::Abort)
            }
        }
    }

    fn answer_ya(&mut self, now: Instant, id: ConnId, channel: Channel, ya: &[u8; CELL]) {
        let evicted = self.admission.advance(id, &mut *self.rng);
        self.evict(now, evicted);
        if evicted == Some(id) {
            return;
        }
        match Listener::answer(channel, &self.phrase, &self.identity, &mut *self.rng, ya) {
            Ok((state, yb)) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.stage = Stage::SentYb(Box::new(state));
                }
                self.transmit(id, yb, None);
            }
            Err(error) => self.handshake_failed(now, id, error, Close::Abort),
        }
    }

    /// The listener was dialled by its own process, which the tag has proven. A key alone could be
    /// anybody's who was dialled and passed it on to see whether it is known here.
    fn found_itself(&mut self, now: Instant, key: &[u8; 32]) {
        let own =
            |conn: &Conn| matches!(&conn.stage, Stage::SentTa(dialler) if dialler.key() == key);
        let dial = self.conns.iter().find(|(_, conn)| own(conn));
        let Some(dial) = dial.map(|(dial, _)| *dial) else {
            return;
        };
        if let Some(address) = self.conns.get(&dial).and_then(|conn| conn.dialled.clone()) {
            self.dialing.is_own(now, &address);
            self.output.debug(format!("{address} is this process"));
        }
        self.close(now, dial, Close::Abort);
    }

    fn ask_answer(&mut self, now: Instant, id: ConnId, state: Box<Listener>, ta: Message) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        match self.admission.ask_answer(now, id, &mut *self.rng) {
            Verdict::Answer => self.answer_ta(now, id, *state, &ta),
            Verdict::Wait => conn.stage = Stage::Waits(state, ta),
            Verdict::Refuse(loser) => {
                conn.stage = Stage::Waits(state, ta);
                self.output.debug(format!(
                    "too many connections from {} wait for an answer; closing one",
                    self.shown_remote(loser)
                ));
                self.close(now, loser, Close::Abort);
            }
        }
    }

    /// Admits those whose turn has come, and answers those who waited for it.
    pub(super) fn admit_pending(&mut self, now: Instant) {
        while let Some(conn) = self.admission.next_turn(now, &mut *self.rng) {
            let freely = false;
            self.output.act(Action::Admit { conn, freely });
        }
        while let Some(id) = self.admission.next_answer(now, &mut *self.rng) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            if let Stage::Waits(state, ta) = std::mem::replace(&mut conn.stage, Stage::Moving) {
                self.answer_ta(now, id, *state, &ta);
            }
        }
    }

    fn answer_ta(&mut self, now: Instant, id: ConnId, state: Listener, ta: &[u8; CELL]) {
        let key = state.dialler_key();
        let (result, answer) = state.receive(ta, &self.identity, &mut *self.rng);
        self.transmit(id, answer, Some(now + ANSWER));
        match result {
            Ok(established) => self.established(now, id, Direction::Listener, established),
            // The answer looks the same from the wire, and must still go out.
            Err(HandshakeError::Own) => {
                self.found_itself(now, &key);
                self.close(now, id, Close::Flush);
            }
            Err(error) => self.handshake_failed(now, id, error, Close::Flush),
        }
    }

    /// The phrase was right. Who it is, is proven with a first cell.
    fn established(
        &mut self,
        now: Instant,
        id: ConnId,
        direction: Direction,
        established: Established,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.stage = Stage::Moving;
        self.admission.leave(id);
        if direction == Direction::Listener {
            let (conn, freely) = (id, true);
            self.output.act(Action::Admit { conn, freely });
        }
        self.begin_link(now, id, direction, established);
    }

    /// The other end of a connection has proven who it is: if it dialled, a member came from there.
    pub(super) fn member_came(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id).filter(|conn| !conn.is_dialled()) else {
            return;
        };
        if let Some(ip) = conn.ip() {
            let own_computer = conn.is_with_own_computer();
            self.admission.member_came(ip, own_computer);
        }
    }

    fn handshake_failed(&mut self, now: Instant, id: ConnId, error: HandshakeError, how: Close) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (remote, dialled) = (self.shown_remote(id), conn.dialled.clone());
        match (&error, &dialled) {
            (HandshakeError::OtherPhrase, Some(address)) => {
                let stopped = self.dialing.refused(now, &mut *self.rng, address);
                self.output.refused(address.to_string(), false);
                if stopped {
                    self.output.attention(format!(
                        "gave up dialling {address}: it had another passphrase five times in a row; /connect tries again"
                    ));
                }
            }
            (HandshakeError::OtherPhrase, None) => {
                self.admission.wrong(now, id);
                self.output.refused(remote, true);
            }
            (HandshakeError::Own, Some(address)) => self.dialing.is_own(now, address),
            (HandshakeError::OtherVersion(_), Some(address)) => {
                let cause = CloseCause::Failed(error.to_string());
                self.tell_failed_dial(address, "", false, cause);
            }
            (error, _) => self
                .output
                .verbose(format!("closed the connection with {remote}: {error}")),
        }
        self.close(now, id, how);
    }

    /// Ends a connection from this end, whatever its stage. Links say first what their end means.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, how: Close) {
        self.admission.leave(id);
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let dialled = conn.dialled.take();
        match how {
            Close::Abort => {
                self.conns.remove(&id);
            }
            Close::Flush => {
                let goodbye = conn.link().is_some_and(Link::is_over);
                conn.stage = Stage::Flushing { goodbye };
                conn.deadline = now + FLUSH;
            }
        }
        if let Some(address) = dialled {
            self.dial_over(now, id, &address, false);
        }
        self.output.act(Action::Close { conn: id, how });
    }

    /// If the address still counts this connection as its dial, it has failed.
    fn dial_over(&mut self, now: Instant, id: ConnId, address: &Address, broke_off: bool) {
        let target = self.dialing.get(address);
        if !target.is_some_and(|target| target.is_dialled_by(id)) {
            return;
        }
        match broke_off {
            true => self.dialing.broke_off(now, &mut *self.rng, address),
            false => self.dialing.failed(now, &mut *self.rng, address),
        }
    }

    pub(super) fn closed(&mut self, now: Instant, id: ConnId, cause: CloseCause) {
        self.admission.leave(id);
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (stage, broke_off) = (conn.stage_name(), conn.has_sent_ta());
        if conn.link().is_some() {
            self.link_lost(now, id);
        } else if let Some(address) = conn.dialled.clone() {
            self.tell_failed_dial(&address, &stage, broke_off, cause);
        } else if let (CloseCause::Failed(why), false) =
            (&cause, matches!(conn.stage, Stage::Flushing { .. }))
        {
            let line = format!("lost the connection with {}: {why}", self.shown_remote(id));
            self.output.verbose(line);
        }
        if let Some(address) = self.conns.remove(&id).and_then(|conn| conn.dialled) {
            self.dial_over(now, id, &address, broke_off);
        }
    }

    fn tell_failed_dial(
        &mut self,
        address: &Address,
        stage: &str,
        broke_off: bool,
        cause: CloseCause,
    ) {
        let why = match cause {
            CloseCause::Failed(why) => why,
            CloseCause::Ended => format!("the connection ended {stage}"),
        };
        let first = self.dialing.get(address).is_none_or(|target| {
            let soon_again = broke_off && target.has_quick_tries();
            target.failures == 0 && !soon_again
        });
        let line = format!("cannot reach {address}: {why}; trying again");
        if first && self.dialing.is_users(address) {
            self.output.attention(line)
        } else {
            self.output.verbose(line)
        }
    }

    /// Closes what has taken too long.
    pub(super) fn expire_conns(&mut self, now: Instant) {
        let inactivity = self.settings.inactivity;
        let late: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends_at(inactivity) <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(conn) = self.conns.get(&id) else {
                continue;
            };
            if conn.link().is_some() {
                self.link_timed_out(now, id);
                continue;
            }
            if conn.dialled.is_some() {
                let cause = CloseCause::Failed("no answer within 10 s".into());
                self.closed(now, id, cause);
                let how = Close::Abort;
                self.output.act(Action::Close { conn: id, how });
                continue;
            }
            if !matches!(conn.stage, Stage::Flushing { .. }) {
                let line = format!(
                    "closed the connection with {}: no handshake within 10 s",
                    self.shown_remote(id)
                );
                self.output.verbose(line);
            }
            self.close(now, id, Close::Abort);
        }
    }

    pub(super) fn conn_deadline(&self, now: Instant, conn: &Conn) -> Option<Instant> {
        let end = conn.ends_at(self.settings.inactivity);
        let cell = conn.link().and_then(|link| {
            // Asked about each connection after each step: what has ticks is answered at once.
            if let Some(tick) = link.next_tick() {
                return Some(tick);
            }
            let peer = self.roster.get(&link.peer());
            match peer.and_then(Peer::conversation) {
                Some(conversation) => link.deadline(now, conversation),
                None => link.deadline(now, &Conversation::new(0, 0)),
            }
        });
        Some(cell.map_or(end, |cell| cell.min(end)))
    }

    pub(super) fn transmit(&mut self, conn: ConnId, cell: Message, at: Option<Instant>) {
        self.output.act(Action::Transmit {
            conn,
            bytes: cell.to_vec(),
            at,
        });
    }

    /// The other end of a connection, for people.
    pub(super) fn shown_remote(&self, id: ConnId) -> String {
        let conn = self.conns.get(&id);
        let known =
            conn.and_then(|conn| conn.remote.map(|remote| Address::from(remote).to_string()));
        known
            .or_else(|| conn?.dialled.as_ref().map(Address::to_string))
            .unwrap_or_else(|| "a closed connection".into())
    }
}

impl Conn {
    fn ends_at(&self, inactivity: Duration) -> Instant {
        self.link()
            .map_or(self.deadline, |link| link.dead_at(inactivity))
    }

    fn stage_name(&self) -> String {
        match self.stage {
            Stage::SentTa(_) => "before the other end confirmed the passphrase",
            Stage::SentYa(_) => {
                "during the handshake (the other end may run another version of sesame)"
            }
            _ => "during the handshake",
        }
        .into()
    }

    /// Whether this is a dial that waits for Tb.
    fn has_sent_ta(&self) -> bool {
        matches!(self.stage, Stage::SentTa(_))
    }
}
