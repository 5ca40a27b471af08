//! A member that knows the phrase and breaks every other rule.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use sesame::mesh::ConnId;
use sesame::proto::cell::{Assembler, HEADER, PAYLOAD};
use sesame::proto::frame::{CircuitField, Gossip, Hello, KemPart, Linked, Listening, Payload, Way};
use sesame::proto::handshake::{Channel, Dialler, DiallerConfirming, Established, Listener};
use sesame::proto::ratchet::{Direction, DoubleRatchet};
use sesame::proto::{Address, CELL, DEFAULT_PORT, DisplayName, Identity, MessageId, PeerId};
use sesame::secret::Secret;

use crate::network::ROUTER;
use crate::world::PHRASE;
use circuits::Juggler;

mod circuits;

/// The interval that it announces.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What a liar does on its links once it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Bytes that are not frames.
    Garbage,
    /// Message numbers with gaps.
    Gaps,
    /// Withdraws every message number there is.
    Withdrawals,
    /// Acknowledges messages that were never sent.
    Acknowledgements,
    /// Peers that do not exist, and wrong addresses of those that do.
    Gossip,
    /// A new name in each frame.
    Names,
    /// Messages without end, beyond the window.
    Flood,
    /// Takes everything and acknowledges nothing, but keeps the link alive.
    Silence,
    /// Sends nothing after the handshake.
    Mute,
    /// A new identity for each connection.
    Crowd,
    /// Says goodbye and comes back.
    Goodbyes,
    /// Cells in an order that no ratchet makes.
    Cells,
    /// Random bytes in place of the handshake.
    Stranger,
    /// Frames about circuits that break the rules.
    Circuits,
    /// Asks for circuits to everybody and to nobody, and sends noise on them.
    Asking,
    /// Offers circuits from peers that did not ask for them, and sends noise on them.
    Offering,
    /// A relay that drops, alters or mixes up what it carries, or carries it well.
    Relay,
    /// Addresses in local networks that are others' or nobody's.
    Local,
    /// Parts of KEM exchanges, in order or not.
    Kem,
}

impl Script {
    /// All scripts.
    pub const ALL: [Self; 19] = [
        Self::Garbage,
        Self::Gaps,
        Self::Withdrawals,
        Self::Acknowledgements,
        Self::Gossip,
        Self::Names,
        Self::Flood,
        Self::Silence,
        Self::Mute,
        Self::Crowd,
        Self::Goodbyes,
        Self::Cells,
        Self::Stranger,
        Self::Circuits,
        Self::Asking,
        Self::Offering,
        Self::Relay,
        Self::Local,
        Self::Kem,
    ];
    /// Those that are about circuits.
    pub const ON_CIRCUITS: [Self; 4] = [Self::Circuits, Self::Asking, Self::Offering, Self::Relay];
}

/// An action of a liar.
pub enum Deed {
    /// Open a connection.
    Dial(ConnId, SocketAddr),
    /// Write.
    Send(ConnId, Vec<u8>),
    /// Break off.
    Close(ConnId),
}

enum Stage {
    Dialling,
    SentYa(Dialler),
    SentTa(DiallerConfirming),
    AwaitsYa(Channel),
    SentYb(Listener),
    Linked {
        ratchet: Box<DoubleRatchet>,
        greeted: bool,
        sent: u64,
    },
    Broken,
}

/// The liar.
pub struct Liar {
    script: Script,
    rng: ChaCha20Rng,
    identity: Identity,
    phrase: Secret<32>,
    next: u64,
    lines: BTreeMap<ConnId, (Stage, Assembler)>,
    victims: Vec<SocketAddr>,
    known: Vec<PeerId>,
    circuits: Juggler,
    hellos: u32,
}

impl Liar {
    /// A liar that dials these addresses and knows of these peers.
    pub fn new(
        script: Script,
        mut rng: ChaCha20Rng,
        victims: Vec<SocketAddr>,
        known: Vec<PeerId>,
    ) -> Self {
        Self {
            script,
            identity: Identity::generate(&mut rng),
            rng,
            phrase: Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(PHRASE)),
            next: 0,
            lines: BTreeMap::new(),
            victims,
            known,
            circuits: Juggler::default(),
            hellos: 0,
        }
    }

    /// Its id, if it keeps one.
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// A process dials it.
    pub fn accept(&mut self) -> ConnId {
        self.next += 1;
        self.lines
            .insert(ConnId(self.next), (Stage::Dialling, Assembler::default()));
        ConnId(self.next)
    }

    /// A connection is open.
    pub fn connected(&mut self, conn: ConnId, dialled: bool, channel: Channel) -> Vec<Deed> {
        if self.script == Script::Crowd {
            self.identity = Identity::generate(&mut self.rng);
        }
        let Some((stage, _)) = self.lines.get_mut(&conn) else {
            return Vec::new();
        };
        if !dialled {
            *stage = Stage::AwaitsYa(channel);
            return Vec::new();
        }
        let (dialler, ya) = Dialler::start(channel, &self.phrase, &self.identity, &mut self.rng);
        *stage = Stage::SentYa(dialler);
        if self.script == Script::Stranger {
            let mut noise = vec![0; self.rng.next_u64() as usize % 4000];
            self.rng.fill_bytes(&mut noise);
            return match self.rng.next_u64() % 4 {
                0 => vec![Deed::Send(conn, noise)],
                1 => vec![Deed::Send(conn, [ya.to_vec(), noise].concat())],
                2 => vec![Deed::Close(conn)],
                _ => Vec::new(),
            };
        }
        vec![Deed::Send(conn, ya.to_vec())]
    }

    /// A connection has ended.
    pub fn closed(&mut self, conn: ConnId) -> Vec<Deed> {
        self.lines.remove(&conn);
        self.circuits.unlink(conn);
        Vec::new()
    }

    /// Bytes arrived.
    pub fn bytes(&mut self, now: Instant, conn: ConnId, mut bytes: &[u8]) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while let Some((stage, assembler)) = self.lines.get_mut(&conn) {
            let Some(mut cell) = assembler.next(&mut bytes) else {
                break;
            };
            if let Stage::Linked { ratchet, .. } = stage {
                if ratchet.open(&mut cell).is_ok() && Script::ON_CIRCUITS.contains(&self.script) {
                    let payload = &cell[HEADER..HEADER + PAYLOAD];
                    let carries = self.script == Script::Relay;
                    self.circuits.hear(conn, payload, carries, &mut self.rng);
                }
                continue;
            }
            let (next, answer) = match std::mem::replace(stage, Stage::Broken) {
                Stage::SentYa(state) => match state.receive(&cell, &self.identity) {
                    Ok((state, ta)) => (Stage::SentTa(state), Some(ta)),
                    Err(_) => (Stage::Broken, None),
                },
                Stage::SentTa(state) => match state.receive(&cell, &self.identity) {
                    Ok(established) => {
                        let side = Direction::Dialler;
                        self.circuits.link(conn, established.peer, side);
                        (linked(now, established, side), None)
                    }
                    Err(_) => (Stage::Broken, None),
                },
                Stage::AwaitsYa(channel) => {
                    match Listener::answer(
                        channel,
                        &self.phrase,
                        &self.identity,
                        &mut self.rng,
                        &cell,
                    ) {
                        Ok((state, yb)) => (Stage::SentYb(state), Some(yb)),
                        Err(_) => (Stage::Broken, None),
                    }
                }
                Stage::SentYb(state) => match state.receive(&cell, &self.identity, &mut self.rng) {
                    (Ok(established), tb) => {
                        let side = Direction::Listener;
                        self.circuits.link(conn, established.peer, side);
                        (linked(now, established, side), Some(tb))
                    }
                    (Err(_), tb) => (Stage::Broken, Some(tb)),
                },
                other => (other, None),
            };
            *stage = next;
            deeds.extend(answer.map(|cell| Deed::Send(conn, cell.to_vec())));
        }
        deeds
    }

    /// Time to lie.
    pub fn act(&mut self, now: Instant) -> Vec<Deed> {
        let mut deeds = Vec::new();
        let most = if self.script == Script::Stranger {
            100
        } else {
            3
        };
        if self.lines.len() < most && !self.victims.is_empty() {
            let victim = self.victims[self.rng.next_u64() as usize % self.victims.len()];
            let conn = self.accept();
            deeds.push(Deed::Dial(conn, victim));
        }
        let conns: Vec<_> = self.lines.keys().copied().collect();
        for conn in conns {
            deeds.extend(self.lie_on(now, conn));
        }
        deeds
    }

    fn lie_on(&mut self, now: Instant, conn: ConnId) -> Vec<Deed> {
        let Some((stage, assembler)) = self.lines.remove(&conn) else {
            return Vec::new();
        };
        let Stage::Linked {
            mut ratchet,
            greeted,
            mut sent,
        } = stage
        else {
            let over = matches!(stage, Stage::Broken);
            self.lines.insert(conn, (stage, assembler));
            return if over {
                vec![Deed::Close(conn)]
            } else {
                Vec::new()
            };
        };
        let mut bytes = Vec::new();
        if self.script != Script::Mute {
            let count = if greeted {
                1 + self.rng.next_u64() % 20
            } else {
                1
            };
            for _ in 0..count {
                let payloads = if greeted || sent > 0 {
                    vec![self.lie(conn, &mut sent)]
                } else if self.rng.next_u64().is_multiple_of(16) {
                    vec![self.hello()]
                } else {
                    vec![Vec::new(), self.hello()]
                };
                sent = sent.max(1);
                for payload in payloads {
                    let mut cell = [0; CELL];
                    cell[HEADER..][..payload.len()].copy_from_slice(&payload);
                    if ratchet.seal(now, &mut self.rng, &mut cell).is_ok() {
                        bytes.extend_from_slice(&cell);
                    }
                }
                if self.script == Script::Cells && greeted && self.rng.next_u64().is_multiple_of(4)
                {
                    let at = self.rng.next_u64() as usize % bytes.len();
                    bytes[at] ^= 1;
                }
            }
        }
        self.lines.insert(
            conn,
            (
                Stage::Linked {
                    ratchet,
                    greeted: true,
                    sent,
                },
                assembler,
            ),
        );
        let mut deeds = vec![Deed::Send(conn, bytes)];
        if self.script == Script::Crowd && self.rng.next_u64().is_multiple_of(3) {
            deeds.push(Deed::Close(conn));
        }
        deeds
    }

    fn hello(&mut self) -> Vec<u8> {
        let mut payload = Payload::default();
        self.hellos += 1;
        // Gossip about circuits is often true, so that there are some.
        let on_circuits = Script::ON_CIRCUITS.contains(&self.script);
        let (circuits, link_seq) = match (self.rng.next_u64() % 4, on_circuits) {
            (1.., true) => ((true, false), self.hellos),
            (bits, _) => ((bits != 1, bits == 3), 1 + self.rng.next_u64() as u32 % 5),
        };
        let (carries, is_relayed) = circuits;
        let knows = on_circuits || !self.rng.next_u64().is_multiple_of(4);
        payload.hello(&Hello {
            circuits: knows.then_some(CircuitField {
                carries,
                is_relayed,
            }),
            local: self.script == Script::Local,
            epochs: self.script == Script::Kem,
            interval_ms: INTERVAL.as_millis() as u32,
            link_seq,
            oldest_live: 1,
            session_id: 1 + self.rng.next_u64() % 3,
            heard_session_id: 0,
            heard: 0,
            listening: self.listening(),
            name: None,
        });
        payload.as_slice().to_vec()
    }

    fn listening(&mut self) -> Listening {
        match self.rng.next_u64() % 3 {
            0 => Listening::No,
            1 => Listening::Port(DEFAULT_PORT),
            _ if self.victims.is_empty() => Listening::No,
            // The address of another process.
            _ => Listening::At(self.victims[0].into()),
        }
    }

    /// The payload of one cell.
    fn lie(&mut self, conn: ConnId, sent: &mut u64) -> Vec<u8> {
        let mut payload = Payload::default();
        let number = self.rng.next_u64();
        let mid = MessageId([number as u8; 16]);
        match self.script {
            Script::Garbage => {
                let mut bytes = vec![0; 1 + number as usize % 900];
                self.rng.fill_bytes(&mut bytes);
                bytes[0] %= 18;
                return bytes;
            }
            Script::Gaps => {
                payload.message(number % 9, &mid, false, b"0 0 x", 0);
            }
            Script::Withdrawals => {
                payload.withdraw([u64::MAX, u64::MAX - 1, number % 5][number as usize % 3]);
                payload.message(u64::MAX, &mid, false, b"0 0 x", 0);
            }
            Script::Acknowledgements => {
                payload.ack([0, 1, number, u64::MAX][number as usize % 4]);
            }
            Script::Gossip => {
                let gossip: Vec<_> = (0..20).map(|_| self.gossip()).collect();
                payload.peers(gossip.iter(), PAYLOAD);
            }
            Script::Names => {
                for name in 0..30 {
                    payload.name(
                        DisplayName::from_wire(&format!("{number}-{name}"))
                            .ok()
                            .as_ref(),
                    );
                }
            }
            Script::Flood => {
                let text = [b'x'; 800];
                payload.message(*sent, &mid, false, &text, 0);
                *sent += 1;
            }
            Script::Circuits => {
                self.circuits.cheat(conn, &self.known, &mut self.rng);
                self.circuits.fill(conn, &mut payload);
            }
            Script::Asking | Script::Offering => {
                let way = match self.script {
                    Script::Asking => Way::To,
                    _ => Way::From,
                };
                self.circuits.ask(conn, way, &self.known, &mut self.rng);
                self.circuits.fill(conn, &mut payload);
            }
            Script::Relay if number.is_multiple_of(64) => {
                let linked = |id| Gossip {
                    id,
                    linked: Linked::Directly,
                    address: None,
                };
                let known = self.known.iter().copied();
                let gossip: Vec<_> = known.chain(self.circuits.peers()).map(linked).collect();
                payload.peers(gossip.iter(), PAYLOAD);
            }
            Script::Relay => self.circuits.fill(conn, &mut payload),
            Script::Local => {
                let public = [8, 8, number as u8, 1];
                payload.observed(public.into());
                // Now and then there are too many.
                let count = if number.is_multiple_of(50) { 3 } else { 2 };
                let addresses: Vec<_> = (0..count).map(|_| self.local_address()).collect();
                payload.local(&addresses);
            }
            Script::Kem => {
                // Mostly the next fragment, so that exchanges get far.
                let part = [KemPart::Key, KemPart::Ciphertext][number as usize % 20 / 19];
                let lies = number.is_multiple_of(30);
                let epoch = if lies { number as u8 } else { 1 };
                let at = ((*sent - 1) as usize * 100).min(part.size() - 1);
                let bytes = vec![7; part.size() - at];
                payload.kem(epoch, part, &bytes, 107);
                *sent += 1;
            }
            Script::Goodbyes if number.is_multiple_of(10) => {
                payload.goodbye(number.is_multiple_of(20));
            }
            _ => {}
        }
        payload.as_slice().to_vec()
    }

    fn local_address(&mut self) -> Address {
        let number = self.rng.next_u64();
        let victim = self
            .victims
            .get(number as usize / 4 % self.victims.len().max(1));
        match (number % 4, victim) {
            (0, _) => forbidden()[number as usize / 4 % forbidden().len()].clone(),
            (1, Some(victim)) => (*victim).into(),
            // Nobody is there.
            _ => Address::from_ip([198, 51, 100, 100 + (number % 100) as u8].into(), 22),
        }
    }

    fn gossip(&mut self) -> Gossip {
        let number = self.rng.next_u64();
        let mut id = PeerId([0; 32]);
        self.rng.fill_bytes(&mut id.0);
        if !self.known.is_empty() && number.is_multiple_of(2) {
            id = self.known[number as usize / 2 % self.known.len()];
        }
        let address = match number % 5 {
            0 => None,
            1 => Address::parse("127.0.0.1:22").ok(),
            2 if !self.victims.is_empty() => {
                Some(self.victims[number as usize % self.victims.len()].into())
            }
            3 => Address::parse(&format!(
                "host{}.example:{}",
                number % 100,
                1 + number % 1000
            ))
            .ok(),
            _ => Address::parse(&format!("203.0.113.{}:9000", number % 256)).ok(),
        };
        Gossip {
            id,
            linked: match number % 7 {
                0 => Linked::No,
                1 => Linked::ByCircuit,
                _ => Linked::Directly,
            },
            address,
        }
    }
}

/// Addresses that only [`Script::Local`] names, and that no process may dial: one outside its
/// networks, and its router.
pub fn forbidden() -> [Address; 2] {
    [
        Address::from_ip([192, 168, 7, 7].into(), 22),
        Address::from_ip(ROUTER, 80),
    ]
}

fn linked(now: Instant, established: Established, direction: Direction) -> Stage {
    Stage::Linked {
        ratchet: Box::new(established.ratchet(now, direction)),
        greeted: false,
        sent: 0,
    }
}
