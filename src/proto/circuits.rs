//! The circuits on one link: the frames about them, and the streams that they carry (PROTOCOL.md,
//! section 11).
//!
//! A stream has credit: an end sends no more of it than the other end has granted, so a relay holds
//! at most [`WINDOW`] bytes of each direction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cell::PAYLOAD;
use super::frame::{Circuit, CircuitFrame, DATA_HEAD, Payload, Way};
use super::ratchet::Direction;
use super::{Fault, PeerId};

/// How many bytes of a stream may be on their way without credit: four full cells.
pub const WINDOW: usize = 4 * (PAYLOAD - DATA_HEAD);

/// The length of a TLS record with a cell in it.
pub const RECORD: usize = 1046;

/// The most circuits on one link.
pub const MOST: usize = 8;

/// More frames than an end that waits for answers can cause to wait.
const ANSWERS: usize = 64;

/// Credit is given back in portions of at least this size.
const PORTION: usize = WINDOW / 4;

/// One circuit on this link.
struct Leg {
    /// The next bytes to send.
    waiting: VecDeque<u8>,
    /// How many bytes the other end still takes.
    may_send: usize,
    /// How many bytes the other end may still send.
    may_receive: usize,
    /// How many bytes were passed on since the last credit.
    passed_on: usize,
    /// It ends when the waiting bytes have left.
    is_ending: bool,
    /// This end has asked for it, and the other end has not answered.
    asked: bool,
}

impl Leg {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            may_send: WINDOW,
            may_receive: WINDOW,
            passed_on: 0,
            is_ending: false,
            asked: false,
        }
    }

    /// How many bytes can be sent now.
    fn ready(&self) -> usize {
        self.waiting.len().min(self.may_send)
    }
}

/// The circuits on one link.
pub struct Circuits {
    legs: BTreeMap<u32, Leg>,
    /// Frames that are not about a stream's bytes.
    control: VecDeque<CircuitFrame<'static>>,
    /// The number of this end's next OPEN. The link's dialler has the odd numbers, its listener the
    /// even ones.
    next: u32,
    /// The least number that the other end's next OPEN may have, if there is one.
    next_theirs: Option<u32>,
    /// This end's circuits that it has ended before the other end answered its OPEN.
    given_up: BTreeSet<u32>,
    /// The circuit that was served last.
    served: u32,
    /// Bytes of streams sent for others.
    carried: u64,
}

impl Circuits {
    /// No circuits yet, at the end of a link that has this direction.
    pub fn new(direction: Direction) -> Self {
        let (next, next_theirs) = match direction {
            Direction::Dialler => (1, 2),
            Direction::Listener => (2, 1),
        };
        Self {
            legs: BTreeMap::new(),
            control: VecDeque::new(),
            next,
            next_theirs: Some(next_theirs),
            given_up: BTreeSet::new(),
            served: 0,
            carried: 0,
        }
    }

    /// Asks the other end for a circuit. `None`: the link has as many circuits as it may have.
    pub fn open(&mut self, interval_ms: u32, way: Way, peer: PeerId) -> Option<u32> {
        let id = self.next;
        let next = id.checked_add(2).filter(|_| self.has_room())?;
        self.next = next;
        let leg = Leg {
            asked: true,
            ..Leg::new()
        };
        self.legs.insert(id, leg);
        let open = Circuit::Open {
            interval_ms,
            way,
            peer,
        };
        self.queue(id, open);
        Some(id)
    }

    fn queue(&mut self, id: u32, what: Circuit<'static>) {
        self.control.push_back(CircuitFrame { id, what });
    }

    /// Whether the link may have another circuit.
    pub fn has_room(&self) -> bool {
        self.legs.len() + self.given_up.len() < MOST
    }

    /// Takes the other end's OPEN, and answers it with REFUSED if it may not ask now (`may_ask`) or
    /// the link has no room. Returns whether it has.
    ///
    /// # Errors
    /// The number is not the next one of the other end, or a later one; or more answers wait than
    /// an end that waits for them can cause.
    pub fn accept(&mut self, id: u32, may_ask: bool) -> Result<bool, Fault> {
        let next = self
            .next_theirs
            .filter(|next| id >= *next && id % 2 == *next % 2);
        next.ok_or(Fault::CircuitOutOfTurn)?;
        self.next_theirs = id.checked_add(2);
        if self.control.len() >= ANSWERS {
            return Err(Fault::TooManyCircuits);
        }
        if !may_ask || !self.has_room() {
            self.queue(id, Circuit::Refused);
            return Ok(false);
        }
        self.legs.insert(id, Leg::new());
        Ok(true)
    }

    /// Answers an OPEN: the circuit stands.
    pub fn opened(&mut self, id: u32, interval_ms: u32) {
        if self.legs.contains_key(&id) {
            self.queue(id, Circuit::Opened { interval_ms });
        }
    }

    /// Answers an OPEN: there is no circuit.
    pub fn refuse(&mut self, id: u32) {
        if self.legs.remove(&id).is_some() {
            self.queue(id, Circuit::Refused);
        }
    }

    /// Ends a circuit, and says so to the other end.
    pub fn close(&mut self, id: u32) {
        let Some(leg) = self.legs.remove(&id) else {
            return;
        };
        let is_open =
            |frame: &CircuitFrame<'_>| frame.id == id && matches!(frame.what, Circuit::Open { .. });
        if self.control.iter().any(is_open) {
            self.control.retain(|frame| frame.id != id);
            return;
        }
        if leg.asked {
            self.given_up.insert(id);
        }
        self.queue(id, Circuit::Close);
    }

    /// Ends a circuit behind the bytes that wait, if the other end takes them without new credit.
    pub fn finish(&mut self, id: u32) {
        match self.legs.get_mut(&id) {
            Some(leg) if (1..=leg.may_send).contains(&leg.waiting.len()) => leg.is_ending = true,
            _ => self.close(id),
        }
    }

    /// Whether a circuit ends as soon as its last bytes have left.
    pub fn has_ending(&self) -> bool {
        self.legs.values().any(|leg| leg.is_ending)
    }

    /// The other end has ended a circuit. Returns whether there was one.
    pub fn ended(&mut self, id: u32) -> bool {
        self.given_up.remove(&id);
        self.legs.remove(&id).is_some()
    }

    /// The other end has answered OPEN with OPENED.
    pub fn answered(&mut self, id: u32) {
        self.given_up.remove(&id);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.asked = false;
        }
    }

    /// Queues bytes of a stream, which the caller bounds.
    pub fn send(&mut self, id: u32, bytes: &[u8]) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.waiting.extend(bytes);
        }
    }

    /// How many bytes of a stream wait here.
    pub fn waiting(&self, id: u32) -> usize {
        self.legs.get(&id).map_or(0, |leg| leg.waiting.len())
    }

    /// This many bytes of a stream have arrived. Returns whether there is such a circuit: it may
    /// have been closed meanwhile.
    ///
    /// # Errors
    /// The other end had no credit for them.
    pub fn receive(&mut self, id: u32, length: usize) -> Result<bool, Fault> {
        let Some(leg) = self.legs.get_mut(&id) else {
            return Ok(false);
        };
        let left = leg.may_receive.checked_sub(length);
        leg.may_receive = left.ok_or(Fault::CircuitWithoutCredit)?;
        Ok(true)
    }

    /// This many bytes that arrived have been passed on, so as many more may come.
    pub fn passed_on(&mut self, id: u32, length: usize) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.passed_on += length;
        }
    }

    /// Takes credit.
    ///
    /// # Errors
    /// It is more than the other end has had.
    pub fn credit(&mut self, id: u32, length: u32) -> Result<(), Fault> {
        let Some(leg) = self.legs.get_mut(&id) else {
            return Ok(());
        };
        let more = usize::try_from(length).ok();
        let all = more.and_then(|more| leg.may_send.checked_add(more));
        leg.may_send = all
            .filter(|all| *all <= WINDOW)
            .ok_or(Fault::CreditNeverTaken)?;
        Ok(())
    }

    /// These many of the bytes that were sent belong to a circuit of others.
    pub fn count(&mut self, bytes: usize) {
        self.carried += bytes as u64;
    }

    /// Bytes sent for circuits of others.
    pub fn carried_bytes(&self) -> u64 {
        self.carried
    }

    /// Whether bytes of any stream can be sent now. They do not overtake OPENED.
    pub fn has_data(&self) -> bool {
        self.control.is_empty() && self.legs.values().any(|leg| leg.ready() > 0)
    }

    /// Whether a cell sealed now would carry a frame about a circuit.
    pub fn has_work(&self) -> bool {
        let owes = |leg: &Leg| leg.passed_on >= PORTION;
        !self.control.is_empty() || self.has_data() || self.legs.values().any(owes)
    }

    /// Puts into a payload what fits of the frames that are not about a stream's bytes.
    pub fn fill_control(&mut self, payload: &mut Payload) {
        while let Some(frame) = self.control.front() {
            if !payload.circuit(frame) {
                return;
            }
            self.control.pop_front();
        }
        for (id, leg) in &mut self.legs {
            if leg.passed_on < PORTION {
                continue;
            }
            // At most a window.
            let what = Circuit::Credit(leg.passed_on as u32);
            if !payload.circuit(&CircuitFrame { id: *id, what }) {
                return;
            }
            leg.may_receive += leg.passed_on;
            leg.passed_on = 0;
        }
    }

    /// Puts into a payload what fits of the streams, which take turns. Notes for each how many
    /// bytes that was.
    pub fn fill_data(&mut self, payload: &mut Payload, sent: &mut Vec<(u32, usize)>) {
        if !self.control.is_empty() {
            return;
        }
        let after = self.served;
        let ready = self.legs.iter().filter(|(_, leg)| leg.ready() > 0);
        let mut turns: Vec<u32> = ready.map(|(id, _)| *id).collect();
        turns.sort_by_key(|id| (*id <= after, *id));
        for id in turns {
            let Some(leg) = self.legs.get_mut(&id) else {
                continue;
            };
            let take = payload.data_room(leg.ready());
            if take == 0 {
                return;
            }
            let bytes: Vec<u8> = leg.waiting.drain(..take).collect();
            let what = Circuit::Data(&bytes);
            payload.circuit(&CircuitFrame { id, what });
            leg.may_send -= take;
            self.served = id;
            sent.push((id, take));
            if leg.is_ending && leg.waiting.is_empty() {
                self.close(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::{Frame, decode};

    const PEER: PeerId = PeerId([7; 32]);

    /// The frames of the next cell, in short, and the bytes of each stream in it.
    fn cell(circuits: &mut Circuits) -> (Vec<String>, Vec<(u32, usize)>) {
        let (mut payload, mut sent) = (Payload::default(), Vec::new());
        circuits.fill_control(&mut payload);
        circuits.fill_data(&mut payload, &mut sent);
        let (mut rest, mut shown) = (payload.as_slice(), Vec::new());
        while let Some(frame) = decode(&mut rest).unwrap() {
            let Frame::Circuit(CircuitFrame { id, what }) = frame else {
                panic!("{frame:?}");
            };
            shown.push(match what {
                Circuit::Open { .. } => format!("open {id}"),
                Circuit::Opened { interval_ms } => format!("opened {id} {interval_ms}"),
                Circuit::Refused => format!("refused {id}"),
                Circuit::Data(bytes) => format!("data {id} {}", bytes.len()),
                Circuit::Credit(bytes) => format!("credit {id} {bytes}"),
                Circuit::Close => format!("close {id}"),
            });
        }
        (shown, sent)
    }

    #[test]
    fn each_end_has_numbers_of_its_own_and_uses_none_twice() {
        let mut dialler = Circuits::new(Direction::Dialler);
        let mut listener = Circuits::new(Direction::Listener);
        assert_eq!(dialler.open(1000, Way::To, PEER), Some(1));
        assert_eq!(dialler.open(1000, Way::To, PEER), Some(3));
        assert_eq!(listener.open(1000, Way::To, PEER), Some(2));
        assert_eq!(cell(&mut dialler).0, ["open 1", "open 3"]);
        assert_eq!(listener.accept(3, true), Ok(true));
        for fault in [1, 3, 4] {
            assert_eq!(listener.accept(fault, true), Err(Fault::CircuitOutOfTurn));
        }
        assert_eq!(listener.accept(u32::MAX, true), Ok(true));
        for fault in [u32::MAX, 0, 1, 2, 4] {
            assert_eq!(listener.accept(fault, true), Err(Fault::CircuitOutOfTurn));
        }
        let mut dialler = Circuits::new(Direction::Dialler);
        assert_eq!(dialler.accept(u32::MAX - 1, true), Ok(true));
        for fault in [u32::MAX, 0, 1, 2] {
            assert_eq!(dialler.accept(fault, true), Err(Fault::CircuitOutOfTurn));
        }
    }

    #[test]
    fn ninth_circuit_of_a_link_is_refused() {
        let mut circuits = Circuits::new(Direction::Dialler);
        for _ in 0..4 {
            assert!(circuits.open(1000, Way::To, PEER).is_some());
        }
        for id in [2, 4, 6, 8] {
            assert_eq!(circuits.accept(id, true), Ok(true));
        }
        assert_eq!(
            (
                circuits.accept(10, true),
                circuits.open(1000, Way::To, PEER)
            ),
            (Ok(false), None)
        );
        cell(&mut circuits);
        circuits.close(2);
        assert_eq!(cell(&mut circuits).0, ["close 2"]);
        assert_eq!(circuits.accept(12, true), Ok(true));
        circuits.refuse(12);
        circuits.close(12);
        assert_eq!(cell(&mut circuits).0, ["refused 12"]);
        assert!(circuits.ended(1) && !circuits.ended(1));
        assert!(!circuits.has_work());
    }

    #[test]
    fn a_stream_takes_four_cells_and_then_waits_for_credit() {
        let mut near = Circuits::new(Direction::Dialler);
        let mut far = Circuits::new(Direction::Listener);
        let id = near.open(1000, Way::To, PEER).unwrap();
        assert_eq!(far.accept(id, true), Ok(true));
        cell(&mut near);
        near.send(id, &[5; 2 * WINDOW]);
        for _ in 0..4 {
            let (_, sent) = cell(&mut near);
            assert_eq!(sent, [(id, WINDOW / 4)]);
            assert_eq!(far.receive(id, WINDOW / 4), Ok(true));
        }
        assert!(!near.has_data() && near.waiting(id) == WINDOW);
        assert_eq!(far.receive(id, 1), Err(Fault::CircuitWithoutCredit));
        far.passed_on(id, WINDOW / 4 - 1);
        assert!(!far.has_work());
        far.passed_on(id, 1);
        assert_eq!(cell(&mut far).0, [format!("credit {id} {}", WINDOW / 4)]);
        assert_eq!(near.credit(id, WINDOW as u32 / 4), Ok(()));
        assert!(near.has_data());
        let too_much = near.credit(id, WINDOW as u32);
        assert_eq!(too_much, Err(Fault::CreditNeverTaken));
    }

    #[test]
    fn streams_take_turns_and_share_a_cell() {
        let mut circuits = Circuits::new(Direction::Dialler);
        let ids: Vec<u32> = (0..3)
            .filter_map(|_| circuits.open(1000, Way::To, PEER))
            .collect();
        cell(&mut circuits);
        for id in &ids {
            circuits.send(*id, &[0; 1046]);
        }
        let full = PAYLOAD - DATA_HEAD;
        let rest = 1046 - full;
        assert_eq!(cell(&mut circuits).1, [(1, full)]);
        assert_eq!(cell(&mut circuits).1, [(3, full)]);
        assert_eq!(cell(&mut circuits).1, [(5, full)]);
        let all = [(1, rest), (3, rest), (5, rest)];
        assert_eq!(cell(&mut circuits).1, all);
        assert!(!circuits.has_work());
    }

    #[test]
    fn a_circuit_that_is_finished_ends_behind_its_last_bytes() {
        let mut circuits = Circuits::new(Direction::Dialler);
        let ids: Vec<u32> = (0..3)
            .filter_map(|_| circuits.open(1000, Way::To, PEER))
            .collect();
        cell(&mut circuits);
        circuits.send(ids[0], &[0; RECORD]);
        circuits.send(ids[1], &[0; WINDOW + 1]);
        ids.iter().for_each(|id| circuits.finish(*id));
        let full = PAYLOAD - DATA_HEAD - 2 * 7;
        let first = [format!("close {}", ids[1]), format!("close {}", ids[2])];
        let first = [&first[..], &[format!("data 1 {full}")]].concat();
        assert_eq!(
            cell(&mut circuits).0,
            first,
            "a stream without credit is cut"
        );
        assert_eq!(cell(&mut circuits).0, [format!("data 1 {}", RECORD - full)]);
        assert_eq!(cell(&mut circuits).0, ["close 1"]);
    }

    #[test]
    fn frames_about_a_circuit_that_has_ended_do_no_harm() {
        let mut circuits = Circuits::new(Direction::Dialler);
        let id = circuits.open(1000, Way::To, PEER).unwrap();
        cell(&mut circuits);
        circuits.answered(id);
        circuits.close(id);
        assert_eq!(circuits.receive(id, 100_000), Ok(false));
        assert_eq!(circuits.credit(id, 9), Ok(()));
        circuits.send(id, &[1]);
        circuits.passed_on(id, 9000);
        circuits.opened(id, 1000);
        assert_eq!(cell(&mut circuits).0, ["close 1"]);
        assert!(!circuits.has_work());
    }

    #[test]
    fn open_that_was_not_sent_is_taken_back_and_others_count_until_answered() {
        let mut circuits = Circuits::new(Direction::Dialler);
        let id = circuits.open(1000, Way::To, PEER).unwrap();
        circuits.close(id);
        assert!(!circuits.has_work());
        for _ in 0..MOST {
            let id = circuits.open(1000, Way::To, PEER).unwrap();
            cell(&mut circuits);
            circuits.close(id);
        }
        assert_eq!(circuits.open(1000, Way::To, PEER), None);
        circuits.answered(3);
        assert!(!circuits.ended(5), "a late REFUSED");
        assert!(circuits.open(1000, Way::To, PEER).is_some());
    }

    #[test]
    fn who_asks_without_waiting_for_answers_is_at_fault() {
        let mut circuits = Circuits::new(Direction::Dialler);
        for id in (2..).step_by(2).take(ANSWERS) {
            assert_eq!(circuits.accept(id, false), Ok(false));
        }
        let next = 2 * ANSWERS as u32 + 2;
        assert_eq!(circuits.accept(next, true), Err(Fault::TooManyCircuits));
    }

    #[test]
    fn bytes_do_not_overtake_the_answer_before_them() {
        let mut circuits = Circuits::new(Direction::Dialler);
        assert_eq!(circuits.accept(2, true), Ok(true));
        circuits.opened(2, 1000);
        circuits.send(2, &[1]);
        assert!(!circuits.has_data());
        assert_eq!(cell(&mut circuits).0, ["opened 2 1000", "data 2 1"]);
    }
}
