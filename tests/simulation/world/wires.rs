//! Wires: what travels on them, and their faults.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sesame::mesh::{Close, CloseCause, ConnId};
use sesame::proto::Address;
use sesame::proto::handshake::Channel;
use sesame::secret::Secret;

use super::{Happening, World};
use crate::liar::forbidden;
use crate::network::{End, Piece, Segment, State, address, host_at, other_address};

/// How long the I/O layer writes on after [`Close::Flush`].
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// The process and the connection at an end of a wire.
struct Owner {
    node: usize,
    conn: ConnId,
}

impl World {
    /// Dials an address for a process.
    pub(super) fn dial(&mut self, node: usize, conn: ConnId, to: &Address) {
        let lies = self.nodes[node].liar.is_some();
        assert!(lies || !forbidden().contains(to), "{node} dials {to}");
        let host = self.nodes[node].host;
        let target = host_at(to, self.hosts.len());
        let (other, socket) = target.unwrap_or((usize::MAX, address(host)));
        *self.nodes[node].dials.entry(socket).or_default() += u32::from(target.is_some());
        self.nodes[node].dials_to_nobody += u32::from(target.is_none());
        let from_other = socket.is_ipv6();
        let end = End {
            node,
            host,
            conn,
            state: State::Connecting,
        };
        let wire = self.net.add(&mut self.dice, end, other, socket, from_other);
        self.trace(|| format!("{node} dials {to} on wire {wire}"));
        self.nodes[node].wires.insert(conn, (wire, 0));
        let wait = self.net.latency(&mut self.dice, wire);
        if other == usize::MAX {
            self.net.wires[wire].ends[1].state = State::Closed;
            self.clock.after(wait, Happening::Failed { wire });
        } else if self.net.is_blocked(host, other)
            || !self.net.can_dial(host, other)
            || self.hosts[other].off
        {
            self.net.wires[wire].ends[1].state = State::Closed;
            // A router reports that there is no route, or there is no answer at all.
            if self.dice.chance(30) {
                let wait = self.dice.millis(100, 3000);
                self.clock.after(wait, Happening::Failed { wire });
            }
        } else {
            self.clock.after(wait, Happening::Incoming { wire });
        }
    }

    pub(super) fn incoming(&mut self, wire: usize) {
        let host = self.net.wires[wire].ends[1].host;
        let wait = self.net.latency(&mut self.dice, wire);
        if self.net.wires[wire].ends[1].state == State::Closed {
            return;
        }
        if self.net.is_wire_blocked(wire) || self.hosts[host].off {
            self.net.wires[wire].ends[1].state = State::Closed;
            return;
        }
        let from = self.net.wires[wire].ends[0].host;
        let ip = if self.net.wires[wire].from_other {
            other_address(from)
        } else {
            address(from)
        }
        .ip();
        let remote = SocketAddr::new(ip, 40_000 + (wire % 20_000) as u16);
        let listener = self.hosts[host]
            .node
            .filter(|node| self.nodes[*node].settings.listen_port.is_some());
        let mut conn = None;
        if let Some(node) = listener {
            if let Some(liar) = &mut self.nodes[node].liar {
                conn = Some(liar.accept());
            }
            self.with(node, |engine, now| {
                conn = engine.handle_incoming(now, remote, false)
            });
        }
        let (Some(node), Some(conn)) = (listener, conn) else {
            self.net.wires[wire].ends[1].state = State::Closed;
            self.clock.after(wait, Happening::Failed { wire });
            return;
        };
        let end = &mut self.net.wires[wire].ends[1];
        (end.node, end.conn) = (node, conn);
        self.nodes[node].wires.insert(conn, (wire, 1));
        self.clock
            .after(wait, Happening::Connected { wire, end: 0 });
        self.clock
            .after(wait * 2, Happening::Connected { wire, end: 1 });
    }

    pub(super) fn connected(&mut self, wire: usize, end: usize) {
        let Some(Owner { node, conn }) = self.owner(wire, end, State::Connecting) else {
            return;
        };
        if self.net.wires[wire].ends[1 - end].state == State::Closed {
            self.clock
                .after(Duration::ZERO, Happening::Reset { wire, end });
            return;
        }
        if self.net.is_wire_blocked(wire) {
            return;
        }
        let it = &mut self.net.wires[wire];
        it.ends[end].state = State::Open;
        let remote = match end {
            0 => it.dialled,
            _ => SocketAddr::new(
                address(it.ends[0].host).ip(),
                40_000 + (wire % 20_000) as u16,
            ),
        };
        let (exporter, fingerprints) = (it.exporter, it.fingerprints);
        let exporter = Secret::fill_with(|bytes: &mut [u8; 64]| bytes.copy_from_slice(&exporter));
        let channel = Channel {
            exporter,
            fingerprints,
        };
        if self.nodes[node].liar.is_some() {
            self.lie(node, |liar| liar.connected(conn, end == 0, channel));
        } else {
            self.with(node, |engine, now| {
                engine.handle_connected(now, conn, remote, channel)
            });
        }
        self.deliver(wire, end);
    }

    pub(super) fn failed(&mut self, wire: usize) {
        if let Some(Owner { node, conn }) = self.owner(wire, 0, State::Connecting) {
            self.shut(wire, 0);
            self.nodes[node].wires.remove(&conn);
            let cause = CloseCause::Failed("connection refused".into());
            self.tell_closed(node, conn, cause);
        }
    }

    fn owner(&self, wire: usize, end: usize, state: State) -> Option<Owner> {
        let end = &self.net.wires[wire].ends[end];
        let alive = self
            .nodes
            .get(end.node)
            .is_some_and(|node| node.engine.is_some() || node.liar.is_some());
        (alive && end.state == state).then_some(Owner {
            node: end.node,
            conn: end.conn,
        })
    }

    pub(super) fn tell_closed(&mut self, node: usize, conn: ConnId, cause: CloseCause) {
        if self.nodes[node].liar.is_some() {
            self.lie(node, |liar| liar.closed(conn));
        } else {
            self.with(node, |engine, now| engine.handle_closed(now, conn, cause));
        }
    }

    pub(super) fn transmit(
        &mut self,
        wire: usize,
        end: usize,
        bytes: Vec<u8>,
        at: Option<Instant>,
    ) {
        self.net.wires[wire].pipes[end]
            .queue
            .push_back(Piece { bytes, at });
        self.schedule_departure(wire, end);
    }

    fn schedule_departure(&mut self, wire: usize, end: usize) {
        let cell_time = self.net.cell_time(wire);
        let now = self.clock.now();
        let pipe = &mut self.net.wires[wire].pipes[end];
        if pipe.departs_at.is_some() {
            return;
        }
        if let Some(at) = pipe.departure(now, cell_time) {
            (pipe.departs_at, pipe.parked) = (Some(at), false);
            self.clock.at(at, Happening::Departs { wire, end });
        }
    }

    pub(super) fn departs(&mut self, wire: usize, end: usize) {
        let now = self.clock.now();
        let blocked = self.net.is_wire_blocked(wire);
        let it = &mut self.net.wires[wire];
        let (state, pipe) = (it.ends[end].state, &mut it.pipes[end]);
        if pipe.departs_at.is_none_or(|at| at > now) {
            // It was postponed, or brought forward.
            return;
        }
        pipe.departs_at = None;
        if state == State::Closed {
            return;
        }
        if blocked && pipe.held_bytes() >= pipe.window {
            pipe.parked = true;
            return;
        }
        let Some(piece) = pipe.queue.pop_front() else {
            return;
        };
        let lateness = piece
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let empty = pipe.queue.is_empty();
        self.send(wire, end, Segment::Bytes(piece.bytes));
        if !empty {
            return self.schedule_departure(wire, end);
        }
        let End { node, conn, .. } = self.net.wires[wire].ends[end];
        match state {
            State::Flushing => self.finish(wire, end),
            _ => self.with(node, |engine, now| engine.handle_sent(now, conn, lateness)),
        }
    }

    /// Puts a segment on its way.
    fn send(&mut self, wire: usize, end: usize, segment: Segment) {
        let number = self.net.wires[wire].pipes[end].number();
        if self.net.is_wire_blocked(wire) {
            self.net.wires[wire].pipes[end].held.insert(number, segment);
            return;
        }
        let at = self.clock.now() + self.net.latency(&mut self.dice, wire);
        let at = self.net.wires[wire].pipes[end].arrival(at);
        self.clock.at(
            at,
            Happening::Arrives {
                wire,
                end: 1 - end,
                number,
                segment,
            },
        );
    }

    pub(super) fn arrives(&mut self, wire: usize, end: usize, number: u64, segment: Segment) {
        if self.net.is_wire_blocked(wire) {
            self.net.wires[wire].pipes[1 - end]
                .held
                .insert(number, segment);
            return;
        }
        if self.net.wires[wire].ends[end].state == State::Closed {
            // Its kernel answers with a reset, unless it has no power.
            if !self.hosts[self.net.wires[wire].ends[end].host].off {
                self.reset_other(wire, end);
            }
            return;
        }
        self.net.wires[wire].pipes[1 - end].arrive(number, segment);
        self.deliver(wire, end);
    }

    fn deliver(&mut self, wire: usize, end: usize) {
        while matches!(
            self.net.wires[wire].ends[end].state,
            State::Open | State::Flushing
        ) {
            let Some(segment) = self.net.wires[wire].pipes[1 - end].take() else {
                return;
            };
            let End {
                node, conn, state, ..
            } = self.net.wires[wire].ends[end];
            match segment {
                Segment::Bytes(_) if state == State::Flushing => {}
                Segment::Bytes(bytes) => self.deliver_bytes(node, conn, &bytes),
                Segment::Fin if state == State::Flushing => {}
                Segment::Fin => {
                    self.shut(wire, end);
                    self.nodes[node].wires.remove(&conn);
                    self.tell_closed(node, conn, CloseCause::Ended);
                }
            }
        }
    }

    fn deliver_bytes(&mut self, node: usize, conn: ConnId, mut bytes: &[u8]) {
        if self.dice.chance(self.net.weather.portions) && !bytes.is_empty() {
            for _ in 0..self.dice.below(4) {
                let (head, tail) = bytes.split_at(self.dice.below(bytes.len() + 1));
                bytes = tail;
                self.hear(node, conn, head);
            }
        }
        self.hear(node, conn, bytes);
    }

    fn hear(&mut self, node: usize, conn: ConnId, bytes: &[u8]) {
        if self.nodes[node].liar.is_some() {
            let now = self.clock.now();
            self.lie(node, |liar| liar.bytes(now, conn, bytes));
        } else {
            self.with(node, |engine, now| engine.handle_bytes(now, conn, bytes));
        }
    }

    pub(super) fn reset(&mut self, wire: usize, end: usize) {
        if !self.net.is_wire_blocked(wire) && !self.net.wires[wire].is_dead {
            self.lose(wire, end);
        }
    }

    /// One end of a wire learns that it is over.
    pub(super) fn lose(&mut self, wire: usize, end: usize) {
        let End {
            node, conn, state, ..
        } = self.net.wires[wire].ends[end];
        if state == State::Closed {
            return;
        }
        self.shut(wire, end);
        if let Some(place) = self.nodes.get_mut(node) {
            place.wires.remove(&conn);
            self.tell_closed(node, conn, CloseCause::Ended);
        }
    }

    pub(super) fn reset_other(&mut self, wire: usize, end: usize) {
        let wait = self.net.latency(&mut self.dice, wire);
        let mut at = self.clock.now() + wait;
        if self.dice.chance(50) {
            at = self.net.wires[wire].pipes[end].arrival(at);
        }
        self.clock.at(at, Happening::Reset { wire, end: 1 - end });
    }

    /// No more bytes go in or out of this end.
    pub(super) fn shut(&mut self, wire: usize, end: usize) {
        let it = &mut self.net.wires[wire];
        it.ends[end].state = State::Closed;
        it.pipes[end].queue.clear();
        it.pipes[end].held.clear();
        it.pipes[1 - end].ready.clear();
    }

    pub(super) fn close(&mut self, node: usize, conn: ConnId, how: Close) {
        let Some((wire, end)) = self.nodes[node].wires.get(&conn).copied() else {
            return;
        };
        match how {
            Close::Abort => {
                self.nodes[node].wires.remove(&conn);
                self.shut(wire, end);
                self.reset_other(wire, end);
            }
            Close::Flush => {
                self.net.wires[wire].ends[end].state = State::Flushing;
                self.clock
                    .after(FLUSH_LIMIT, Happening::FlushLimit { wire, end });
                let pipe = &self.net.wires[wire].pipes[end];
                if pipe.queue.is_empty() && pipe.departs_at.is_none() {
                    self.finish(wire, end);
                }
            }
        }
    }

    /// Everything is written: the end of the stream follows.
    fn finish(&mut self, wire: usize, end: usize) {
        self.send(wire, end, Segment::Fin);
        let wait = self.dice.millis(0, 50);
        self.clock.after(wait, Happening::FlushLimit { wire, end });
    }

    pub(super) fn flush_limit(&mut self, wire: usize, end: usize) {
        let Some(Owner { node, conn }) = self.owner(wire, end, State::Flushing) else {
            return;
        };
        // The kernel still sends what it has, whatever becomes of the process.
        let held = std::mem::take(&mut self.net.wires[wire].pipes[end].held);
        self.shut(wire, end);
        self.net.wires[wire].pipes[end].held = held;
        self.nodes[node].wires.remove(&conn);
        self.tell_closed(node, conn, CloseCause::Ended);
    }

    /// Takes the route between two hosts away, or gives it back.
    pub fn block(&mut self, a: usize, b: usize, blocked: bool) {
        self.trace(|| {
            format!(
                "route between {a} and {b}: {}",
                if blocked { "gone" } else { "back" }
            )
        });
        self.net.block(a, b, blocked);
        if blocked {
            return;
        }
        for wire in 0..self.net.wires.len() {
            let ends = [
                self.net.wires[wire].ends[0].host,
                self.net.wires[wire].ends[1].host,
            ];
            if ends == [a, b] || ends == [b, a] {
                self.resume(wire);
            }
        }
    }

    /// Lost segments are sent again.
    fn resume(&mut self, wire: usize) {
        for end in 0..2 {
            let wait = self.dice.millis(0, 1500);
            let held = std::mem::take(&mut self.net.wires[wire].pipes[end].held);
            for (number, segment) in held {
                let at = self.clock.now() + wait;
                let at = self.net.wires[wire].pipes[end].arrival(at);
                self.clock.at(
                    at,
                    Happening::Arrives {
                        wire,
                        end: 1 - end,
                        number,
                        segment,
                    },
                );
            }
            if self.net.wires[wire].pipes[end].parked {
                self.schedule_departure(wire, end);
            }
        }
    }

    /// The kernel at one end of a wire takes nothing for this time, counted from now, however long
    /// it was to take nothing before.
    pub fn stall(&mut self, wire: usize, end: usize, time: Duration) {
        self.trace(|| format!("wire {wire} takes nothing from {end} for {time:?}"));
        let pipe = &mut self.net.wires[wire].pipes[end];
        pipe.stalled_until = Some(self.clock.now() + time);
        if pipe.departs_at.take().is_some() {
            self.schedule_departure(wire, end);
        }
    }

    /// A wire is cut at a random byte. Each end learns of it after a while, or never.
    pub fn cut(&mut self, wire: usize, hears: [Option<Duration>; 2]) {
        self.trace(|| format!("wire {wire} is cut; its ends hear of it: {hears:?}"));
        self.net.wires[wire].is_dead = true;
        for (end, hears) in hears.into_iter().enumerate() {
            let pipe = &mut self.net.wires[wire].pipes[end];
            if pipe.cut.is_none() {
                pipe.cut(&mut self.dice);
            }
            if let Some(wait) = hears {
                self.clock.after(wait, Happening::Dies { wire, end });
            }
        }
    }

    /// A process gets no processor time for a while.
    pub fn freeze(&mut self, node: usize, time: Duration) {
        self.trace(|| format!("{node} gets no time for {time:?}"));
        self.nodes[node].frozen_until = Some(self.clock.now() + time);
        self.clock.after(time, Happening::Thaws { node });
        if let Some(ends_by) = &mut self.model.people[node].ends_by {
            *ends_by += time;
        }
    }

    /// A process gets processor time again, and at once everything that came meanwhile.
    pub fn thaw(&mut self, node: usize) {
        self.nodes[node].frozen_until = None;
        for happening in std::mem::take(&mut self.nodes[node].missed) {
            self.clock.after(Duration::ZERO, happening);
        }
    }

    pub(super) fn thaws(&mut self, node: usize) {
        let until = self.nodes[node].frozen_until;
        if until.is_some_and(|until| until <= self.clock.now()) {
            self.thaw(node);
        }
    }
}
