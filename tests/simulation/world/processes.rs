//! Processes: how they begin and end, and what their users do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sesame::mesh::{
    ByeReason, Command, Cover, Engine, Event, LocalNetwork, PeerQuery, Request, Settings, Tag,
};
use sesame::proto::{Address, DisplayName, Identity, PeerId};
use sesame::secret::Secret;

use super::{Front, Happening, Node, PHRASE, World, settings};
use crate::liar::Liar;
use crate::network::{ROUTER, State, Wire, address, other_address};
use crate::{invariants, liar};

impl World {
    /// Starts a process on a host, with the addresses of these hosts as its `--peer`s.
    pub fn start(&mut self, host: usize, peers: &[usize], settings: Settings) -> usize {
        self.start_with_phrase(host, peers, settings, PHRASE)
    }

    /// Starts a process with another phrase.
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
        let network = LocalNetwork {
            interface: 1,
            ip: address(host).ip(),
            prefix: 24,
        };
        if self.nodes[node].settings.lan {
            self.with(node, |engine, now| {
                engine.handle_networks(now, vec![network], vec![ROUTER]);
            });
        }
        self.with(node, |engine, now| engine.handle_timeout(now));
        node
    }

    /// A beacon of the process on another host arrives.
    pub fn beacon(&mut self, node: usize, from: usize) {
        if self.nodes[node].frozen_until.is_none() {
            self.with(node, |engine, now| {
                engine.handle_beacon(now, address(from), 1)
            });
        }
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

    pub(super) fn add(&mut self, host: usize, id: PeerId, phrase: u8, settings: Settings) -> usize {
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
            circuits: BTreeMap::new(),
            input: VecDeque::new(),
            events: Vec::new(),
            outcome: None,
            wishes: BTreeSet::new(),
            dials: BTreeMap::new(),
            dials_to_nobody: 0,
            frozen_until: None,
            missed: Vec::new(),
            input_ends: false,
            timer: None,
            generation: 0,
            spins: (None, 0),
        });
        node
    }

    /// A process dies. Its kernel tells the other ends, unless the power is gone.
    pub fn crash(&mut self, node: usize, power: bool) {
        self.trace(|| format!("{node} crashes"));
        self.hosts[self.nodes[node].host].off = !power;
        self.drain_events(node);
        self.exit(node, power);
    }

    pub(super) fn exit(&mut self, node: usize, tell: bool) {
        self.nodes[node].engine = None;
        self.nodes[node].liar = None;
        self.nodes[node].input.clear();
        self.nodes[node].circuits.clear();
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

    /// Whether a running process is a liar.
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

    /// Whether a process has taken all its input and shown all its messages.
    pub fn is_settled(&self, node: usize) -> bool {
        let Node { input, front, .. } = &self.nodes[node];
        let flooded = (0..self.nodes.len()).any(|node| self.is_lying(node));
        input.is_empty() && !front.deaf && (front.pending.is_empty() || flooded)
    }

    /// Whether a process was given the address of another, and has no reason to give it up.
    pub fn is_wished(&self, node: usize, other: usize) -> bool {
        let Node { host, settings, .. } = &self.nodes[other];
        let wishes = &self.nodes[node].wishes;
        settings.listen_port.is_some()
            && [address(*host), other_address(*host)]
                .iter()
                .any(|address| wishes.contains(address))
    }

    /// Whether two processes were ever linked directly, in the view of one at least.
    pub fn were_linked(&self, a: usize, b: usize) -> bool {
        self.linked.contains(&(a, b)) || self.linked.contains(&(b, a))
    }

    /// Whether one process can dial the host of another.
    pub fn can_dial(&self, from: usize, to: usize) -> bool {
        self.net
            .can_dial(self.nodes[from].host, self.nodes[to].host)
    }

    /// Takes from one host the way to dial another, or gives it back.
    pub fn let_dial(&mut self, from: usize, to: usize, can: bool) {
        self.trace(|| format!("{from} can dial {to}: {can}"));
        self.net.let_dial(from, to, can);
    }

    /// The pairs of processes with an open wire between them, each both ways round.
    pub fn wired(&self) -> BTreeSet<(usize, usize)> {
        let open = |wire: &&Wire| wire.ends.iter().any(|end| end.state != State::Closed);
        let wires = self.net.wires.iter().filter(open);
        let pairs = wires.map(|wire| [wire.ends[0].node, wire.ends[1].node]);
        pairs.flat_map(|[a, b]| [(a, b), (b, a)]).collect()
    }

    /// Sends a message to all.
    pub fn say(&mut self, node: usize, filler: &str) {
        self.speak(node, None, filler);
    }

    /// Sends a message to some.
    pub fn tell(&mut self, node: usize, to: &[usize], filler: &str) {
        self.speak(node, Some(to.to_vec()), filler);
    }

    fn speak(&mut self, node: usize, to: Option<Vec<usize>>, filler: &str) {
        if self.model.people[node].leaves {
            // Input after the end is not read.
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

    /// Gives any other command. It keeps its order if it has to.
    pub fn command(&mut self, node: usize, command: Command) {
        self.trace(|| format!("{node} gets {command:?}"));
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

    pub(super) fn forget_wish(&mut self, node: usize, host: usize) {
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
        self.with(node, |engine, now| {
            engine.input_finished(now, ByeReason::Quit)
        });
    }

    /// A signal that asks for the end.
    pub fn signal(&mut self, node: usize) {
        self.trace(|| format!("{node} gets a signal"));
        self.leaves(node);
        self.with(node, |engine, now| engine.stop_waiting(now));
        self.with(node, |engine, now| engine.quit(now, ByeReason::Signal));
    }

    /// The end of the input, once it is all taken.
    pub fn end_input(&mut self, node: usize) {
        self.trace(|| format!("{node} has no more input"));
        if !self.nodes[node].settings.stay.outlasts_input() {
            self.leaves(node);
        }
        self.nodes[node].input_ends = true;
        self.with(node, |engine, now| {
            engine.input_finished(now, ByeReason::Eof)
        });
    }

    /// The output is closed.
    pub fn abort(&mut self, node: usize) {
        self.trace(|| format!("{node} has to end at once"));
        self.leaves(node);
        self.with(node, |engine, now| {
            engine.abort(now, ByeReason::Quit);
        });
    }

    /// The process will say goodbye, and a peer that hears it stops dialling it. If its input is
    /// held up, that may take one more timeout.
    fn leaves(&mut self, node: usize) {
        let held_up = !self.nodes[node].input.is_empty();
        self.ends(node);
        let more = self.nodes[node].settings.timeout;
        if let Some(ends_by) = self.model.people[node].ends_by.as_mut().filter(|_| held_up) {
            *ends_by += more;
        }
        let host = self.nodes[node].host;
        (0..self.nodes.len()).for_each(|other| self.forget_wish(other, host));
    }

    /// The time for its end begins; a process without processor time can do nothing yet.
    pub(super) fn ends(&mut self, node: usize) {
        let now = self.clock.now();
        let from = self.nodes[node].frozen_until.map_or(now, |at| at.max(now));
        self.model.leave(from, node);
    }

    /// The front end takes and shows everything again.
    pub fn wake_front(&mut self, node: usize) {
        let front = &mut self.nodes[node].front;
        (front.deaf, front.blind) = (false, false);
        self.settle(node);
        self.schedule_show(node);
    }

    /// The honest processes that are linked to this one, in its own view.
    pub fn peers_up(&mut self, node: usize) -> Vec<usize> {
        let before = self.nodes[node].events.len();
        self.command(node, invariants::ASK);
        let ids = invariants::peers_up(&self.nodes[node].events[before..]);
        let people = ids.iter().filter_map(|id| self.model.person(id));
        people.filter(|other| !self.is_lying(*other)).collect()
    }

    /// The post-quantum epochs of a process's links with honest processes, in its own view.
    pub fn epochs(&mut self, node: usize) -> BTreeMap<usize, u64> {
        let before = self.nodes[node].events.len();
        self.command(node, Command::Stats);
        let told = self.nodes[node].events[before..].iter();
        let links = told.filter_map(|event| match event {
            Event::Stats { links, .. } => Some(links),
            _ => None,
        });
        let people = links
            .flatten()
            .filter_map(|link| Some((self.model.person(&link.who.id)?, link.epoch)));
        people.filter(|(other, _)| !self.is_lying(*other)).collect()
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
}
