//! One connection, from its start to the link that it carries (PROTOCOL.md, sections 3 to 6).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::dial_budget::{Site, Voucher};
use super::lan::LocalExchange;
use super::remote::{Relay, Remote};
use super::scope::Scopes;
use super::settings::Settings;
use crate::proto::cell::Assembler;
use crate::proto::frame::{Gossip, Listening};
use crate::proto::handshake::{
    Channel, Dialler, DiallerConfirming, Established, HandshakeError, Listener, Message,
};
use crate::proto::link::Link;
use crate::proto::{Address, Fault, Identity, PeerId};
use crate::secret::Secret;

/// From the TCP connection to the end of the handshake (PROTOCOL.md, section 12).
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The same in a run with a proxy, whose links have long ways in both directions; and the time
/// until TLS is up on a dial.
const PROXIED_HANDSHAKE: Duration = Duration::from_secs(30);
const PROXIED_DIAL: Duration = Duration::from_secs(60);
/// How long a relay may take to answer.
const ASKED: Duration = Duration::from_secs(30);
/// From the answer of a relay to the end of the handshake over its circuit.
const CIRCUIT: Duration = Duration::from_secs(60);
/// How long the I/O layer has to write out a GOODBYE or a refusal.
const FLUSH: Duration = Duration::from_secs(5);

/// What this end proves in a handshake.
pub(super) struct Credentials {
    /// The key that was derived from the phrase.
    pub phrase: Secret<32>,
    /// This end's identity.
    pub identity: Identity,
}

/// One connection.
pub(super) struct Conn {
    /// The address that this end dialled; `None` on the listener's side.
    pub dialled: Option<Address>,
    /// The other end, once there is a connection.
    pub remote: Option<Remote>,
    /// Whether the other end connects from an address of this computer that is not loopback.
    pub own_computer: bool,
    /// The peer to which this end has asked for the circuit that carries the connection.
    pub asked_for: Option<PeerId>,
    /// What both ends have said about their local networks.
    pub local: LocalExchange,
    stage: Stage,
    assembler: Assembler,
    /// How long the handshake may take.
    handshake: Duration,
    /// When the present stage times out. A link has deadlines of its own.
    deadline: Instant,
}

/// How far a connection has got.
enum Stage {
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
    /// Ta has arrived and waits for its turn.
    Waits(Box<Listener>, Message),
    /// The handshake is done.
    Linked(Box<Link>),
    /// The I/O layer writes out the last bytes: a GOODBYE, or the answer to a stranger.
    Flushing {
        /// Whether it is a GOODBYE.
        goodbye: bool,
    },
    /// Between two stages, while a message is processed.
    Moving,
}

/// What to do after a cell of the handshake.
pub(super) enum Step {
    /// Send this message.
    Send(Message),
    /// Ya has arrived: [`Conn::answer_ya`] answers it.
    Ya(Channel, Message),
    /// Ta has arrived: [`answer_ta`] answers it, at once or after [`Conn::wait`].
    Ta(Box<Listener>, Message),
    /// The handshake is done.
    Established(Established),
    /// The other end broke off, or violated the protocol.
    Failed(HandshakeError),
}

/// Where a peer can be dialled.
pub(super) struct Whereabouts {
    /// Its address, if it has one.
    pub address: Option<Address>,
    /// Whether the address was observed on the connection, and not only claimed.
    pub seen: bool,
    /// Which gossiped addresses are accepted over its link.
    pub scopes: Scopes,
    /// The address that its link comes from.
    pub voucher: Voucher,
}

/// The result of checking Ta, with the answer to it.
pub(super) struct Answered {
    /// The end of the handshake.
    pub result: Result<Established, HandshakeError>,
    /// The message to send, whatever the result.
    pub answer: Message,
    /// The key that the dialler claims.
    pub key: [u8; 32],
}

/// Checks Ta and makes the answer.
pub(super) fn answer_ta(
    state: Listener,
    ta: &Message,
    own: &Credentials,
    rng: &mut dyn CryptoRng,
) -> Answered {
    let key = state.dialler_key();
    let (result, answer) = state.receive(ta, &own.identity, rng);
    Answered {
        result,
        answer,
        key,
    }
}

impl Conn {
    /// A connection that this end dials.
    pub(super) fn dial(now: Instant, address: Address, proxied: bool) -> Self {
        let mut conn = Self::new(now, Some(address), None, proxied);
        if proxied {
            conn.deadline = now + PROXIED_DIAL;
        }
        conn
    }

    /// A connection that the listener accepted.
    pub(super) fn accept(
        now: Instant,
        remote: SocketAddr,
        own_computer: bool,
        proxied: bool,
    ) -> Self {
        Self {
            own_computer,
            ..Self::new(now, None, Some(Remote::Direct(remote)), proxied)
        }
    }

    /// A connection over a circuit for which this end has asked a relay.
    pub(super) fn ask(now: Instant, relay: Relay, peer: PeerId) -> Self {
        Self {
            asked_for: Some(peer),
            deadline: now + ASKED,
            ..Self::offered(now, relay)
        }
    }

    /// The relay has answered: the circuit stands.
    pub(super) fn circuit_stands(&mut self, now: Instant) {
        self.deadline = now + CIRCUIT;
    }

    /// A connection over a circuit that a relay offers.
    pub(super) fn offered(now: Instant, relay: Relay) -> Self {
        let mut conn = Self::new(now, None, Some(Remote::Relayed(relay)), false);
        (conn.handshake, conn.deadline) = (CIRCUIT, now + CIRCUIT);
        conn
    }

    fn new(now: Instant, dialled: Option<Address>, remote: Option<Remote>, proxied: bool) -> Self {
        let handshake = match proxied {
            true => PROXIED_HANDSHAKE,
            false => HANDSHAKE,
        };
        Self {
            dialled,
            remote,
            own_computer: false,
            asked_for: None,
            local: LocalExchange::default(),
            stage: Stage::Connecting,
            assembler: Assembler::default(),
            handshake,
            deadline: now + handshake,
        }
    }

    /// Takes the next whole cell from these bytes; `None` if there is none, or the connection is
    /// ending.
    pub(super) fn next_cell(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        match self.stage {
            Stage::Flushing { .. } => None,
            _ => self.assembler.next(bytes),
        }
    }

    /// The name that this end dials has been resolved. Returns the address to connect to, if the
    /// dial is still wanted.
    pub(super) fn looked_up(&mut self, now: Instant) -> Option<&Address> {
        let Stage::Connecting = self.stage else {
            return None;
        };
        let dialled = self.dialled.as_ref()?;
        self.deadline = now + self.handshake;
        Some(dialled)
    }

    /// TLS is up; the dialler's first message. `remote`: the other end, if it was not known before.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        remote: Option<Remote>,
        channel: Channel,
        own: &Credentials,
        rng: &mut dyn CryptoRng,
    ) -> Option<Message> {
        let Stage::Connecting = self.stage else {
            return None;
        };
        self.remote = remote.or(self.remote.take());
        if !self.is_dialled() {
            self.stage = Stage::AwaitsYa(channel);
            return None;
        }
        let (state, ya) = Dialler::start(channel, &own.phrase, &own.identity, rng);
        self.stage = Stage::SentYa(Box::new(state));
        if !self.is_relayed() {
            self.deadline = now + self.handshake;
        }
        Some(ya)
    }

    /// Handles a cell that arrives before the handshake is done.
    pub(super) fn receive(&mut self, cell: Message, own: &Credentials) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::SentYa(state) => match state.receive(&cell, &own.identity) {
                Ok((state, ta)) => {
                    self.stage = Stage::SentTa(Box::new(state));
                    Step::Send(ta)
                }
                Err(error) => Step::Failed(error),
            },
            Stage::SentTa(state) => match state.receive(&cell, &own.identity) {
                Ok(established) => Step::Established(established),
                Err(error) => Step::Failed(error),
            },
            Stage::AwaitsYa(channel) => Step::Ya(channel, cell),
            Stage::SentYb(state) => Step::Ta(state, cell),
            // Nobody may send a second message before the first is answered.
            _ => Step::Failed(Fault::SentOutOfTurn.into()),
        }
    }

    /// The listener's first message.
    ///
    /// # Errors
    /// Ya breaks the protocol.
    pub(super) fn answer_ya(
        &mut self,
        channel: Channel,
        ya: &Message,
        own: &Credentials,
        rng: &mut dyn CryptoRng,
    ) -> Result<Message, HandshakeError> {
        let (state, yb) = Listener::answer(channel, &own.phrase, &own.identity, rng, ya)?;
        self.stage = Stage::SentYb(Box::new(state));
        Ok(yb)
    }

    /// Keeps a Ta that has to wait for its turn.
    pub(super) fn wait(&mut self, state: Box<Listener>, ta: Message) {
        self.stage = Stage::Waits(state, ta);
    }

    /// Takes the waiting Ta when its turn has come.
    pub(super) fn take_turn(&mut self) -> Option<(Box<Listener>, Message)> {
        match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Waits(state, ta) => Some((state, ta)),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// The handshake is done: the connection now carries this link.
    pub(super) fn begin_link(&mut self, link: Link) {
        self.stage = Stage::Linked(Box::new(link));
    }

    /// Ends the link, if there was one; the I/O layer still writes out what was transmitted.
    pub(super) fn flush(&mut self, now: Instant) {
        let goodbye = self.link().is_some_and(Link::is_over);
        self.stage = Stage::Flushing { goodbye };
        self.deadline = now + FLUSH;
    }

    /// Queues gossip about another peer for the peer of this link.
    pub(super) fn tell(&mut self, mut gossip: Gossip) {
        let Some(remote) = &self.remote else {
            return;
        };
        gossip.address = gossip.address.and_then(|address| remote.tell(&address));
        if let Some(link) = self.link_mut() {
            link.tell(gossip);
        }
    }

    /// The link, once the handshake is done.
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.stage {
            Stage::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// The link, once the handshake is done, for changes.
    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// The peer of a link whose HELLO has not arrived yet.
    pub(super) fn arriving(&self) -> Option<PeerId> {
        let link = self.link()?;
        (link.link_seq().is_some() && link.hello().is_none()).then(|| link.peer())
    }

    /// Whether the I/O layer only writes out the last bytes.
    pub(super) fn is_flushing(&self) -> bool {
        matches!(self.stage, Stage::Flushing { .. })
    }

    /// Whether the I/O layer still has a GOODBYE to write out.
    pub(super) fn has_said_goodbye(&self) -> bool {
        matches!(self.stage, Stage::Flushing { goodbye: true })
    }

    /// Whether this end dialled, or asked for the circuit.
    pub(super) fn is_dialled(&self) -> bool {
        self.dialled.is_some() || self.asked_for.is_some()
    }

    /// The relay, if this end holds the connection for a circuit.
    pub(super) fn relay(&self) -> Option<&Relay> {
        match &self.remote {
            Some(Remote::Relayed(relay)) => Some(relay),
            _ => None,
        }
    }

    /// Whether this end holds the connection for a circuit.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay().is_some()
    }

    /// Whether a circuit carries it, as far as either end knows.
    fn is_known_relayed(&self) -> bool {
        self.is_relayed() || self.link().is_some_and(Link::is_relayed)
    }

    /// The peer to which this end has asked for a circuit, until that is a link.
    pub(super) fn awaited(&self) -> Option<PeerId> {
        let greeted = self.link().is_some_and(|link| link.hello().is_some());
        self.asked_for.filter(|_| !greeted)
    }

    /// Whether this is a circuit whose other end has asked for it and has proven nothing.
    pub(super) fn is_unproven_offer(&self) -> bool {
        let proven = self.link().is_some_and(Link::is_proven);
        self.is_relayed() && self.asked_for.is_none() && !proven
    }

    /// Whether this is a dial that waits for Tb.
    pub(super) fn has_sent_ta(&self) -> bool {
        matches!(self.stage, Stage::SentTa(_))
    }

    /// Whether this is a dial that waits for Tb, and has shown this key.
    pub(super) fn has_shown(&self, key: &[u8; 32]) -> bool {
        matches!(&self.stage, Stage::SentTa(dialler) if dialler.key() == key)
    }

    /// Whether the other end is on this computer, as far as this end can tell: a forwarder may
    /// relay from or to anywhere.
    pub(super) fn is_with_own_computer(&self) -> bool {
        self.own_computer || self.remote.as_ref().is_some_and(Remote::is_loopback)
    }

    /// The other end's IP address, once known.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.remote.as_ref().and_then(Remote::ip)
    }

    /// The IP address to which its links count.
    pub(super) fn counts_at(&self) -> Option<IpAddr> {
        self.remote.as_ref().and_then(Remote::counts_at)
    }

    /// The dialled address, with the computer to which it led.
    pub(super) fn dialled_at(&self) -> Option<(Address, Site)> {
        Some((self.dialled.clone()?, self.remote.as_ref()?.site()))
    }

    /// Which gossiped addresses this end accepts over the link.
    pub(super) fn scopes(&self, settings: &Settings) -> Option<Scopes> {
        let remote = self.remote.as_ref()?;
        Some(match (remote, self.is_with_own_computer()) {
            _ if settings.proxied => Scopes::PROXIED,
            (_, true) if settings.forwarded => Scopes::PUBLIC,
            (_, true) => Scopes::over_own_computer(self.is_dialled()),
            (Remote::Direct(addr), false) => Scopes::over(addr.ip()),
            (Remote::Proxied(_) | Remote::Relayed(_), false) => Scopes::PUBLIC,
        })
    }

    /// The address of this computer, other than loopback, at which the user dialled the other end.
    /// Other processes on this computer listen there too.
    pub(super) fn own_address_dialled(&self, forwarded: bool) -> Option<IpAddr> {
        let ours = self.is_dialled() && self.is_with_own_computer() && !forwarded;
        self.ip().filter(|_| ours)
    }

    /// Where the peer can be dialled, judged by what it says and by the connection itself.
    pub(super) fn whereabouts(
        &self,
        listening: &Listening,
        settings: &Settings,
    ) -> Option<Whereabouts> {
        let (remote, scopes) = (self.remote.as_ref()?, self.scopes(settings)?);
        // A port means a port at the other end's own address. If its connections come through a
        // forwarder, that address is the forwarder's and the port is not open there.
        let may_be_elsewhere = settings.forwarded && self.is_with_own_computer();
        let is_relayed = self.is_known_relayed();
        let at_its_own = |ip: IpAddr| remote.ip() == Some(ip) && !may_be_elsewhere && !is_relayed;
        let (address, seen) = match listening {
            Listening::No => (None, true),
            // At an address that nobody has observed.
            Listening::Port(_) if self.is_known_relayed() => (None, false),
            Listening::Port(_) if self.is_dialled() => (Some(remote.address()), true),
            Listening::Port(port) if !may_be_elsewhere => {
                let port = *port;
                let address = Address {
                    port,
                    ..remote.address()
                };
                (Some(address), true)
            }
            Listening::At(address) if address.ip().is_some_and(at_its_own) => {
                (remote.hear(address.clone()), true)
            }
            Listening::At(address) if scopes.admit_address(address) => {
                (remote.hear(address.clone()), false)
            }
            Listening::Port(_) | Listening::At(_) => (None, false),
        };
        Some(Whereabouts {
            address,
            seen,
            scopes,
            voucher: remote.voucher(),
        })
    }

    /// When the present stage, or the link, times out.
    pub(super) fn ends_at(&self, inactivity: Duration) -> Instant {
        self.link()
            .map_or(self.deadline, |link| link.dead_at(inactivity))
    }

    /// The present stage before there is a link, in words for the user.
    pub(super) fn shown_stage(&self) -> &'static str {
        match self.stage {
            Stage::SentTa(_) => "before the other end confirmed the passphrase",
            Stage::SentYa(_) => {
                "during the handshake (the other end may run another version of sesame)"
            }
            _ => "during the handshake",
        }
    }

    /// The other end's address, for the user.
    pub(super) fn shown(&self) -> Option<String> {
        if let Some(relay) = self.relay() {
            return Some(format!("a circuit over {}", relay.address));
        }
        let remote = self.remote.as_ref().map(Remote::address);
        remote
            .or_else(|| self.dialled.clone())
            .map(|address| address.to_string())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn credentials(rng: &mut ChaCha20Rng) -> Credentials {
        Credentials {
            phrase: Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1)),
            identity: Identity::generate(rng),
        }
    }

    fn channel() -> Channel {
        Channel {
            exporter: Secret::fill_with(|bytes: &mut [u8; 64]| bytes.fill(2)),
            fingerprints: [[3; 32], [4; 32]],
        }
    }

    fn sent(step: Step) -> Message {
        match step {
            Step::Send(message) => message,
            _ => panic!("nothing is to be sent"),
        }
    }

    /// A dialler, and a listener whose Ta waits for its turn.
    fn waiting(rng: &mut ChaCha20Rng) -> ([Conn; 2], [Credentials; 2]) {
        let own = [(); 2].map(|()| credentials(rng));
        let mut conns = [conn("192.0.2.2:9000", true), conn("192.0.2.1:40000", false)];
        let [dialler, listener] = &mut conns;
        let now = Instant::now();
        let remote = || Remote::Direct("192.0.2.2:9000".parse().unwrap());
        let ya = dialler.connected(now, Some(remote()), channel(), &own[0], rng);
        let none = listener.connected(now, Some(remote()), channel(), &own[1], rng);
        assert!(none.is_none(), "the dialler begins");
        let Step::Ya(channel, ya) = listener.receive(ya.unwrap(), &own[1]) else {
            panic!("Ya has come");
        };
        let yb = listener.answer_ya(channel, &ya, &own[1], rng).ok().unwrap();
        let ta = sent(dialler.receive(yb, &own[0]));
        let Step::Ta(state, ta) = listener.receive(ta, &own[1]) else {
            panic!("Ta has come");
        };
        listener.wait(state, ta);
        (conns, own)
    }

    /// What the listener gets from a handshake, with the dialler's id.
    pub(crate) fn established(seed: u64) -> Established {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let ([_, mut listener], own) = waiting(&mut rng);
        let (state, ta) = listener.take_turn().unwrap();
        let answered = answer_ta(*state, &ta, &own[1], &mut rng);
        answered.result.ok().unwrap()
    }

    #[test]
    fn handshake_of_two_connections_establishes_both() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let ([mut dialler, mut listener], own) = waiting(&mut rng);
        assert!(dialler.has_sent_ta() && listener.link().is_none());
        let (state, ta) = listener.take_turn().unwrap();
        let answered = answer_ta(*state, &ta, &own[1], &mut rng);
        assert!(dialler.has_shown(&answered.key));
        let dialling = answered.result.ok().unwrap();
        assert_eq!(dialling.peer, own[0].identity.id());
        let Step::Established(listening) = dialler.receive(answered.answer, &own[0]) else {
            panic!("Tb fits");
        };
        assert_eq!(listening.peer, own[1].identity.id());
        assert_eq!(listening.words, dialling.words);
    }

    #[test]
    fn message_before_its_turn_is_a_fault() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let ([_, mut listener], own) = waiting(&mut rng);
        let step = listener.receive(Box::new([0; crate::proto::CELL]), &own[1]);
        let fault = HandshakeError::Fault(Fault::SentOutOfTurn);
        assert!(matches!(step, Step::Failed(error) if error == fault));
        assert!(listener.take_turn().is_none());
    }

    fn conn(remote: &str, dialled: bool) -> Conn {
        let (now, remote) = (Instant::now(), remote.parse().unwrap());
        Conn {
            dialled: dialled.then(|| Address::from(remote)),
            ..Conn::accept(now, remote, false, false)
        }
    }

    /// Which address a peer is believed to have, and whether it was observed.
    fn found(conn: &Conn, listening: Listening, forwarded: bool) -> (Option<String>, bool) {
        let settings = Settings {
            forwarded,
            ..Settings::default()
        };
        let found = conn.whereabouts(&listening, &settings).unwrap();
        (found.address.map(|it| it.to_string()), found.seen)
    }

    fn at(address: &str) -> Listening {
        Listening::At(Address::parse(address).unwrap())
    }

    #[test]
    fn peer_is_seen_at_its_own_address_only() {
        let there = conn("198.51.100.7:40000", false);
        let (port, seen) = (Listening::Port(9000), |at: &str| {
            (Some(at.to_owned()), true)
        });
        assert_eq!(
            found(&there, port.clone(), false),
            seen("198.51.100.7:9000")
        );
        let own = found(&there, at("198.51.100.7:5"), false);
        assert_eq!(own, seen("198.51.100.7:5"));
        let public = found(&there, at("1.2.3.4:5"), false);
        assert_eq!(public, (Some("1.2.3.4:5".into()), false));
        let inner = found(&conn("1.2.3.4:40000", false), at("10.0.0.1:5"), false);
        assert_eq!(inner, (None, false), "of narrower scope than its link");
        assert_eq!(found(&there, Listening::No, false), (None, true));
        let dialled = conn("198.51.100.7:9000", true);
        assert_eq!(found(&dialled, port, false), seen("198.51.100.7:9000"));
    }

    #[test]
    fn forwarded_peer_is_not_at_the_forwarder() {
        let there = conn("127.0.0.1:40000", false);
        let port = Listening::Port(9000);
        assert_eq!(found(&there, port.clone(), true), (None, false));
        let here = Some("127.0.0.1:9000".into());
        assert_eq!(found(&there, port, false), (here, true));
    }

    #[test]
    fn peer_behind_a_proxy_is_where_the_proxy_was_asked_for_it() {
        let settings = Settings {
            forwarded: true,
            proxied: true,
            ..Settings::default()
        };
        let (now, address) = (Instant::now(), Address::parse("alice.onion:9000").unwrap());
        let mut there = Conn::dial(now, address.clone(), true);
        assert_eq!(there.ends_at(Duration::ZERO), now + PROXIED_DIAL);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let (own, remote) = (credentials(rng), Remote::Proxied(address));
        there
            .connected(now, Some(remote), channel(), &own, rng)
            .unwrap();
        assert_eq!(there.ends_at(Duration::ZERO), now + PROXIED_HANDSHAKE);
        assert_eq!(there.shown().as_deref(), Some("alice.onion:9000"));
        assert!(!there.is_with_own_computer());
        let found = |listening| {
            let found = there.whereabouts(&listening, &settings).unwrap();
            (found.address.map(|it| it.to_string()), found.seen)
        };
        let dialled = (Some("alice.onion:9000".into()), true);
        assert_eq!(found(Listening::Port(7)), dialled);
        let other = (Some("other.onion:1".into()), false);
        assert_eq!(found(at("other.onion:1")), other);
        for inner in ["10.0.0.1:1", "127.0.0.1:1", "[fe80::1]:1"] {
            assert_eq!(found(at(inner)), (None, false), "{inner}");
        }
        let at_proxy = Remote::Proxied(Address::parse("127.0.0.1:1").unwrap());
        assert!(!at_proxy.is_loopback(), "it is the proxy's own computer");
    }

    #[test]
    fn stage_ends_in_time_and_flushing_sooner() {
        let (now, mut there) = (Instant::now(), conn("192.0.2.1:1", false));
        assert!(there.ends_at(Duration::ZERO) >= now + HANDSHAKE);
        there.flush(now);
        assert_eq!(there.ends_at(Duration::ZERO), now + FLUSH);
        assert!(there.is_flushing() && !there.has_said_goodbye());
        let mut bytes = &[0; 5000][..];
        assert!(there.next_cell(&mut bytes).is_none());
    }
}
