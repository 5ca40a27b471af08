//! One connection, from its start to the link that it carries (PROTOCOL.md, sections 3 to 6).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::dial_budget::Voucher;
use super::scope::Scopes;
use crate::proto::cell::Assembler;
use crate::proto::frame::{Gossip, Listening};
use crate::proto::handshake::{
    Channel, Dialler, DiallerConfirming, Established, HandshakeError, Listener, Message,
};
use crate::proto::link::Link;
use crate::proto::{Address, Fault, Identity, PeerId};
use crate::secret::Secret;

/// From the TCP connection to the end of the handshake (PROTOCOL.md, section 11).
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After GOODBYE or a refusal: for the I/O layer to write it out.
const FLUSH: Duration = Duration::from_secs(5);

/// What this end proves in a handshake.
pub struct Credentials {
    /// What it derived from the phrase.
    pub phrase: Secret<32>,
    /// This end's identity.
    pub identity: Identity,
}

/// One connection.
pub struct Conn {
    /// The address that was dialled; none if the other end dialled.
    pub dialled: Option<Address>,
    /// The other end, once known.
    pub remote: Option<SocketAddr>,
    /// The other end is at another address of this computer than loopback.
    pub own_computer: bool,
    stage: Stage,
    assembler: Assembler,
    /// Until when the present stage may last; links have clocks of their own.
    deadline: Instant,
}

/// What a connection has come to.
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
    /// Ta has come, and waits for its turn.
    Waits(Box<Listener>, Message),
    /// The handshake is done.
    Linked(Box<Link>),
    /// The I/O layer writes out what is left: a GOODBYE, or the answer to a stranger.
    Flushing {
        /// Which of the two.
        goodbye: bool,
    },
    /// Between two stages, while a message is worked on.
    Moving,
}

/// What a cell of the handshake asks for.
pub enum Step {
    /// This message is to be sent.
    Send(Message),
    /// Ya has come: [`Conn::answer_ya`] answers it.
    Ya(Channel, Message),
    /// Ta has come: [`answer_ta`] answers it, at once or after [`Conn::wait`].
    Ta(Box<Listener>, Message),
    /// The handshake is done.
    Established(Established),
    /// The other end has broken off, or the protocol.
    Failed(HandshakeError),
}

/// Where a peer can be dialled.
pub struct Whereabouts {
    /// Its address, if it has one.
    pub address: Option<Address>,
    /// Whether the connection bears that out.
    pub seen: bool,
    /// What is taken over its link.
    pub scopes: Scopes,
    /// From where it is linked.
    pub voucher: Voucher,
}

/// The answer to Ta, and what the handshake has come to with it.
pub struct Answered {
    /// What the handshake has come to.
    pub result: Result<Established, HandshakeError>,
    /// What is to be sent, whatever the result.
    pub answer: Message,
    /// The key that the dialler claims.
    pub key: [u8; 32],
}

/// Answers Ta.
pub fn answer_ta(
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
    /// A connection that this end begins.
    pub fn dial(now: Instant, address: Address) -> Self {
        Self::new(now, Some(address), None)
    }

    /// A connection that the listener accepted.
    pub fn accept(now: Instant, remote: SocketAddr, own_computer: bool) -> Self {
        Self {
            own_computer,
            ..Self::new(now, None, Some(remote))
        }
    }

    fn new(now: Instant, dialled: Option<Address>, remote: Option<SocketAddr>) -> Self {
        Self {
            dialled,
            remote,
            own_computer: false,
            stage: Stage::Connecting,
            assembler: Assembler::default(),
            deadline: now + HANDSHAKE,
        }
    }

    /// The next whole cell of these bytes, unless the connection ends.
    pub fn next_cell(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        match self.stage {
            Stage::Flushing { .. } => None,
            _ => self.assembler.next(bytes),
        }
    }

    /// The name that was dialled is known now, if it is still waited for: it is to be connected to.
    pub fn looked_up(&mut self, now: Instant) -> Option<&Address> {
        let Stage::Connecting = self.stage else {
            return None;
        };
        let dialled = self.dialled.as_ref()?;
        self.deadline = now + HANDSHAKE;
        Some(dialled)
    }

    /// TLS is up; the dialler's first message.
    pub fn connected(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        channel: Channel,
        own: &Credentials,
        rng: &mut dyn CryptoRng,
    ) -> Option<Message> {
        let Stage::Connecting = self.stage else {
            return None;
        };
        self.remote = Some(remote);
        if self.dialled.is_none() {
            self.stage = Stage::AwaitsYa(channel);
            return None;
        }
        let (state, ya) = Dialler::start(channel, &own.phrase, &own.identity, rng);
        self.stage = Stage::SentYa(Box::new(state));
        self.deadline = now + HANDSHAKE;
        Some(ya)
    }

    /// A cell before there is a link.
    pub fn receive(&mut self, cell: Message, own: &Credentials) -> Step {
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
            // Who sends more than one message at a time does not speak the protocol.
            _ => Step::Failed(Fault::SentOutOfTurn.into()),
        }
    }

    /// The listener's first message.
    ///
    /// # Errors
    /// Ya breaks the protocol.
    pub fn answer_ya(
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

    /// Ta waits for its turn.
    pub fn wait(&mut self, state: Box<Listener>, ta: Message) {
        self.stage = Stage::Waits(state, ta);
    }

    /// The turn of the Ta that waits has come.
    pub fn take_turn(&mut self) -> Option<(Box<Listener>, Message)> {
        match std::mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Waits(state, ta) => Some((state, ta)),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// The handshake is done, and there is a link.
    pub fn begin_link(&mut self, link: Link) {
        self.stage = Stage::Linked(Box::new(link));
    }

    /// What was transmitted is still written out; the link, if there was one, has ended.
    pub fn flush(&mut self, now: Instant) {
        let goodbye = self.link().is_some_and(Link::is_over);
        self.stage = Stage::Flushing { goodbye };
        self.deadline = now + FLUSH;
    }

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

    /// The peer of its link that gets a HELLO, and whose own is awaited.
    pub fn arriving(&self) -> Option<PeerId> {
        let link = self.link()?;
        (link.link_seq().is_some() && link.hello().is_none()).then(|| link.peer())
    }

    /// Whether it only writes out what is left.
    pub fn is_flushing(&self) -> bool {
        matches!(self.stage, Stage::Flushing { .. })
    }

    /// Whether GOODBYE was given to the I/O layer, which has not said yet that it is out.
    pub fn has_said_goodbye(&self) -> bool {
        matches!(self.stage, Stage::Flushing { goodbye: true })
    }

    /// Whether this end dialled.
    pub fn is_dialled(&self) -> bool {
        self.dialled.is_some()
    }

    /// Whether this is a dial that waits for Tb.
    pub fn has_sent_ta(&self) -> bool {
        matches!(self.stage, Stage::SentTa(_))
    }

    /// Whether this is a dial that waits for Tb, and has shown this key.
    pub fn has_shown(&self, key: &[u8; 32]) -> bool {
        matches!(&self.stage, Stage::SentTa(dialler) if dialler.key() == key)
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

    /// The address that was dialled, and where that led.
    pub fn dialled_at(&self) -> Option<(Address, IpAddr)> {
        Some((self.dialled.clone()?, self.remote?.ip()))
    }

    /// Which addresses are taken from the other end of its link. `forwarded`: this computer itself may
    /// stand for anywhere.
    pub fn scopes(&self, forwarded: bool) -> Option<Scopes> {
        let (remote, dialled) = (self.remote?.ip(), self.is_dialled());
        Some(match self.is_with_own_computer() {
            true if forwarded => Scopes::PUBLIC,
            true => Scopes::over_own_computer(dialled),
            false => Scopes::over(remote),
        })
    }

    /// The address of this computer, other than loopback, at which the user dialled the other end:
    /// those who run beside it listen there too.
    pub fn own_address_dialled(&self, forwarded: bool) -> Option<IpAddr> {
        let ours = self.is_dialled() && self.is_with_own_computer() && !forwarded;
        self.ip().filter(|_| ours)
    }

    /// Where its peer can be dialled, by the peer's own word and by what is seen of it.
    pub fn whereabouts(&self, listening: &Listening, forwarded: bool) -> Option<Whereabouts> {
        let (remote, scopes) = (self.remote?, self.scopes(forwarded)?);
        // A port at the other end's own address. Where that is forwarded from somewhere else, its
        // ports are not there.
        let may_be_elsewhere = forwarded && self.is_with_own_computer();
        let at_its_own = |ip: IpAddr| ip == remote.ip().to_canonical() && !may_be_elsewhere;
        let (address, seen) = match listening {
            Listening::No => (None, true),
            Listening::Port(_) if self.is_dialled() => (Some(Address::from(remote)), true),
            Listening::Port(port) if !may_be_elsewhere => {
                let port = *port;
                let address = Address {
                    port,
                    ..remote.into()
                };
                (Some(address), true)
            }
            Listening::At(address) if address.ip().is_some_and(at_its_own) => {
                (address.clone().heard_over(remote), true)
            }
            Listening::At(address) if scopes.admit_address(address) => {
                (address.clone().heard_over(remote), false)
            }
            Listening::Port(_) | Listening::At(_) => (None, false),
        };
        Some(Whereabouts {
            address,
            seen,
            scopes,
            voucher: Voucher::at(remote.ip()),
        })
    }

    /// When its present stage, or its link, has taken too long.
    pub fn ends_at(&self, inactivity: Duration) -> Instant {
        self.link()
            .map_or(self.deadline, |link| link.dead_at(inactivity))
    }

    /// Where it stands before there is a link, for lines to people.
    pub fn shown_stage(&self) -> &'static str {
        match self.stage {
            Stage::SentTa(_) => "before the other end confirmed the passphrase",
            Stage::SentYa(_) => {
                "during the handshake (the other end may run another version of sesame)"
            }
            _ => "during the handshake",
        }
    }

    /// The other end, for lines to people.
    pub fn shown(&self) -> Option<String> {
        let remote = self.remote.map(|remote| Address::from(remote).to_string());
        remote.or_else(|| self.dialled.as_ref().map(Address::to_string))
    }
}

#[cfg(test)]
pub mod tests {
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

    /// A dialler and a listener that has its Ta, which waits for its turn.
    fn waiting(rng: &mut ChaCha20Rng) -> ([Conn; 2], [Credentials; 2]) {
        let own = [(); 2].map(|()| credentials(rng));
        let mut conns = [conn("192.0.2.2:9000", true), conn("192.0.2.1:40000", false)];
        let [dialler, listener] = &mut conns;
        let now = Instant::now();
        let remote = "192.0.2.2:9000".parse().unwrap();
        let ya = dialler.connected(now, remote, channel(), &own[0], rng);
        let none = listener.connected(now, remote, channel(), &own[1], rng);
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

    /// What a handshake gives the listener, and whom the dialler is.
    pub fn established(seed: u64) -> Established {
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
            ..Conn::accept(now, remote, false)
        }
    }

    /// Where a peer is by what it says, and whether that is seen.
    fn found(conn: &Conn, listening: Listening, forwarded: bool) -> (Option<String>, bool) {
        let found = conn.whereabouts(&listening, forwarded).unwrap();
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
