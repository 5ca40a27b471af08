//! Circuits (PROTOCOL.md, section 11): those that this node asks for, is asked for, and carries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{ConnId, Engine};
use crate::mesh::action::{Action, Close, CloseCause};
use crate::mesh::admission::drawn;
use crate::mesh::circuits::{LegId, Part, SHORTEST_MS};
use crate::mesh::conn::Conn;
use crate::mesh::peer::{Peer, Standing};
use crate::mesh::remote::{Relay, Remote};
use crate::proto::circuits::{Circuits, RECORD, WINDOW};
use crate::proto::frame::{Circuit, CircuitFrame, Way};
use crate::proto::link::Link;
use crate::proto::{CELL, Fault, PeerId};

/// For how long a link counts as alive without a cell, if its ticks are not slower.
const FRESH: Duration = Duration::from_secs(3);

/// A relay, with the connection that leads to it.
fn relay_of(id: PeerId, carrier: &Conn) -> Option<Relay> {
    Some(Relay {
        id,
        address: carrier.remote.as_ref().map(Remote::address)?,
        is_forwarded: !carrier.is_dialled() && carrier.is_with_own_computer(),
    })
}

impl Engine {
    /// Asks relays for the circuits that are due.
    pub(super) fn ask_for_circuits(&mut self, now: Instant) {
        if self.lifecycle.is_leaving() || self.output.is_backlogged() {
            return;
        }
        if self.circuits.take_change() {
            let wanted = self.unreached();
            self.circuits.want(now, &wanted);
        }
        for peer in self.circuits.due(now) {
            let soon = self.is_soon_here(&peer) || self.circuits.is_coming(&peer);
            if !soon || !self.circuits.put_off(now, &peer) {
                self.ask_for_circuit(now, peer);
            }
        }
    }

    /// The peers without a link that some relay reaches; for each, whether it had a link before.
    fn unreached(&self) -> BTreeMap<PeerId, bool> {
        let wanted = |(_, peer): &(&PeerId, &Peer)| {
            let missing = peer.standing() == Some(Standing::Missing) && !peer.is_up();
            missing
                && peer
                    .relays
                    .iter()
                    .any(|relay| self.relay_link(relay).is_some())
        };
        let peers = self.roster.iter().filter(wanted);
        peers.map(|(id, peer)| (*id, peer.is_awaited())).collect()
    }

    /// The link with a peer that carries circuits, and to which this end is linked directly.
    fn relay_link(&self, relay: &PeerId) -> Option<ConnId> {
        let conn = self.roster.get(relay)?.direct_conn()?;
        let link = self.connections.link(conn)?;
        (link.carries() && link.circuits().has_room()).then_some(conn)
    }

    /// Whether a first dial of the peer is still to come, or under way.
    fn is_soon_here(&self, peer: &PeerId) -> bool {
        self.dialing.addresses(peer).any(|(address, target)| {
            let first = target.failures == 0 && !target.own && !target.stopped;
            let dialled = target.dialling.is_some();
            first && (dialled || self.dialing.is_wanted(address, &self.roster))
        })
    }

    fn ask_for_circuit(&mut self, now: Instant, peer: PeerId) {
        let is_missing = |known: &&Peer| known.standing() == Some(Standing::Missing);
        let known = self.roster.get(&peer).filter(is_missing);
        let Some(known) = known.filter(|known| !known.is_up()) else {
            return self.circuits.note_change();
        };
        let links: BTreeMap<PeerId, ConnId> = known
            .relays
            .iter()
            .filter_map(|relay| Some((*relay, self.relay_link(relay)?)))
            .collect();
        let relay = self.circuits.choose(now, links.keys().copied(), &peer);
        let Some((relay, link)) = relay.and_then(|relay| Some((relay, *links.get(&relay)?))) else {
            return self.circuits.failed(now, &mut *self.rng, &peer);
        };
        let may_ask = self.circuits.may_ask(now, link);
        let carrier = self.connections.get(link).filter(|_| may_ask);
        let relay_end = carrier.and_then(|carrier| relay_of(relay, carrier));
        let Some((relay_end, circuits)) = relay_end.zip(self.circuits_on(link)) else {
            return self.circuits.failed(now, &mut *self.rng, &peer);
        };
        let Some(number) = circuits.open(SHORTEST_MS, Way::To, peer) else {
            return self.circuits.failed(now, &mut *self.rng, &peer);
        };
        let conn = Conn::ask(now, relay_end, peer);
        let conn = self.connections.add(conn);
        self.circuits.ask(now, conn, (link, number), relay, peer);
        self.output.debug(format!(
            "asking {} for a circuit to {}",
            self.roster.show(&relay),
            self.roster.show(&peer)
        ));
    }

    fn circuits_on(&mut self, link: ConnId) -> Option<&mut Circuits> {
        self.connections.link_mut(link).map(Link::circuits_mut)
    }

    pub(super) fn take_circuit_frame(
        &mut self,
        now: Instant,
        link: ConnId,
        from: PeerId,
        frame: CircuitFrame<'_>,
    ) -> Result<(), Fault> {
        let leg = (link, frame.id);
        match frame.what {
            Circuit::Open {
                interval_ms,
                way,
                peer,
            } => self.take_open(now, leg, from, interval_ms, way, peer)?,
            Circuit::Opened { interval_ms } => self.take_opened(now, leg, interval_ms)?,
            Circuit::Refused => {
                if self.circuits.part(&leg).is_some() && !self.circuits.is_asked(&leg) {
                    return Err(Fault::CircuitOutOfTurn);
                }
                self.circuit_ended(now, leg, true);
            }
            Circuit::Close => self.circuit_ended(now, leg, false),
            Circuit::Data(bytes) => self.take_data(leg, bytes)?,
            Circuit::Credit(length) => {
                if let Some(circuits) = self.circuits_on(link) {
                    circuits.credit(frame.id, length)?;
                }
            }
        }
        Ok(())
    }

    fn take_open(
        &mut self,
        now: Instant,
        leg: LegId,
        from: PeerId,
        interval_ms: u32,
        way: Way,
        peer: PeerId,
    ) -> Result<(), Fault> {
        if self.connections.link(leg.0).is_some_and(Link::is_relayed) {
            return Err(Fault::CircuitOverCircuit);
        }
        let may_ask = self.circuits.may_be_asked(now, leg.0, way);
        let Some(circuits) = self.circuits_on(leg.0) else {
            return Ok(());
        };
        if !circuits.accept(leg.1, may_ask)? {
            return Ok(());
        }
        let agreed = match way {
            Way::To => self.carry(now, leg, from, interval_ms, peer),
            Way::From => self.take_offer(now, leg, from, interval_ms, peer),
        };
        if agreed.is_none()
            && let Some(circuits) = self.circuits_on(leg.0)
        {
            circuits.refuse(leg.1);
        }
        Ok(())
    }

    /// As a relay, asks the far end of a circuit that a peer wants. `None`: this end does not carry
    /// it.
    fn carry(
        &mut self,
        now: Instant,
        near: LegId,
        from: PeerId,
        wish_ms: u32,
        peer: PeerId,
    ) -> Option<()> {
        if !self.settings.carry || self.lifecycle.is_leaving() || peer == from {
            return None;
        }
        let far = self.roster.get(&peer)?.direct_conn()?;
        let link = self.connections.link(far)?;
        if !link.knows_circuits() || !link.circuits().has_room() || self.circuits.joins(near.0, far)
        {
            return None;
        }
        let links = [near.0, far].map(|link| (link, self.ticks_ms(link)));
        let interval_ms = self.circuits.fitting(links, wish_ms)?;
        if !self.circuits.may_ask(now, far) {
            return None;
        }
        let number = self.circuits_on(far)?.open(interval_ms, Way::From, from)?;
        self.circuits.carry(near, (far, number), interval_ms);
        self.output.debug(format!(
            "asked for a circuit between {} and {}",
            self.roster.show(&from),
            self.roster.show(&peer)
        ));
        Some(())
    }

    /// The milliseconds between the cells of a link, in the direction that has fewer.
    fn ticks_ms(&self, link: ConnId) -> Option<u64> {
        let link = self.connections.link(link)?;
        let own = link.interval()?.as_millis() as u64;
        let theirs = link.hello().map_or(0, |hello| hello.interval_ms);
        Some(own.max(theirs.into()))
    }

    /// As the far end, takes a circuit that a relay offers. `None`: this end does not want it.
    fn take_offer(
        &mut self,
        now: Instant,
        leg: LegId,
        relay: PeerId,
        interval_ms: u32,
        peer: PeerId,
    ) -> Option<()> {
        if self.lifecycle.is_leaving()
            || self.output.is_backlogged()
            || peer == self.id()
            || self.is_surely_here(now, &peer)
        {
            return None;
        }
        let connections = &self.connections;
        let unproven = |conn| connections.get(conn).is_some_and(Conn::is_unproven_offer);
        let rivals = self.circuits.rivals(&relay, unproven);
        if !rivals.is_empty() {
            // A lot decides, so that nobody keeps the places by coming first.
            let victim = *rivals.get(drawn(rivals.len() + 1, &mut *self.rng))?;
            self.close(now, victim, Close::Abort);
        }
        let carrier = self.connections.get(leg.0)?;
        let (ip, relay_end) = (carrier.counts_at(), relay_of(relay, carrier)?);
        let conn = Conn::offered(now, relay_end);
        let conn = self.connections.add(conn);
        self.admission.accept_relayed(conn, ip);
        let interval_ms = interval_ms.max(SHORTEST_MS);
        self.circuits.offered(conn, leg, relay, peer, interval_ms);
        self.circuits_on(leg.0)?.opened(leg.1, interval_ms);
        let dials = false;
        self.output.act(Action::StartCircuit { conn, dials });
        Some(())
    }

    fn take_opened(&mut self, now: Instant, leg: LegId, interval_ms: u32) -> Result<(), Fault> {
        if let Some(circuits) = self.circuits_on(leg.0) {
            circuits.answered(leg.1);
        }
        let Some(part) = self.circuits.part(&leg) else {
            return Ok(());
        };
        let interval_ms = self.circuits.opened(&leg, interval_ms);
        let interval_ms = interval_ms.ok_or(Fault::CircuitOutOfTurn)?;
        match part {
            Part::End(conn) => {
                if let Some(conn) = self.connections.get_mut(conn) {
                    conn.circuit_stands(now);
                }
                let dials = true;
                self.output.act(Action::StartCircuit { conn, dials });
            }
            Part::Relay((link, number)) => {
                if let Some(circuits) = self.circuits_on(link) {
                    circuits.opened(number, interval_ms);
                }
            }
        }
        Ok(())
    }

    fn take_data(&mut self, leg: LegId, bytes: &[u8]) -> Result<(), Fault> {
        let Some(circuits) = self.circuits_on(leg.0) else {
            return Ok(());
        };
        if !circuits.receive(leg.1, bytes.len())? {
            return Ok(());
        }
        let Some(part) = self.circuits.part(&leg) else {
            // It is over, and only the last bytes of this direction have yet to leave.
            return Ok(());
        };
        if !self.circuits.stands(&leg) {
            return Err(Fault::CircuitOutOfTurn);
        }
        match part {
            Part::Relay((link, number)) => {
                if let Some(circuits) = self.circuits_on(link) {
                    circuits.send(number, bytes);
                    debug_assert!(circuits.waiting(number) <= WINDOW);
                }
            }
            Part::End(conn) => {
                if let Some(circuits) = self.circuits_on(leg.0) {
                    circuits.passed_on(leg.1, bytes.len());
                }
                let bytes = bytes.to_vec();
                self.output.act(Action::TakeRecords { conn, bytes });
            }
        }
        Ok(())
    }

    /// The other end of a leg has refused or ended its circuit.
    fn circuit_ended(&mut self, now: Instant, leg: LegId, refused: bool) {
        if let Some(circuits) = self.circuits_on(leg.0) {
            circuits.ended(leg.1);
        }
        if refused && let Some(Part::End(conn)) = self.circuits.part(&leg) {
            let peer = self.connections.get(conn).and_then(|conn| conn.asked_for);
            if let Some((peer, (_, relay))) = peer.zip(self.circuits.leg_of(conn)) {
                let [relay, peer] = [relay, peer].map(|id| self.roster.show(&id));
                self.output
                    .debug(format!("{relay} carries no circuit to {peer} now"));
            }
        }
        self.drop_leg(now, leg, refused);
    }

    /// Forgets a leg that has ended, and ends what it was part of.
    fn drop_leg(&mut self, now: Instant, leg: LegId, refused: bool) {
        let had_begun = !self.circuits.is_asked(&leg);
        match self.circuits.forget(&leg) {
            Some(Part::Relay(other)) => {
                self.circuits.forget(&other);
                if let Some(circuits) = self.circuits_on(other.0) {
                    match refused {
                        true => circuits.refuse(other.1),
                        false => circuits.finish(other.1),
                    }
                }
            }
            Some(Part::End(conn)) => {
                if had_begun {
                    // What has come may be a goodbye.
                    self.output.act(Action::EndRecords { conn });
                } else {
                    self.closed(now, conn, CloseCause::Ended);
                    let how = Close::Abort;
                    self.output.act(Action::Close { conn, how });
                }
                self.say_late_goodbye(leg.0);
            }
            None => {}
        }
        // Its links have room for others.
        self.circuits.note_change();
    }

    /// Acts on connections that have ended: those that carried circuits, and those that circuits
    /// carried. When this end leaves, a link that carries its own circuits says goodbye after them.
    pub(super) fn end_circuits(&mut self, now: Instant) {
        loop {
            let ended = self.connections.take_ended();
            if ended.is_empty() {
                break;
            }
            self.circuits.note_change();
            for conn in ended {
                if self.connections.link(conn).is_none() {
                    self.circuits.forget_link(conn);
                    for leg in self.circuits.legs_on(conn) {
                        self.drop_leg(now, leg, false);
                    }
                }
                if self.connections.get(conn).is_none()
                    && let Some(((link, number), _)) = self.circuits.leg_of(conn)
                {
                    self.circuits.forget(&(link, number));
                    if let Some(circuits) = self.circuits_on(link) {
                        circuits.finish(number);
                    }
                    self.say_late_goodbye(link);
                }
            }
        }
    }

    /// Says goodbye on a link that had to carry those of this end's circuits first.
    fn say_late_goodbye(&mut self, link: ConnId) {
        if self.lifecycle.is_leaving()
            && !self.circuits.carries_own(link)
            && let Some(link) = self.connections.link_mut(link)
        {
            link.say_goodbye(true);
        }
    }

    /// Says goodbye on all links, whether or not their circuits have done so.
    pub(super) fn say_all_goodbyes(&mut self) {
        for id in self.connections.ids() {
            let greeted = |link: &&mut Link| link.hello().is_some();
            if let Some(link) = self.connections.link_mut(id).filter(greeted) {
                link.say_goodbye(true);
            }
        }
    }

    /// Whether this end is linked directly to a peer that it has heard a moment ago: otherwise the
    /// peer may know already that the link is dead.
    pub(super) fn is_surely_here(&self, now: Instant, peer: &PeerId) -> bool {
        let conn = self.roster.get(peer).and_then(Peer::direct_conn);
        let link = conn.and_then(|conn| Some((conn, self.connections.link(conn)?)));
        link.is_some_and(|(conn, link)| {
            let ticks = Duration::from_millis(self.ticks_ms(conn).unwrap_or(0));
            now < link.heard_at() + FRESH.max(3 * ticks)
        })
    }

    /// Whether this end dials a peer or will, or wants a circuit to it.
    pub(super) fn is_trying(&self, peer: &PeerId) -> bool {
        self.dialing.is_trying(peer, &self.roster) || self.circuits.wants(peer)
    }

    /// Cells were given to the I/O layer.
    pub(super) fn will_seal(&mut self, conn: ConnId, length: usize) {
        self.circuits.will_seal(conn, length / CELL * RECORD);
    }

    /// TLS has made these bytes on a connection that a circuit carries.
    pub(super) fn take_records(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some((link, number)) = self.circuits.sealed(conn, bytes.len())
            && let Some(circuits) = self.circuits_on(link)
        {
            circuits.send(number, bytes);
        }
    }

    /// Links have sent these many bytes of circuits' streams.
    pub(super) fn streams_sent(&mut self, carried: &[(ConnId, u32, usize)]) {
        for (link, number, length) in carried {
            match self.circuits.part(&(*link, *number)) {
                Some(Part::Relay((other, its_number))) => {
                    if let Some(circuits) = self.circuits_on(*link) {
                        circuits.count(*length);
                    }
                    if let Some(circuits) = self.circuits_on(other) {
                        circuits.passed_on(its_number, *length);
                    }
                }
                Some(Part::End(conn)) => {
                    let circuits = self.connections.link(*link).map(Link::circuits);
                    let waiting = circuits.map_or(0, |circuits| circuits.waiting(*number));
                    if waiting == 0
                        && self.circuits.is_sealed(conn)
                        && let Some(link) = self.connections.link_mut(conn)
                    {
                        link.sent(Duration::ZERO);
                    }
                }
                None => {}
            }
        }
    }

    /// Whether somebody else than the peer that this end has asked for answers over a circuit.
    pub(super) fn is_led_astray(&mut self, now: Instant, id: ConnId, peer: &PeerId) -> bool {
        let conn = self.connections.get(id);
        let asked_for = conn.and_then(|conn| conn.asked_for);
        let astray = asked_for.is_some_and(|asked_for| asked_for != *peer);
        if astray {
            let line = format!(
                "closed {}: another peer answers",
                self.connections.shown(id)
            );
            self.output.verbose(line);
            self.led_astray(now, id, asked_for);
        }
        astray
    }

    /// A relay has led to somebody who is not the peer that this end has asked for.
    pub(super) fn led_astray(&mut self, now: Instant, id: ConnId, asked_for: Option<PeerId>) {
        let relay = self.connections.get(id).and_then(Conn::relay);
        if let Some((relay, peer)) = relay.map(|relay| relay.id).zip(asked_for) {
            self.circuits.shun(now, relay, peer);
        }
    }
}
