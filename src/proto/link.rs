//! One link: ratchet, cells, frames and their clock, composed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::cell::{HEADER, PAYLOAD};
use super::conversation::Conversation;
use super::frame::{self, Frame, Gossip, Hello, Listening, Payload};
use super::handshake::Established;
use super::ratchet::{Direction, DoubleRatchet};
use super::schedule::{CellSchedule, Due, TickOffset};
use super::{Address, CELL, DisplayName, Fault, PeerId};

/// The most cells sealed in one go where data leave at once.
pub const BURST: usize = 64;

/// What part of a cell gossip gets while there are messages to send.
const GOSSIP_SHARE: usize = 3;

/// From the handshake to the other end's HELLO, whatever else comes.
pub const GREETING: Duration = Duration::from_secs(30);

/// What this end says about itself in HELLO.
pub struct Introduction {
    /// Milliseconds between this end's cells, 0 for `off`.
    pub interval_ms: u32,
    /// Where it can be dialled.
    pub listening: Listening,
    /// Its name.
    pub name: Option<DisplayName>,
    /// The count of HELLOs of this end in its run, to whomever.
    pub link_seq: u32,
    /// The least order of the open connections with this peer that have one; see
    /// [`Link::next_hello`].
    pub oldest_live: u32,
    /// This end's session_id of the peer.
    pub session_id: u64,
}

/// Cells to write.
pub struct Sealed {
    /// A multiple of 1,024 bytes.
    pub bytes: Vec<u8>,
    /// When; at once if none.
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
    /// The worst delay of a cell's departure behind its tick.
    pub worst_lateness: Duration,
}

/// One end of one connection after its handshake.
///
/// Given: cells in the order of the stream ([`Self::open`]), and that they left ([`Self::sent`]).
/// Taken: cells when [`Self::deadline`] has come ([`Self::seal`]).
pub struct Link {
    direction: Direction,
    peer: PeerId,
    words: String,
    ratchet: DoubleRatchet,
    schedule: CellSchedule,
    opening: Opening,
    /// What this end's HELLO says, or said, of link_seq and session_id.
    introduced: Option<(u32, u64)>,
    hello: Option<Hello>,
    busy: bool,
    new_name: Option<Option<DisplayName>>,
    /// What is to be told, and what was: whom the other end counts as linked, at which address.
    gossip: BTreeMap<PeerId, Gossip>,
    told: BTreeMap<PeerId, Option<Address>>,
    goodbye: Option<Goodbye>,
    started_at: Instant,
    heard_at: Instant,
    counters: Counters,
}

/// What this end has still to seal before its clock starts. The first cell of an end says nothing:
/// it proves who it is, and HELLO is for those who have done that.
enum Opening {
    /// The first cell; then HELLO, if the other end's first cell came sooner.
    First(Option<(Introduction, TickOffset)>),
    /// The first cell is sealed, and the other end's has not opened.
    Unproven,
    /// HELLO.
    Hello(Introduction, TickOffset),
    /// Nothing.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Due { leaving: bool },
    Sealed,
}

impl Link {
    /// The link after a handshake. `busy` says that a cell of the handshake has not left yet.
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

    /// Who is at the other end; proven only once [`Self::open`] has opened a cell.
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

    /// Whether a cell of the other end has opened, and the peer is who it says.
    pub fn is_proven(&self) -> bool {
        self.counters.cells[1] > 0
    }

    /// The order of this end's HELLO, once there is one.
    pub fn link_seq(&self) -> Option<u32> {
        self.introduced.map(|(link_seq, _)| link_seq)
    }

    /// This end's session_id of the peer, as its HELLO has it, once there is one.
    pub fn session_id(&self) -> Option<u64> {
        self.introduced.map(|(_, session_id)| session_id)
    }

    /// The other end's HELLO, once it is in.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// The counts.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The time between this end's cells.
    pub fn interval(&self) -> Option<Duration> {
        self.schedule.interval()
    }

    /// Steps of the ratchet, and when this end last made one.
    pub fn ratchet_steps(&self) -> (u64, Instant) {
        (self.ratchet.steps(), self.ratchet.stepped_at())
    }

    /// When the handshake ended.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// When the last valid cell came; before the first one, when the handshake ended.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When the link is dead if no whole valid cell comes: after `inactivity`, but not before
    /// three of the other end's intervals; before its HELLO, after [`GREETING`].
    pub fn dead_at(&self, inactivity: Duration) -> Instant {
        match &self.hello {
            Some(hello) => {
                // An end that is `off` keeps the other's interval.
                let theirs = interval(hello.interval_ms).or(self.schedule.interval());
                self.heard_at + inactivity.max(theirs.unwrap_or_default() * 3)
            }
            None => self.started_at + GREETING,
        }
    }

    /// Opens a cell in place: its frames, to be read with [`frame::decode`]. After the first one the
    /// link is to be given an introduction ([`Self::introduce`]), or closed.
    ///
    /// # Errors
    /// The cell is not the one that must come now, or the first one has frames.
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

    /// The peer has proven itself: HELLO leaves as soon as it can. `offset` places the ticks that
    /// follow it.
    pub fn introduce(&mut self, introduction: Introduction, offset: TickOffset) {
        self.introduced = Some((introduction.link_seq, introduction.session_id));
        self.opening = match self.opening {
            Opening::First(_) => Opening::First(Some((introduction, offset))),
            _ => Opening::Hello(introduction, offset),
        };
    }

    /// The introduction that [`Self::seal`] would make a HELLO of now. Its `oldest_live` is to be set
    /// before: connections may have ended since the peer has proven itself.
    pub fn next_hello(&mut self) -> Option<&mut Introduction> {
        match &mut self.opening {
            Opening::Hello(introduction, _) if !self.busy => Some(introduction),
            _ => None,
        }
    }

    /// Takes the other end's HELLO, which must be its first frame.
    ///
    /// # Errors
    /// It is the second one, or comes before this end has proven itself.
    pub fn greet(
        &mut self,
        now: Instant,
        hello: Hello,
        offset: TickOffset,
    ) -> Result<&Hello, Fault> {
        if self.hello.is_some() {
            return Err(Fault::SecondHello);
        }
        if matches!(self.opening, Opening::First(_) | Opening::Unproven) {
            return Err(Fault::HelloToUnproven);
        }
        self.schedule
            .decide(now, interval(hello.interval_ms), offset);
        Ok(self.hello.insert(hello))
    }

    /// Checks that a frame other than HELLO may come.
    ///
    /// # Errors
    /// HELLO is not in yet.
    pub fn expect_greeted(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        match (frame, &self.hello) {
            (Frame::Hello(_), _) | (_, Some(_)) => Ok(()),
            _ => Err(Fault::FrameBeforeHello),
        }
    }

    /// The own name has changed.
    pub fn rename(&mut self, name: Option<DisplayName>) {
        self.new_name = Some(name);
    }

    /// Something to tell about who is linked to whom; the newest word about each peer counts. What
    /// the other end knows is not told again, and who came and went meanwhile is not told at all.
    pub fn tell(&mut self, gossip: Gossip) {
        let known = match (self.told.get(&gossip.id), gossip.linked) {
            (Some(address), true) => *address == gossip.address,
            (known, linked) => known.is_some() == linked,
        };
        if known {
            self.gossip.remove(&gossip.id);
        } else {
            self.gossip.insert(gossip.id, gossip);
        }
    }

    /// Puts gossip into a payload: the gone first, so that what was told stays bounded. While there
    /// are messages it gets a part of each cell, not all of it.
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
                }) => self.told.insert(id, address),
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

    /// When [`Self::seal`] will have something, as things are.
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

    /// When [`Self::seal`] will have something, whatever there is to send; none where that matters.
    pub fn next_tick(&self) -> Option<Instant> {
        self.schedule.next_tick().filter(|_| !self.is_over())
    }

    /// Whether [`Self::seal`] has nothing, whatever there is to send.
    pub fn is_early(&self, now: Instant) -> bool {
        self.schedule.is_early(now)
    }

    /// Whether it hangs on [`Self::sent`] if a cell is sealed for the tick that is due.
    pub fn is_in_doubt(&self, now: Instant) -> bool {
        self.busy && !self.is_over() && self.schedule.is_due(now)
    }

    /// What was sealed has not left by now: if a tick is due, it passes without a cell.
    pub fn skip(&mut self, now: Instant) {
        if self.is_in_doubt(now) && self.schedule.skip(now) {
            self.counters.ticks_skipped += 1;
        }
    }

    /// Seals what is due now, if anything is.
    ///
    /// # Errors
    /// The ratchet cannot go on; the link is over.
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

    /// Whether the first cell or HELLO is to be sealed.
    fn is_opening(&self) -> bool {
        matches!(self.opening, Opening::First(_) | Opening::Hello(..))
    }

    /// The first cell or HELLO, as soon as what came before it has left.
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
            Opening::First(Some((own, offset))) => Opening::Hello(own, offset),
            Opening::Hello(own, offset) => {
                self.schedule = CellSchedule::start(now, interval(own.interval_ms), offset);
                if let Some(hello) = &self.hello {
                    self.schedule
                        .decide(now, interval(hello.interval_ms), offset);
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

    /// What a cell carries, most urgent first. Everything but HELLO waits for the other's HELLO.
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

/// The time between an end's cells, as HELLO has it; none for `off`.
fn interval(ms: u32) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms.into()))
}

/// Reads all frames of a payload, giving each to `take` until one is a fault.
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
