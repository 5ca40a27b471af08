//! In place of TLS on connections that circuits carry: flights of about the right sizes, and records
//! of the right length, without encryption. Like TLS it ends a connection whose bytes were altered,
//! left out or taken from another one.

use std::time::{Duration, Instant};

use sesame::mesh::{Close, CloseCause, ConnId};
use sesame::proto::CELL;
use sesame::proto::circuits::RECORD;
use sesame::proto::handshake::Channel;
use sesame::secret::Secret;

use super::{Happening, World};
use crate::invariants;
use crate::network::Cells;

/// The flights of client, server, and client again.
const FLIGHTS: [usize; 3] = [1400, 2500, 1000];

/// What a flight begins with.
const SEED: usize = 32;

/// One end of a connection that a circuit carries.
pub struct CircuitEnd {
    /// What came and was not used yet.
    received: Vec<u8>,
    /// This end's seed, and the other's.
    seeds: [Option<[u8; SEED]>; 2],
    up: bool,
    /// Records so far, in both directions.
    records: [u64; 2],
    /// Nothing is sent before this moment.
    after: Instant,
    /// Whether this end dials.
    pub dials: bool,
    /// The cells that the engine gave to it.
    pub cells: Cells,
    /// The time between its cells, once there is one.
    pub interval: Option<Duration>,
}

/// Something that happens to such an end.
#[derive(Debug)]
pub enum CircuitEvent {
    /// TLS sends these bytes.
    Sends(Vec<u8>),
    /// TLS is up.
    Up,
    /// These cells have come.
    Cells(Vec<u8>),
    /// It is over.
    Over(CloseCause),
}

impl CircuitEnd {
    /// The seeds of client and server, once TLS is up.
    fn seeds(&self) -> Option<[[u8; SEED]; 2]> {
        let [own, theirs] = self.seeds;
        let [own, theirs] = [own?, theirs.filter(|_| self.up)?];
        Some(if self.dials {
            [own, theirs]
        } else {
            [theirs, own]
        })
    }

    /// Takes a flight, if it is complete.
    ///
    /// # Errors
    /// It is none.
    fn flight(&mut self, length: usize) -> Result<Option<[u8; SEED]>, Altered> {
        let Some(rest) = self.received.split_off_checked(length) else {
            return Ok(None);
        };
        let flight = std::mem::replace(&mut self.received, rest);
        let (seed, rest) = flight.split_at(SEED);
        match rest.iter().all(|byte| *byte == length as u8) {
            true => Ok(seed.try_into().ok()),
            false => Err(Altered),
        }
    }

    /// Takes the cells of the records that are complete.
    ///
    /// # Errors
    /// A record is not the next one of the other end.
    fn cells(&mut self) -> Result<Vec<u8>, Altered> {
        let mut cells = Vec::new();
        while let Some(rest) = self.received.split_off_checked(RECORD) {
            let record = std::mem::replace(&mut self.received, rest);
            let cell = &record[RECORD - CELL..];
            if record[..RECORD - CELL] != self.head(1, cell) {
                return Err(Altered);
            }
            self.records[1] += 1;
            cells.extend_from_slice(cell);
        }
        Ok(cells)
    }

    /// What the next record begins with, of this end (0) or of the other one (1).
    fn head(&self, end: usize, cell: &[u8]) -> [u8; RECORD - CELL] {
        let seeds = self.seeds().unwrap_or_default();
        let number = self.records[end].to_be_bytes();
        let of_client = [u8::from(self.dials == (end == 0))];
        let parts = [&seeds[0][..], &seeds[1], &number, &of_client, cell];
        let mut head = [0; RECORD - CELL];
        head[..8].copy_from_slice(&super::fnv(parts.concat()).to_be_bytes());
        head
    }

    /// The time between its cells once they are paced, and how many there were.
    pub fn pace(&self) -> Option<(Duration, u64)> {
        Some((self.interval?, self.cells.paced))
    }
}

/// The bytes are not those that the other end has sent.
struct Altered;

/// [`Vec::split_off`] that may be asked for more than there is.
trait SplitOff: Sized {
    fn split_off_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitOff for Vec<u8> {
    fn split_off_checked(&mut self, at: usize) -> Option<Self> {
        (self.len() >= at).then(|| self.split_off(at))
    }
}

fn flight(seed: [u8; SEED], length: usize) -> Vec<u8> {
    let mut flight = seed.to_vec();
    flight.resize(length, length as u8);
    flight
}

impl World {
    fn circuit_later(&mut self, at: Instant, node: usize, conn: ConnId, event: CircuitEvent) {
        let event = Happening::Circuit { node, conn, event };
        self.clock.at(at, event);
    }

    pub(super) fn start_circuit(&mut self, node: usize, conn: ConnId, dials: bool) {
        let now = self.clock.now();
        let seed = self.dice.bytes();
        let end = CircuitEnd {
            dials,
            received: Vec::new(),
            seeds: [Some(seed), None],
            up: false,
            records: [0; 2],
            after: now,
            cells: Cells::default(),
            interval: None,
        };
        self.nodes[node].circuits.insert(conn, end);
        if dials {
            let hello = CircuitEvent::Sends(flight(seed, FLIGHTS[0]));
            self.circuit_later(now, node, conn, hello);
        }
    }

    pub(super) fn feed_circuit(&mut self, node: usize, conn: ConnId, bytes: &[u8]) {
        let now = self.clock.now();
        let Some(end) = self.nodes[node].circuits.get_mut(&conn) else {
            return;
        };
        end.received.extend_from_slice(bytes);
        let mut events = Vec::new();
        let altered = |_| CircuitEvent::Over(CloseCause::Failed("an altered stream".into()));
        if !end.up {
            let [own, theirs] = end.seeds;
            let own = own.unwrap_or_default();
            let awaited = match (end.dials, theirs) {
                (true, _) => FLIGHTS[1],
                (false, None) => FLIGHTS[0],
                (false, Some(_)) => FLIGHTS[2],
            };
            let seed = match end.flight(awaited).map_err(altered) {
                Ok(Some(seed)) => seed,
                Ok(None) => return,
                Err(over) => return self.circuit_later(now, node, conn, over),
            };
            match (end.dials, theirs) {
                (true, _) => {
                    events.push(CircuitEvent::Sends(flight(own, FLIGHTS[2])));
                    (end.seeds[1], end.up) = (Some(seed), true);
                }
                (false, None) => {
                    events.push(CircuitEvent::Sends(flight(own, FLIGHTS[1])));
                    end.seeds[1] = Some(seed);
                }
                (false, Some(_)) => end.up = true,
            }
            if end.up {
                events.push(CircuitEvent::Up);
            }
        }
        if end.up {
            match end.cells().map_err(altered) {
                Ok(cells) if cells.is_empty() => {}
                Ok(cells) => events.push(CircuitEvent::Cells(cells)),
                Err(over) => events.push(over),
            }
        }
        for event in events {
            self.circuit_later(now, node, conn, event);
        }
    }

    /// Makes records of cells. Returns false if no circuit carries the connection.
    pub(super) fn seal_for_circuit(
        &mut self,
        node: usize,
        conn: ConnId,
        cells: &[u8],
        at: Option<Instant>,
    ) -> bool {
        let now = self.clock.now();
        if !self.nodes[node].circuits.contains_key(&conn) {
            return false;
        }
        invariants::check_circuit_transmit(self, node, conn, cells, at);
        let Some(end) = self.nodes[node].circuits.get_mut(&conn) else {
            return false;
        };
        end.after = end.after.max(at.unwrap_or(now));
        let after = end.after;
        let mut records = Vec::new();
        for cell in cells.chunks(CELL) {
            records.extend(end.head(0, cell));
            end.records[0] += 1;
            records.extend_from_slice(cell);
        }
        self.circuit_later(after, node, conn, CircuitEvent::Sends(records));
        true
    }

    /// No more comes: everything that came is taken first.
    pub(super) fn end_circuit(&mut self, node: usize, conn: ConnId) {
        let over = CircuitEvent::Over(CloseCause::Ended);
        self.circuit_later(self.clock.now(), node, conn, over);
    }

    /// Ends a connection. Returns false if no circuit carries it.
    pub(super) fn close_circuit(&mut self, node: usize, conn: ConnId, how: Close) -> bool {
        let Some(end) = self.nodes[node].circuits.get(&conn) else {
            return false;
        };
        let after = end.after;
        match how {
            Close::Abort => drop(self.nodes[node].circuits.remove(&conn)),
            Close::Flush => {
                let over = CircuitEvent::Over(CloseCause::Ended);
                self.circuit_later(after + Duration::from_millis(1), node, conn, over);
            }
        }
        true
    }

    pub(super) fn circuit(&mut self, node: usize, conn: ConnId, event: CircuitEvent) {
        let Some(end) = self.nodes[node].circuits.get(&conn) else {
            return;
        };
        let seeds = end.seeds();
        match event {
            CircuitEvent::Sends(bytes) => {
                self.with(node, |engine, now| engine.handle_records(now, conn, bytes));
            }
            CircuitEvent::Up => {
                let Some([client, server]) = seeds else {
                    return;
                };
                let channel = Channel {
                    exporter: Secret::fill_with(|bytes: &mut [u8; 64]| {
                        bytes[..SEED].copy_from_slice(&client);
                        bytes[SEED..].copy_from_slice(&server);
                    }),
                    fingerprints: [client, server],
                };
                self.with(node, |engine, now| {
                    engine.handle_circuit_connected(now, conn, channel);
                });
            }
            CircuitEvent::Cells(cells) => {
                self.with(node, |engine, now| engine.handle_bytes(now, conn, &cells));
            }
            CircuitEvent::Over(cause) => {
                self.nodes[node].circuits.remove(&conn);
                self.with(node, |engine, now| engine.handle_closed(now, conn, cause));
            }
        }
    }

    /// The other end of a circuit on which TLS is up, if it is there.
    pub fn far_end(&self, node: usize, conn: ConnId) -> Option<(usize, ConnId)> {
        let end = self.nodes[node].circuits.get(&conn)?;
        let seeds = end.seeds()?;
        let mut ends = self.nodes.iter().enumerate().flat_map(|(other, place)| {
            let circuits = place.circuits.iter();
            circuits.map(move |(conn, end)| (other, *conn, end))
        });
        let found = ends.find(|(_, _, other)| {
            other.dials != end.dials && other.seeds().is_some_and(|other| other == seeds)
        });
        found.map(|(node, conn, _)| (node, conn))
    }

    /// The circuits on which TLS is up at this end.
    pub fn circuits_up(&self, node: usize) -> Vec<ConnId> {
        let circuits = self.nodes[node].circuits.iter();
        let up = circuits.filter(|(_, end)| end.seeds().is_some());
        up.map(|(conn, _)| *conn).collect()
    }

    /// How many circuits carry connections between two processes.
    pub fn circuits_between(&self, a: usize, b: usize) -> usize {
        let circuits = self.circuits_up(a).into_iter();
        let far_ends = circuits.filter_map(|conn| self.far_end(a, conn));
        far_ends.filter(|(node, _)| *node == b).count()
    }
}
