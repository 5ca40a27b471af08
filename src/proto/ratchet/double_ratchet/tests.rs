//! Two honest ends, an end that lies, and a thief with a copy of everything.
#![allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way, and any will do"
)]

use std::collections::{BTreeSet, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::proto::kdf::TAG;
use crate::secret::Secret;

const MS: Duration = Duration::from_millis(1);
const PAYLOAD: std::ops::Range<usize> = HEADER..CELL - TAG;

type Cell = [u8; CELL];

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Both ends right after a handshake; the same for the same seed.
fn pair(start: Instant, seed: u64) -> [DoubleRatchet; 2] {
    let mut rng = rng(seed);
    let (eph_d, eph_l) = (
        RatchetKey::generate(&mut rng),
        RatchetKey::generate(&mut rng),
    );
    let (public_d, public_l) = (*eph_d.public(), *eph_l.public());
    let mut keys = [[0; 32]; 3];
    keys.iter_mut().for_each(|key| rng.fill_bytes(key));
    let secret = |bytes: [u8; 32]| Secret::fill_with(|place: &mut [u8; 32]| *place = bytes);
    let seeds = |own, remote| Seeds {
        root: RootKey::new(secret(keys[0])),
        dialler_chain: ChainKey::new(secret(keys[1])),
        listener_chain: ChainKey::new(secret(keys[2])),
        transcript: [9; 32],
        own,
        remote: RemoteRatchetKey(remote),
    };
    [
        DoubleRatchet::new(
            start,
            Direction::Dialler,
            seeds(Own::Spent(public_d), public_l),
        ),
        DoubleRatchet::new(start, Direction::Listener, seeds(Own::Key(eph_l), public_d)),
    ]
}

fn seal(end: &mut DoubleRatchet, now: Instant, rng: &mut ChaCha20Rng, text: &[u8]) -> Cell {
    let mut cell = [0; CELL];
    cell[HEADER..HEADER + text.len()].copy_from_slice(text);
    end.seal(now, rng, &mut cell).unwrap();
    cell
}

/// The payload of the cell, opened by a copy of this end.
fn open(end: &mut DoubleRatchet, cell: &Cell) -> Result<[u8; 960], Fault> {
    let mut cell = *cell;
    end.open(&mut cell)?;
    let mut text = [0; 960];
    text.copy_from_slice(&cell[PAYLOAD]);
    Ok(text)
}

fn key_of(cell: &Cell) -> [u8; 32] {
    Header::decode(cell).unwrap().key
}

/// Two ends that seal a cell at each tick, and the cells on their way.
struct World {
    start: Instant,
    now: Instant,
    ends: [DoubleRatchet; 2],
    rngs: [ChaCha20Rng; 2],
    to: [VecDeque<(Instant, Cell)>; 2],
    /// Which end stepped, and when.
    steps: Vec<(usize, Instant)>,
}

impl World {
    fn new(start: Instant, seed: u64) -> Self {
        let rngs = [rng(seed + 1), rng(seed + 2)];
        Self {
            start,
            now: start,
            ends: pair(start, seed),
            rngs,
            to: Default::default(),
            steps: Vec::new(),
        }
    }

    /// Seals a cell of zeros at one end.
    fn seal(&mut self, from: usize) -> Cell {
        let end = &mut self.ends[from];
        let before = *end.own.public();
        let cell = seal(end, self.now, &mut self.rngs[from], &[]);
        if key_of(&cell) != before {
            self.steps.push((from, self.now));
        }
        cell
    }

    /// A tick of each end, with this latency on the way. Returns the two cells.
    fn tick(&mut self, interval: Duration, latency: Duration) -> [Cell; 2] {
        self.now += interval;
        let sealed = [self.seal(0), self.seal(1)];
        for (from, cell) in sealed.iter().enumerate() {
            self.to[1 - from].push_back((self.now + latency, *cell));
        }
        self.deliver();
        sealed
    }

    fn deliver(&mut self) {
        for (end, queue) in self.ends.iter_mut().zip(&mut self.to) {
            while let Some((_, cell)) = queue.pop_front_if(|(at, _)| *at <= self.now) {
                assert_eq!(open(end, &cell), Ok([0; 960]));
            }
        }
    }

    /// The world after this number of ticks of 100 ms: the same for the same seed.
    fn after(start: Instant, seed: u64, ticks: u32, latency: Duration) -> Self {
        let mut world = Self::new(start, seed);
        for _ in 0..ticks {
            world.tick(100 * MS, latency);
        }
        world
    }
}

#[test]
fn long_conversation_uses_no_key_twice() {
    let start = Instant::now();
    for seed in 0..8 {
        let (mut world, mut chance) = (World::new(start, seed), rng(100 + seed));
        // The payload never changes, so two cells under one message key would be equal.
        let mut seen = BTreeSet::new();
        let mut latest = [start; 2];
        for _ in 0..4000 {
            world.now += MS * (chance.next_u32() % 120);
            let from = (chance.next_u32() % 2) as usize;
            for _ in 0..chance.next_u32() % 4 {
                let cell = world.seal(from);
                assert!(
                    seen.insert(cell[PAYLOAD].to_vec()),
                    "a message key was used twice"
                );
                // In order, however late.
                latest[from] = latest[from].max(world.now + MS * (chance.next_u32() % 3000));
                world.to[1 - from].push_back((latest[from], cell));
            }
            world.deliver();
        }
        world.now += Duration::from_secs(5);
        world.deliver();
        assert!(world.to.iter().all(VecDeque::is_empty));
        assert!(world.steps.len() > 40, "{} steps", world.steps.len());
        assert_eq!(world.ends[0].steps(), world.ends[1].steps());
    }
}

#[test]
fn ends_step_by_turns_the_dialler_first_and_a_second_apart() {
    let start = Instant::now();
    for latency in [MS, 30 * MS, 450 * MS, 2000 * MS] {
        let world = World::after(start, 1, 400, latency);
        assert_eq!(world.steps[0], (0, start + TURN_DELAY));
        assert!(
            world.steps.windows(2).all(|pair| pair[0].0 != pair[1].0),
            "{latency:?}: not by turns"
        );
        for end in [0, 1] {
            let times: Vec<_> = world
                .steps
                .iter()
                .filter(|(who, _)| *who == end)
                .map(|(_, at)| *at)
                .collect();
            assert!(times.len() > 8, "{latency:?}");
            assert!(times[0] >= world.start + TURN_DELAY);
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] >= TURN_DELAY),
                "{latency:?}: too soon"
            );
            // Only a round trip, and the ticks that the cells wait for, may be added.
            let longest = TURN_DELAY + 2 * latency + 300 * MS;
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] <= longest),
                "{latency:?}: too late"
            );
        }
    }
}

#[test]
fn no_end_steps_before_a_second_has_passed() {
    let (start, mut rng) = (Instant::now(), rng(2));
    let [mut dialler, mut listener] = pair(start, 1);
    let own = *dialler.own.public();
    let early = seal(
        &mut dialler,
        start + TURN_DELAY - Duration::from_nanos(1),
        &mut rng,
        &[],
    );
    assert_eq!(key_of(&early), own);
    let due = seal(&mut dialler, start + TURN_DELAY, &mut rng, &[]);
    assert_ne!(key_of(&due), own);
    assert!(open(&mut listener, &early).is_ok() && open(&mut listener, &due).is_ok());
    assert_eq!(
        (dialler.steps(), dialler.stepped_at()),
        (1, start + TURN_DELAY)
    );
    assert_eq!((listener.steps(), listener.stepped_at()), (1, start));
}

/// A world some seconds old in which this end has the turn, or has not. The same for the same
/// arguments, so that one copy can lie and the other tell the truth.
fn scene(end: usize, has_turn: bool) -> World {
    let start = Instant::now();
    let mut world = World::new(start, 7);
    while world.ends[end].has_turn != has_turn || world.now < start + 3 * TURN_DELAY {
        world.tick(100 * MS, Duration::ZERO);
    }
    world
}

impl World {
    /// Makes one end step now, due or not.
    fn step(&mut self, end: usize) {
        self.ends[end].step(self.now, &mut self.rngs[end]).unwrap();
    }

    /// The next cell of one end, after this was done to it.
    fn says(
        &mut self,
        end: usize,
        text: &[u8],
        before: impl FnOnce(&mut DoubleRatchet, &DoubleRatchet),
    ) -> Cell {
        let [dialler, listener] = &mut self.ends;
        if end == 0 {
            before(dialler, listener)
        } else {
            before(listener, dialler)
        }
        seal(&mut self.ends[end], self.now, &mut self.rngs[end], text)
    }
}

/// The other end refuses the lie for this reason, and its state is unchanged: the true cell opens.
fn refuses(mut truth: World, end: usize, lie: &Cell, fault: Fault) {
    let honest = truth.says(end, b"truth", |_, _| ());
    assert_ne!(*lie, honest);
    let victim = &mut truth.ends[1 - end];
    assert_eq!(open(victim, lie), Err(fault), "end {end}");
    assert_eq!(open(victim, lie), Err(fault), "end {end}, again");
    assert!(
        open(victim, &honest).is_ok_and(|text| text.starts_with(b"truth")),
        "end {end}, {fault}"
    );
}

/// A change to the state of one end that makes it lie; the function also gets the other end.
type Lie = fn(&mut DoubleRatchet, &DoubleRatchet);

#[test]
fn a_cell_that_is_not_the_next_of_its_chain_is_refused() {
    let lies: [Lie; 5] = [
        |liar, _| liar.sent += 1,
        |liar, _| liar.sent -= 1,
        |liar, _| liar.sent = 0,
        |liar, _| liar.sent_before += 1,
        |liar, _| liar.sent_before -= 1,
    ];
    for end in [0, 1] {
        for lie in lies {
            let lie = scene(end, false).says(end, b"lie", lie);
            refuses(scene(end, false), end, &lie, Fault::CellOutOfOrder);
        }
    }
}

#[test]
fn a_step_with_a_wrong_header_is_refused() {
    let stepped = |end| {
        let mut world = scene(end, true);
        world.step(end);
        world
    };
    let lies: [(Lie, Fault); 6] = [
        (|liar, _| liar.sent = 1, Fault::StepWithWrongHeader),
        (|liar, _| liar.sent_before += 1, Fault::StepWithWrongHeader),
        (|liar, _| liar.sent_before -= 1, Fault::StepWithWrongHeader),
        (|liar, _| liar.sent_before = 0, Fault::StepWithWrongHeader),
        (
            |liar, other| liar.own = Own::Spent(*other.own.public()),
            Fault::StepWithWrongHeader,
        ),
        (|liar, _| liar.own = Own::Spent([0; 32]), Fault::ZeroSecret),
    ];
    for end in [0, 1] {
        for (lie, fault) in lies {
            let lie = stepped(end).says(end, b"lie", lie);
            refuses(stepped(end), end, &lie, fault);
        }
    }
}

#[test]
fn a_step_out_of_turn_is_refused() {
    for end in [0, 1] {
        let mut lying = scene(end, false);
        lying.step(end);
        let lie = lying.says(end, b"lie", |_, _| ());
        refuses(scene(end, false), end, &lie, Fault::StepOutOfTurn);
    }
    // Before the dialler has stepped, the listener cannot.
    let lying = || World::new(Instant::now(), 7);
    let mut early = lying();
    early.step(1);
    let lie = early.says(1, b"lie", |_, _| ());
    refuses(lying(), 1, &lie, Fault::StepOutOfTurn);
}

#[test]
fn a_cell_of_another_epoch_is_refused() {
    let start = Instant::now();
    let [mut dialler, mut listener] = pair(start, 1);
    let mut cell = seal(&mut dialler, start, &mut rng(2), b"");
    for epoch in 1..=255 {
        let honest = std::mem::replace(&mut cell[40], epoch);
        let fault = Fault::WrongEpoch;
        assert_eq!(open(&mut listener, &cell).err(), Some(fault));
        cell[40] = honest;
    }
    assert!(open(&mut listener, &cell).is_ok());
}

/// A secret of an epoch; both ends make the same from the same byte.
fn epoch_secret(byte: u8) -> EpochSecret {
    EpochSecret {
        shared: Secret::fill_with(|bytes| bytes.fill(byte)),
        exchange: [byte ^ 1; 32],
    }
}

impl World {
    /// Both ends have finished an exchange, whose secret this end's next step mixes in.
    fn finish_exchange(&mut self, mixer: usize) {
        let direction = [Direction::Dialler, Direction::Listener][mixer];
        for end in &mut self.ends {
            end.mix(direction, epoch_secret(7));
        }
    }
}

#[test]
fn epoch_begins_with_the_next_step_of_the_end_that_mixes() {
    for mixer in [0, 1] {
        let mut world = scene(mixer, false);
        world.finish_exchange(mixer);
        let mut seen = Vec::new();
        while world.ends.iter().any(|end| end.sending_epoch == 0) {
            seen.extend(world.tick(100 * MS, Duration::ZERO));
        }
        assert_eq!(world.ends.each_ref().map(DoubleRatchet::epoch), [1, 1]);
        // The mixer's first cell of the epoch comes with a new key.
        let of_mixer = seen.iter().skip(mixer).step_by(2);
        let headers: Vec<_> = of_mixer.map(|cell| Header::decode(cell).unwrap()).collect();
        let first = headers.iter().position(|header| header.epoch == 1).unwrap();
        assert!(headers[..first].iter().all(|header| header.epoch == 0));
        assert_eq!(headers[first].n, 0);
        assert!(headers[first..].iter().all(|header| header.epoch == 1));
        world.tick(100 * MS, Duration::ZERO);
    }
}

#[test]
fn a_new_key_shows_the_epoch_that_is_due_and_no_other() {
    for end in [0, 1] {
        for due in [false, true] {
            let stepped = || {
                let mut world = scene(end, true);
                if due {
                    world.finish_exchange(end);
                }
                world.step(end);
                world
            };
            for epoch in (0..=255_u8).filter(|epoch| *epoch != u8::from(due)) {
                let mut lying = stepped();
                let mut lie = lying.says(end, b"lie", |_, _| ());
                lie[40] = epoch;
                refuses(stepped(), end, &lie, Fault::WrongEpoch);
            }
        }
    }
}

#[test]
fn a_step_with_another_secret_than_the_exchanges_is_refused() {
    let changes: [fn(&mut EpochSecret); 2] = [
        |secret| secret.shared.expose_mut()[31] ^= 1,
        |secret| secret.exchange[31] ^= 1,
    ];
    for end in [0, 1] {
        let honest = || {
            let mut world = scene(end, true);
            world.finish_exchange(end);
            world
        };
        for change in changes {
            let mut lying = honest();
            let (_, secret) = lying.ends[end].next_epoch.as_mut().unwrap();
            change(secret);
            lying.step(end);
            let lie = lying.says(end, b"lie", |_, _| ());
            let mut truth = honest();
            truth.step(end);
            refuses(truth, end, &lie, Fault::WrongTag);
        }
    }
}

#[test]
fn a_step_of_the_end_that_does_not_mix_begins_no_epoch() {
    for end in [0, 1] {
        let mut world = scene(end, true);
        world.finish_exchange(1 - end);
        world.step(end);
        let cell = world.says(end, b"old epoch", |_, _| ());
        assert_eq!(cell[40], 0);
        assert!(open(&mut world.ends[1 - end], &cell).is_ok());
        assert_eq!(world.ends.each_ref().map(DoubleRatchet::epoch), [0, 0]);
    }
}

#[test]
fn earlier_key_is_refused() {
    for end in [0, 1] {
        let mut lying = scene(end, true);
        let before = *lying.ends[end].own.public();
        lying.step(end);
        let lie = lying.says(end, b"lie", |liar, _| liar.own = Own::Spent(before));
        refuses(scene(end, true), end, &lie, Fault::CellOutOfOrder);
    }
}

#[test]
fn every_bent_cell_is_refused_and_changes_nothing() {
    let mut chance = rng(3);
    for end in [0, 1] {
        for steps in [false, true] {
            let mut world = scene(end, steps);
            if steps {
                world.step(end);
            }
            let truth = world.says(end, b"truth", |_, _| ());
            let victim = &mut world.ends[1 - end];
            for at in 0..CELL {
                let mut bent = truth;
                bent[at] ^= 1 << (chance.next_u32() % 8);
                assert!(open(victim, &bent).is_err(), "end {end}, byte {at}");
            }
            assert!(open(victim, &truth).is_ok());
        }
    }
}

#[test]
fn cell_opens_once_in_its_place_at_the_other_end_only() {
    for end in [0, 1] {
        let mut world = scene(end, false);
        let (first, second) = (
            world.says(end, b"1", |_, _| ()),
            world.says(end, b"2", |_, _| ()),
        );
        let [sender, receiver] = if end == 0 { [0, 1] } else { [1, 0] };
        assert!(
            open(&mut world.ends[sender], &first).is_err(),
            "what comes back"
        );
        assert!(
            open(&mut world.ends[receiver], &second).is_err(),
            "before its turn"
        );
        assert!(open(&mut world.ends[receiver], &first).is_ok());
        assert!(open(&mut world.ends[receiver], &first).is_err(), "again");
        assert!(open(&mut world.ends[receiver], &second).is_ok());
    }
}

#[test]
fn a_cell_of_another_handshake_or_direction_is_refused() {
    let mut world = scene(0, false);
    let other = world.says(0, b"other", |sender, _| sender.transcript[31] ^= 1);
    refuses(scene(0, false), 0, &other, Fault::WrongTag);
    let mut world = scene(0, false);
    let turned = world.says(0, b"turned", |sender, _| {
        sender.direction = Direction::Listener
    });
    refuses(scene(0, false), 0, &turned, Fault::WrongTag);
}

#[test]
fn a_chain_ends_before_its_numbers_repeat() {
    let (start, mut rng) = (Instant::now(), rng(2));
    let [mut dialler, mut listener] = pair(start, 1);
    (dialler.sent, listener.received) = (u32::MAX - 1, u32::MAX - 1);
    let last = seal(&mut dialler, start, &mut rng, &[]);
    assert!(open(&mut listener, &last).is_ok());
    assert_eq!(
        dialler.seal(start, &mut rng, &mut [0; CELL]),
        Err(Fault::UsedUpChain)
    );
}

/// A thief copies everything that one end has, and records all cells from then on. Returns when the
/// last cell that he can read was sealed. He reads what comes in with the end's keys, and what goes
/// out by sealing the same with its chain.
fn last_cell_read_by_a_thief(ticks: u32, end: usize, latency: Duration) -> Duration {
    let start = Instant::now();
    let mut world = World::after(start, 11, ticks, latency);
    let [dialler, listener] = World::after(start, 11, ticks, latency).ends;
    let mut copy = if end == 0 { dialler } else { listener };
    // The thief takes no step of his own: it would cost him the key that he has.
    copy.stepped_at += Duration::from_secs(3600);
    // From here on he knows none of the random draws.
    world.rngs = [rng(1000), rng(1001)];
    let stolen_at = world.now;
    let mut thiefs = rng(2000);
    let mut last = None;
    let mut arriving: VecDeque<_> = std::mem::take(&mut world.to[end]);
    let in_flight = arriving.len();
    world.to[end].clone_from(&arriving);
    let mut opened = 0;
    for _ in 0..50 {
        let sealed = world.tick(100 * MS, latency);
        arriving.push_back((world.now + latency, sealed[1 - end]));
        while let Some((at, cell)) = arriving.pop_front_if(|(at, _)| *at <= world.now) {
            if open(&mut copy, &cell).is_ok() {
                opened += 1;
                last = last.max(Some(at - latency));
            }
        }
        if key_of(&sealed[end]) == *copy.own.public()
            && seal(&mut copy, world.now, &mut thiefs, &[]) == sealed[end]
        {
            last = last.max(Some(world.now));
        }
    }
    assert!(opened > in_flight, "the copy is a true one");
    // Nor can he send in the place of the end that he has robbed.
    let other = &mut world.ends[1 - end];
    assert!(open(other, &seal(&mut copy, world.now, &mut thiefs, &[])).is_err());
    last.unwrap().saturating_duration_since(stolen_at)
}

#[test]
fn thief_of_all_keys_is_locked_out_in_time() {
    for latency in [Duration::ZERO, 40 * MS] {
        for ticks in 1..60 {
            for end in [0, 1] {
                let read = last_cell_read_by_a_thief(ticks, end, latency);
                let limit = 2 * TURN_DELAY + 300 * MS;
                assert!(
                    read <= limit,
                    "{ticks} ticks, end {end}, {latency:?}: still reading after {read:?}"
                );
            }
        }
    }
}
