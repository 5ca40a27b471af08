//! One seed: a mesh, everything that can go wrong, and what must hold once all faults have ended.

use std::time::{Duration, Instant};

use sesame::mesh::{Command, Cover, Require, Settings, Stay};

use crate::dice::Dice;
use crate::invariants;
use crate::liar::{Liar, Script};
use crate::model::LONG_AWAY;
use crate::network::{State, Weather, address, other_address};
use crate::world::{self, World};

/// How long the mesh may take to recover: redials wait up to a minute, and twice that after a
/// violation of the protocol; a message has to wait for them.
const SETTLES: Duration = Duration::from_secs(600);

/// A fault that ends after a while.
enum Undo {
    Route(usize, usize),
    Front(usize),
    Host(usize),
}

/// A mesh and its faults.
struct Chaos {
    world: World,
    /// What the processes of a run have in common.
    style: Style,
    /// How each host starts its process.
    habits: Vec<Habit>,
    undo: Vec<(Instant, Undo)>,
    troubles: Troubles,
    /// Decides about beacons, if the processes follow any.
    beacons: Option<Dice>,
    /// Whether epochs last for seconds. (Then most of a run's work is the KEM's.)
    short_epochs: bool,
}

struct Habit {
    peers: Vec<usize>,
    settings: Settings,
    phrase: u8,
}

/// How cells are paced in a run.
#[derive(Clone, Copy)]
enum Style {
    Paced,
    Off,
    Mixed,
}

/// The faults of a run, each as its number of steps in a thousand.
#[derive(Clone, Copy)]
struct Troubles {
    cuts: usize,
    routes: usize,
    stalls: usize,
    crashes: usize,
    ends: usize,
    parting: usize,
    fronts: usize,
    freezes: usize,
}

impl Troubles {
    const NONE: Self = Self {
        cuts: 0,
        routes: 0,
        stalls: 0,
        crashes: 0,
        ends: 0,
        parting: 0,
        fronts: 0,
        freezes: 0,
    };

    fn of(world: &mut World) -> Self {
        let mut some = |most: usize| {
            if world.dice.chance(60) {
                world.dice.below(most + 1)
            } else {
                0
            }
        };
        Self {
            cuts: some(150),
            routes: some(60),
            stalls: some(80),
            crashes: some(40),
            ends: some(20),
            parting: some(30),
            fronts: some(60),
            freezes: some(20),
        }
    }
}

/// Runs one seed. Returns the digest of everything that happened.
///
/// # Panics
/// An invariant does not hold.
pub fn run(seed: u64) -> u64 {
    let mut chaos = Chaos::new(seed);
    chaos.trouble();
    chaos.heal();
    chaos.world.rest(SETTLES);
    if chaos.world.dice.chance(20) {
        invariants::check_silence(&mut chaos.world, Duration::from_secs(10));
    }
    chaos.end();
    chaos.world.digest
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5e5a_3e00);
        let hosts = match dice.below(10) {
            0..4 => 2,
            4..7 => 3 + dice.below(2),
            7..9 => 5 + dice.below(4),
            _ => 9 + dice.below(8),
        };
        let mut nat = Dice::new(seed ^ 0x4a70_0000);
        let divided = nat.chance(40);
        let mut lan = Dice::new(seed ^ 0x1a00_0000);
        let beacons = lan.chance(30).then_some(lan);
        let short_epochs = Dice::new(seed ^ 0xe90c_0000).chance(30);
        let lies = dice.chance(15) || divided && nat.chance(10);
        let mut world = World::new(seed, hosts + usize::from(lies));
        world.net.weather = *dice.pick(&[
            Weather::FAIR,
            Weather {
                latency: (20, 300),
                cell_micros: 2000,
                portions: 10,
            },
            Weather {
                latency: (1, 2000),
                cell_micros: 20_000,
                portions: 30,
            },
        ]);
        let style = *dice.pick(&[Style::Paced, Style::Paced, Style::Off, Style::Mixed]);
        let troubles = if dice.chance(10) {
            Troubles::NONE
        } else {
            Troubles::of(&mut world)
        };
        let mut chaos = Self {
            world,
            style,
            habits: Vec::new(),
            undo: Vec::new(),
            troubles,
            beacons,
            short_epochs,
        };
        for host in 0..hosts {
            let mut habit = chaos.habit(host, hosts);
            habit.settings.lan = chaos.beacons.is_some();
            habit.settings.carry = !divided || nat.chance(80);
            chaos.habits.push(habit);
        }
        if divided {
            chaos.divide(hosts, &mut nat);
        }
        for host in 0..hosts {
            chaos.start(host);
            if chaos.world.dice.chance(50) {
                let wait = chaos.world.dice.millis(0, 4000);
                chaos.world.run(wait);
            }
        }
        if lies {
            chaos.start_liar(hosts, divided);
        }
        chaos
    }

    /// Some hosts can never dial others, as behind NAT, so that some pairs need a relay.
    fn divide(&mut self, hosts: usize, nat: &mut Dice) {
        let behind: Vec<bool> = (0..hosts).map(|host| host > 0 && nat.chance(60)).collect();
        let (by_host, share) = (nat.chance(50), *nat.pick(&[20, 50, 80]));
        for (from, to) in (0..hosts).flat_map(|a| (0..hosts).map(move |b| (a, b))) {
            let cannot = match by_host {
                true => behind[to],
                false if from == 0 || to == 0 => nat.chance(share / 4),
                false => nat.chance(share),
            };
            if cannot {
                self.world.let_dial(from, to, false);
                let both = !by_host && nat.chance(50);
                if both {
                    self.world.let_dial(to, from, false);
                }
            }
        }
    }

    fn habit(&mut self, host: usize, hosts: usize) -> Habit {
        let dice = &mut self.world.dice;
        let mut peers = vec![if host == 0 {
            1 + dice.below(hosts - 1)
        } else {
            0
        }];
        for _ in 0..dice.below(3) {
            peers.push(dice.below(hosts));
        }
        peers.retain(|peer| *peer != host);
        let slow = hosts > 4;
        let interval = *dice.pick(if slow {
            &[1000, 2000, 3000]
        } else {
            &[100, 500, 1000]
        });
        let cover = match self.style {
            Style::Off => Cover::Off,
            Style::Mixed if dice.chance(50) => Cover::Off,
            _ => Cover::Every(Duration::from_millis(interval)),
        };
        let settings = Settings {
            cover,
            epoch_period: match self.short_epochs {
                true => Duration::from_millis(1000 + 2 * interval),
                false => Settings::default().epoch_period,
            },
            stay: match dice.chance(10) {
                true => Stay::No,
                false => Stay::Always,
            },
            listen_port: (host == 0 || !dice.chance(10)).then_some(sesame::proto::DEFAULT_PORT),
            inactivity: Duration::from_secs(*dice.pick(&[10, 30, 30, 60])),
            give_up: Duration::from_secs(*dice.pick(&[2, 20, 60])),
            away: *dice.pick(&[Duration::from_secs(60), LONG_AWAY, LONG_AWAY]),
            timeout: Duration::from_secs(*dice.pick(&[1, 10, 30, 60])),
            min_peers: 1 + dice.below(hosts.min(4)) / 2,
            require: *dice.pick(&[Require::All, Require::Any, Require::AtLeast(2)]),
            report_each: !dice.chance(10),
            explicit_ack: dice.chance(15),
            ..world::settings()
        };
        let phrase = if host > 1 && dice.chance(4) {
            2
        } else {
            world::PHRASE
        };
        Habit {
            peers,
            settings,
            phrase,
        }
    }

    fn start(&mut self, host: usize) {
        if self.world.hosts[host].node.is_some() {
            return;
        }
        let Habit {
            peers,
            settings,
            phrase,
        } = &self.habits[host];
        let (peers, settings, phrase) = (peers.clone(), settings.clone(), *phrase);
        let node = self.world.start_with_phrase(host, &peers, settings, phrase);
        self.world.nodes[node].front.lag = *self.world.dice.pick(&[1, 50, 1500]);
        if self.world.dice.chance(10) {
            let to = self.world.dice.below(self.habits.len());
            self.world.connect(node, other_address(to));
        }
    }

    fn start_liar(&mut self, host: usize, divided: bool) {
        let script = match divided && self.world.dice.chance(60) {
            true => *self.world.dice.pick(&Script::ON_CIRCUITS),
            false => *self.world.dice.pick(&Script::ALL),
        };
        let victims = (0..host).map(address).collect();
        let known = self.world.nodes.iter().map(|node| node.id).collect();
        let rng = self.world.dice.split();
        self.world.trace(|| format!("a liar: {script:?}"));
        self.world
            .start_liar(host, Liar::new(script, rng, victims, known));
    }

    fn trouble(&mut self) {
        let longest = if self.habits.len() > 8 {
            30_000
        } else {
            80_000
        };
        let until = self.world.clock.now() + self.world.dice.millis(5_000, longest);
        while self.world.clock.now() < until {
            let wait = self.world.dice.millis(0, 1500);
            self.world.run(wait);
            let now = self.world.clock.now();
            let due: Vec<_> = self.undo.extract_if(.., |(at, _)| *at <= now).collect();
            due.into_iter().for_each(|(_, undo)| self.undo(undo));
            self.beacon();
            for _ in 0..1 + self.world.dice.below(3) {
                self.step();
            }
        }
    }

    /// A beacon of a host, which may run no process, arrives at some process.
    fn beacon(&mut self) {
        let Some(dice) = &mut self.beacons else {
            return;
        };
        if !dice.chance(30) {
            return;
        }
        let nodes = self.world.nodes.len();
        let (node, from) = (dice.below(nodes), dice.below(self.habits.len()));
        self.world.beacon(node, from);
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Route(a, b) => self.world.block(a, b, false),
            Undo::Front(node) => self.world.wake_front(node),
            Undo::Host(host) => self.start(host),
        }
    }

    fn later(&mut self, least: u64, most: u64, undo: Undo) {
        let at = self.world.clock.now() + self.world.dice.millis(least, most);
        self.undo.push((at, undo));
    }

    fn step(&mut self) {
        let running: Vec<_> = (0..self.world.nodes.len())
            .filter(|node| self.world.is_running(*node))
            .collect();
        if running.is_empty() {
            return;
        }
        let node = *self.world.dice.pick(&running);
        let other = *self.world.dice.pick(&running);
        let Troubles {
            cuts,
            routes,
            stalls,
            crashes,
            ends,
            parting,
            fronts,
            freezes,
        } = self.troubles;
        let mut roll = self.world.dice.below(1000);
        let mut is = |share: usize| {
            let hit = roll < share;
            roll = roll.wrapping_sub(share);
            hit
        };
        if is(cuts) {
            self.cut();
        } else if is(routes) {
            self.block();
        } else if is(stalls) {
            self.stall();
        } else if is(crashes) {
            let (host, power) = (self.world.nodes[node].host, self.world.dice.chance(60));
            self.world.crash(node, power);
            self.later(0, 60_000, Undo::Host(host));
        } else if is(ends) {
            match self.world.dice.below(4) {
                0 => self.world.end_input(node),
                1 => self.world.abort(node),
                2 => self.world.signal(node),
                _ => self.world.quit(node),
            }
            let host = self.world.nodes[node].host;
            self.later(0, 60_000, Undo::Host(host));
        } else if is(parting) {
            self.part(node, other);
        } else if is(fronts) {
            let front = &mut self.world.nodes[node].front;
            if self.world.dice.chance(50) {
                front.deaf = true
            } else {
                front.blind = true
            }
            self.later(500, 40_000, Undo::Front(node));
        } else if is(freezes) {
            let time = self.world.dice.millis(10, 45_000);
            self.world.freeze(node, time);
        } else if is(60) {
            self.ask(node, other);
        } else {
            self.speak(node, other);
        }
    }

    fn speak(&mut self, node: usize, other: usize) {
        let paced = !matches!(self.style, Style::Off);
        let most = match self.world.dice.below(100) {
            0 if paced => 6000,
            0 => 65_000,
            1..10 => 2500,
            _ => 40,
        };
        let filler = "é".repeat(self.world.dice.below(most / 2));
        let times = if self.world.dice.chance(5) {
            self.world.dice.below(20)
        } else {
            1
        };
        for _ in 0..times {
            if other != node && self.world.dice.chance(20) {
                self.world.tell(node, &[other], &filler);
            } else {
                self.world.say(node, &filler);
            }
        }
    }

    fn ask(&mut self, node: usize, other: usize) {
        match self.world.dice.below(6) {
            0 => self.world.command(node, Command::Stats),
            1 => self.world.command(node, Command::Whoami),
            2 if node != other => {
                let query = self.world.query(other);
                self.world.command(node, Command::Verify(query));
            }
            3 => {
                let name = *self.world.dice.pick(&["alice", "bob", "carol", "Zoë"]);
                self.world.rename(node, name);
            }
            4 if self.world.dice.chance(20) && node != other => {
                let on = self.world.dice.chance(50);
                self.world.ignore(node, other, on);
            }
            _ => self.world.command(node, Command::Peers),
        }
    }

    fn part(&mut self, node: usize, other: usize) {
        let host = self.world.dice.below(self.habits.len());
        let to = if self.world.dice.chance(70) {
            address(host)
        } else {
            other_address(host)
        };
        if self.world.dice.chance(70) {
            self.world.connect(node, to);
        } else if node != other {
            self.world.disconnect(node, other);
        }
    }

    fn cut(&mut self) {
        let open: Vec<_> = (0..self.world.net.wires.len())
            .filter(|wire| {
                self.world.net.wires[*wire]
                    .ends
                    .iter()
                    .any(|end| end.state != State::Closed)
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let wire = *self.world.dice.pick(&open);
        let mut hears = || match self.world.dice.below(4) {
            0 => None,
            1 => Some(self.world.dice.millis(0, 50_000)),
            _ => Some(self.world.dice.millis(0, 500)),
        };
        let hears = [hears(), hears()];
        self.world.cut(wire, hears);
    }

    fn block(&mut self) {
        let hosts = self.habits.len();
        let longest = *self.world.dice.pick(&[500, 5_000, 60_000]);
        if self.world.dice.chance(60) {
            let (a, b) = (self.world.dice.below(hosts), self.world.dice.below(hosts));
            self.world.block(a, b, true);
            self.later(50, longest, Undo::Route(a, b));
            return;
        }
        // Two halves.
        let side: Vec<bool> = (0..hosts).map(|_| self.world.dice.chance(50)).collect();
        for (a, b) in (0..hosts).flat_map(|a| (0..a).map(move |b| (a, b))) {
            if side[a] != side[b] {
                self.world.block(a, b, true);
                self.later(longest, longest, Undo::Route(a, b));
            }
        }
    }

    fn stall(&mut self) {
        let wires = self.world.net.wires.len();
        if wires > 0 {
            let wire = wires - 1 - self.world.dice.below(wires.min(40));
            let end = self.world.dice.below(2);
            let time = self.world.dice.millis(10, 40_000);
            self.world.stall(wire, end, time);
        }
    }

    /// Everything works again, and no fault follows.
    fn heal(&mut self) {
        self.world.trace(|| "everything works again".into());
        self.undo.clear();
        for (a, b) in self.world.net.blocked() {
            self.world.block(a, b, false);
        }
        // Some become reachable: dials take over from circuits.
        for (from, to) in self.world.net.undialable() {
            if self.world.dice.chance(15) {
                self.world.let_dial(from, to, true);
            }
        }
        for wire in 0..self.world.net.wires.len() {
            for end in 0..2 {
                self.world.stall(wire, end, Duration::ZERO);
            }
        }
        for node in 0..self.world.nodes.len() {
            self.world.thaw(node);
            self.world.wake_front(node);
        }
        for host in 0..self.habits.len() {
            if host == 0 || self.world.dice.chance(70) {
                self.start(host);
            }
        }
    }

    /// The processes leave one after another. Each step checks whether each ends in time. A liar
    /// may keep one waiting by acknowledging a message now and then, until it has none left.
    fn end(&mut self) {
        for node in 0..self.world.nodes.len() {
            if self.world.is_running(node) {
                let wait = self.world.dice.millis(0, 2000);
                self.world.run(wait);
                self.world.quit(node);
            }
        }
        let most = self.world.model.people.iter().map(|it| it.said.len()).max();
        for _ in 0..=most.unwrap_or_default() {
            self.world.run(Duration::from_secs(120));
            if self.left().is_none() {
                return;
            }
        }
        if let Some(node) = self.left() {
            panic!("{node} has not ended");
        }
    }

    /// A process that still runs.
    fn left(&self) -> Option<usize> {
        (0..self.world.nodes.len()).find(|node| self.world.is_running(*node))
    }
}
