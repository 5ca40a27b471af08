//! Hosts and the wires between them: how TCP and TLS treat connections, well or badly.
//!
//! A wire is one connection. Bytes keep their order on it and are never altered. Everything else
//! may happen: delays, portions of any size, a kernel that takes nothing, a route that is gone for
//! a while, an end at any byte, an end that only one side learns of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use sesame::mesh::ConnId;
use sesame::proto::{Address, DEFAULT_PORT};

use crate::dice::Dice;

/// A connection.
pub struct Wire {
    /// The dialler's end, and the listener's.
    pub ends: [End; 2],
    /// From the dialler, and from the listener.
    pub pipes: [Pipe; 2],
    /// In place of the TLS exporter.
    pub exporter: [u8; 64],
    /// In place of the certificates' fingerprints.
    pub fingerprints: [[u8; 32]; 2],
    /// The dialled address.
    pub dialled: SocketAddr,
    /// Whether the dial came from the host's other address.
    pub from_other: bool,
    /// Whether it was cut: then neither end reaches the other.
    pub is_dead: bool,
    latency: Duration,
    /// The time that a cell takes to leave.
    cell_time: Duration,
}

/// One end of a wire.
pub struct End {
    /// The process.
    pub node: usize,
    /// Its host.
    pub host: usize,
    /// The engine's id for the connection.
    pub conn: ConnId,
    /// The state of this end.
    pub state: State,
}

/// The state of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP and TLS are being made.
    Connecting,
    /// Bytes go both ways.
    Open,
    /// The last bytes are written out.
    Flushing,
    /// No more bytes go in or out.
    Closed,
}

/// One direction of a wire.
#[derive(Default)]
pub struct Pipe {
    /// Given by the engine, and not taken by the kernel yet.
    pub queue: VecDeque<Piece>,
    /// When the next piece departs, if one does.
    pub departs_at: Option<Instant>,
    /// Whether it waits for a route.
    pub parked: bool,
    /// The kernel takes nothing before this moment.
    pub stalled_until: Option<Instant>,
    /// How many bytes the kernel takes without an acknowledgement.
    pub window: usize,
    /// Under way and lost, to be sent again when there is a route.
    pub held: BTreeMap<u64, Segment>,
    /// Arrived, in any order.
    pub ready: BTreeMap<u64, Segment>,
    /// Where the stream ends: at this byte of this segment.
    pub cut: Option<(u64, usize)>,
    /// Cells so far, and the moment of the first and the last one of the link that had one.
    pub cells: Cells,
    next: u64,
    delivered: u64,
    last_arrival: Option<Instant>,
}

/// The cells that the engine gave to a pipe so far.
#[derive(Default)]
pub struct Cells {
    /// How often it gave some.
    pub transmits: u64,
    /// The moments of the paced cells of the link.
    pub first: Option<Instant>,
    /// The last such moment.
    pub last: Option<Instant>,
    /// How many paced cells there were.
    pub paced: u64,
}

/// Cells that the engine gave together.
pub struct Piece {
    /// Whole cells.
    pub bytes: Vec<u8>,
    /// The moment of a paced cell.
    pub at: Option<Instant>,
}

/// A segment on the wire.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// The end of the stream.
    Fin,
}

impl Pipe {
    /// The number of the next segment that leaves.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The next segment in order, if it has arrived.
    pub fn take(&mut self) -> Option<Segment> {
        let segment = self.ready.remove(&self.delivered)?;
        self.delivered += 1;
        Some(segment)
    }

    /// Stores a segment that arrived, as far as the cut allows.
    pub fn arrive(&mut self, number: u64, segment: Segment) {
        let segment = match (self.cut, segment) {
            (Some((last, _)), _) if number > last => return,
            (Some((last, left)), Segment::Bytes(mut bytes)) if number == last => {
                bytes.truncate(left);
                Segment::Bytes(bytes)
            }
            (Some((last, _)), Segment::Fin) if number == last => return,
            (_, segment) => segment,
        };
        self.ready.insert(number, segment);
    }

    /// Ends the stream at a random byte of those under way.
    pub fn cut(&mut self, dice: &mut Dice) {
        let under_way = (self.next - self.delivered) as usize;
        let segment = self.delivered + dice.below(under_way + 1) as u64;
        self.cut = Some((segment, dice.below(1100)));
    }

    /// Bytes that the kernel holds until there is a route.
    pub fn held_bytes(&self) -> usize {
        let size = |segment: &Segment| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::Fin => 0,
        };
        self.held.values().map(size).sum()
    }

    /// When the next piece can leave.
    pub fn departure(&self, now: Instant, cell_time: Duration) -> Option<Instant> {
        let piece = self.queue.front()?;
        let least = now
            .max(piece.at.unwrap_or(now))
            .max(self.stalled_until.unwrap_or(now));
        Some(least + cell_time * (piece.bytes.len() / sesame::proto::CELL) as u32)
    }

    /// When a segment that leaves now arrives: none overtakes.
    pub fn arrival(&mut self, at: Instant) -> Instant {
        let at = self.last_arrival.map_or(at, |last| last.max(at));
        self.last_arrival = Some(at);
        at
    }
}

/// The quality of the network.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Milliseconds from end to end, least and most.
    pub latency: (u64, u64),
    /// The most microseconds that a cell takes to leave.
    pub cell_micros: u64,
    /// The percentage of deliveries that come in odd portions.
    pub portions: usize,
}

impl Weather {
    /// A good local network.
    pub const FAIR: Self = Self {
        latency: (1, 30),
        cell_micros: 100,
        portions: 2,
    };
}

/// All wires, and the pairs of hosts without a route.
pub struct Network {
    /// All connections there ever were.
    pub wires: Vec<Wire>,
    /// The quality of new wires.
    pub weather: Weather,
    blocked: BTreeSet<(usize, usize)>,
    /// The first host of each pair cannot dial the second, as if that were behind NAT. Wires that
    /// the second one dials work.
    undialable: BTreeSet<(usize, usize)>,
}

impl Network {
    /// Without wires.
    pub fn new() -> Self {
        Self {
            wires: Vec::new(),
            weather: Weather::FAIR,
            blocked: BTreeSet::new(),
            undialable: BTreeSet::new(),
        }
    }

    /// A new wire. Its listener's end is not known before the listener accepts.
    pub fn add(
        &mut self,
        dice: &mut Dice,
        dialler: End,
        host: usize,
        dialled: SocketAddr,
        from_other: bool,
    ) -> usize {
        let window = *dice.pick(&[1, 4096, 65_536]);
        let pipe = || Pipe {
            window,
            ..Pipe::default()
        };
        let (least, most) = self.weather.latency;
        let listener = End {
            node: usize::MAX,
            host,
            conn: ConnId(u64::MAX),
            state: State::Connecting,
        };
        self.wires.push(Wire {
            ends: [dialler, listener],
            pipes: [pipe(), pipe()],
            exporter: dice.bytes(),
            fingerprints: [dice.bytes(), dice.bytes()],
            dialled,
            from_other,
            is_dead: false,
            latency: dice.millis(least, most),
            cell_time: Duration::from_micros(
                dice.below(self.weather.cell_micros as usize + 1) as u64
            ),
        });
        self.wires.len() - 1
    }

    /// A random time from end to end.
    pub fn latency(&self, dice: &mut Dice, wire: usize) -> Duration {
        let latency = self.wires[wire].latency;
        latency + latency.mul_f64(dice.below(100) as f64 / 300.0)
    }

    /// The time that one cell takes to leave.
    pub fn cell_time(&self, wire: usize) -> Duration {
        self.wires[wire].cell_time
    }

    /// Whether there is no route between two hosts.
    pub fn is_blocked(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&(a.min(b), a.max(b)))
    }

    /// Whether there is no route between the ends of a wire.
    pub fn is_wire_blocked(&self, wire: usize) -> bool {
        let [a, b] = &self.wires[wire].ends;
        self.is_blocked(a.host, b.host)
    }

    /// Takes the route away, or gives it back: then the caller resumes the wires.
    pub fn block(&mut self, a: usize, b: usize, blocked: bool) {
        let pair = (a.min(b), a.max(b));
        if blocked && a != b {
            self.blocked.insert(pair);
        } else {
            self.blocked.remove(&pair);
        }
    }

    /// Whether a host reaches another by a dial, if there is a route.
    pub fn can_dial(&self, from: usize, to: usize) -> bool {
        !self.undialable.contains(&(from, to))
    }

    /// From now on one host cannot dial another, or can again.
    pub fn let_dial(&mut self, from: usize, to: usize, can: bool) {
        if can || from == to {
            self.undialable.remove(&(from, to));
        } else {
            self.undialable.insert((from, to));
        }
    }

    /// Every pair of which the first cannot dial the second.
    pub fn undialable(&self) -> Vec<(usize, usize)> {
        self.undialable.iter().copied().collect()
    }

    /// Every pair without a route.
    pub fn blocked(&self) -> Vec<(usize, usize)> {
        self.blocked.iter().copied().collect()
    }
}

/// The first address of a host.
pub fn address(host: usize) -> SocketAddr {
    SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, host as u8 + 1)),
        DEFAULT_PORT,
    )
}

/// The router of the network in which all these addresses are.
pub const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254));

/// The other address of the same host.
pub fn other_address(host: usize) -> SocketAddr {
    let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, host as u16 + 1, 0, 0, 0, 1);
    SocketAddr::new(IpAddr::V6(ip), DEFAULT_PORT)
}

/// The host at an address, if there is one.
pub fn host_at(address: &Address, hosts: usize) -> Option<(usize, SocketAddr)> {
    (0..hosts)
        .flat_map(|host| [(host, self::address(host)), (host, other_address(host))])
        .find(|(_, socket)| Address::from(*socket) == *address)
}
