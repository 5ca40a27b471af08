//! Strangers in great numbers, under virtual time: how much they get, and whom they keep out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sesame::mesh::{Action, CloseCause, ConnId, Engine, Event, Payer, Settings};
use sesame::proto::frame::Payload;
use sesame::proto::handshake::{Channel, Dialler};
use sesame::proto::{Address, CELL, Identity};
use sesame::secret::Secret;

use crate::rig::{Rig, gossip, hello, settings};

/// The time from the member to the listener.
const ONE_WAY: Duration = Duration::from_millis(50);
/// The cost of work: up to the listener's first flight of TLS, from there to the end of TLS, and of
/// Yb.
const COSTS: [Duration; 3] = [
    Duration::from_micros(300),
    Duration::from_micros(500),
    Duration::from_micros(500),
];
/// The number of networks that the strangers are in.
const NETWORKS: u64 = 200;

/// How many strangers come per second.
#[derive(Clone, Copy)]
struct Flood {
    /// Those that send nothing.
    bare: u64,
    /// Those that reach Ya.
    ya: u64,
}

/// A future event.
enum Step {
    /// A stranger connects.
    Stranger { reaches_ya: bool },
    /// The member's TCP connection and ClientHello arrive.
    MemberComes(ConnId),
    /// The listener's first flight of TLS has arrived.
    MemberHasTls(ConnId),
    /// These bytes arrive at the listener.
    ToListener(ConnId, Vec<u8>),
    /// These bytes arrive at the member.
    ToMember(ConnId, Vec<u8>),
    /// The member's connection is over.
    MemberLost(ConnId),
}

/// A connection as its listener sees it.
struct Accepted {
    /// The member's id for it, if it is the member's.
    member: Option<ConnId>,
    /// How often it was admitted.
    turns: usize,
    free: bool,
    remote: SocketAddr,
    /// Bytes that have arrived and wait to be processed.
    came: Vec<u8>,
    /// When the last bytes that were sent leave.
    leaves: Instant,
}

/// A listener, a member that wants to get in, and strangers.
struct World {
    start: Instant,
    now: Instant,
    listener: Engine,
    member: Engine,
    agenda: BTreeMap<(Instant, u64), Step>,
    steps: u64,
    accepted: BTreeMap<ConnId, Accepted>,
    dials: BTreeMap<ConnId, Option<ConnId>>,
    channels: BTreeMap<ConnId, [u8; 64]>,
    strangers: u64,
    /// Bytes that any listener accepts as a Ya.
    ya: Vec<u8>,
    rng: ChaCha20Rng,
    is_in: bool,
    tries: u32,
    /// The time spent on strangers.
    spent: Duration,
}

fn channel(exporter: &[u8; 64]) -> Channel {
    Channel {
        exporter: Secret::fill_with(|bytes: &mut [u8; 64]| bytes.copy_from_slice(exporter)),
        fingerprints: [[1; 32], [2; 32]],
    }
}

impl World {
    fn new(seed: u64, flood: Flood) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can be had in no other way"
        )]
        let start = Instant::now();
        let mut engine = |settings: Settings| {
            let identity = Identity::generate(&mut rng);
            let its_own = Box::new(ChaCha20Rng::seed_from_u64(rng.next_u64()));
            let phrase = Secret::fill_with(|bytes| bytes.fill(1));
            Engine::new(settings, phrase, identity, its_own, start)
        };
        let listener = engine(settings());
        let member = engine(Settings {
            listen_port: None,
            peers: Vec::new(),
            ..settings()
        });
        let identity = Identity::generate(&mut rng);
        let wrong = Secret::fill_with(|bytes| bytes.fill(2));
        let (_, ya) = Dialler::start(channel(&[0; 64]), &wrong, &identity, &mut rng);
        let mut world = Self {
            start,
            now: start,
            listener,
            member,
            agenda: BTreeMap::new(),
            steps: 0,
            accepted: BTreeMap::new(),
            dials: BTreeMap::new(),
            channels: BTreeMap::new(),
            strangers: 0,
            ya: ya.to_vec(),
            rng,
            is_in: false,
            tries: 0,
            spent: Duration::ZERO,
        };
        world.flood(flood, Duration::from_secs(40));
        world
    }

    fn flood(&mut self, flood: Flood, time: Duration) {
        for (rate, reaches_ya) in [(flood.bare, false), (flood.ya, true)] {
            for number in 0..rate * time.as_secs() {
                let at = Duration::from_micros(number * 1_000_000 / rate);
                self.plan(at, Step::Stranger { reaches_ya });
            }
        }
    }

    fn plan(&mut self, after: Duration, step: Step) {
        self.steps += 1;
        self.agenda.insert((self.now + after, self.steps), step);
    }

    /// Continues until this moment, or until the member is in.
    fn run(&mut self, until: Duration) {
        let end = self.start + until;
        while !self.is_in {
            let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let timers = [&self.listener, &self.member].map(|it| it.poll_timeout(self.now));
            let next = planned
                .into_iter()
                .chain(timers.into_iter().flatten())
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            if planned.is_some_and(|at| at <= self.now) {
                let (_, step) = self.agenda.pop_first().unwrap();
                self.step(step);
            } else {
                self.listener.handle_timeout(self.now);
                self.member.handle_timeout(self.now);
            }
            self.drain();
        }
    }

    /// When a member that dials now is in.
    fn member_gets_in(&mut self, within: Duration) -> Option<Duration> {
        let address = Address::parse("127.0.0.1:9000").unwrap();
        let begin = self.now;
        let command = sesame::mesh::Command::Connect(address);
        let request = sesame::mesh::Request {
            tag: sesame::mesh::Tag::default(),
            read_at: self.now,
            command,
        };
        self.member.command(self.now, request);
        self.drain();
        let end = begin - self.start + within;
        while !self.is_in && self.now < self.start + end {
            self.run(end);
        }
        self.is_in.then(|| self.now - begin)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Stranger { reaches_ya } => {
                let network = self.strangers % NETWORKS;
                let host = 1 + self.strangers / NETWORKS % 250;
                self.strangers += 1;
                let ip = [10, 10, network as u8, host as u8];
                self.comes((ip, 40_000).into(), reaches_ya, None);
            }
            Step::MemberComes(dial) => {
                self.comes(([192, 0, 2, 1], 40_000).into(), true, Some(dial))
            }
            Step::MemberHasTls(dial) => {
                let remote: std::net::SocketAddr = ([192, 0, 2, 77], 9000).into();
                let channel = channel(&self.channels[&dial]);
                self.member
                    .handle_connected(self.now, dial, remote, channel);
            }
            Step::ToMember(dial, bytes) => self.member.handle_bytes(self.now, dial, &bytes),
            Step::MemberLost(dial) => {
                self.member.handle_closed(self.now, dial, CloseCause::Ended);
            }
            Step::ToListener(dial, bytes) => {
                let Some(Some(conn)) = self.dials.get(&dial).copied() else {
                    return;
                };
                let Some(accepted) = self.accepted.get_mut(&conn) else {
                    return;
                };
                accepted.came.extend(bytes);
                match accepted.free {
                    true => self.work(conn),
                    false => self.listener.handle_waiting(self.now, conn),
                }
            }
        }
    }

    fn comes(&mut self, remote: SocketAddr, reaches_ya: bool, member: Option<ConnId>) {
        let Some(conn) = self.listener.handle_incoming(self.now, remote, false) else {
            if let Some(dial) = member {
                self.plan(ONE_WAY, Step::MemberLost(dial));
            }
            return;
        };
        let accepted = Accepted {
            member,
            turns: 0,
            free: false,
            remote,
            came: Vec::new(),
            leaves: self.now,
        };
        self.accepted.insert(conn, accepted);
        if let Some(dial) = member {
            self.dials.insert(dial, Some(conn));
        }
        if reaches_ya {
            self.listener.handle_waiting(self.now, conn);
        }
    }

    /// A connection was admitted.
    fn work(&mut self, conn: ConnId) {
        let Some(accepted) = self.accepted.get_mut(&conn) else {
            return;
        };
        let cost = COSTS.get(accepted.turns).copied().unwrap_or_default();
        accepted.turns += 1;
        let (turns, member, remote) = (accepted.turns, accepted.member, accepted.remote);
        let mut came = std::mem::take(&mut accepted.came);
        if !accepted.free {
            self.listener.handle_worked(self.now, conn, cost);
        }
        if member.is_none() {
            self.spent += cost;
        }
        match (turns, member) {
            // The other end's flight is on its way.
            (1, Some(dial)) => return self.plan(ONE_WAY, Step::MemberHasTls(dial)),
            (1, None) => return self.listener.handle_waiting(self.now, conn),
            (2, _) => {
                let mut exporter = [0; 64];
                if let Some(dial) = member {
                    exporter = self.channels[&dial];
                }
                let channel = channel(&exporter);
                self.listener
                    .handle_connected(self.now, conn, remote, channel);
                if member.is_none() {
                    came.clone_from(&self.ya);
                }
            }
            _ => {}
        }
        let payer = self.listener.payer(conn);
        self.listener.handle_bytes(self.now, conn, &came);
        if let Some(payer) = payer {
            self.listener.handle_spent(self.now, payer, COSTS[2]);
        }
        if member.is_none() {
            self.spent += COSTS[2];
        }
    }

    fn drain(&mut self) {
        loop {
            if let Some(action) = self.listener.poll_action() {
                self.act_for_listener(action);
            } else if let Some(action) = self.member.poll_action() {
                self.act_for_member(action);
            } else if let Some(event) = self.member.poll_event() {
                self.is_in |= matches!(event, Event::PeerUp { .. });
            } else if self.listener.poll_event().is_none() {
                return;
            }
        }
    }

    fn act_for_listener(&mut self, action: Action) {
        match action {
            Action::Dial { .. } | Action::LookUp { .. } => panic!("the listener dials nobody"),
            Action::StartCircuit { .. }
            | Action::TakeRecords { .. }
            | Action::EndRecords { .. } => panic!("nobody relays"),
            Action::SaveName(_) => panic!("nobody names the listener"),
            Action::Admit { conn, freely } => {
                if let Some(accepted) = self.accepted.get_mut(&conn) {
                    accepted.free |= freely;
                    if !freely {
                        self.work(conn);
                    }
                }
            }
            Action::Transmit { conn, bytes, at } => {
                let after = at.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.now));
                self.listener.handle_sent(self.now, conn, Duration::ZERO);
                let Some(accepted) = self.accepted.get_mut(&conn) else {
                    return;
                };
                // Later bytes do not overtake earlier ones.
                let leaves = accepted.leaves.max(self.now + after);
                accepted.leaves = leaves;
                if let Some(dial) = accepted.member {
                    let after = leaves - self.now + ONE_WAY;
                    self.plan(after, Step::ToMember(dial, bytes));
                }
            }
            Action::Close { conn, .. } => {
                self.listener
                    .handle_closed(self.now, conn, CloseCause::Ended);
                if let Some(dial) = self.accepted.remove(&conn).and_then(|it| it.member) {
                    self.plan(ONE_WAY, Step::MemberLost(dial));
                }
            }
        }
    }

    fn act_for_member(&mut self, action: Action) {
        match action {
            Action::Dial { conn, .. } => {
                self.tries += 1;
                let mut exporter = [0; 64];
                self.rng.fill_bytes(&mut exporter);
                self.channels.insert(conn, exporter);
                self.dials.insert(conn, None);
                self.plan(ONE_WAY, Step::MemberComes(conn));
            }
            Action::Transmit { conn, bytes, .. } => {
                assert!(bytes.len().is_multiple_of(CELL));
                self.member.handle_sent(self.now, conn, Duration::ZERO);
                self.plan(ONE_WAY, Step::ToListener(conn, bytes));
            }
            Action::Close { conn, .. } => {
                self.member.handle_closed(self.now, conn, CloseCause::Ended);
                if let Some(Some(conn)) = self.dials.remove(&conn) {
                    self.accepted.remove(&conn);
                    self.listener
                        .handle_closed(self.now, conn, CloseCause::Ended);
                }
            }
            Action::LookUp { .. } => panic!("nobody gives the member a name"),
            Action::StartCircuit { .. }
            | Action::TakeRecords { .. }
            | Action::EndRecords { .. } => panic!("nobody relays"),
            Action::Admit { .. } => panic!("nobody dials the member"),
            Action::SaveName(_) => panic!("nobody renames the member"),
        }
    }
}

/// Twelve members come during a flood, each to a listener of its own.
fn members_get_in(flood: Flood, within: Duration) {
    let times: Vec<_> = (0..12)
        .map(|seed| {
            let mut world = World::new(seed, flood);
            world.run(Duration::from_secs(2));
            world.member_gets_in(Duration::from_secs(35))
        })
        .collect();
    let in_time = times.iter().flatten().filter(|time| **time <= within);
    assert!(in_time.count() >= 11, "{times:?}");
    assert!(times.iter().all(Option::is_some), "{times:?}");
}

const FIVE: Duration = Duration::from_secs(5);
const FIFTEEN: Duration = Duration::from_secs(15);

#[test]
fn three_hundred_bare_connections_keep_no_member_out() {
    members_get_in(Flood { bare: 300, ya: 0 }, FIVE);
}

#[test]
fn a_thousand_bare_connections_keep_no_member_out() {
    members_get_in(Flood { bare: 1000, ya: 0 }, FIFTEEN);
}

#[test]
fn bare_connections_and_first_messages_keep_no_member_out() {
    members_get_in(Flood { bare: 300, ya: 100 }, FIFTEEN);
}

#[test]
fn three_hundred_first_messages_keep_no_member_out() {
    members_get_in(Flood { bare: 0, ya: 300 }, FIFTEEN);
}

#[test]
fn strangers_get_half_a_core_however_many_come() {
    let mut world = World::new(1, Flood { bare: 0, ya: 1500 });
    world.run(Duration::from_secs(4));
    let share = world.spent.as_secs_f64() / 4.0;
    assert!((0.45..0.54).contains(&share), "{share}");
    assert!(
        world
            .listener
            .payer(ConnId(0))
            .is_none_or(|payer| payer == Payer::Common)
    );
}

#[test]
fn strangers_fill_no_queue_that_the_front_end_leaves() {
    let mut world = World::new(1, Flood { bare: 0, ya: 0 });
    for n in 0..20_000u32 {
        let [_, high, low, host] = n.to_be_bytes();
        let remote = ([10, high, low, host], 40_000).into();
        world.listener.handle_incoming(world.now, remote, false);
        while world.listener.poll_action().is_some() {}
    }
    assert!(!world.listener.is_backlogged());
}

/// From as many networks as there are guesses, so that each has only one.
fn spend_all_guesses(rig: &mut Rig) {
    for n in 0..30 {
        let conn = rig.guess(&format!("10.0.{n}.1:40000"));
        assert!(rig.has_answered(conn));
    }
    let conn = rig.guess("10.1.0.1:40000");
    assert!(!rig.has_answered(conn), "no guess is left");
}

#[test]
fn only_a_proven_link_exempts_an_address() {
    let mut rig = Rig::new(settings());
    let identity = rig.identity();
    let mut member = rig.shake_hands(&identity, "203.0.113.5:40001");
    spend_all_guesses(&mut rig);
    let conn = rig.guess("203.0.113.5:40002");
    assert!(!rig.has_answered(conn), "a right Ta earns nothing");
    rig.say(&mut member, &Payload::default());
    let conn = rig.guess("203.0.113.5:40003");
    assert!(rig.has_answered(conn), "a first cell does");
}

#[test]
fn gossip_exempts_no_address() {
    let mut rig = Rig::new(settings());
    let liar = rig.identity();
    let mut member = rig.link(&liar, "203.0.113.5:40001", &hello());
    for n in 0..200 {
        let other = rig.identity().id();
        rig.say(&mut member, &gossip(other, &format!("198.51.100.{n}:9000")));
    }
    spend_all_guesses(&mut rig);
    for n in 0..10 {
        let conn = rig.guess(&format!("198.51.100.{n}:40000"));
        assert!(!rig.has_answered(conn));
    }
    let conn = rig.guess("203.0.113.5:40002");
    assert!(rig.has_answered(conn), "the member's own place is safe");
}

#[test]
fn forwarded_connection_is_never_exempt() {
    let mut rig = Rig::new(Settings {
        forwarded: true,
        ..settings()
    });
    let identity = rig.identity();
    rig.link(&identity, "127.0.0.1:40001", &hello());
    for n in 0..30 {
        let conn = rig.guess(&format!("127.0.0.1:{}", 41000 + n));
        assert!(rig.has_answered(conn));
    }
    let conn = rig.guess("127.0.0.1:42000");
    assert!(!rig.has_answered(conn));
    let conn = rig.guess("10.0.0.1:40000");
    assert!(rig.has_answered(conn), "others have guesses of their own");
}

#[test]
fn forwarded_links_are_at_most_half_of_all() {
    let mut rig = Rig::new(Settings {
        forwarded: true,
        ..settings()
    });
    for n in 0..128 {
        let identity = rig.identity();
        rig.link(&identity, &format!("127.0.0.1:{}", 41000 + n), &hello());
    }
    let identity = rig.identity();
    let remote = "127.0.0.1:50000";
    let before = rig.closed.len();
    rig.dialled_by(&identity, remote);
    assert_eq!(rig.closed.len(), before + 1);
    let identity = rig.identity();
    rig.link(&identity, "198.51.100.7:40000", &hello());
}

#[test]
fn dial_that_breaks_off_after_ta_is_soon_repeated() {
    let address = "203.0.113.5:9000";
    let mut rig = Rig::new(Settings {
        peers: vec![Address::parse(address).unwrap()],
        ..settings()
    });
    let identity = rig.identity();
    let mut gaps = Vec::new();
    for dial in 0..30 {
        let before = rig.now;
        let (conn, _) = rig.next_dial();
        gaps.push(rig.now - before);
        let told = rig.warnings.len();
        assert_eq!(told, usize::from(dial > 5), "{:?}", rig.warnings);
        rig.break_off(conn, &identity, address);
    }
    assert!(
        gaps[1..6].iter().all(|gap| *gap <= Duration::from_secs(2)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().any(|gap| *gap > Duration::from_secs(10)),
        "it backs off"
    );
    let (conn, _) = rig.next_dial();
    rig.answer(conn, &identity, address);
}
