//! Situations in which two peers cannot dial each other, and others carry circuits between them.

use std::time::Duration;

use sesame::mesh::{Cover, DownReason, Event, Settings, Undelivered};

use crate::invariants;
use crate::liar::{Liar, Script};
use crate::network::{Weather, address};
use crate::scenarios::{SETTLES, asked_for, secs, texts};
use crate::world::{self, World};

/// The two that cannot dial each other, and those that they can dial.
const ENDS: [usize; 2] = [0, 1];
const RELAYS: [usize; 2] = [2, 3];

/// Two processes that cannot dial each other, though they know where each other is, and some that
/// both can dial.
fn divided_with(seed: u64, relays: &[Settings], ends: &Settings) -> World {
    let mut world = World::new(seed, 2 + relays.len());
    begin(&mut world, relays, ends);
    world
}

fn begin(world: &mut World, relays: &[Settings], ends: &Settings) {
    world.let_dial(0, 1, false);
    world.let_dial(1, 0, false);
    let hosts: Vec<_> = (2..2 + relays.len()).collect();
    for end in ENDS {
        let peers = [&hosts[..], &[1 - end]].concat();
        world.start(end, &peers, ends.clone());
    }
    for (host, settings) in hosts.iter().zip(relays) {
        world.start(*host, &hosts, settings.clone());
    }
}

fn divided(seed: u64, relays: usize) -> World {
    let settings = world::settings();
    let mut world = divided_with(seed, &vec![settings.clone(); relays], &settings);
    world.run(secs(40));
    assert_eq!(world.circuits_between(0, 1), 1, "seed {seed}");
    world
}

/// The relay of the two, as both say.
fn relay(world: &World) -> Option<usize> {
    let [one, other] =
        [(0, 1), (1, 0)].map(|(end, peer)| world.model.relay(end, &world.nodes[peer].id));
    (one == other).then_some(one)?
}

/// How a process saw the links with another end.
fn downs(world: &World, node: usize, peer: usize) -> Vec<DownReason> {
    let id = world.nodes[peer].id;
    let events = world.nodes[node].events.iter();
    let downs = events.filter_map(|event| match event {
        Event::PeerDown { who, reason, .. } if who.id == id => Some(*reason),
        _ => None,
    });
    downs.collect()
}

#[test]
fn peers_that_cannot_reach_each_other_are_linked_over_a_third() {
    for seed in 0..20 {
        let mut world = divided(seed, 1);
        assert_eq!(world.peers_up(1).len(), 2, "seed {seed}");
        world.say(0, "over the relay");
        world.say(1, &"and back ".repeat(300));
        world.rest(SETTLES);
        assert_eq!((texts(&world, 0), texts(&world, 1)), (1, 1), "seed {seed}");
        assert_eq!(texts(&world, 2), 2);
        invariants::check_silence(&mut world, secs(30));
    }
}

#[test]
fn relay_that_leaves_is_replaced_and_no_message_is_lost() {
    for seed in 0..20 {
        let mut world = divided(seed, 2);
        let first = relay(&world).unwrap();
        for number in 0..10 {
            world.say(0, "before and after");
            world.say(1, &"both ways ".repeat(number * 40));
            world.run(Duration::from_millis(300));
        }
        world.quit(first);
        world.say(0, "at last");
        world.rest(SETTLES);
        assert_eq!(relay(&world), RELAYS.into_iter().find(|it| *it != first));
        assert_eq!(
            (texts(&world, 0), texts(&world, 1)),
            (10, 11),
            "seed {seed}"
        );
    }
}

#[test]
fn relay_that_crashes_within_a_long_message_costs_nothing() {
    for seed in 0..20 {
        for power in [false, true] {
            let mut world = divided(seed, 2);
            let first = relay(&world).unwrap();
            world.tell(0, &[1], &"long ".repeat(3000));
            world.run(secs(5));
            assert_eq!(texts(&world, 1), 0);
            world.crash(first, power);
            world.tell(1, &[0], "are you there");
            world.rest(SETTLES);
            assert_eq!((texts(&world, 0), texts(&world, 1)), (1, 1), "seed {seed}");
            assert_ne!(relay(&world), Some(first));
        }
    }
}

#[test]
fn dial_that_becomes_possible_takes_over_from_a_circuit() {
    for seed in 0..20 {
        let mut world = divided(seed, 1);
        let mut said = 0;
        world.let_dial(1, 0, true);
        while world.open_wires(0, 1).is_empty() {
            world.say(0, "over one or the other");
            world.say(1, &"over one or the other ".repeat(said % 60));
            said += 1;
            world.run(Duration::from_millis(700));
            assert!(said < 300, "seed {seed}: no dial");
        }
        world.rest(SETTLES);
        assert_eq!(world.circuits_between(0, 1), 0);
        let heard = [0, 1].map(|end| texts(&world, end));
        assert_eq!(heard, [said; 2], "seed {seed}");
        for (end, peer) in [(0, 1), (1, 0)] {
            let downs = downs(&world, end, peer);
            assert_eq!(downs, [DownReason::Replaced], "seed {seed}");
        }
    }
}

#[test]
fn goodbye_over_a_circuit_arrives_behind_all_messages() {
    for seed in 0..20 {
        let mut world = divided(seed, 1);
        (0..20).for_each(|_| world.say(0, "before the end"));
        // It ends its links with the relay and with the other end at once.
        world.quit(0);
        world.run(secs(90));
        assert!(!world.is_running(0), "seed {seed}");
        for node in [1, 2] {
            assert_eq!(texts(&world, node), 20, "seed {seed}");
            assert_eq!(downs(&world, node, 0), [DownReason::Goodbye], "seed {seed}");
        }
        world.rest(SETTLES);
    }
}

#[test]
fn abort_over_a_circuit_is_a_goodbye_too() {
    for seed in 0..20 {
        let mut world = divided(seed, 1);
        world.tell(0, &[1], &"cut off ".repeat(2000));
        world.run(secs(3));
        world.signal(0);
        world.with(0, |engine, now| {
            engine.abort(now, sesame::mesh::ByeReason::Signal);
        });
        world.run(secs(30));
        assert!(!world.is_running(0), "seed {seed}");
        assert_eq!(texts(&world, 1), 0);
        for node in [1, 2] {
            assert_eq!(downs(&world, node, 0), [DownReason::Goodbye], "seed {seed}");
        }
    }
}

#[test]
fn process_that_does_not_carry_is_not_asked() {
    let settings = world::settings();
    let unwilling = Settings {
        carry: false,
        ..world::settings()
    };
    for seed in 0..10 {
        let mut world = divided_with(seed, std::slice::from_ref(&unwilling), &settings);
        world.run(secs(120));
        let asked = ENDS.map(|end| asked_for(&world, end));
        assert_eq!((asked, world.peers_up(0)), ([0, 0], vec![2]));
        let relays = [unwilling.clone(), settings.clone()];
        let mut world = divided_with(seed, &relays, &settings);
        world.rest(SETTLES);
        assert_eq!(relay(&world), Some(RELAYS[1]), "seed {seed}");
    }
}

/// With ways this long both ask before they learn that the other does. Each relay is dialled by one
/// of them, and so is known to it first.
#[test]
fn ends_that_both_ask_keep_one_circuit() {
    let mut both = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, 4);
        world.net.weather = Weather {
            latency: (1000, 2500),
            ..Weather::FAIR
        };
        let settings = world::settings();
        begin(&mut world, &[settings.clone(), settings.clone()], &settings);
        world.rest(SETTLES);
        world.say(0, "one");
        world.say(1, "other");
        world.rest(SETTLES);
        assert_eq!(world.circuits_between(0, 1), 1, "seed {seed}");
        assert_eq!((texts(&world, 0), texts(&world, 1)), (1, 1), "seed {seed}");
        both += usize::from(ENDS.iter().all(|end| asked_for(&world, *end) > 0));
    }
    assert!(both > 0, "on no seed both asked");
}

/// As after `/panic`: the same host, another identity.
#[test]
fn end_with_a_new_identity_gets_a_circuit_of_its_own() {
    for seed in 0..10 {
        let settings = Settings {
            away: secs(60),
            ..world::settings()
        };
        let mut world = divided_with(seed, std::slice::from_ref(&settings), &settings);
        world.run(secs(40));
        assert_eq!(world.circuits_between(0, 1), 1, "seed {seed}");
        world.tell(0, &[1], &"unfinished ".repeat(2000));
        world.run(secs(2));
        world.crash(1, true);
        let again = world.start(1, &[2], settings.clone());
        world.rest(SETTLES);
        assert_eq!(world.circuits_between(0, again), 1, "seed {seed}");
        world.tell(0, &[again], "for the new one");
        world.run(secs(90));
        world.rest(SETTLES);
        assert_eq!(texts(&world, again), 1, "seed {seed}");
        let lost = world.nodes[0].events.iter().find_map(|event| match event {
            Event::Done { undelivered, .. } => Some(undelivered.first()?.1),
            _ => None,
        });
        assert_eq!(lost, Some(Undelivered::Away), "seed {seed}");
    }
}

#[test]
fn circuits_keep_their_interval_where_cover_is_off() {
    let with = |cover| Settings {
        cover,
        ..world::settings()
    };
    let paced = Cover::Every(Duration::from_millis(100));
    for (relay, ends) in [(Cover::Off, Cover::Off), (paced, Cover::Off)] {
        for seed in 0..5 {
            let mut world = divided_with(seed, &[with(relay)], &with(ends));
            world.run(secs(40));
            let paces: Vec<_> = ENDS
                .iter()
                .flat_map(|end| {
                    world
                        .circuits_up(*end)
                        .into_iter()
                        .map(move |it| (*end, it))
                })
                .map(|(end, conn)| world.nodes[end].circuits[&conn].pace())
                .collect();
            assert_eq!(paces.len(), 2);
            for pace in paces {
                let (interval, cells) = pace.unwrap();
                assert_eq!(interval, secs(1));
                assert!(cells > 20, "{cells} cells");
            }
            world.say(0, "at its time");
            invariants::check_silence(&mut world, secs(30));
            assert_eq!(texts(&world, 1), 1);
        }
    }
}

/// On slow links there is room for few circuits, and those get a longer interval.
#[test]
fn circuits_on_slow_links_get_what_half_of_the_cells_allow() {
    for (ms, circuit_ms) in [(500, 2000), (1000, 5000), (3000, 10_000)] {
        let settings = Settings {
            cover: Cover::Every(Duration::from_millis(ms)),
            ..world::settings()
        };
        let mut world = divided_with(ms, std::slice::from_ref(&settings), &settings);
        world.rest(SETTLES);
        world.say(0, "slowly");
        world.rest(SETTLES);
        invariants::check_silence(&mut world, secs(60));
        let conn = world.circuits_up(0)[0];
        let pace = world.nodes[0].circuits[&conn].pace();
        assert_eq!(
            pace.map(|(interval, _)| interval),
            Some(Duration::from_millis(circuit_ms))
        );
    }
}

/// All hosts but the first are behind NAT.
#[test]
fn hosts_behind_nat_are_linked_over_the_one_that_is_not() {
    const SIZE: usize = 6;
    let mut world = World::new(6, SIZE);
    for (from, to) in (0..SIZE).flat_map(|from| (1..SIZE).map(move |to| (from, to))) {
        world.let_dial(from, to, false);
    }
    let settings = Settings {
        cover: Cover::Every(Duration::from_millis(100)),
        ..world::settings()
    };
    world.start(0, &[], settings.clone());
    (1..SIZE).for_each(|host| {
        world.start(host, &[0], settings.clone());
    });
    world.run(secs(60));
    // Four circuits on each link with the relay.
    for node in 0..SIZE {
        assert_eq!(world.peers_up(node).len(), SIZE - 1, "node {node}");
    }
    (0..SIZE).for_each(|node| world.say(node, "hello everybody"));
    world.rest(SETTLES);
    (0..SIZE).for_each(|node| assert_eq!(texts(&world, node), SIZE - 1));
}

#[test]
fn liars_about_circuits_cost_honest_peers_no_message() {
    for script in Script::ON_CIRCUITS {
        for seed in 0..8 {
            let settings = world::settings();
            let mut world = World::new(seed, 4);
            begin(&mut world, std::slice::from_ref(&settings), &settings);
            let (rng, known) = (world.dice.split(), world.nodes.iter().map(|it| it.id));
            let (known, victims) = (known.collect(), (0..3).map(address).collect());
            world.start_liar(3, Liar::new(script, rng, victims, known));
            for number in 0..20 {
                world.run(secs(6));
                world.say(0, "through the noise");
                world.say(1, &"through the noise ".repeat(number * 5));
            }
            world.rest(SETTLES);
            let case = format!("{script:?}, seed {seed}");
            // The relay that does not lie carries.
            assert!(world.peers_up(0).contains(&1), "{case}");
            let before = [0, 1].map(|end| texts(&world, end));
            assert!(before.iter().all(|heard| *heard > 10), "{case}: {before:?}");
            ENDS.iter().for_each(|end| world.say(*end, "at last"));
            world.rest(SETTLES);
            let heard = [0, 1, 2].map(|node| texts(&world, node));
            assert_eq!(heard, [before[0] + 1, before[1] + 1, 42], "{case}");
        }
    }
}
