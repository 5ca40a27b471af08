//! Situations, each in a few lines.

use std::time::Duration;

use sesame::mesh::{Event, Settings, Undelivered};

use crate::liar::{Liar, Script};
use crate::network::{State, address};
use crate::world::{self, World};

/// Long enough for everything that any of these waits for.
pub const SETTLES: Duration = Duration::from_secs(300);

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A mesh of this many hosts with one process each; all but the first get the address of the first.
fn mesh(seed: u64, size: usize) -> World {
    let mut world = World::new(seed, size);
    for host in 0..size {
        let peers = if host == 0 { &[][..] } else { &[0][..] };
        world.start(host, peers, world::settings());
    }
    world.run(secs(10));
    world
}

/// Two linked processes, and the one wire that is open between them.
fn pair(seed: u64) -> (World, usize) {
    let world = mesh(seed, 2);
    let wires = world.open_wires(0, 1);
    assert_eq!(wires.len(), 1);
    (world, wires[0])
}

pub fn texts(world: &World, node: usize) -> usize {
    let events = world.nodes[node].events.iter();
    events
        .filter(|event| matches!(event, Event::Message { .. }))
        .count()
}

/// Text for some seconds of all cells of a link.
const LONG: usize = 60_000;

#[test]
fn epochs_go_on_in_silence_and_under_load() {
    for loaded in [false, true] {
        let mut world = mesh(1, 3);
        let mut least = 0;
        for _ in 0..6 {
            if loaded {
                (0..3).for_each(|node| world.say(node, &"x".repeat(LONG)));
            }
            world.run(secs(30));
            let epochs: Vec<_> = (0..3).map(|node| world.epochs(node)).collect();
            assert!(epochs.iter().all(|links| links.len() == 2));
            let now = epochs.iter().flat_map(|links| links.values()).min();
            // Within the period, then nine cells in all under load, and a turn.
            assert!(*now.unwrap() > least, "loaded: {loaded}, {epochs:?}");
            least = *now.unwrap();
        }
    }
}

#[test]
fn link_lost_at_any_step_of_an_exchange_begins_anew() {
    let tick = Duration::from_millis(500);
    for step in 0..24 {
        let (mut world, wire) = pair(1);
        world.run(tick * step);
        let heard = match step % 3 {
            0 => [Some(Duration::ZERO), None],
            1 => [None, Some(Duration::ZERO)],
            _ => [Some(Duration::ZERO); 2],
        };
        world.cut(wire, heard);
        world.say(0, "after the cut");
        world.rest(SETTLES);
        world.run(secs(20));
        assert_ne!(world.open_wires(0, 1), [wire]);
        assert_eq!((texts(&world, 0), texts(&world, 1)), (0, 1));
        for (node, other) in [(0, 1), (1, 0)] {
            assert!(world.epochs(node)[&other] >= 1, "cut at step {step}");
        }
    }
}

/// How many circuits a process has asked for.
pub fn asked_for(world: &World, node: usize) -> usize {
    let asks =
        |event: &&Event| matches!(event, Event::Notice { text, .. } if text.starts_with("asking "));
    world.nodes[node].events.iter().filter(asks).count()
}

/// Why the messages of a process were not delivered, in order.
fn undelivered(world: &World, node: usize) -> Vec<Undelivered> {
    let events = world.nodes[node].events.iter();
    let done = events.filter_map(|event| match event {
        Event::Done { undelivered, .. } => Some(undelivered),
        _ => None,
    });
    done.flatten().map(|(_, reason)| *reason).collect()
}

#[test]
fn peers_that_know_only_the_first_find_each_other() {
    for size in [3, 6, 16] {
        let mut world = mesh(size as u64, size);
        world.rest(SETTLES);
        for node in 0..size {
            assert_eq!(world.peers_up(node).len(), size - 1);
        }
        let links = (0..size)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .map(|(a, b)| world.open_wires(a, b).len())
            .sum::<usize>();
        assert_eq!(links, size * (size - 1) / 2);
    }
}

/// The first process gossips all others, and its network pays for all dials.
#[test]
fn a_mesh_of_64_is_complete_within_seconds() {
    const SIZE: usize = 64;
    let mut world = mesh(64, SIZE);
    for node in 0..SIZE {
        assert_eq!(world.peers_up(node).len(), SIZE - 1, "node {node}");
        assert_eq!(asked_for(&world, node), 0, "node {node} needs no circuit");
    }
}

#[test]
fn peers_that_dial_each_other_at_once_keep_one_link() {
    for seed in 0..20 {
        let mut world = World::new(seed, 2);
        world.start(0, &[1], world::settings());
        world.start(1, &[0], world::settings());
        world.say(0, "from the one");
        world.say(1, "from the other");
        world.rest(SETTLES);
        assert_eq!(world.open_wires(0, 1).len(), 1, "seed {seed}");
        assert_eq!((texts(&world, 0), texts(&world, 1)), (1, 1), "seed {seed}");
    }
}

#[test]
fn a_message_cut_between_fragments_arrives_once() {
    for seed in 0..20 {
        let (mut world, wire) = pair(seed);
        world.say(0, &"long ".repeat(2000));
        // Some of its dozen cells have gone.
        world.run(Duration::from_millis(450));
        assert_eq!(texts(&world, 1), 0);
        world.cut(wire, [Some(secs(1)), Some(secs(2))]);
        world.rest(SETTLES);
        assert_eq!(texts(&world, 1), 1, "seed {seed}");
    }
}

#[test]
fn an_old_connection_that_dies_late_takes_nothing_with_it() {
    for seed in 0..20 {
        let (mut world, wire) = pair(seed);
        // One end notices at once and dials again, the other only after long.
        world.cut(wire, [Some(Duration::ZERO), Some(secs(25))]);
        (0..5).for_each(|_| world.say(1, "said into the dead one"));
        world.run(secs(20));
        world.say(0, "said into the new one");
        world.rest(SETTLES);
        assert_eq!((texts(&world, 0), texts(&world, 1)), (5, 1), "seed {seed}");
    }
}

#[test]
fn connection_that_ends_unnoticed_is_found_dead() {
    let (mut world, wire) = pair(1);
    world.cut(wire, [None, None]);
    world.say(0, "where are you");
    world.rest(SETTLES);
    assert_eq!(texts(&world, 1), 1);
    let dead = world.nodes[0].events.iter().any(
        |event| matches!(event, Event::PeerDown { reason, .. } if reason.as_str() == "timeout"),
    );
    assert!(dead);
    let state = world.net.wires[wire].ends.each_ref().map(|end| end.state);
    assert_eq!(state, [State::Closed; 2]);
}

#[test]
fn message_to_a_peer_with_a_new_identity_is_undelivered() {
    let (mut world, _) = pair(2);
    world.crash(1, false);
    world.say(0, "for the one who was");
    world.run(secs(20));
    let again = world.start(1, &[0], world::settings());
    world.rest(SETTLES);
    assert_eq!(undelivered(&world, 0), [Undelivered::Restarted]);
    world.say(0, "for the new one");
    world.rest(SETTLES);
    assert_eq!(texts(&world, again), 1);
}

#[test]
fn peer_that_takes_nothing_delays_others_for_a_while_only() {
    let mut world = World::new(3, 3);
    let settings = || Settings {
        give_up: secs(5),
        ..world::settings()
    };
    for host in 0..3 {
        let peers = if host == 0 { &[][..] } else { &[0][..] };
        world.start(host, peers, settings());
    }
    world.run(secs(10));
    world.nodes[2].front.blind = true;
    // More than may wait for one peer.
    for _ in 0..10_000 {
        world.say(0, "one of many");
    }
    world.run(SETTLES);
    assert_eq!(texts(&world, 1), 10_000);
    let lost = undelivered(&world, 0);
    assert!(!lost.is_empty());
    assert!(lost.iter().all(|reason| *reason == Undelivered::Stalled));
    // It reads on, and gets later messages once it has caught up.
    world.wake_front(2);
    world.run(secs(30));
    let before = texts(&world, 2);
    world.say(0, "afterwards");
    world.rest(SETTLES);
    assert_eq!(texts(&world, 2), before + 1);
}

#[test]
fn separated_halves_of_a_mesh_find_each_other_again() {
    let mut world = mesh(4, 6);
    let apart = (0..3).flat_map(|a| (3..6).map(move |b| (a, b)));
    apart.clone().for_each(|(a, b)| world.block(a, b, true));
    world.run(secs(120));
    assert_eq!(world.peers_up(0), [1, 2]);
    world.say(0, "to all, wherever they are");
    apart.for_each(|(a, b)| world.block(a, b, false));
    world.rest(SETTLES);
    for node in 1..6 {
        assert_eq!(texts(&world, node), 1, "node {node}");
    }
}

/// A peer that does not listen has to dial, and keeps dialling a peer that it knows only from
/// gossip: the other one saw it come, and waits for it.
#[test]
fn peer_known_from_gossip_only_comes_back() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.start(0, &[], world::settings());
        world.start(1, &[0], world::settings());
        world.run(secs(10));
        let settings = Settings {
            listen_port: None,
            ..world::settings()
        };
        let guest = world.start(2, &[0], settings);
        let sees = |world: &mut World, one: usize, other| world.peers_up(one).contains(&other);
        while !sees(&mut world, 1, guest) && !sees(&mut world, guest, 1) {
            world.run(Duration::from_millis(1));
        }
        world.block(1, 2, true);
        world.tell(1, &[guest], "where are you");
        world.run(secs(120));
        world.block(1, 2, false);
        world.rest(SETTLES);
        assert_eq!(world.open_wires(1, guest).len(), 1, "seed {seed}");
    }
}

#[test]
fn goodbye_is_reported_after_earlier_messages() {
    for seed in 0..20 {
        let (mut world, _) = pair(seed);
        (0..50).for_each(|_| world.say(0, "before the end"));
        world.quit(0);
        world.run(secs(60));
        assert!(!world.is_running(0));
        assert_eq!(texts(&world, 1), 50, "seed {seed}");
    }
}

#[test]
fn peer_that_forgets_too_often_gets_no_link() {
    let mut world = World::new(6, 2);
    let victim = world.start(0, &[], world::settings());
    world.nodes[victim].front.blind = true;
    let (rng, known) = (world.dice.split(), vec![world.nodes[victim].id]);
    let liar = Liar::new(Script::Flood, rng, vec![address(0)], known);
    world.start_liar(1, liar);
    world.run(secs(120));
    // Each end had its beginning, as the model has checked.
    let turned_away = world.nodes[victim].events.iter().any(
        |event| matches!(event, Event::Notice { text, .. } if text.contains("forgotten again")),
    );
    assert!(turned_away);
}

#[test]
fn many_vanished_peers_do_not_keep_others_out() {
    let mut world = World::new(5, 3);
    world.start(0, &[], world::settings());
    world.start(1, &[0], world::settings());
    world.run(secs(10));
    for _ in 0..300 {
        let settings = Settings {
            listen_port: None,
            ..world::settings()
        };
        let guest = world.start(2, &[0], settings);
        world.run(secs(3));
        assert!(world.peers_up(0).contains(&guest));
        world.crash(guest, true);
        world.run(secs(1));
    }
    assert!(world.peers_up(0).contains(&1));
}

/// A liar names addresses in the network of the others as its own. Each of these costs at most a
/// dial, and the limits of gossip apply.
#[test]
fn liars_about_local_networks_cost_no_message() {
    let mut dials = 0;
    for seed in 0..8 {
        let settings = Settings {
            lan: true,
            ..world::settings()
        };
        let mut world = World::new(seed, 4);
        for host in 0..3 {
            let peers = if host == 0 { &[][..] } else { &[0][..] };
            world.start(host, peers, settings.clone());
        }
        let (rng, known) = (world.dice.split(), world.nodes.iter().map(|it| it.id));
        let (known, victims) = (known.collect(), (0..3).map(address).collect());
        world.start_liar(3, Liar::new(Script::Local, rng, victims, known));
        for _ in 0..20 {
            world.run(secs(6));
            world.say(0, "through the noise");
        }
        world.rest(SETTLES);
        for node in 0..3 {
            let heard = if node == 0 { 0 } else { 20 };
            assert_eq!(texts(&world, node), heard, "seed {seed}");
            let nobody = world.nodes[node].dials_to_nobody;
            assert!(nobody < 100, "seed {seed}: {nobody} dials");
            dials += nobody;
        }
    }
    assert!(dials > 0, "the lies have been heard");
}
