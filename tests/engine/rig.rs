//! A test rig for an engine: its clock, its output, and the other ends of its connections.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sesame::mesh::{
    Action, Close, CloseCause, Command, ConnId, Cover, Engine, Event, PeerQuery, Request, Settings,
    Stay, Tag, Text, Undelivered,
};
use sesame::proto::cell::{HEADER, PAYLOAD};
use sesame::proto::frame::{self, Frame, Gossip, Hello, Linked, Listening, Payload};
use sesame::proto::handshake::{Channel, Dialler, Established, Listener};
use sesame::proto::ratchet::{Direction, DoubleRatchet};
use sesame::proto::{Address, CELL, Identity, MessageId, PeerId};
use sesame::secret::Secret;

/// The port on which every peer listens.
pub const PORT: u16 = 9000;

/// The settings of an engine that stays whichever peers leave, and whose links send at once.
pub fn settings() -> Settings {
    Settings {
        listen_port: Some(PORT),
        cover: Cover::Off,
        stay: Stay::Always,
        report_each: true,
        ..Settings::default()
    }
}

/// The HELLO of a peer that begins its first link and knows no peer.
pub fn hello() -> Hello {
    Hello {
        circuits: None,
        local: false,
        epochs: false,
        interval_ms: 0,
        link_seq: 1,
        oldest_live: 1,
        session_id: 77,
        heard_session_id: 0,
        heard: 0,
        listening: Listening::Port(PORT),
        name: None,
    }
}

/// A whole message in one frame.
pub fn message(number: u64, text: &str) -> Payload {
    let mut payload = Payload::default();
    payload.message(number, &MessageId([9; 16]), false, text.as_bytes(), 0);
    payload
}

/// The GOODBYE of an end that leaves for good.
pub fn goodbye() -> Payload {
    let mut payload = Payload::default();
    payload.goodbye(true);
    payload
}

/// Gossip that the sender is linked to this peer, which is at this address.
pub fn gossip(id: PeerId, address: &str) -> Payload {
    let gossip = Gossip {
        id,
        linked: Linked::Directly,
        address: Address::parse(address).ok(),
    };
    let mut payload = Payload::default();
    payload.peers([&gossip].into_iter(), PAYLOAD);
    payload
}

/// A frame that the engine sent, as far as tests check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A fragment of a message, with its text.
    Message(u64, String),
    /// An acknowledgement.
    Ack(u64),
    /// The messages up to this number are given up.
    Withdraw(u64),
    /// The engine is linked to a peer, which can be dialled at this address.
    Peer(PeerId, Option<Address>),
    /// A frame about a circuit.
    Circuit(u32, String),
    /// The public address of the partner.
    Observed(IpAddr),
    /// The engine's addresses in its local networks.
    Local(Vec<Address>),
    /// The last frame.
    Goodbye,
}

/// The other end of one connection, after its handshake.
pub struct Partner {
    /// The engine's connection.
    pub conn: ConnId,
    /// The engine's HELLO, once it has arrived.
    pub hello: Option<Hello>,
    /// The frames after it.
    pub heard: Vec<Heard>,
    /// How many cells arrived.
    pub cells: usize,
    ratchet: DoubleRatchet,
}

/// The engine and its surroundings.
pub struct Rig {
    /// The engine itself.
    pub engine: Engine,
    /// The time.
    pub now: Instant,
    /// Dials that were not answered yet.
    pub dials: Vec<(ConnId, Address)>,
    /// The connections that the engine ended.
    pub closed: Vec<ConnId>,
    /// Its events, except notices.
    pub events: Vec<Event>,
    /// The connections over circuits that the engine began, and whether it dials.
    pub circuits: Vec<(ConnId, bool)>,
    /// The bytes that circuits brought.
    pub records: BTreeMap<ConnId, Vec<u8>>,
    /// The addresses of names.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether both ends of all connections are at one address.
    pub own_computer: bool,
    /// Its notices that need attention.
    pub warnings: Vec<String>,
    /// Whether released messages are shown at once, or not at all.
    pub shows: bool,
    /// Whether cells leave only when the test says so ([`Rig::sent`]).
    pub stalls: bool,
    /// Whether a flush takes until the other end confirms it ([`Rig::lose`]).
    pub lingers: bool,
    rng: ChaCha20Rng,
    cells: BTreeMap<ConnId, Vec<[u8; CELL]>>,
    lines: u64,
}

impl Rig {
    /// An engine at its start.
    pub fn new(settings: Settings) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let identity = Identity::generate(&mut rng);
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can be had in no other way"
        )]
        let now = Instant::now();
        let its_own = Box::new(ChaCha20Rng::seed_from_u64(8));
        Self {
            engine: Engine::new(settings, phrase(), identity, its_own, now),
            now,
            dials: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
            circuits: Vec::new(),
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            own_computer: false,
            warnings: Vec::new(),
            shows: true,
            stalls: false,
            lingers: false,
            rng,
            cells: BTreeMap::new(),
            lines: 0,
        }
    }

    /// A new identity.
    pub fn identity(&mut self) -> Identity {
        Identity::generate(&mut self.rng)
    }

    /// Carries out the engine's actions, and shows the messages that it releases.
    fn drain(&mut self) {
        loop {
            if let Some(action) = self.engine.poll_action() {
                self.act(action);
            } else if let Some(event) = self.engine.poll_event() {
                if let Event::Message { who, seq, .. } = &event
                    && self.shows
                {
                    let (peer, seq) = (who.id, *seq);
                    self.engine.handle_shown(self.now, peer, seq);
                }
                match event {
                    Event::Notice { level: 0, text } => self.warnings.push(text),
                    Event::Notice { .. } => {}
                    event => self.events.push(event),
                }
            } else {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { conn, addr } => self.dials.push((conn, addr)),
            Action::LookUp { conn, name } => {
                let numbers = self.names.get(&name).cloned().unwrap_or_default();
                self.engine.handle_looked_up(self.now, conn, &numbers);
            }
            Action::Transmit { conn, bytes, .. } => {
                let (cells, rest) = bytes.as_chunks();
                assert!(rest.is_empty(), "whole cells");
                self.cells.entry(conn).or_default().extend(cells);
                if !self.stalls {
                    self.engine.handle_sent(self.now, conn, Duration::ZERO);
                }
            }
            Action::StartCircuit { conn, dials } => self.circuits.push((conn, dials)),
            Action::TakeRecords { conn, bytes } => {
                self.records.entry(conn).or_default().extend(bytes);
            }
            Action::EndRecords { conn } => {
                self.closed.push(conn);
                let cause = CloseCause::Ended;
                self.engine.handle_closed(self.now, conn, cause);
            }
            // Here everything is processed as it arrives.
            Action::Admit { .. } => {}
            // The test knows the name.
            Action::SaveName(_) => {}
            Action::Close {
                how: Close::Flush, ..
            } if self.lingers => {}
            Action::Close { conn, .. } => {
                self.closed.push(conn);
                let cause = CloseCause::Ended;
                self.engine.handle_closed(self.now, conn, cause);
            }
        }
    }

    /// Time passes, in one step.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.drain();
    }

    /// Time passes as for a program: the engine is called at its deadlines.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Time passes, and these partners send a cell each second.
    pub fn live_on(&mut self, partners: &mut [&mut Partner], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wait(Duration::from_secs(1));
            for partner in &mut *partners {
                self.say(partner, &Payload::default());
            }
        }
    }

    /// Waits until the engine dials, and takes the dial.
    pub fn next_dial(&mut self) -> (ConnId, Address) {
        while self.dials.is_empty() {
            let at = self.engine.poll_timeout(self.now);
            self.now = self.now.max(at.expect("it has something to do"));
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.dials.remove(0)
    }

    /// Time passes, and no dial is answered. Returns the dialled addresses, in order.
    pub fn dialled_in_vain(&mut self, time: Duration) -> Vec<Address> {
        let end = self.now + time;
        let mut dialled = Vec::new();
        loop {
            for (conn, address) in mem::take(&mut self.dials) {
                let cause = CloseCause::Failed("connection refused".into());
                self.engine.handle_closed(self.now, conn, cause);
                dialled.push(address);
            }
            self.drain();
            if !self.dials.is_empty() {
                continue;
            }
            let next = self.engine.poll_timeout(self.now);
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return dialled;
            };
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
    }

    /// A peer dials the engine, and proves its identity.
    pub fn dialled_by(&mut self, identity: &Identity, from: &str) -> Partner {
        let mut partner = self.shake_hands(identity, from);
        self.say(&mut partner, &Payload::default());
        partner
    }

    /// A peer dials the engine. Its first cell is still to come.
    pub fn shake_hands(&mut self, identity: &Identity, from: &str) -> Partner {
        let remote: SocketAddr = from.parse().unwrap();
        let conn = self
            .engine
            .handle_incoming(self.now, remote, self.own_computer);
        let conn = conn.expect("it is let in");
        let [ours, its] = self.channel();
        if self.own_computer {
            self.engine.handle_own_computer(conn);
        }
        self.engine.handle_connected(self.now, conn, remote, its);
        self.drain();
        self.lead(conn, ours, identity)
    }

    /// A peer has asked for the circuit that carries this connection, and proves its identity.
    pub fn asks_over_circuit(&mut self, conn: ConnId, identity: &Identity) -> Partner {
        let [ours, its] = self.channel();
        self.engine.handle_circuit_connected(self.now, conn, its);
        self.drain();
        let mut partner = self.lead(conn, ours, identity);
        self.say(&mut partner, &Payload::default());
        partner
    }

    /// The dialler's handshake.
    fn lead(&mut self, conn: ConnId, ours: Channel, identity: &Identity) -> Partner {
        let (state, ya) = Dialler::start(ours, &phrase(), identity, &mut self.rng);
        self.give(conn, &ya);
        let yb = self.take(conn);
        let (state, ta) = state.receive(&yb, identity).ok().unwrap();
        self.give(conn, &ta);
        let tb = self.take(conn);
        let established = state.receive(&tb, identity).ok().unwrap();
        self.partner(conn, established, Direction::Dialler)
    }

    /// A stranger dials the engine with another phrase, and sends a Ta.
    pub fn guess(&mut self, from: &str) -> ConnId {
        let (wrong, identity) = (Secret::fill_with(|bytes| bytes.fill(2)), self.identity());
        let remote: SocketAddr = from.parse().unwrap();
        let conn = self
            .engine
            .handle_incoming(self.now, remote, self.own_computer);
        let conn = conn.expect("it is let in");
        let [ours, its] = self.channel();
        self.engine.handle_connected(self.now, conn, remote, its);
        self.drain();
        let (state, ya) = Dialler::start(ours, &wrong, &identity, &mut self.rng);
        self.give(conn, &ya);
        let yb = self.take(conn);
        let (_, ta) = state.receive(&yb, &identity).ok().unwrap();
        self.give(conn, &ta);
        conn
    }

    /// Whether the engine has sent bytes that were not read yet.
    pub fn has_answered(&self, conn: ConnId) -> bool {
        self.cells.get(&conn).is_some_and(|cells| !cells.is_empty())
    }

    /// A peer answers a dial of the engine with a Yb, waits for Ta, and breaks off.
    pub fn break_off(&mut self, conn: ConnId, identity: &Identity, at: &str) {
        let remote: std::net::SocketAddr = at.parse().unwrap();
        let [ours, its] = self.channel();
        self.engine.handle_connected(self.now, conn, remote, its);
        self.drain();
        let ya = self.take(conn);
        let answer = Listener::answer(ours, &phrase(), identity, &mut self.rng, &ya);
        let (_, yb) = answer.ok().unwrap();
        self.give(conn, &yb);
        self.take(conn);
        let cause = CloseCause::Ended;
        self.engine.handle_closed(self.now, conn, cause);
        self.drain();
    }

    /// A peer answers a dial of the engine, and proves its identity.
    pub fn answer(&mut self, conn: ConnId, identity: &Identity, at: &str) -> Partner {
        let mut partner = self.shake_hands_at(conn, identity, at);
        self.say(&mut partner, &Payload::default());
        partner
    }

    /// A stranger with another phrase answers a dial of the engine.
    pub fn stranger_answers(&mut self, conn: ConnId, identity: &Identity, at: &str) {
        let remote: std::net::SocketAddr = at.parse().unwrap();
        let [ours, its] = self.channel();
        self.engine.handle_connected(self.now, conn, remote, its);
        self.drain();
        let wrong = Secret::fill_with(|bytes| bytes.fill(2));
        assert!(self.follow(conn, ours, identity, &wrong).is_none());
    }

    /// A peer answers a dial of the engine. Its first cell is still to come.
    pub fn shake_hands_at(&mut self, conn: ConnId, identity: &Identity, at: &str) -> Partner {
        let remote: std::net::SocketAddr = at.parse().unwrap();
        let [ours, its] = self.channel();
        if self.own_computer {
            self.engine.handle_own_computer(conn);
        }
        self.engine.handle_connected(self.now, conn, remote, its);
        self.drain();
        let established = self.follow(conn, ours, identity, &phrase());
        self.partner(conn, established.unwrap(), Direction::Listener)
    }

    /// The circuit for which the engine has asked leads to a peer with this identity. Its first
    /// cell is still to come.
    pub fn answers_over_circuit(&mut self, conn: ConnId, identity: &Identity) -> Partner {
        let [ours, its] = self.channel();
        self.engine.handle_circuit_connected(self.now, conn, its);
        self.drain();
        let established = self.follow(conn, ours, identity, &phrase());
        self.partner(conn, established.unwrap(), Direction::Listener)
    }

    /// The circuit for which the engine has asked leads to a peer with another phrase.
    pub fn stranger_over_circuit(&mut self, conn: ConnId, identity: &Identity) {
        let [ours, its] = self.channel();
        self.engine.handle_circuit_connected(self.now, conn, its);
        self.drain();
        let wrong = Secret::fill_with(|bytes| bytes.fill(2));
        assert!(self.follow(conn, ours, identity, &wrong).is_none());
    }

    /// The listener's handshake. `None`: the engine has another phrase.
    fn follow(
        &mut self,
        conn: ConnId,
        ours: Channel,
        identity: &Identity,
        phrase: &Secret<32>,
    ) -> Option<Established> {
        let ya = self.take(conn);
        let answer = Listener::answer(ours, phrase, identity, &mut self.rng, &ya);
        let (state, yb) = answer.ok().unwrap();
        self.give(conn, &yb);
        let ta = self.take(conn);
        let (established, tb) = state.receive(&ta, identity, &mut self.rng);
        self.give(conn, &tb);
        established.ok()
    }

    /// Both ends' view of one TLS connection.
    fn channel(&mut self) -> [Channel; 2] {
        let (mut exporter, mut fingerprints) = ([0; 64], [[0; 32]; 2]);
        self.rng.fill_bytes(&mut exporter);
        for fingerprint in &mut fingerprints {
            self.rng.fill_bytes(fingerprint);
        }
        [(); 2].map(|()| Channel {
            exporter: Secret::fill_with(|bytes: &mut [u8; 64]| bytes.copy_from_slice(&exporter)),
            fingerprints,
        })
    }

    fn partner(&mut self, conn: ConnId, established: Established, side: Direction) -> Partner {
        let mut partner = Partner {
            conn,
            hello: None,
            heard: Vec::new(),
            cells: 0,
            ratchet: established.ratchet(self.now, side),
        };
        self.hear(&mut partner);
        partner
    }

    fn give(&mut self, conn: ConnId, cell: &[u8; CELL]) {
        self.engine.handle_bytes(self.now, conn, cell);
        self.drain();
    }

    fn take(&mut self, conn: ConnId) -> [u8; CELL] {
        self.cells.get_mut(&conn).expect("it sent a cell").remove(0)
    }

    /// Reads what the engine has sent.
    pub fn hear(&mut self, partner: &mut Partner) {
        for mut cell in mem::take(self.cells.entry(partner.conn).or_default()) {
            partner.ratchet.open(&mut cell).ok().unwrap();
            partner.cells += 1;
            let mut rest = &cell[HEADER..HEADER + PAYLOAD];
            while let Some(frame) = frame::decode(&mut rest).ok().unwrap() {
                let mut peers = Vec::new();
                partner.heard.extend(match frame {
                    Frame::Hello(hello) => {
                        partner.hello = Some(hello);
                        None
                    }
                    Frame::Message(piece) => {
                        let text = String::from_utf8_lossy(piece.text).into_owned();
                        Some(Heard::Message(piece.number, text))
                    }
                    Frame::Ack(number) => Some(Heard::Ack(number)),
                    Frame::Withdraw(number) => Some(Heard::Withdraw(number)),
                    Frame::Goodbye { .. } => Some(Heard::Goodbye),
                    Frame::Peers(entries) => {
                        let linked = entries
                            .into_iter()
                            .filter(|entry| entry.linked != Linked::No);
                        let told = linked.map(|entry| Heard::Peer(entry.id, entry.address));
                        peers.extend(told);
                        None
                    }
                    Frame::Name(_) | Frame::Kem(_) => None,
                    Frame::Circuit(frame) => {
                        Some(Heard::Circuit(frame.id, format!("{:?}", frame.what)))
                    }
                    Frame::Observed(ip) => Some(Heard::Observed(ip)),
                    Frame::Local(addresses) => Some(Heard::Local(addresses)),
                });
                partner.heard.extend(peers);
            }
        }
    }

    /// Sends a cell with these frames, and reads the engine's answer.
    pub fn say(&mut self, partner: &mut Partner, frames: &Payload) {
        self.say_bytes(partner, frames.as_slice());
    }

    /// The same with any bytes.
    pub fn say_bytes(&mut self, partner: &mut Partner, frames: &[u8]) {
        let mut cell = [0; CELL];
        cell[HEADER..][..frames.len()].copy_from_slice(frames);
        let sealed = partner.ratchet.seal(self.now, &mut self.rng, &mut cell);
        sealed.ok().unwrap();
        self.give(partner.conn, &cell);
        self.hear(partner);
    }

    /// Acknowledges the messages up to this number for a partner.
    pub fn acknowledge(&mut self, partner: &mut Partner, number: u64) {
        let mut frames = Payload::default();
        frames.ack(number);
        self.say(partner, &frames);
    }

    /// Sends a partner's HELLO.
    pub fn greet(&mut self, partner: &mut Partner, hello: &Hello) {
        let mut frames = Payload::default();
        frames.hello(hello);
        self.say(partner, &frames);
    }

    /// A peer dials the engine and sends HELLO: a link is up.
    pub fn link(&mut self, identity: &Identity, from: &str, hello: &Hello) -> Partner {
        let mut partner = self.dialled_by(identity, from);
        self.greet(&mut partner, hello);
        assert!(!self.closed.contains(&partner.conn), "it stays");
        partner
    }

    /// The engine's cells to a partner leave, and the partner reads them.
    pub fn sent(&mut self, partner: &mut Partner) {
        self.engine
            .handle_sent(self.now, partner.conn, Duration::ZERO);
        self.drain();
        self.hear(partner);
    }

    /// The connection breaks, as the engine sees it.
    pub fn lose(&mut self, partner: &Partner) {
        let cause = CloseCause::Ended;
        self.engine.handle_closed(self.now, partner.conn, cause);
        self.drain();
    }

    /// The user sends a text, to all or to some. Returns whether it was accepted.
    pub fn offer(&mut self, text: &str, to: Option<&[PeerId]>) -> bool {
        let to = to.map(|ids| ids.iter().map(|id| PeerQuery(id.to_string())).collect());
        self.offer_line(text, to, self.now)
    }

    /// The same, to all, with a line that was read at this moment.
    pub fn offer_read_at(&mut self, text: &str, read_at: Instant) -> bool {
        self.offer_line(text, None, read_at)
    }

    /// The user sends a text to one peer, named like this.
    pub fn offer_to(&mut self, text: &str, to: &str) -> bool {
        self.offer_line(text, Some(vec![PeerQuery(to.into())]), self.now)
    }

    /// The user sends several texts at once, to all. Returns how many were accepted, and the text
    /// that waits.
    pub fn offer_together(&mut self, texts: &[String]) -> (u64, Option<Text>) {
        let requests: Vec<_> = texts
            .iter()
            .map(|text| self.line(text, None, self.now))
            .collect();
        let offered = self.engine.offer_several(self.now, requests.into_iter());
        self.drain();
        let text = offered.waits.and_then(|request| match request.command {
            Command::Send { text, .. } => Some(text),
            _ => None,
        });
        (offered.messages, text)
    }

    fn offer_line(&mut self, text: &str, to: Option<Vec<PeerQuery>>, read_at: Instant) -> bool {
        let request = self.line(text, to, read_at);
        let taken = self.engine.offer(self.now, request).is_none();
        self.drain();
        taken
    }

    fn line(&mut self, text: &str, to: Option<Vec<PeerQuery>>, read_at: Instant) -> Request {
        self.lines += 1;
        Request {
            tag: Tag {
                reference: None,
                line: self.lines,
            },
            read_at,
            command: Command::Send {
                text: text.into(),
                to,
            },
        }
    }

    /// The user gives a command.
    pub fn command(&mut self, command: Command) {
        self.tell(|engine, now| {
            let request = Request {
                tag: Tag::default(),
                read_at: now,
                command,
            };
            engine.command(now, request);
        });
    }

    /// Makes a change to the engine.
    pub fn tell(&mut self, what: impl FnOnce(&mut Engine, Instant)) {
        what(&mut self.engine, self.now);
        self.drain();
    }

    /// How often a link came up, and how often one ended.
    pub fn ups_and_downs(&self) -> [usize; 2] {
        let count = |is: fn(&Event) -> bool| self.events.iter().filter(|event| is(event)).count();
        [
            count(|event| matches!(event, Event::PeerUp { .. })),
            count(|event| matches!(event, Event::PeerDown { .. })),
        ]
    }

    /// The texts that were shown.
    pub fn shown(&self) -> Vec<&str> {
        let texts = self.events.iter().filter_map(|event| match event {
            Event::Message { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The peers that did not get a message, and why.
    pub fn undelivered(&self) -> Vec<(PeerId, Undelivered)> {
        let done = self.events.iter().filter_map(|event| match event {
            Event::Done { undelivered, .. } => Some(undelivered),
            _ => None,
        });
        done.flatten()
            .map(|(who, reason)| (who.id, *reason))
            .collect()
    }
}

fn phrase() -> Secret<32> {
    Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1))
}
