//! Peers, front ends and a network, stepped through virtual time.
//!
//! Each node is a process on a host: the real engine, driven as its contract says (one mutation,
//! then everything out of it, then its next deadline), or a liar with a script. A host outlives its
//! processes and keeps its addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sesame::mesh::{ConnId, Cover, Engine, Event, Outcome, Request, Settings, Stay};
use sesame::proto::PeerId;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::invariants;
use crate::liar::Liar;
use crate::model::Model;
use crate::network::{Network, Segment};
use circuits::{CircuitEnd, CircuitEvent};

mod circuits;
mod engines;
mod processes;
mod wires;

/// A future event. A wire comes with the end at which it happens.
#[derive(Debug)]
pub enum Happening {
    Timer {
        node: usize,
        generation: u64,
    },
    Incoming {
        wire: usize,
    },
    Connected {
        wire: usize,
        end: usize,
    },
    Failed {
        wire: usize,
    },
    Departs {
        wire: usize,
        end: usize,
    },
    Arrives {
        wire: usize,
        end: usize,
        number: u64,
        segment: Segment,
    },
    Reset {
        wire: usize,
        end: usize,
    },
    Dies {
        wire: usize,
        end: usize,
    },
    FlushLimit {
        wire: usize,
        end: usize,
    },
    Shows {
        node: usize,
    },
    Lies {
        node: usize,
    },
    Thaws {
        node: usize,
    },
    Circuit {
        node: usize,
        conn: ConnId,
        event: CircuitEvent,
    },
}

/// A machine.
#[derive(Default)]
pub struct Host {
    /// Its process.
    pub node: Option<usize>,
    /// Whether it is without power: then it answers nothing.
    pub off: bool,
}

/// In place of the front end.
#[derive(Default)]
pub struct Front {
    /// Whether it takes no events.
    pub deaf: bool,
    /// Whether it takes events and never shows a message.
    pub blind: bool,
    /// The most milliseconds from a message to its being shown.
    pub lag: u64,
    pending: VecDeque<(PeerId, u64)>,
    scheduled: bool,
}

/// A process.
pub struct Node {
    /// Its machine.
    pub host: usize,
    /// Its id.
    pub id: PeerId,
    /// Which phrase it has.
    pub phrase: u8,
    /// The settings with which it was started.
    pub settings: Settings,
    /// The engine, while it runs and is honest.
    pub engine: Option<Engine>,
    /// The liar, if it is one.
    pub liar: Option<Liar>,
    /// The front end.
    pub front: Front,
    /// Its open connections.
    pub wires: BTreeMap<ConnId, (usize, usize)>,
    /// Its connections that circuits carry.
    pub circuits: BTreeMap<ConnId, CircuitEnd>,
    /// Input that the engine has not taken.
    pub input: VecDeque<Request>,
    /// Its events.
    pub events: Vec<Event>,
    /// The outcome in its last event.
    pub outcome: Option<Outcome>,
    /// Addresses that it was given and has no reason to give up.
    pub wishes: BTreeSet<SocketAddr>,
    /// How often it dialled each address.
    pub dials: BTreeMap<SocketAddr, u32>,
    /// How often it dialled addresses at which there is no host.
    pub dials_to_nobody: u32,
    /// It gets no processor time before this moment.
    pub frozen_until: Option<Instant>,
    /// The events that came while it got none.
    missed: Vec<Happening>,
    /// Whether its input has an end.
    input_ends: bool,
    timer: Option<Instant>,
    generation: u64,
    spins: (Option<Instant>, u32),
}

/// Everything in a simulation.
pub struct World {
    /// Virtual time.
    pub clock: Clock<Happening>,
    /// Random decisions.
    pub dice: Dice,
    /// The wires.
    pub net: Network,
    /// The machines.
    pub hosts: Vec<Host>,
    /// All processes there ever were.
    pub nodes: Vec<Node>,
    /// The model of all messages.
    pub model: Model,
    /// A digest of everything that happened, to compare runs.
    pub digest: u64,
    linked: BTreeSet<(usize, usize)>,
    verbose: bool,
}

/// The settings of a peer that runs until `/quit`, and reports everything.
pub fn settings() -> Settings {
    Settings {
        cover: Cover::Every(Duration::from_millis(500)),
        epoch_period: Duration::from_secs(20),
        stay: Stay::Always,
        report_each: true,
        ..Settings::default()
    }
}

/// The phrase of the processes that are meant to meet.
pub const PHRASE: u8 = 1;

impl World {
    /// A world with this many hosts, and no processes.
    pub fn new(seed: u64, hosts: usize) -> Self {
        Self {
            clock: Clock::new(),
            dice: Dice::new(seed),
            net: Network::new(),
            hosts: (0..hosts).map(|_| Host::default()).collect(),
            nodes: Vec::new(),
            model: Model::default(),
            digest: 0xcbf2_9ce4_8422_2325,
            linked: BTreeSet::new(),
            verbose: std::env::var_os("SESAME_TRACE").is_some(),
        }
    }

    /// Prints what happens, with `SESAME_TRACE`.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:10.4} {}", self.clock.elapsed().as_secs_f64(), line());
        }
    }

    /// Lets this much time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        while let Some(happening) = self.clock.next(until) {
            self.happen(happening);
        }
    }

    /// Lets time pass until everything is at rest, `limit` at most, and checks that everything
    /// accepted has its final event.
    pub fn rest(&mut self, limit: Duration) {
        let end = self.clock.now() + limit;
        let mut missing = String::new();
        let mut calm = 0;
        while self.clock.now() < end {
            self.run(Duration::from_secs(3));
            match invariants::at_rest(self) {
                Ok(()) => calm += 1,
                Err(line) => (calm, missing) = (0, line),
            }
            if calm >= 2 && self.model.is_quiet() {
                break;
            }
        }
        assert!(calm > 0, "no rest after {limit:?}: {missing}");
        let waiting: Vec<_> = self.nodes.iter().map(|node| node.input.len()).collect();
        self.model.check_rest(|node| waiting[node]);
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(node) = self.frozen(&happening) {
            self.nodes[node].missed.push(happening);
            return;
        }
        self.note(&happening);
        match happening {
            Happening::Timer { node, generation } => self.timer(node, generation),
            Happening::Incoming { wire } => self.incoming(wire),
            Happening::Connected { wire, end } => self.connected(wire, end),
            Happening::Failed { wire } => self.failed(wire),
            Happening::Departs { wire, end } => self.departs(wire, end),
            Happening::Arrives {
                wire,
                end,
                number,
                segment,
            } => self.arrives(wire, end, number, segment),
            Happening::Reset { wire, end } => self.reset(wire, end),
            Happening::Dies { wire, end } => self.lose(wire, end),
            Happening::FlushLimit { wire, end } => self.flush_limit(wire, end),
            Happening::Shows { node } => self.shows(node),
            Happening::Lies { node } => self.lies(node),
            Happening::Thaws { node } => self.thaws(node),
            Happening::Circuit { node, conn, event } => self.circuit(node, conn, event),
        }
    }

    /// The process to which it happens, if that gets no processor time.
    fn frozen(&self, happening: &Happening) -> Option<usize> {
        let node = match happening {
            Happening::Timer { node, .. }
            | Happening::Shows { node }
            | Happening::Circuit { node, .. } => *node,
            Happening::Connected { wire, end }
            | Happening::Departs { wire, end }
            | Happening::Arrives { wire, end, .. }
            | Happening::Reset { wire, end }
            | Happening::Dies { wire, end }
            | Happening::FlushLimit { wire, end } => self.net.wires[*wire].ends[*end].node,
            Happening::Incoming { wire } => self.hosts[self.net.wires[*wire].ends[1].host].node?,
            Happening::Failed { wire } => self.net.wires[*wire].ends[0].node,
            Happening::Lies { .. } | Happening::Thaws { .. } => return None,
        };
        self.nodes.get(node)?.frozen_until.map(|_| node)
    }

    /// Adds an event to the digest (FNV-1a).
    fn note(&mut self, happening: &Happening) {
        let parts = match happening {
            Happening::Timer { node, generation } => [1, *node as u64, *generation],
            Happening::Arrives {
                wire, end, number, ..
            } => [2, (*wire * 2 + *end) as u64, *number],
            Happening::Departs { wire, end } => [3, *wire as u64, *end as u64],
            Happening::Shows { node } => [4, *node as u64, 0],
            Happening::Connected { wire, end } => [5, *wire as u64, *end as u64],
            Happening::Reset { wire, end } => [6, *wire as u64, *end as u64],
            Happening::Incoming { wire } | Happening::Failed { wire } => [7, *wire as u64, 0],
            Happening::FlushLimit { wire, end } => [8, *wire as u64, *end as u64],
            Happening::Lies { node } => [9, *node as u64, 0],
            Happening::Dies { wire, end } => [10, *wire as u64, *end as u64],
            Happening::Thaws { node } => [11, *node as u64, 0],
            Happening::Circuit { node, conn, .. } => [12, *node as u64, conn.0],
        };
        let at = self.clock.elapsed().as_nanos() as u64;
        for part in parts.into_iter().chain([at]) {
            self.digest = (self.digest ^ part).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// FNV-1a.
fn fnv(bytes: Vec<u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
