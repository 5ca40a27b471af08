//! One link: composes ratchet, cells, frames and their clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::cell::{HEADER, PAYLOAD};
use super::conversation::Conversation;
use super::frame::{self, Frame, Gossip, Hello, Listening, Payload};
use super::handshake::Established;
use super::ratchet::{Direction, DoubleRatchet};
use super::schedule::{CellSchedule, Due, TickGrid};
use super::{Address, CELL, DisplayName, Fault, PeerId};

/// The most cells sealed at once when data leave without ticks.
pub const BURST: usize = 64;

/// Gossip gets at most this part of a cell (one third) while there are messages to send.
const GOSSIP_SHARE: usize = 3;

/// The longest time from the handshake to the other end's HELLO, whatever else arrives.
pub const GREETING: Duration = Duration::from_secs(30);

/// What this end says in HELLO.
pub struct Introduction {
    /// Milliseconds between this end's cells, 0 for `off`.
    pub interval_ms: u32,
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
    schedule: CellSchedule,
    opening: Opening,
    /// The link_seq and session_id in this end's HELLO, sealed or not.
    introduced: Option<(u32, u64)>,
    hello: Option<Hello>,
    busy: bool,
    new_name: Option<Option<DisplayName>>,
    /// The gossip to send, by the peer that it is about.
    gossip: BTreeMap<PeerId, Gossip>,
    /// The peers that the other end knows to be linked, and the hashes of the addresses that it was
    /// told. In a mesh of n peers there are n² of these, so they are short. A peer could choose two
    /// addresses of its own with one hash; then others would not be told that it has moved.
    told: BTreeMap<PeerId, u64>,
    goodbye: Option<Goodbye>,
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
    /// The link after a handshake. `busy`: a cell of the handshake has not left yet.
    pub fn new(now: Instant, direction: Direction, established: Established, busy: bool) -> Self {
        Self {
            direction,
            peer: established.peer,
            words: established.words.clone(),
            ratchet: established.ratchet(now, direction),
            schedule: CellSchedule::Opening,
            opening: Opening::First(None),
            introduced: None,
            hello: None,
            busy,
            new_name: None,
            gossip: BTreeMap::new(),
            told: BTreeMap::new(),
            goodbye: None,
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
    /// caller has to introduce itself ([`Self::introduce`]) or close the link.
    ///
    /// # Errors
    /// The cell is not the next one, or the first one has frames.
    pub fn open<'a>(&mut self, now: Instant, cell: &'a mut [u8; CELL]) -> Result<&'a [u8], Fault> {
        self.ratchet.open(cell)?;
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

    /// Queues gossip; for each peer only the newest counts. What the other end already knows is not
    /// sent again, and a peer that came and went meanwhile is not mentioned at all.
    pub fn tell(&mut self, gossip: Gossip) {
        let known = match (self.told.get(&gossip.id), gossip.linked) {
            (Some(address), true) => *address == hash(gossip.address.as_ref()),
            (known, linked) => known.is_some() == linked,
        };
        if known {
            self.gossip.remove(&gossip.id);
        } else {
            self.gossip.insert(gossip.id, gossip);
        }
    }

    /// Puts gossip into a payload, peers that have gone first, so that the record of what was sent
    /// stays bounded. While there are messages, gossip gets only a part of each cell.
    fn fill_gossip(&mut self, payload: &mut Payload, messages: bool) {
        let share = if messages {
            PAYLOAD / GOSSIP_SHARE
        } else {
            PAYLOAD
        };
        let gone = self.gossip.values().filter(|gossip| !gossip.linked);
        let come = self.gossip.values().filter(|gossip| gossip.linked);
        let taken = payload.peers(gone.chain(come), share);
        for id in taken {
            match self.gossip.remove(&id) {
                Some(Gossip {
                    linked: true,
                    address,
                    ..
                }) => self.told.insert(id, hash(address.as_ref())),
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
        loop {
            let mut payload = Payload::default();
            self.fill(&mut payload, conversation);
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
        Ok(Some(Sealed { bytes, at }))
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
        let mut payload = Payload::default();
        self.opening = match std::mem::replace(&mut self.opening, Opening::Done) {
            Opening::First(None) => Opening::Unproven,
            Opening::First(Some((own, grid))) => Opening::Hello(own, grid),
            Opening::Hello(own, grid) => {
                self.schedule = CellSchedule::start(now, interval(own.interval_ms), grid);
                if let Some(hello) = &self.hello {
                    self.schedule.decide(now, interval(hello.interval_ms), grid);
                }
                payload.hello(&own.hello(conversation));
                self.fill(&mut payload, conversation);
                Opening::Done
            }
            other => other,
        };
        let mut bytes = Vec::with_capacity(CELL);
        self.seal_cell(now, rng, &payload, &mut bytes)?;
        self.busy = true;
        Ok(Some(Sealed { bytes, at: None }))
    }

    /// Whether a cell sealed now would carry more than padding.
    fn has_work(&self, conversation: &Conversation) -> bool {
        self.hello.is_some()
            && (matches!(self.goodbye, Some(Goodbye::Due { .. }))
                || self.new_name.is_some()
                || !self.gossip.is_empty()
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
        out.extend_from_slice(&cell);
        self.counters.cells[0] += 1;
        self.counters.data_cells[0] += u64::from(!payload.is_empty());
        Ok(())
    }

    /// Fills a cell, most urgent frames first. Everything except HELLO waits for the other end's
    /// HELLO.
    fn fill(&mut self, payload: &mut Payload, conversation: &mut Conversation) {
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
        if let Some(Goodbye::Due { leaving }) = self.goodbye {
            if payload.goodbye(leaving) {
                self.goodbye = Some(Goodbye::Sealed);
            }
            return;
        }
        self.fill_gossip(payload, conversation.outbox.has_work());
        conversation.outbox.fill(payload);
    }
}

impl Introduction {
    fn hello(self, conversation: &Conversation) -> Hello {
        Hello {
            features: 0,
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

/// A short stand-in for an address.
fn hash(address: Option<&Address>) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
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
