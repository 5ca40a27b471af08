//! One link: composes ratchet, cells, frames and their clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::cell::{HEADER, PAYLOAD};
use super::circuits::Circuits;
use super::conversation::Conversation;
use super::epochs::Epochs;
use super::frame::{
    self, CircuitField, Frame, Gossip, Hello, KemFragment, Linked, Listening, Payload,
};
use super::handshake::Established;
use super::ratchet::{Direction, DoubleRatchet};
use super::schedule::{CellSchedule, Due, TickGrid};
use super::{Address, CELL, DisplayName, Fault, PeerId};

/// The most cells sealed at once when data leave without ticks.
pub const BURST: usize = 64;

/// The bytes of a cell that gossip, or a KEM frame, gets at most while there are messages or streams
/// to send: a third.
const SHARE: usize = PAYLOAD / 3;

/// The longest time from the handshake to the other end's HELLO, whatever else arrives.
pub const GREETING: Duration = Duration::from_secs(30);

/// What this end says in HELLO.
pub struct Introduction {
    /// Milliseconds between this end's cells, 0 for `off`.
    pub interval_ms: u32,
    /// Whether this end carries circuits, and whether one carries this connection.
    pub circuits: CircuitField,
    /// Whether this end exchanges addresses in its local networks.
    pub local: bool,
    /// Where this end can be dialled.
    pub listening: Listening,
    /// This user's name.
    pub name: Option<DisplayName>,
    /// The number of HELLOs of this end in its run, to any peer.
    pub link_seq: u32,
    /// The smallest link_seq of this end's open connections with the peer; see
    /// [`Link::next_hello`].
    pub oldest_live: u32,
    /// This end's session_id for the peer.
    pub session_id: u64,
}

/// Cells to write.
pub struct Sealed {
    /// One or more cells of 1,024 bytes.
    pub bytes: Vec<u8>,
    /// When to write them; `None`: at once.
    pub at: Option<Instant>,
    /// How many bytes of which circuits' streams are in them.
    pub carried: Vec<(u32, usize)>,
}

/// Counts since the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cells sent and received.
    pub cells: [u64; 2],
    /// Those of them that carried more than padding.
    pub data_cells: [u64; 2],
    /// Ticks without a cell.
    pub ticks_skipped: u64,
    /// The longest time between a tick and the departure of its cell.
    pub worst_lateness: Duration,
}

/// One end of one connection after its handshake.
///
/// The caller gives it the cells that arrive, in order ([`Self::open`]), and reports when cells
/// have left ([`Self::sent`]). At [`Self::deadline`] it takes the cells to send ([`Self::seal`]).
pub struct Link {
    direction: Direction,
    peer: PeerId,
    words: String,
    ratchet: DoubleRatchet,
    epochs: Epochs,
    schedule: CellSchedule,
    opening: Opening,
    /// The link_seq and session_id in this end's HELLO, sealed or not.
    introduced: Option<(u32, u64)>,
    /// Whether this end holds the connection for a circuit.
    is_held_for_circuit: bool,
    hello: Option<Hello>,
    busy: bool,
    new_name: Option<Option<DisplayName>>,
    /// The IP address of the other end, to be sent to it.
    observed: Option<IpAddr>,
    /// This end's addresses in its local networks, to be sent.
    local: Option<Vec<Address>>,
    /// The gossip to send, by the peer that it is about.
    gossip: BTreeMap<PeerId, Gossip>,
    /// The peers that the other end knows to be linked, and the hashes of what it was told about
    /// them. In a mesh of n peers there are n² of these, so they are short. A peer could choose two
    /// addresses of its own with one hash; then others would not be told that it has moved.
    told: BTreeMap<PeerId, u64>,
    goodbye: Option<Goodbye>,
    circuits: Circuits,
    /// Whether circuits have the next cell if both they and this end's own frames wait for it.
    circuits_turn: bool,
    started_at: Instant,
    heard_at: Instant,
    counters: Counters,
}

/// What this end has to seal before its ticks begin. The first cell carries only padding and proves
/// this end's identity. HELLO is only for a peer that has done the same.
enum Opening {
    /// The first cell; then HELLO, if the other end's first cell arrives sooner.
    First(Option<(Introduction, TickGrid)>),
    /// The first cell is sealed, and the other end's has not opened.
    Unproven,
    /// HELLO.
    Hello(Introduction, TickGrid),
    /// Everything is sealed.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Due { leaving: bool },
    Sealed,
}

impl Link {
    /// The link after a handshake. `busy`: a cell of the handshake has not left yet. `period`: the
    /// longest time from a post-quantum epoch to the exchange for the next one.
    pub fn new(
        now: Instant,
        direction: Direction,
        established: Established,
        busy: bool,
        period: Duration,
    ) -> Self {
        Self {
            direction,
            peer: established.peer,
            words: established.words.clone(),
            ratchet: established.ratchet(now, direction),
            epochs: Epochs::new(now, direction, period),
            schedule: CellSchedule::Opening,
            opening: Opening::First(None),
            introduced: None,
            is_held_for_circuit: false,
            hello: None,
            busy,
            new_name: None,
            observed: None,
            local: None,
            gossip: BTreeMap::new(),
            told: BTreeMap::new(),
            goodbye: None,
            circuits: Circuits::new(direction),
            circuits_turn: false,
            started_at: now,
            heard_at: now,
            counters: Counters::default(),
        }
    }

    /// The peer at the other end; proven only once [`Self::open`] has opened a cell.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Which end this is.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The six verification words.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Whether a cell of the other end has opened, which proves its identity.
    pub fn is_proven(&self) -> bool {
        self.counters.cells[1] > 0
    }

    /// The link_seq in this end's HELLO, once there is one.
    pub fn link_seq(&self) -> Option<u32> {
        self.introduced.map(|(link_seq, _)| link_seq)
    }

    /// This end's session_id for the peer, as in its HELLO, once there is one.
    pub fn session_id(&self) -> Option<u64> {
        self.introduced.map(|(_, session_id)| session_id)
    }

    /// The other end's HELLO, once it has arrived.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether a circuit carries this connection, as far as either end knows. To be asked once
    /// [`Self::hello`] is there.
    pub fn is_relayed(&self) -> bool {
        let theirs = self.hello.as_ref().and_then(|hello| hello.circuits);
        self.is_held_for_circuit || theirs.is_some_and(|field| field.is_relayed)
    }

    /// Whether the other end carries circuits between two peers.
    pub fn carries(&self) -> bool {
        let theirs = self.hello.as_ref().and_then(|hello| hello.circuits);
        theirs.is_some_and(|field| field.carries)
    }

    /// Whether the other end knows circuits.
    pub fn knows_circuits(&self) -> bool {
        self.hello
            .as_ref()
            .is_some_and(|hello| hello.circuits.is_some())
    }

    /// Whether the other end exchanges addresses in its local networks.
    pub fn exchanges_local(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.local)
    }

    /// The circuits on this link.
    pub fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// The circuits on this link, for changes.
    pub fn circuits_mut(&mut self) -> &mut Circuits {
        &mut self.circuits
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The time between this end's cells.
    pub fn interval(&self) -> Option<Duration> {
        self.schedule.interval()
    }

    /// How often the ratchet has stepped, and when this end last stepped.
    pub fn ratchet_steps(&self) -> (u64, Instant) {
        (self.ratchet.steps(), self.ratchet.stepped_at())
    }

    /// The present post-quantum epoch, and when it began at this end.
    pub fn epoch(&self) -> (u64, Instant) {
        self.epochs.present()
    }

    /// When the handshake ended.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// When the last valid cell arrived; before the first one, when the handshake ended.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When the link is dead unless a valid cell arrives: after `inactivity`, but not before three
    /// of the other end's intervals; before its HELLO, after [`GREETING`].
    pub fn dead_at(&self, inactivity: Duration) -> Instant {
        match &self.hello {
            Some(hello) => {
                // An end with `off` keeps the other's interval.
                let theirs = interval(hello.interval_ms).or(self.schedule.interval());
                self.heard_at + inactivity.max(theirs.unwrap_or_default() * 3)
            }
            None => self.started_at + GREETING,
        }
    }

    /// Opens a cell in place; read its frames with [`frame::decode`]. After the first cell the
    /// caller has to introduce itself ([`Self::introduce`]) or close the link. An exchange of the KEM
    /// that is due begins now.
    ///
    /// # Errors
    /// The cell is not the next one, or the first one has frames.
    pub fn open<'a>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        cell: &'a mut [u8; CELL],
    ) -> Result<&'a [u8], Fault> {
        self.ratchet.open(cell)?;
        self.epochs.enter(now, self.ratchet.epoch());
        if self.knows_epochs() {
            self.epochs.begin_if_due(now, rng);
        }
        let payload = &cell[HEADER..HEADER + PAYLOAD];
        if !self.is_proven() && payload.iter().any(|byte| *byte != 0) {
            return Err(Fault::FirstCellNotPadding);
        }
        self.heard_at = now;
        self.counters.cells[1] += 1;
        if payload[0] != 0 {
            self.counters.data_cells[1] += 1;
        }
        Ok(payload)
    }

    /// The peer has proven its identity: HELLO leaves as soon as possible. The ticks that
    /// follow lie on `grid`.
    pub fn introduce(&mut self, introduction: Introduction, grid: TickGrid) {
        self.introduced = Some((introduction.link_seq, introduction.session_id));
        self.is_held_for_circuit = introduction.circuits.is_relayed;
        self.opening = match self.opening {
            Opening::First(_) => Opening::First(Some((introduction, grid))),
            _ => Opening::Hello(introduction, grid),
        };
    }

    /// The introduction from which [`Self::seal`] would make HELLO now. The caller sets its
    /// `oldest_live` first, because connections may have ended since the peer has proven itself.
    pub fn next_hello(&mut self) -> Option<&mut Introduction> {
        match &mut self.opening {
            Opening::Hello(introduction, _) if !self.busy => Some(introduction),
            _ => None,
        }
    }

    /// Takes the other end's HELLO, which must be its first frame.
    ///
    /// # Errors
    /// It is the second HELLO, or arrives before this end has proven its identity.
    pub fn greet(&mut self, now: Instant, hello: Hello, grid: TickGrid) -> Result<&Hello, Fault> {
        if self.hello.is_some() {
            return Err(Fault::SecondHello);
        }
        if matches!(self.opening, Opening::First(_) | Opening::Unproven) {
            return Err(Fault::HelloToUnproven);
        }
        self.schedule.decide(now, interval(hello.interval_ms), grid);
        Ok(self.hello.insert(hello))
    }

    /// Takes a part of a KEM exchange.
    ///
    /// # Errors
    /// It is not the next one, or the other end does not know epochs.
    pub fn take_kem(
        &mut self,
        rng: &mut dyn CryptoRng,
        fragment: &KemFragment<'_>,
    ) -> Result<(), Fault> {
        if !self.knows_epochs() {
            return Err(Fault::KemOutOfTurn);
        }
        if let Some(secret) = self.epochs.take(rng, fragment)? {
            self.ratchet.mix(self.direction.other(), secret);
        }
        Ok(())
    }

    /// Whether the other end knows post-quantum epochs. (This end always does.)
    fn knows_epochs(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.epochs)
    }

    /// Checks that a frame other than HELLO may arrive now.
    ///
    /// # Errors
    /// HELLO has not arrived yet.
    pub fn expect_greeted(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        match (frame, &self.hello) {
            (Frame::Hello(_), _) | (_, Some(_)) => Ok(()),
            _ => Err(Fault::FrameBeforeHello),
        }
    }

    /// This user's name has changed.
    pub fn rename(&mut self, name: Option<DisplayName>) {
        self.new_name = Some(name);
    }

    /// Tells the other end from which IP address its link comes.
    pub fn tell_observed(&mut self, ip: IpAddr) {
        self.observed = Some(ip);
    }

    /// Tells the other end one or two addresses at which this end listens in its local networks.
    pub fn tell_local(&mut self, addresses: Vec<Address>) {
        self.local = Some(addresses);
    }

    /// Queues gossip; for each peer only the newest counts. What the other end already knows is not
    /// sent again, and a peer that came and went meanwhile is not mentioned at all.
    pub fn tell(&mut self, mut gossip: Gossip) {
        if gossip.linked == Linked::ByCircuit && !self.knows_circuits() {
            gossip.linked = Linked::Directly;
        }
        let known = match (self.told.get(&gossip.id), gossip.linked) {
            (None, linked) => linked == Linked::No,
            (Some(_), Linked::No) => false,
            (Some(told), _) => *told == hash(&gossip),
        };
        if known {
            self.gossip.remove(&gossip.id);
        } else {
            self.gossip.insert(gossip.id, gossip);
        }
    }

    /// Puts at most `most` bytes of gossip into a payload, peers that have gone first, so that the
    /// record of what was sent stays bounded.
    fn fill_gossip(&mut self, payload: &mut Payload, most: usize) {
        let is_gone = |gossip: &&Gossip| gossip.linked == Linked::No;
        let gone = self.gossip.values().filter(is_gone);
        let come = self.gossip.values().filter(|gossip| !is_gone(gossip));
        let taken = payload.peers(gone.chain(come), most);
        for id in taken {
            match self.gossip.remove(&id) {
                Some(gossip) if gossip.linked != Linked::No => self.told.insert(id, hash(&gossip)),
                _ => self.told.remove(&id),
            };
        }
    }

    /// Makes GOODBYE the next and last frame.
    pub fn say_goodbye(&mut self, leaving: bool) {
        if self.goodbye.is_none() {
            self.goodbye = Some(Goodbye::Due { leaving });
        }
    }

    /// Whether GOODBYE was sealed.
    pub fn is_over(&self) -> bool {
        self.goodbye == Some(Goodbye::Sealed)
    }

    /// Everything sealed so far has left; `lateness` is how much the last cell missed its tick.
    pub fn sent(&mut self, lateness: Duration) {
        self.busy = false;
        self.counters.worst_lateness = self.counters.worst_lateness.max(lateness);
    }

    /// When [`Self::seal`] will return something, if nothing changes.
    pub fn deadline(&self, now: Instant, conversation: &Conversation) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        if self.is_opening() {
            return (!self.busy).then_some(now);
        }
        self.schedule
            .deadline(now, self.has_work(conversation), self.busy)
    }

    /// When [`Self::seal`] will return something, whatever there is to send; `None` if that depends
    /// on what there is.
    pub fn next_tick(&self) -> Option<Instant> {
        self.schedule.next_tick().filter(|_| !self.is_over())
    }

    /// Whether [`Self::seal`] would return nothing now, whatever there is to send.
    pub fn is_early(&self, now: Instant) -> bool {
        self.schedule.is_early(now)
    }

    /// Whether sealing a cell for the tick that is due depends on [`Self::sent`].
    pub fn is_in_doubt(&self, now: Instant) -> bool {
        self.busy && !self.is_over() && self.schedule.is_due(now)
    }

    /// The previous cell has not left by now: if a tick is due, it passes without a cell.
    pub fn skip(&mut self, now: Instant) {
        if self.is_in_doubt(now) && self.schedule.skip(now) {
            self.counters.ticks_skipped += 1;
        }
    }

    /// Seals what is due now.
    ///
    /// # Errors
    /// The ratchet cannot continue; the link is over.
    pub fn seal(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        conversation: &mut Conversation,
    ) -> Result<Option<Sealed>, Fault> {
        if self.is_over() {
            return Ok(None);
        }
        if self.is_opening() {
            return self.seal_opening(now, rng, conversation);
        }
        let at = match self
            .schedule
            .due(now, self.has_work(conversation), self.busy)
        {
            Due::No => return Ok(None),
            Due::Skipped => {
                self.counters.ticks_skipped += 1;
                return Ok(None);
            }
            Due::At(tick) => Some(tick),
            Due::Now => None,
        };
        let mut bytes = Vec::with_capacity(CELL);
        let mut carried = Vec::new();
        loop {
            let mut payload = Payload::default();
            self.fill(&mut payload, conversation, &mut carried);
            self.seal_cell(now, rng, &payload, &mut bytes)?;
            if at.is_some()
                || self.is_over()
                || bytes.len() >= BURST * CELL
                || !self.has_work(conversation)
            {
                break;
            }
        }
        self.busy = true;
        Ok(Some(Sealed { bytes, at, carried }))
    }

    /// Whether the first cell or HELLO still has to be sealed.
    fn is_opening(&self) -> bool {
        matches!(self.opening, Opening::First(_) | Opening::Hello(..))
    }

    /// Seals the first cell or HELLO, as soon as what came before it has left.
    fn seal_opening(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        conversation: &mut Conversation,
    ) -> Result<Option<Sealed>, Fault> {
        if self.busy {
            return Ok(None);
        }
        let (mut payload, mut carried) = (Payload::default(), Vec::new());
        self.opening = match std::mem::replace(&mut self.opening, Opening::Done) {
            Opening::First(None) => Opening::Unproven,
            Opening::First(Some((own, grid))) => Opening::Hello(own, grid),
            Opening::Hello(own, grid) => {
                self.schedule = CellSchedule::start(now, interval(own.interval_ms), grid);
                if let Some(hello) = &self.hello {
                    self.schedule.decide(now, interval(hello.interval_ms), grid);
                }
                payload.hello(&own.hello(conversation));
                self.fill(&mut payload, conversation, &mut carried);
                Opening::Done
            }
            other => other,
        };
        let mut bytes = Vec::with_capacity(CELL);
        self.seal_cell(now, rng, &payload, &mut bytes)?;
        self.busy = true;
        let at = None;
        Ok(Some(Sealed { bytes, at, carried }))
    }

    /// Whether a cell sealed now would carry more than padding.
    fn has_work(&self, conversation: &Conversation) -> bool {
        self.hello.is_some()
            && (matches!(self.goodbye, Some(Goodbye::Due { .. }))
                || self.new_name.is_some()
                || self.observed.is_some()
                || self.local.is_some()
                || !self.gossip.is_empty()
                || self.circuits.has_work()
                || conversation.inbox.ack_due().is_some()
                || conversation.outbox.has_work())
    }

    fn seal_cell(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        payload: &Payload,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut cell = [0; CELL];
        cell[HEADER..][..payload.as_slice().len()].copy_from_slice(payload.as_slice());
        self.ratchet.seal(now, rng, &mut cell)?;
        self.epochs.enter(now, self.ratchet.epoch());
        // In a later cell than the last part of the exchange, which the other end must have read.
        if let Some(secret) = self.epochs.sealed() {
            self.ratchet.mix(self.direction, secret);
        }
        out.extend_from_slice(&cell);
        self.counters.cells[0] += 1;
        self.counters.data_cells[0] += u64::from(!payload.is_empty());
        Ok(())
    }

    /// Fills a cell, most urgent frames first. Everything except HELLO waits for the other end's
    /// HELLO.
    fn fill(
        &mut self,
        payload: &mut Payload,
        conversation: &mut Conversation,
        carried: &mut Vec<(u32, usize)>,
    ) {
        if self.hello.is_none() {
            return;
        }
        if let Some(number) = conversation.inbox.ack_due()
            && payload.ack(number)
        {
            conversation.inbox.ack_sent(number);
        }
        if let Some(name) = &self.new_name
            && payload.name(name.as_ref())
        {
            self.new_name = None;
        }
        if let Some(ip) = self.observed
            && payload.observed(ip)
        {
            self.observed = None;
        }
        if let Some(addresses) = &self.local
            && payload.local(addresses)
        {
            self.local = None;
        }
        if let Some(Goodbye::Due { leaving }) = self.goodbye {
            // The last bytes of a circuit may be a goodbye too.
            if self.circuits.has_ending() {
                self.circuits.fill_data(payload, carried);
            }
            if !self.circuits.has_ending() && payload.goodbye(leaving) {
                self.goodbye = Some(Goodbye::Sealed);
            }
            return;
        }
        self.circuits.fill_control(payload);
        let streams = self.circuits.has_data();
        let messages = conversation.outbox.has_work();
        let has_own = messages || !self.gossip.is_empty();
        let before = payload.room();
        if self.knows_epochs() {
            let most = match has_own || streams {
                true => SHARE,
                false => PAYLOAD,
            };
            self.epochs.fill(payload, most);
        }
        let has_kem = payload.room() < before;
        // When both wait, each gets every other cell first, and the other what is left of it.
        let circuits_first = streams && (!has_own || self.circuits_turn);
        self.circuits_turn = streams && has_own && !circuits_first;
        if circuits_first {
            self.circuits.fill_data(payload, carried);
        }
        // Beside messages or streams, gossip waits for a cell without a KEM frame.
        match messages || streams {
            false => self.fill_gossip(payload, PAYLOAD),
            true if !has_kem => self.fill_gossip(payload, SHARE),
            true => {}
        }
        conversation.outbox.fill(payload);
        if !circuits_first {
            self.circuits.fill_data(payload, carried);
        }
    }
}

impl Introduction {
    fn hello(self, conversation: &Conversation) -> Hello {
        Hello {
            circuits: Some(self.circuits),
            local: self.local,
            epochs: true,
            interval_ms: self.interval_ms,
            link_seq: self.link_seq,
            oldest_live: self.oldest_live,
            session_id: self.session_id,
            heard_session_id: conversation.heard_session_id(),
            heard: if conversation.heard_session_id() == 0 {
                0
            } else {
                conversation.inbox.received()
            },
            listening: self.listening,
            name: self.name,
        }
    }
}

/// A short stand-in for what gossip says about a linked peer.
fn hash(gossip: &Gossip) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&gossip.address, gossip.linked).hash(&mut hasher);
    hasher.finish()
}

/// The time between an end's cells, as in HELLO; `None` for `off`.
fn interval(ms: u32) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms.into()))
}

/// Reads all frames of a payload and gives each to `take`, until one is a fault.
///
/// # Errors
/// The first fault, of the bytes or of `take`.
pub fn frames<'a>(
    mut payload: &'a [u8],
    mut take: impl FnMut(Frame<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while let Some(frame) = frame::decode(&mut payload)? {
        take(frame)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
