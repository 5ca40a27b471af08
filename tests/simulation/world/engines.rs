//! Engines with their front ends, and liars in their place.

use std::time::Instant;

use sesame::mesh::{Action, Close, CloseCause, Command, Engine, Event};
use sesame::proto::{Address, CELL};

use super::{Happening, World};
use crate::invariants;
use crate::liar::{Deed, Liar};
use crate::network::State;

/// The most timer calls of one engine at one moment: more would be a busy loop.
const MAX_SPINS: u32 = 50;

impl World {
    /// Makes one mutation, and then takes everything out.
    pub fn with(&mut self, node: usize, change: impl FnOnce(&mut Engine, Instant)) {
        let now = self.clock.now();
        if let Some(engine) = &mut self.nodes[node].engine {
            change(engine, now);
            self.settle(node);
        }
    }

    pub(super) fn settle(&mut self, node: usize) {
        let now = self.clock.now();
        let mut waits = false;
        loop {
            while let Some(action) = self.nodes[node]
                .engine
                .as_mut()
                .and_then(Engine::poll_action)
            {
                self.act(node, action);
            }
            if !self.nodes[node].front.deaf {
                self.drain_events(node);
            }
            let place = &mut self.nodes[node];
            let Some(engine) = &mut place.engine else {
                return;
            };
            if waits || (engine.is_over() && place.input.is_empty()) {
                break;
            }
            if let Some(request) = place.input.pop_front() {
                let ends = matches!(request.command, Command::Quit);
                match engine.offer(now, request) {
                    None if ends => self.ends(node),
                    None => {}
                    Some(request) => {
                        place.input.push_front(request);
                        waits = true;
                    }
                }
            } else if std::mem::take(&mut place.input_ends) {
                engine.end_of_input(now);
                if !place.settings.stay.outlasts_input() {
                    self.ends(node);
                }
            } else {
                break;
            }
        }
        self.set_timer(node);
        invariants::check_step(self, node);
    }

    fn set_timer(&mut self, node: usize) {
        let now = self.clock.now();
        let place = &mut self.nodes[node];
        let at = place
            .engine
            .as_ref()
            .and_then(|engine| engine.poll_timeout(now))
            .map(|at| at.max(now));
        if place.timer == at {
            return;
        }
        place.timer = at;
        place.generation += 1;
        let generation = place.generation;
        if let Some(at) = at {
            self.clock.at(at, Happening::Timer { node, generation });
        }
    }

    pub(super) fn timer(&mut self, node: usize, generation: u64) {
        let now = self.clock.now();
        let place = &mut self.nodes[node];
        if place.generation != generation {
            return;
        }
        place.timer = None;
        let spins = if place.spins.0 == Some(now) {
            place.spins.1 + 1
        } else {
            0
        };
        place.spins = (Some(now), spins);
        assert!(
            spins < MAX_SPINS,
            "{node} asks to be called again and again"
        );
        self.with(node, |engine, now| engine.handle_timeout(now));
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { conn, addr } => self.dial(node, conn, &addr),
            Action::LookUp { conn, .. } => {
                let cause = CloseCause::Failed("no such host".into());
                self.nodes[node].wires.remove(&conn);
                self.tell_closed(node, conn, cause);
            }
            Action::StartCircuit { conn, dials } => self.start_circuit(node, conn, dials),
            Action::TakeRecords { conn, bytes } => self.feed_circuit(node, conn, &bytes),
            Action::EndRecords { conn } => self.end_circuit(node, conn),
            Action::Transmit { conn, bytes, at } => {
                if self.seal_for_circuit(node, conn, &bytes, at) {
                    return;
                }
                let Some((wire, end)) = self.nodes[node].wires.get(&conn).copied() else {
                    return;
                };
                assert_ne!(
                    self.net.wires[wire].ends[end].state,
                    State::Flushing,
                    "a cell after the end"
                );
                invariants::check_transmit(self, wire, end, &bytes, at);
                self.transmit(wire, end, bytes, at);
            }
            // Here everything is processed as it arrives.
            Action::Admit { .. } => {}
            // A simulated process keeps nothing from one run to the next.
            Action::SaveName(_) => {}
            Action::Close { conn, how } => {
                if !self.close_circuit(node, conn, how) {
                    self.close(node, conn, how);
                }
            }
        }
    }

    /// The next event; the last one only when all input has been offered.
    fn next_event(&mut self, node: usize) -> Option<Event> {
        let place = &mut self.nodes[node];
        let engine = place.engine.as_mut()?;
        let last = engine.is_over() && !engine.has_more();
        (!last || place.input.is_empty()).then(|| engine.poll_event())?
    }

    pub(super) fn drain_events(&mut self, node: usize) {
        while let Some(event) = self.next_event(node) {
            self.trace(|| format!("{node}: {event:?}"));
            self.model.take(self.clock.now(), node, &event);
            match &event {
                Event::Message { who, seq, .. } => {
                    self.nodes[node].front.pending.push_back((who.id, *seq));
                    self.schedule_show(node);
                }
                // Over a circuit an address does not count as reached.
                Event::PeerUp { who, via: None, .. } => {
                    let other = self.model.person(&who.id).expect("only people come up");
                    self.linked.insert((node, other));
                }
                Event::Bye(outcome) => self.nodes[node].outcome = Some(outcome.clone()),
                _ => {}
            }
            self.nodes[node].events.push(event);
        }
        if self.nodes[node].outcome.is_some() && self.is_running(node) {
            let host = self.nodes[node].host;
            (0..self.nodes.len()).for_each(|other| self.forget_wish(other, host));
            self.exit(node, true);
        }
    }

    pub(super) fn schedule_show(&mut self, node: usize) {
        let front = &mut self.nodes[node].front;
        if front.scheduled || front.blind || front.pending.is_empty() {
            return;
        }
        front.scheduled = true;
        let lag = self.nodes[node].front.lag;
        let wait = self.dice.millis(0, lag);
        self.clock.after(wait, Happening::Shows { node });
    }

    pub(super) fn shows(&mut self, node: usize) {
        let front = &mut self.nodes[node].front;
        front.scheduled = false;
        if front.blind || front.pending.is_empty() {
            return;
        }
        let count = 1 + self.dice.below(front.pending.len());
        let shown: Vec<_> = front.pending.drain(..count).collect();
        let explicit = self.nodes[node].settings.explicit_ack;
        for (peer, seq) in shown {
            self.model.hand_over(node, &peer, seq);
            self.with(node, |engine, now| engine.handle_shown(now, peer, seq));
            if explicit {
                self.command(node, Command::Ack { peer, seq });
            }
        }
        self.schedule_show(node);
    }

    pub(super) fn lies(&mut self, node: usize) {
        if self.nodes[node].liar.is_some() {
            let now = self.clock.now();
            self.lie(node, |liar| liar.act(now));
            let wait = self.dice.millis(20, 200);
            self.clock.after(wait, Happening::Lies { node });
        }
    }

    pub(super) fn lie(&mut self, node: usize, ask: impl FnOnce(&mut Liar) -> Vec<Deed>) {
        let Some(liar) = &mut self.nodes[node].liar else {
            return;
        };
        for deed in ask(liar) {
            match deed {
                Deed::Dial(conn, to) => self.dial(node, conn, &Address::from(to)),
                Deed::Send(conn, bytes) => {
                    if let Some((wire, end)) = self.nodes[node].wires.get(&conn).copied() {
                        debug_assert!(bytes.len() < 4096 * CELL);
                        self.transmit(wire, end, bytes, None);
                    }
                }
                Deed::Close(conn) => self.close(node, conn, Close::Abort),
            }
        }
    }
}
