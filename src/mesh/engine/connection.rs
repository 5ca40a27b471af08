//! Connections up to the end of their handshake.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Channel, ConnId, Engine};
use crate::mesh::action::{Action, Close, CloseCause};
use crate::mesh::admission::{Evicted, Verdict};
use crate::mesh::conn::{Answered, Conn, Step, answer_ta};
use crate::mesh::dialing::DialStep;
use crate::mesh::entrance::Entrance;
use crate::mesh::remote::Remote;
use crate::proto::handshake::{Established, HandshakeError, Listener, Message};
use crate::proto::ratchet::Direction;
use crate::proto::{Address, Host};

/// The time from Ta to Tb, or to the random cell in its place.
const ANSWER: Duration = Duration::from_millis(20);

impl Engine {
    pub(super) fn accept(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        entrance: Entrance,
    ) -> Option<ConnId> {
        if self.lifecycle.is_leaving() || self.output.is_backlogged() {
            return None;
        }
        let ip = remote.ip().to_canonical();
        let own_computer = entrance != Entrance::Elsewhere;
        let conn = Conn::accept(now, remote, own_computer, self.settings.proxied);
        let own_computer = conn.is_with_own_computer();
        let id = self.connections.add(conn);
        self.output
            .debug(format!("incoming connection from {remote}"));
        let (admission, rng) = (&mut self.admission, &mut *self.rng);
        let evicted = match entrance {
            Entrance::OnionService => admission.accept_onion(id, ip, rng),
            Entrance::Elsewhere | Entrance::OwnComputer => {
                admission.accept(id, ip, own_computer, rng)
            }
        };
        self.evict(now, evicted.filter(|evicted| *evicted != id));
        if evicted == Some(id) {
            // The I/O layer has not heard of this connection yet.
            self.connections.remove(id);
            return None;
        }
        Some(id)
    }

    /// Closes a connection that lost its place.
    fn evict(&mut self, now: Instant, evicted: Evicted) {
        if let Some(evicted) = evicted {
            self.output.debug(format!(
                "too many unauthenticated connections; closing one from {}",
                self.connections.shown(evicted)
            ));
            self.close(now, evicted, Close::Abort);
        }
    }

    /// Gives up an unproven connection, if there is one, so that another can be accepted.
    pub(super) fn make_room(&mut self, now: Instant) {
        let evicted = self.admission.make_room(&mut *self.rng);
        self.evict(now, evicted);
    }

    /// Starts the dials that are due.
    pub(super) fn dial(&mut self, now: Instant) {
        self.roster.refresh();
        while !self.lifecycle.is_leaving()
            && !self.output.is_backlogged()
            && let Some(addr) = self.dialing.next(now, &self.roster)
        {
            let conn = self.begin_dial(now, &addr);
            let step = self.dialing.dialled(now, &self.roster, &addr, conn);
            self.output.act(match (step, addr.host) {
                // With a proxy there is no way to judge where a name leads.
                (DialStep::LookUp, Host::Name(name)) if !self.settings.proxied => {
                    Action::LookUp { conn, name }
                }
                (_, host) => {
                    let port = addr.port;
                    let addr = Address { host, port };
                    Action::Dial { conn, addr }
                }
            });
        }
    }

    /// Begins a connection to an address. The caller lets the I/O layer dial.
    pub(super) fn begin_dial(&mut self, now: Instant, address: &Address) -> ConnId {
        self.output.debug(format!("dialling {address}"));
        let conn = Conn::dial(now, address.clone(), self.settings.proxied);
        self.connections.add(conn)
    }

    /// A gossiped name has been resolved. Each time its addresses are judged anew.
    pub(super) fn looked_up(&mut self, now: Instant, id: ConnId, numbers: &[IpAddr]) {
        let conn = self.connections.get_mut(id);
        let Some(address) = conn.and_then(|conn| conn.looked_up(now)).cloned() else {
            return;
        };
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
        remote: Option<Remote>,
        channel: Channel,
    ) {
        let Some(conn) = self.connections.get_mut(id) else {
            return;
        };
        let rng = &mut *self.rng;
        if let Some(ya) = conn.connected(now, remote, channel, &self.credentials, rng) {
            self.transmit(id, ya, None);
        }
    }

    pub(super) fn received(&mut self, now: Instant, id: ConnId, mut bytes: &[u8]) {
        while let Some(conn) = self.connections.get_mut(id)
            && let Some(mut cell) = conn.next_cell(&mut bytes)
        {
            if conn.link().is_some() {
                self.receive_on_link(now, id, &mut cell);
                continue;
            }
            match conn.receive(cell, &self.credentials) {
                Step::Send(message) => self.transmit(id, message, None),
                Step::Ya(channel, ya) => self.answer_ya(now, id, channel, &ya),
                Step::Ta(state, ta) => self.ask_answer(now, id, state, ta),
                Step::Established(established) => {
                    self.established(now, id, Direction::Dialler, established);
                }
                Step::Failed(error) => self.handshake_failed(now, id, error, Close::Abort),
            }
        }
    }

    fn answer_ya(&mut self, now: Instant, id: ConnId, channel: Channel, ya: &Message) {
        let evicted = self.admission.advance(id, &mut *self.rng);
        self.evict(now, evicted);
        let Some(conn) = self.connections.get_mut(id) else {
            return;
        };
        match conn.answer_ya(channel, ya, &self.credentials, &mut *self.rng) {
            Ok(yb) => self.transmit(id, yb, None),
            Err(error) => self.handshake_failed(now, id, error, Close::Abort),
        }
    }

    /// This process has dialled its own listener, which the tag proves. The key by itself would
    /// prove nothing: a listener that was dialled could pass the key on, to see whether it is known
    /// here.
    fn found_itself(&mut self, now: Instant, key: &[u8; 32]) {
        let own = |(_, conn): &(ConnId, &Conn)| conn.has_shown(key);
        let Some((dial, conn)) = self.connections.iter().find(own) else {
            return;
        };
        if let Some(address) = conn.dialled.clone() {
            self.found_own_address(now, &address);
        }
        self.close(now, dial, Close::Abort);
    }

    /// A dial of this address has led back here. A user who named it sees that, once.
    fn found_own_address(&mut self, now: Instant, address: &Address) {
        let known = self.dialing.get(address).is_some_and(|target| target.own);
        if self.dialing.is_users(address) && !known {
            let line = format!("{address} is this sesame itself; nobody else listens there");
            self.output.attention(line);
        }
        self.dialing.is_own(now, address);
        self.dialing.note_error(address, "this sesame itself");
    }

    fn ask_answer(&mut self, now: Instant, id: ConnId, state: Box<Listener>, ta: Message) {
        let verdict = self.admission.ask_answer(now, id, &mut *self.rng);
        if verdict == Verdict::Answer {
            return self.answer_ta(now, id, *state, &ta);
        }
        if let Some(conn) = self.connections.get_mut(id) {
            conn.wait(state, ta);
        }
        if let Verdict::Refuse(loser) = verdict {
            self.output.debug(format!(
                "too many connections from {} wait for an answer; closing one",
                self.connections.shown(loser)
            ));
            self.close(now, loser, Close::Abort);
        }
    }

    /// Admits the connections whose turn has come, and answers those that waited for it.
    pub(super) fn admit_pending(&mut self, now: Instant) {
        while let Some(conn) = self.admission.next_turn(now, &mut *self.rng) {
            let freely = false;
            self.output.act(Action::Admit { conn, freely });
        }
        while let Some(id) = self.admission.next_answer(now, &mut *self.rng) {
            let conn = self.connections.get_mut(id);
            if let Some((state, ta)) = conn.and_then(Conn::take_turn) {
                self.answer_ta(now, id, *state, &ta);
            }
        }
    }

    fn answer_ta(&mut self, now: Instant, id: ConnId, state: Listener, ta: &Message) {
        let Answered {
            result,
            answer,
            key,
        } = answer_ta(state, ta, &self.credentials, &mut *self.rng);
        self.transmit(id, answer, Some(now + ANSWER));
        match result {
            Ok(established) => self.established(now, id, Direction::Listener, established),
            // The answer looks the same on the wire, and must still be sent.
            Err(HandshakeError::Own) => {
                self.found_itself(now, &key);
                self.close(now, id, Close::Flush);
            }
            Err(error) => self.handshake_failed(now, id, error, Close::Flush),
        }
    }

    /// The other end knows the phrase. Its identity is proven by a first cell.
    fn established(
        &mut self,
        now: Instant,
        id: ConnId,
        direction: Direction,
        established: Established,
    ) {
        self.admission.leave(id);
        if direction == Direction::Listener {
            let (conn, freely) = (id, true);
            self.output.act(Action::Admit { conn, freely });
        }
        self.begin_link(now, id, direction, established);
    }

    /// The other end of a connection has proven its identity. If it dialled, a member came from
    /// that address.
    pub(super) fn member_came(&mut self, id: ConnId) {
        let conn = self.connections.get(id);
        let Some(conn) = conn.filter(|conn| !conn.is_dialled()) else {
            return;
        };
        if let Some(ip) = conn.ip() {
            let own_computer = conn.is_with_own_computer();
            self.admission.member_came(ip, own_computer);
        }
    }

    fn handshake_failed(&mut self, now: Instant, id: ConnId, error: HandshakeError, how: Close) {
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let (remote, dialled) = (self.connections.shown(id), conn.dialled.clone());
        match (&error, &dialled) {
            // Neighbours may chat with other phrases: they have not been asked for.
            (HandshakeError::OtherPhrase, Some(address))
                if self.dialing.hint(address).is_some() =>
            {
                self.output.verbose(format!(
                    "closed {remote}: the other end has another passphrase"
                ));
            }
            (HandshakeError::OtherPhrase, Some(address)) => {
                let stopped = self.dialing.refused(now, &mut *self.rng, address);
                self.dialing.note_error(address, "another passphrase");
                self.output.refused(address.to_string(), false);
                if stopped {
                    self.output.attention(format!(
                        "gave up dialling {address}: it had another passphrase five times in a row; /connect tries again"
                    ));
                }
            }
            // The relay, a member, has led here.
            (HandshakeError::OtherPhrase, None) if conn.is_relayed() => {
                let asked_for = conn.asked_for;
                self.output.verbose(format!(
                    "closed {remote}: the other end has another passphrase"
                ));
                self.led_astray(now, id, asked_for);
            }
            (HandshakeError::OtherPhrase, None) => {
                self.admission.wrong(now, id);
                self.output.refused(remote, true);
            }
            (HandshakeError::Own, Some(address)) => self.found_own_address(now, address),
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

    /// Ends a connection from this end, whatever its stage. A link first reports what its end means
    /// for the peer.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, how: Close) {
        self.admission.leave(id);
        let asked_for = self.connections.get(id).and_then(Conn::awaited);
        let Some(dialled) = self.connections.close(now, id, how) else {
            return;
        };
        if let Some(peer) = asked_for {
            self.circuits.failed(now, &mut *self.rng, &peer);
        }
        if let Some(address) = dialled {
            self.dial_over(now, id, &address, false);
        }
        self.output.act(Action::Close { conn: id, how });
    }

    /// If this connection still is the dial of its address, that dial has failed.
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
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let (stage, broke_off) = (conn.shown_stage(), conn.has_sent_ta());
        let asked_for = conn.awaited();
        if conn.link().is_some() {
            self.link_lost(now, id);
        } else if let Some(address) = conn.dialled.clone() {
            self.tell_failed_dial(&address, stage, broke_off, cause);
        } else if let (CloseCause::Failed(why), false) = (&cause, conn.is_flushing()) {
            let line = format!(
                "lost the connection with {}: {why}",
                self.connections.shown(id)
            );
            self.output.verbose(line);
        }
        if let Some(peer) = asked_for {
            self.circuits.failed(now, &mut *self.rng, &peer);
        }
        if let Some(address) = self.connections.remove(id).and_then(|conn| conn.dialled) {
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
        if self.dialing.hint(address).is_some() {
            let line = format!("cannot reach {address}: {why}");
            return self.output.verbose(line);
        }
        self.dialing.note_error(address, &why);
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

    /// Closes the connections that have timed out.
    pub(super) fn expire_conns(&mut self, now: Instant) {
        for id in self.connections.expired(now) {
            let Some(conn) = self.connections.get(id) else {
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
            if !conn.is_flushing() {
                let limit = if conn.is_relayed() { "60 s" } else { "10 s" };
                let line = format!(
                    "closed the connection with {}: no handshake within {limit}",
                    self.connections.shown(id)
                );
                self.output.verbose(line);
            }
            self.close(now, id, Close::Abort);
        }
    }

    pub(super) fn transmit(&mut self, conn: ConnId, cell: Message, at: Option<Instant>) {
        self.will_seal(conn, cell.len());
        self.output.act(Action::Transmit {
            conn,
            bytes: cell.to_vec(),
            at,
        });
    }
}
