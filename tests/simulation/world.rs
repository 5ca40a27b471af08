//! Peers, front ends and a network, stepped through virtual time.
//!
//! Each node is a process on a host: the real engine, driven as its contract says (one mutation,
//! then everything out of it, then its next deadline), or a liar with a script. A host outlives its
//! processes and keeps its addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sesame::mesh::{
    Action, Close, CloseCause, Command, ConnId, Cover, Engine, Event, Offer, Outcome, PeerQuery,
    Request, Require, Settings, Tag,
};
use sesame::proto::handshake::Channel;
use sesame::proto::{Address, CELL, DisplayName, Identity, PeerId};
use sesame::secret::Secret;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::invariants;
use crate::liar::{self, Deed, Liar};
use crate::model::Model;
use crate::network::{End, Network, Parcel, Piece, State, address, host_at, other_address};

/// Timers of one engine at one moment: more would be a busy loop.
const MAX_SPINS: u32 = 50;
/// How long a rim writes on after [`Close::Flush`].
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What will happen. A wire is named with the end to which it happens.
#[derive(Debug)]
pub enum Happening {
    Timer {
        node: usize,
        generation: u64,
    },
    Knock {
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
        parcel: Parcel,
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
}

/// A machine.
#[derive(Default)]
pub struct Host {
    /// Its process.
    pub node: Option<usize>,
    /// Without power: it answers nothing.
    pub off: bool,
}

/// What stands for the front end.
#[derive(Default)]
pub struct Front {
    /// It takes no events.
    pub deaf: bool,
    /// It takes them, and never gets to show a message.
    pub blind: bool,
    /// Milliseconds from a message to its being shown, at most.
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
    /// What stands for its phrase.
    pub phrase: u8,
    /// How it was started.
    pub settings: Settings,
    /// The engine, while it runs and is honest.
    pub engine: Option<Engine>,
    /// The other kind.
    pub liar: Option<Liar>,
    /// The front end.
    pub front: Front,
    /// Its open connections.
    pub wires: BTreeMap<ConnId, (usize, usize)>,
    /// Input that the engine has not taken.
    pub input: VecDeque<Request>,
    /// Everything that it told.
    pub events: Vec<Event>,
    /// Its last word.
    pub outcome: Option<Outcome>,
    /// Addresses that it was given and that it has no reason to leave alone.
    pub wishes: BTreeSet<SocketAddr>,
    /// How often it dialled which address.
    pub dials: BTreeMap<SocketAddr, u32>,
    /// It gets no time before this moment.
    pub frozen_until: Option<Instant>,
    /// What came while it got none.
    missed: Vec<Happening>,
    /// The input has an end.
    input_ends: bool,
    timer: Option<Instant>,
    generation: u64,
    spins: (Option<Instant>, u32),
}

/// Everything.
pub struct World {
    /// Virtual time.
    pub clock: Clock<Happening>,
    /// Chance.
    pub dice: Dice,
    /// The wires.
    pub net: Network,
    /// The machines.
    pub hosts: Vec<Host>,
    /// All processes there ever were.
    pub nodes: Vec<Node>,
    /// What was said.
    pub model: Model,
    /// A sum over all that happened, to compare runs by.
    pub digest: u64,
    linked: BTreeSet<(usize, usize)>,
    verbose: bool,
}

/// Settings of a peer that runs until it is told to end, and reports everything.
pub fn settings() -> Settings {
    Settings {
        name: None,
        decoy: false,
        peers: Vec::new(),
        listen_port: Some(sesame::proto::DEFAULT_PORT),
        advertise: None,
        cover: Cover::Every(Duration::from_millis(500)),
        inactivity: Duration::from_secs(30),
        give_up: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        min_peers: 1,
        require: Require::All,
        stay: true,
        report_each: true,
        explicit_ack: false,
    }
}

/// The phrase of those who are meant to meet.
pub const PHRASE: u8 = 1;

impl World {
    /// So many machines, and nobody on them.
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

    /// Says what happens, where somebody wants to know.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:10.4} {}", self.clock.elapsed().as_secs_f64(), line());
        }
    }

    // Processes.

    /// Starts a process on a host. `peers` are the hosts that it is told to connect to.
    pub fn start(&mut self, host: usize, peers: &[usize], settings: Settings) -> usize {
        self.start_with_phrase(host, peers, settings, PHRASE)
    }

    /// The same with another phrase.
    pub fn start_with_phrase(
        &mut self,
        host: usize,
        peers: &[usize],
        mut settings: Settings,
        phrase: u8,
    ) -> usize {
        let mut rng = self.dice.split();
        let identity = Identity::generate(&mut rng);
        let id = identity.id();
        let wishes: BTreeSet<_> = peers.iter().map(|host| address(*host)).collect();
        settings
            .peers
            .extend(wishes.iter().map(|address| Address::from(*address)));
        let key = Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(phrase));
        let engine = Engine::new(
            settings.clone(),
            key,
            identity,
            Box::new(rng),
            self.clock.now(),
        );
        self.model.join(id, &settings, false);
        let node = self.add(host, id, phrase, settings);
        self.nodes[node].engine = Some(engine);
        self.nodes[node].wishes = wishes;
        self.with(node, |engine, now| engine.handle_timeout(now));
        node
    }

    /// Starts a liar.
    pub fn start_liar(&mut self, host: usize, liar: Liar) -> usize {
        let id = liar.id();
        let settings = Settings {
            cover: Cover::Every(liar::INTERVAL),
            ..settings()
        };
        self.model.join(id, &settings, true);
        let node = self.add(host, id, PHRASE, settings);
        self.nodes[node].liar = Some(liar);
        self.clock.after(Duration::ZERO, Happening::Lies { node });
        node
    }

    fn add(&mut self, host: usize, id: PeerId, phrase: u8, settings: Settings) -> usize {
        let node = self.nodes.len();
        assert!(self.hosts[host].node.is_none(), "one process a host");
        self.hosts[host].node = Some(node);
        self.hosts[host].off = false;
        self.trace(|| format!("{node} starts on {host} as {}", id.hex_prefix(8)));
        self.nodes.push(Node {
            host,
            id,
            phrase,
            settings,
            engine: None,
            liar: None,
            front: Front {
                lag: 5,
                ..Front::default()
            },
            wires: BTreeMap::new(),
            input: VecDeque::new(),
            events: Vec::new(),
            outcome: None,
            wishes: BTreeSet::new(),
            dials: BTreeMap::new(),
            frozen_until: None,
            missed: Vec::new(),
            input_ends: false,
            timer: None,
            generation: 0,
            spins: (None, 0),
        });
        node
    }

    /// A process dies. Its kernel tells the others, unless the power is gone.
    pub fn crash(&mut self, node: usize, power: bool) {
        self.trace(|| format!("{node} crashes"));
        self.hosts[self.nodes[node].host].off = !power;
        self.drain_events(node);
        self.exit(node, power);
    }

    fn exit(&mut self, node: usize, tell: bool) {
        self.nodes[node].engine = None;
        self.nodes[node].liar = None;
        self.nodes[node].input.clear();
        self.model.end(node);
        let host = self.nodes[node].host;
        if self.hosts[host].node == Some(node) {
            self.hosts[host].node = None;
        }
        for (wire, end) in std::mem::take(&mut self.nodes[node].wires).into_values() {
            self.shut(wire, end);
            if tell {
                self.reset_other(wire, end);
            }
        }
    }

    /// Whether a process runs and is honest.
    pub fn is_running(&self, node: usize) -> bool {
        self.nodes[node].engine.is_some()
    }

    /// Whether a process is a liar; what runs no more was none.
    pub fn is_lying(&self, node: usize) -> bool {
        self.model
            .people
            .get(node)
            .is_some_and(|person| person.lies)
    }

    /// Whether two processes are honest, not the same, and have the same phrase.
    pub fn are_friends(&self, a: usize, b: usize) -> bool {
        let known = a < self.nodes.len() && b < self.nodes.len() && a != b;
        known
            && !self.is_lying(a)
            && !self.is_lying(b)
            && self.nodes[a].phrase == self.nodes[b].phrase
    }

    /// Whether everything that a process was told has been taken and shown.
    pub fn is_settled(&self, node: usize) -> bool {
        let Node { input, front, .. } = &self.nodes[node];
        let flooded = (0..self.nodes.len()).any(|node| self.is_lying(node));
        input.is_empty() && !front.deaf && (front.pending.is_empty() || flooded)
    }

    /// Whether a process was given the address of another, and has no reason to leave it alone.
    pub fn is_wished(&self, node: usize, other: usize) -> bool {
        let Node { host, settings, .. } = &self.nodes[other];
        let wishes = &self.nodes[node].wishes;
        settings.listen_port.is_some()
            && [address(*host), other_address(*host)]
                .iter()
                .any(|address| wishes.contains(address))
    }

    /// Whether two processes were ever linked, for one of them at least.
    pub fn were_linked(&self, a: usize, b: usize) -> bool {
        self.linked.contains(&(a, b)) || self.linked.contains(&(b, a))
    }

    // What users do.

    /// Says something to everybody.
    pub fn say(&mut self, node: usize, filler: &str) {
        self.speak(node, None, filler);
    }

    /// Says something to some.
    pub fn tell(&mut self, node: usize, to: &[usize], filler: &str) {
        self.speak(node, Some(to.to_vec()), filler);
    }

    fn speak(&mut self, node: usize, to: Option<Vec<usize>>, filler: &str) {
        if self.model.people[node].leaves {
            // Nothing that follows the end is looked at.
            return;
        }
        let queries = to
            .as_ref()
            .map(|to| to.iter().map(|to| self.query(*to)).collect());
        let (text, tag) = self.model.say(node, to, filler);
        let command = Command::Send {
            text: text.into(),
            to: queries,
        };
        let request = Request {
            tag,
            read_at: self.clock.now(),
            command,
        };
        self.nodes[node].input.push_back(request);
        self.settle(node);
    }

    /// How a user names a process.
    pub fn query(&self, node: usize) -> PeerQuery {
        PeerQuery(self.nodes[node].id.to_string())
    }

    /// Any other command. It keeps its order where it should.
    pub fn command(&mut self, node: usize, command: Command) {
        self.trace(|| format!("{node} is told {command:?}"));
        let keeps_order = command.keeps_order();
        let request = Request {
            tag: Tag::default(),
            read_at: self.clock.now(),
            command,
        };
        if keeps_order {
            self.nodes[node].input.push_back(request);
            self.settle(node);
        } else {
            self.with(node, |engine, now| engine.command(now, request));
        }
    }

    /// `/disconnect`.
    pub fn disconnect(&mut self, node: usize, other: usize) {
        self.model.part(node, other);
        for (a, b) in [(node, other), (other, node)] {
            self.forget_wish(a, self.nodes[b].host);
        }
        let query = self.query(other);
        self.command(node, Command::Disconnect(query));
    }

    /// `/connect` to an address of a host.
    pub fn connect(&mut self, node: usize, to: SocketAddr) {
        self.nodes[node].wishes.insert(to);
        self.command(node, Command::Connect(Address::from(to)));
    }

    fn forget_wish(&mut self, node: usize, host: usize) {
        for address in [address(host), other_address(host)] {
            self.nodes[node].wishes.remove(&address);
        }
    }

    /// `/name`.
    pub fn rename(&mut self, node: usize, name: &str) {
        let name = DisplayName::from_user(name).expect("tests choose good names");
        self.command(node, Command::Name(name));
    }

    /// `/ignore`.
    pub fn ignore(&mut self, node: usize, other: usize, on: bool) {
        self.model.ignore(node, other);
        let peer = self.query(other);
        self.command(node, Command::Ignore { peer, on: Some(on) });
    }

    /// `/quit`.
    pub fn quit(&mut self, node: usize) {
        self.leaves(node);
        self.command(node, Command::Quit);
    }

    /// The end of the input, once it is all taken.
    pub fn end_input(&mut self, node: usize) {
        self.trace(|| format!("{node} has no more input"));
        if !self.nodes[node].settings.stay {
            self.leaves(node);
        }
        self.nodes[node].input_ends = true;
        self.settle(node);
    }

    /// Nobody reads the output any more.
    pub fn abort(&mut self, node: usize) {
        self.trace(|| format!("{node} is told to end at once"));
        self.leaves(node);
        self.with(node, |engine, now| {
            engine.abort(now, sesame::mesh::ByeReason::Quit)
        });
    }

    /// It will say goodbye, and who hears that does not dial it any more. Where the input is held
    /// up its time runs only when the command is taken.
    fn leaves(&mut self, node: usize) {
        let held_up = !self.nodes[node].input.is_empty();
        self.model.leave(self.clock.now(), node);
        if held_up {
            self.model.people[node].ends_by = None;
        }
        let host = self.nodes[node].host;
        (0..self.nodes.len()).for_each(|other| self.forget_wish(other, host));
    }

    /// The front end takes and shows everything again.
    pub fn wake_front(&mut self, node: usize) {
        let front = &mut self.nodes[node].front;
        (front.deaf, front.blind) = (false, false);
        self.settle(node);
        self.schedule_show(node);
    }

    /// Which honest processes are linked to one, as that sees it.
    pub fn peers_up(&mut self, node: usize) -> Vec<usize> {
        let before = self.nodes[node].events.len();
        self.command(node, invariants::ASK);
        let ids = invariants::peers_up(&self.nodes[node].events[before..]);
        let people = ids.iter().filter_map(|id| self.model.person(id));
        people.filter(|other| !self.is_lying(*other)).collect()
    }

    /// The wires between two processes that are open at either end.
    pub fn open_wires(&self, a: usize, b: usize) -> Vec<usize> {
        let between = |[x, y]: [usize; 2]| (x, y) == (a, b) || (x, y) == (b, a);
        (0..self.net.wires.len())
            .filter(|wire| {
                let ends = &self.net.wires[*wire].ends;
                between([ends[0].node, ends[1].node])
                    && ends.iter().any(|end| end.state != State::Closed)
            })
            .collect()
    }

    // Time.

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        while let Some(happening) = self.clock.next(until) {
            self.happen(happening);
        }
    }

    /// Lets time pass until everything is at rest, and checks that all that was accepted has come
    /// to its end. At most so long.
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
            Happening::Knock { wire } => self.knock(wire),
            Happening::Connected { wire, end } => self.connected(wire, end),
            Happening::Failed { wire } => self.failed(wire),
            Happening::Departs { wire, end } => self.departs(wire, end),
            Happening::Arrives {
                wire,
                end,
                number,
                parcel,
            } => self.arrives(wire, end, number, parcel),
            Happening::Reset { wire, end } => self.reset(wire, end),
            Happening::Dies { wire, end } => self.lose(wire, end),
            Happening::FlushLimit { wire, end } => self.flush_limit(wire, end),
            Happening::Shows { node } => self.shows(node),
            Happening::Lies { node } => self.lies(node),
            Happening::Thaws { node } => self.thaws(node),
        }
    }

    /// The process to which it happens, if that gets no time.
    fn frozen(&self, happening: &Happening) -> Option<usize> {
        let node = match happening {
            Happening::Timer { node, .. } | Happening::Shows { node } => *node,
            Happening::Connected { wire, end }
            | Happening::Departs { wire, end }
            | Happening::Arrives { wire, end, .. }
            | Happening::Reset { wire, end }
            | Happening::Dies { wire, end }
            | Happening::FlushLimit { wire, end } => self.net.wires[*wire].ends[*end].node,
            Happening::Knock { wire } => self.hosts[self.net.wires[*wire].ends[1].host].node?,
            Happening::Failed { wire } => self.net.wires[*wire].ends[0].node,
            Happening::Lies { .. } | Happening::Thaws { .. } => return None,
        };
        self.nodes.get(node)?.frozen_until.map(|_| node)
    }

    /// Folds a happening into the digest (FNV-1a).
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
            Happening::Knock { wire } | Happening::Failed { wire } => [7, *wire as u64, 0],
            Happening::FlushLimit { wire, end } => [8, *wire as u64, *end as u64],
            Happening::Lies { node } => [9, *node as u64, 0],
            Happening::Dies { wire, end } => [10, *wire as u64, *end as u64],
            Happening::Thaws { node } => [11, *node as u64, 0],
        };
        let at = self.clock.elapsed().as_nanos() as u64;
        for part in parts.into_iter().chain([at]) {
            self.digest = (self.digest ^ part).wrapping_mul(0x100_0000_01b3);
        }
    }

    // Engines.

    /// One mutation, and then everything out.
    pub fn with(&mut self, node: usize, change: impl FnOnce(&mut Engine, Instant)) {
        let now = self.clock.now();
        if let Some(engine) = &mut self.nodes[node].engine {
            change(engine, now);
            self.settle(node);
        }
    }

    fn settle(&mut self, node: usize) {
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
            if engine.is_over() || waits {
                break;
            }
            if let Some(request) = place.input.pop_front() {
                let ends = matches!(request.command, Command::Quit);
                match engine.offer(now, request) {
                    Offer::Taken if ends => self.model.leave(now, node),
                    Offer::Taken => {}
                    Offer::Later(request) => {
                        place.input.push_front(request);
                        waits = true;
                    }
                }
            } else if std::mem::take(&mut place.input_ends) {
                engine.end_of_input(now);
                if !place.settings.stay {
                    self.model.leave(now, node);
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

    fn timer(&mut self, node: usize, generation: u64) {
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
            Action::Dial { conn, addr, .. } => self.dial(node, conn, &addr),
            Action::Transmit { conn, bytes, at } => {
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
            Action::Close { conn, how } => self.close(node, conn, how),
        }
    }

    fn drain_events(&mut self, node: usize) {
        while let Some(event) = self.nodes[node]
            .engine
            .as_mut()
            .and_then(Engine::poll_event)
        {
            self.trace(|| format!("{node}: {event:?}"));
            self.model.take(self.clock.now(), node, &event);
            match &event {
                Event::Message { who, seq, .. } => {
                    self.nodes[node].front.pending.push_back((who.id, *seq));
                    self.schedule_show(node);
                }
                Event::PeerUp { who, .. } => {
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

    // Front ends.

    fn schedule_show(&mut self, node: usize) {
        let front = &mut self.nodes[node].front;
        if front.scheduled || front.blind || front.pending.is_empty() {
            return;
        }
        front.scheduled = true;
        let lag = self.nodes[node].front.lag;
        let wait = self.dice.millis(0, lag);
        self.clock.after(wait, Happening::Shows { node });
    }

    fn shows(&mut self, node: usize) {
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

    // Wires.

    /// Dials an address for a process.
    fn dial(&mut self, node: usize, conn: ConnId, to: &Address) {
        let host = self.nodes[node].host;
        let target = host_at(to, self.hosts.len());
        let (other, socket) = target.unwrap_or((usize::MAX, address(host)));
        *self.nodes[node].dials.entry(socket).or_default() += u32::from(target.is_some());
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
        } else if self.net.is_blocked(host, other) || self.hosts[other].off {
            self.net.wires[wire].ends[1].state = State::Closed;
            // Some router says that there is no route, or nobody says anything.
            if self.dice.chance(30) {
                let wait = self.dice.millis(100, 3000);
                self.clock.after(wait, Happening::Failed { wire });
            }
        } else {
            self.clock.after(wait, Happening::Knock { wire });
        }
    }

    fn knock(&mut self, wire: usize) {
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
                conn = engine.handle_incoming(now, remote)
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

    fn connected(&mut self, wire: usize, end: usize) {
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

    fn failed(&mut self, wire: usize) {
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

    fn tell_closed(&mut self, node: usize, conn: ConnId, cause: CloseCause) {
        if self.nodes[node].liar.is_some() {
            self.lie(node, |liar| liar.closed(conn));
        } else {
            self.with(node, |engine, now| engine.handle_closed(now, conn, cause));
        }
    }

    fn transmit(&mut self, wire: usize, end: usize, bytes: Vec<u8>, at: Option<Instant>) {
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

    fn departs(&mut self, wire: usize, end: usize) {
        let now = self.clock.now();
        let blocked = self.net.is_wire_blocked(wire);
        let it = &mut self.net.wires[wire];
        let (state, pipe) = (it.ends[end].state, &mut it.pipes[end]);
        if pipe.departs_at.is_none_or(|at| at > now) {
            // It was put off, or brought forward.
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
        self.send(wire, end, Parcel::Bytes(piece.bytes));
        if !empty {
            return self.schedule_departure(wire, end);
        }
        let End { node, conn, .. } = self.net.wires[wire].ends[end];
        match state {
            State::Flushing => self.finish(wire, end),
            _ => self.with(node, |engine, now| engine.handle_sent(now, conn, lateness)),
        }
    }

    /// Puts a parcel on its way.
    fn send(&mut self, wire: usize, end: usize, parcel: Parcel) {
        let number = self.net.wires[wire].pipes[end].number();
        if self.net.is_wire_blocked(wire) {
            self.net.wires[wire].pipes[end].held.insert(number, parcel);
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
                parcel,
            },
        );
    }

    fn arrives(&mut self, wire: usize, end: usize, number: u64, parcel: Parcel) {
        if self.net.is_wire_blocked(wire) {
            self.net.wires[wire].pipes[1 - end]
                .held
                .insert(number, parcel);
            return;
        }
        if self.net.wires[wire].ends[end].state == State::Closed {
            // Its kernel knows nothing of such a connection, unless it has no power.
            if !self.hosts[self.net.wires[wire].ends[end].host].off {
                self.reset_other(wire, end);
            }
            return;
        }
        self.net.wires[wire].pipes[1 - end].arrive(number, parcel);
        self.deliver(wire, end);
    }

    fn deliver(&mut self, wire: usize, end: usize) {
        while matches!(
            self.net.wires[wire].ends[end].state,
            State::Open | State::Flushing
        ) {
            let Some(parcel) = self.net.wires[wire].pipes[1 - end].take() else {
                return;
            };
            let End {
                node, conn, state, ..
            } = self.net.wires[wire].ends[end];
            match parcel {
                Parcel::Bytes(_) if state == State::Flushing => {}
                Parcel::Bytes(bytes) => self.deliver_bytes(node, conn, &bytes),
                Parcel::Fin if state == State::Flushing => {}
                Parcel::Fin => {
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

    fn reset(&mut self, wire: usize, end: usize) {
        if !self.net.is_wire_blocked(wire) && !self.net.wires[wire].is_dead {
            self.lose(wire, end);
        }
    }

    /// One end of a wire hears that it is over.
    fn lose(&mut self, wire: usize, end: usize) {
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

    fn reset_other(&mut self, wire: usize, end: usize) {
        let wait = self.net.latency(&mut self.dice, wire);
        let mut at = self.clock.now() + wait;
        if self.dice.chance(50) {
            at = self.net.wires[wire].pipes[end].arrival(at);
        }
        self.clock.at(at, Happening::Reset { wire, end: 1 - end });
    }

    /// Nothing more comes out of this end or goes in.
    fn shut(&mut self, wire: usize, end: usize) {
        let it = &mut self.net.wires[wire];
        it.ends[end].state = State::Closed;
        it.pipes[end].queue.clear();
        it.pipes[end].held.clear();
        it.pipes[1 - end].ready.clear();
    }

    fn close(&mut self, node: usize, conn: ConnId, how: Close) {
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
        self.send(wire, end, Parcel::Fin);
        let wait = self.dice.millis(0, 50);
        self.clock.after(wait, Happening::FlushLimit { wire, end });
    }

    fn flush_limit(&mut self, wire: usize, end: usize) {
        let Some(Owner { node, conn }) = self.owner(wire, end, State::Flushing) else {
            return;
        };
        // What the kernel has goes on its way, whatever becomes of the process.
        let held = std::mem::take(&mut self.net.wires[wire].pipes[end].held);
        self.shut(wire, end);
        self.net.wires[wire].pipes[end].held = held;
        self.nodes[node].wires.remove(&conn);
        self.tell_closed(node, conn, CloseCause::Ended);
    }

    // What goes wrong.

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

    /// What was lost is sent again.
    fn resume(&mut self, wire: usize) {
        for end in 0..2 {
            let wait = self.dice.millis(0, 1500);
            let held = std::mem::take(&mut self.net.wires[wire].pipes[end].held);
            for (number, parcel) in held {
                let at = self.clock.now() + wait;
                let at = self.net.wires[wire].pipes[end].arrival(at);
                self.clock.at(
                    at,
                    Happening::Arrives {
                        wire,
                        end: 1 - end,
                        number,
                        parcel,
                    },
                );
            }
            if self.net.wires[wire].pipes[end].parked {
                self.schedule_departure(wire, end);
            }
        }
    }

    /// The kernel at one end of a wire takes nothing for a while, which counts from now on however
    /// long it was to take nothing before.
    pub fn stall(&mut self, wire: usize, end: usize, time: Duration) {
        self.trace(|| format!("wire {wire} takes nothing from {end} for {time:?}"));
        let pipe = &mut self.net.wires[wire].pipes[end];
        pipe.stalled_until = Some(self.clock.now() + time);
        if pipe.departs_at.take().is_some() {
            self.schedule_departure(wire, end);
        }
    }

    /// A wire dies at any byte. Each end hears of it after a while, or never.
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

    /// A process gets no time for a while.
    pub fn freeze(&mut self, node: usize, time: Duration) {
        self.trace(|| format!("{node} gets no time for {time:?}"));
        self.nodes[node].frozen_until = Some(self.clock.now() + time);
        self.clock.after(time, Happening::Thaws { node });
        if let Some(ends_by) = &mut self.model.people[node].ends_by {
            *ends_by += time;
        }
    }

    /// A process gets time again, and at once what came meanwhile.
    pub fn thaw(&mut self, node: usize) {
        self.nodes[node].frozen_until = None;
        for happening in std::mem::take(&mut self.nodes[node].missed) {
            self.clock.after(Duration::ZERO, happening);
        }
    }

    fn thaws(&mut self, node: usize) {
        let until = self.nodes[node].frozen_until;
        if until.is_some_and(|until| until <= self.clock.now()) {
            self.thaw(node);
        }
    }

    // Liars.

    fn lies(&mut self, node: usize) {
        if self.nodes[node].liar.is_some() {
            let now = self.clock.now();
            self.lie(node, |liar| liar.act(now));
            let wait = self.dice.millis(20, 200);
            self.clock.after(wait, Happening::Lies { node });
        }
    }

    fn lie(&mut self, node: usize, ask: impl FnOnce(&mut Liar) -> Vec<Deed>) {
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

/// Whose end of a wire it is.
struct Owner {
    node: usize,
    conn: ConnId,
}
