//! What must hold after each step, and what must hold when everything is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sesame::mesh::{Command, ConnId, Cover, Event, PeerState};
use sesame::proto::circuits::MOST;
use sesame::proto::{CELL, PeerId};

use crate::network::{Cells, State, address, other_address};
use crate::world::World;

/// Paced cells are sealed at most this long before their moment (`proto::schedule`), and so is the
/// answer to a Ta.
const LEAD: Duration = Duration::from_millis(3);
const ANSWER: Duration = Duration::from_millis(20);
/// Every stage of a connection, and a link of the slowest peer, ends within this time.
const LONGEST: Duration = Duration::from_secs(61);
/// The shortest and the longest interval of a circuit, and those that a relay offers.
const SHORTEST: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(10);
const OFFERED_MS: [u64; 4] = [1000, 2000, 5000, 10_000];
/// A circuit that takes about this long until its link is up may not come up.
const HANDSHAKE: Duration = Duration::from_secs(50);
/// Dials to an address that is known from gossip only.
const TRIES: u32 = 3;

/// Checks the cells that an engine transmits: whole cells, and for paced links one at a time, each
/// at a tick of an absolute schedule.
pub fn check_transmit(
    world: &mut World,
    wire: usize,
    end: usize,
    bytes: &[u8],
    at: Option<Instant>,
) {
    assert!(
        !bytes.is_empty() && bytes.len().is_multiple_of(CELL),
        "cells are whole"
    );
    let now = world.clock.now();
    let interval = interval(world, wire, end);
    let own_is_off = world.nodes[world.net.wires[wire].ends[end].node]
        .settings
        .cover
        == Cover::Off;
    let pipe = &mut world.net.wires[wire].pipes[end];
    let cells = &mut pipe.cells;
    cells.transmits += 1;
    if cells.transmits <= 2 {
        assert_eq!(bytes.len(), CELL, "one cell a message of the handshake");
        let answers = end == 1 && cells.transmits == 2;
        assert_eq!(
            at,
            answers.then_some(now + ANSWER),
            "a Tb leaves 20 ms after its Ta"
        );
        return;
    }
    assert!(
        pipe.queue.is_empty() && pipe.departs_at.is_none(),
        "one transmission at a time"
    );
    let Some(at) = at else {
        let opens = cells.transmits <= 4;
        if opens {
            assert_eq!(bytes.len(), CELL, "a first cell, and one with HELLO");
        }
        assert!(
            opens || (own_is_off && interval.is_none()),
            "a cell without a moment on a paced link"
        );
        assert!(cells.paced == 0, "pacing stops");
        return;
    };
    let interval = interval.expect("a moment where both ends chose off");
    check_tick(cells, now, interval, bytes, at);
}

/// Checks a paced cell.
fn check_tick(cells: &mut Cells, now: Instant, interval: Duration, bytes: &[u8], at: Instant) {
    assert!(cells.transmits > 4, "a tick before HELLO");
    assert_eq!(bytes.len(), CELL, "one cell per tick");
    assert!(at <= now + LEAD, "sealed {:?} ahead", at - now);
    let late = now.saturating_duration_since(at);
    assert!(
        late <= interval / 4,
        "a missed tick is made up for, {late:?} late of {interval:?}"
    );
    let first = *cells.first.get_or_insert(at);
    let since = (at - first).as_nanos();
    assert_eq!(since % interval.as_nanos(), 0, "a tick beside the schedule");
    assert!(
        cells.last.is_none_or(|last| last < at),
        "two cells in one tick"
    );
    cells.last = Some(at);
    cells.paced += 1;
}

/// Checks the cells that an engine transmits on a connection over a circuit: after the handshake
/// always one per tick, in the circuit's interval, whatever `--cover` says.
pub fn check_circuit_transmit(
    world: &mut World,
    node: usize,
    conn: ConnId,
    bytes: &[u8],
    at: Option<Instant>,
) {
    let now = world.clock.now();
    let place = &mut world.nodes[node];
    let engine = place.engine.as_ref().expect("engines transmit");
    let interval = engine.tick_interval(conn);
    let end = place
        .circuits
        .get_mut(&conn)
        .expect("it is known to be there");
    assert_eq!(bytes.len(), CELL, "one cell at a time over a circuit");
    let cells = &mut end.cells;
    cells.transmits += 1;
    if cells.transmits <= 2 {
        let answers = !end.dials && cells.transmits == 2;
        assert_eq!(at, answers.then_some(now + ANSWER), "as on a wire");
        return;
    }
    let Some(at) = at else {
        assert!(
            cells.transmits <= 4,
            "{node}: a cell without a moment over a circuit"
        );
        return;
    };
    // With its GOODBYE a link is over before the cell gets here.
    let Some(interval) = interval.or(end.interval) else {
        return;
    };
    assert!(
        interval >= SHORTEST && interval <= SLOWEST,
        "{node}: {interval:?} on a circuit"
    );
    assert_eq!(
        *end.interval.get_or_insert(interval),
        interval,
        "it is fixed for the life of a circuit"
    );
    check_tick(cells, now, interval, bytes, at);
}

/// The time between the cells of this end: its own, or the other end's if it chose `off`.
fn interval(world: &World, wire: usize, end: usize) -> Option<Duration> {
    let cover = |end: usize| {
        let node = world.net.wires[wire].ends[end].node;
        match world.nodes.get(node).map(|node| node.settings.cover) {
            Some(Cover::Every(interval)) => Some(interval),
            _ => None,
        }
    };
    cover(end).or_else(|| cover(1 - end))
}

/// Checks one engine after a step.
pub fn check_step(world: &World, node: usize) {
    let now = world.clock.now();
    let Some(engine) = &world.nodes[node].engine else {
        return;
    };
    let deadline = engine.poll_timeout(now);
    if engine.is_over() {
        assert_eq!(deadline, None, "{node} is over and waits for something");
        return;
    }
    if !world.nodes[node].wires.is_empty() {
        let deadline = deadline.expect("with connections there is a deadline");
        assert!(
            deadline <= now + LONGEST,
            "{node}: a connection without a near deadline"
        );
    }
    let hears = !world.nodes[node].front.deaf && world.nodes[node].settings.report_each;
    if let Some(ends_by) = world.model.people[node].ends_by.filter(|_| hears) {
        assert!(now <= ends_by, "{node} does not end");
    }
    let half_open = world.nodes[node].wires.len();
    assert!(
        half_open <= 64 + 3 * world.nodes.len() + 64,
        "{node} holds {half_open} connections"
    );
    let (wires, circuits) = (half_open, world.nodes[node].circuits.len());
    // Those on a link that has ended may still be about to end.
    assert!(
        circuits <= MOST * (wires + 2),
        "{node} has {circuits} circuits over {wires} wires"
    );
}

/// Which processes are linked, and whether everything else is as it must be at rest. `Err` says
/// what is still missing: it may come with time.
pub fn at_rest(world: &mut World) -> Result<(), String> {
    let running: Vec<usize> = (0..world.nodes.len())
        .filter(|node| world.is_running(*node))
        .collect();
    let links: BTreeSet<(usize, usize)> = running
        .iter()
        .flat_map(|node| {
            world
                .peers_up(*node)
                .into_iter()
                .map(move |peer| (*node, peer))
        })
        .collect();
    let wired = world.wired();
    for (a, b) in &links {
        if !links.contains(&(*b, *a)) {
            return Err(format!(
                "{a} thinks that it is linked to {b}, which does not"
            ));
        }
        let wires = match wired.contains(&(*a, *b)) {
            true => world.open_wires(*a, *b).len(),
            false => 0,
        };
        let ways = wires + world.circuits_between(*a, *b);
        if ways != 1 {
            return Err(format!("{ways} connections between {a} and {b}"));
        }
        let relay = |world: &World, node: usize, peer: usize| {
            world.model.relay(node, &world.nodes[peer].id)
        };
        let relays = [relay(world, *a, *b), relay(world, *b, *a)];
        if relays[0] != relays[1] || relays[0].is_some() != (wires == 0) {
            return Err(format!("{a} and {b} name other relays: {relays:?}"));
        }
    }
    let astray = |node: usize| {
        let mut up = world.circuits_up(node).into_iter();
        up.find(|conn| world.far_end(node, *conn).is_none())
    };
    if let Some(node) = running.iter().find(|node| astray(**node).is_some()) {
        return Err(format!("a circuit of {node} leads nowhere"));
    }
    for wire in &world.net.wires {
        if wire.ends.iter().any(|end| end.state == State::Open) {
            let [a, b] = [wire.ends[0].node, wire.ends[1].node];
            if !links.contains(&(a, b)) && world.are_friends(a, b) {
                return Err(format!("a wire between {a} and {b}, which are not linked"));
            }
            if wire.is_dead && world.are_friends(a, b) {
                return Err(format!("{a} and {b} have yet to find their wire dead"));
            }
        }
    }
    let direct: BTreeSet<_> = links.intersection(&wired).copied().collect();
    let must = must_be_linked(world, &running, &direct);
    for (a, b) in &must {
        if !links.contains(&(*a, *b)) {
            return Err(format!(
                "{a} and {b} can reach each other and are not linked"
            ));
        }
        if !direct.contains(&(*a, *b)) {
            return Err(format!(
                "{a} and {b} can reach each other and still have a circuit"
            ));
        }
    }
    let pairs = || {
        running
            .iter()
            .flat_map(|a| running.iter().map(move |b| (*a, *b)))
    };
    let unlinked: Vec<_> = pairs()
        .filter(|(a, b)| a < b && !links.contains(&(*a, *b)))
        .collect();
    for (a, b) in &unlinked {
        if let Some(relay) = possible_relay(world, &links, &direct, *a, *b) {
            return Err(format!("{relay} could link {a} and {b}"));
        }
    }
    for (a, b) in &links {
        let [of_a, of_b] = [(*a, *b), (*b, *a)].map(|(node, peer)| {
            world
                .model
                .words(node, &world.nodes[peer].id)
                .map(str::to_owned)
        });
        if of_a.is_none() || of_a != of_b {
            // For a moment one may have changed to another connection before the other.
            return Err(format!("{a} and {b} see other words: {of_a:?}, {of_b:?}"));
        }
    }
    let epochs: BTreeMap<_, _> = running
        .iter()
        .map(|node| (*node, world.epochs(*node)))
        .collect();
    for (a, b) in &links {
        let [of_a, of_b] = [(a, b), (b, a)].map(|(node, peer)| epochs[node].get(peer));
        let is_next = |(a, b): (&u64, &u64)| a.abs_diff(*b) <= 1;
        if !of_a.zip(of_b).is_some_and(is_next) {
            return Err(format!(
                "{a} is in epoch {of_a:?} with {b}, which is in {of_b:?}"
            ));
        }
    }
    if let Some(node) = running.iter().find(|node| !world.is_settled(**node)) {
        return Err(format!("{node} has not caught up"));
    }
    let ends = |node: &&usize| world.model.people[**node].ends_by.is_some();
    if let Some(node) = running.iter().find(ends) {
        return Err(format!("{node} has been told to end, and has not yet"));
    }
    let cannot_dial = |(a, b): &(usize, usize)| !world.can_dial(*a, *b) || !world.can_dial(*b, *a);
    let apart = unlinked.into_iter().filter(cannot_dial).collect();
    world.model.set_apart(apart);
    Ok(())
}

/// A process that carries circuits, is linked directly to both of two that are not linked, and has
/// room for a circuit between them.
fn possible_relay(
    world: &World,
    links: &BTreeSet<(usize, usize)>,
    direct: &BTreeSet<(usize, usize)>,
    a: usize,
    b: usize,
) -> Option<usize> {
    // A liar may take all the room that there is.
    let lies = (0..world.nodes.len()).any(|node| world.is_lying(node));
    if lies || !world.are_friends(a, b) || world.model.are_parted(a, b) {
        return None;
    }
    let slowest = |relay: usize| {
        let ticks = [a, b].map(|end| ticks(world, relay, end));
        ticks.into_iter().flatten().max().unwrap_or_default()
    };
    // Six messages, each of one cell or more, wait for ticks and travel on two wires.
    let travel = Duration::from_millis(world.net.weather.latency.1 * 8 / 3);
    let in_time = |relay: usize| slowest(relay) * 14 + travel * 6 < HANDSHAKE;
    let mut circuits = BTreeMap::<(usize, usize), usize>::new();
    for (node, peer) in links {
        if let Some(relay) = world.model.relay(*node, &world.nodes[*peer].id) {
            // From its other end it counts on the other link.
            *circuits.entry((relay, *node)).or_default() += 1;
        }
    }
    let has_room = |relay: usize, end: usize| {
        let taken = [(relay, end), (end, relay)].map(|link| circuits.get(&link).copied());
        taken.into_iter().flatten().sum::<usize>() < most_circuits(world, relay, end)
    };
    (0..world.nodes.len()).find(|relay| {
        world.nodes[*relay].settings.carry
            && in_time(*relay)
            && [a, b]
                .iter()
                .all(|end| direct.contains(&(*relay, *end)) && has_room(*relay, *end))
    })
}

/// The time between the cells of a link, in the direction that has fewer.
fn ticks(world: &World, a: usize, b: usize) -> Option<Duration> {
    let cover = |node: usize| match world.nodes[node].settings.cover {
        Cover::Every(interval) => Some(interval),
        Cover::Off => None,
    };
    cover(a).max(cover(b))
}

/// How many circuits a link bears at least: all of them get half of its cells.
fn most_circuits(world: &World, a: usize, b: usize) -> usize {
    let Some(ticks) = ticks(world, a, b) else {
        return MOST;
    };
    let (mut left, mut count) = (500_000 / ticks.as_millis() as u64, 0);
    let cost = |interval_ms: &u64| 1100 * 1000 / interval_ms;
    while let Some(interval_ms) = OFFERED_MS.iter().find(|it| cost(it) <= left) {
        left -= cost(interval_ms);
        count += 1;
    }
    count.min(MOST)
}

/// The pairs that must be linked directly: those of which one was given the other's address, those
/// that are so already, and from there those that a common friend can introduce. Over a circuit
/// addresses like those here are not taken, so the friend has to be linked directly too.
fn must_be_linked(
    world: &World,
    running: &[usize],
    direct: &BTreeSet<(usize, usize)>,
) -> BTreeSet<(usize, usize)> {
    let fits = |a: usize, b: usize| {
        let (node, other) = (&world.nodes[a], &world.nodes[b]);
        world.are_friends(a, b)
            && !world.model.are_parted(a, b)
            && !world.net.is_blocked(node.host, other.host)
    };
    let mut must: BTreeSet<(usize, usize)> = direct.clone();
    for (a, b) in running
        .iter()
        .flat_map(|a| running.iter().map(move |b| (*a, *b)))
    {
        if fits(a, b) && world.is_wished(a, b) && world.can_dial(a, b) {
            must.extend([(a, b), (b, a)]);
        }
    }
    loop {
        let before = must.len();
        for (a, b) in running
            .iter()
            .flat_map(|a| running.iter().map(move |b| (*a, *b)))
        {
            let friend = running
                .iter()
                .any(|c| must.contains(&(a, *c)) && must.contains(&(*c, b)));
            if friend && fits(a, b) && (can_dial(world, a, b) || can_dial(world, b, a)) {
                must.extend([(a, b), (b, a)]);
            }
        }
        if must.len() == before {
            return must;
        }
    }
}

/// Whether gossip is enough for `a` to dial `b`, and may still be used.
fn can_dial(world: &World, a: usize, b: usize) -> bool {
    if world.nodes[b].settings.listen_port.is_none() || !world.can_dial(a, b) {
        return false;
    }
    let host = world.nodes[b].host;
    let tries = [address(host), other_address(host)]
        .map(|address| world.nodes[a].dials.get(&address).copied().unwrap_or(0));
    world.were_linked(a, b) || tries.iter().all(|tries| *tries < TRIES)
}

/// Cells keep their schedule in silence: in this time no link misses a tick.
pub fn check_silence(world: &mut World, time: Duration) {
    let count = |world: &World| -> BTreeMap<(usize, usize), u64> {
        let honest = |wire: &usize| {
            let [a, b] = &world.net.wires[*wire].ends;
            world.are_friends(a.node, b.node) && [a, b].iter().all(|end| end.state == State::Open)
        };
        let wires = (0..world.net.wires.len()).filter(honest);
        wires
            .flat_map(|wire| [(wire, 0), (wire, 1)])
            .map(|(wire, end)| ((wire, end), world.net.wires[wire].pipes[end].cells.paced))
            .collect()
    };
    let over_circuits = |world: &World| -> BTreeMap<(usize, ConnId), (usize, Duration, u64)> {
        let nodes = (0..world.nodes.len()).filter(|node| world.is_running(*node));
        let ends = nodes.flat_map(|node| {
            let up = world.circuits_up(node).into_iter();
            up.map(move |conn| (node, conn))
        });
        ends.filter_map(|(node, conn)| {
            let (other, _) = world.far_end(node, conn)?;
            // A relay that lies may also be slow.
            let relay = world.model.relay(node, &world.nodes[other].id);
            relay.filter(|relay| !world.is_lying(*relay))?;
            let (interval, cells) = world.nodes[node].circuits[&conn].pace()?;
            Some(((node, conn), (other, interval, cells)))
        })
        .collect()
    };
    // The window is three records and a part of one. If it takes longer than that until credit comes
    // back, ticks pass without a cell, whether or not there is something to say.
    let way = Duration::from_millis(world.net.weather.latency.1 * 4 / 3);
    let has_credit = |interval: Duration| way * 2 + interval <= interval * 3;
    let (before, circuits) = (count(world), over_circuits(world));
    world.run(time);
    let (after, circuits_after) = (count(world), over_circuits(world));
    for ((node, conn), (other, interval, before)) in circuits {
        let Some((_, _, after)) = circuits_after.get(&(node, conn)) else {
            // Another circuit, or a dial, may take over.
            let linked = world.circuits_between(node, other) > 0
                || !world.open_wires(node, other).is_empty();
            assert!(linked, "links over circuits stay up in silence");
            continue;
        };
        let ticks = (time.as_nanos() / interval.as_nanos()) as u64;
        let cells = after - before;
        assert!(
            cells <= ticks + 1 && (cells + 1 >= ticks || (cells > 0 && !has_credit(interval))),
            "{cells} cells in {ticks} ticks of {node} over a circuit"
        );
    }
    for ((wire, end), before) in before {
        let Some(after) = after.get(&(wire, end)) else {
            // A dial to another address of the same peer may take over.
            let [a, b] = &world.net.wires[wire].ends;
            assert!(
                !world.open_wires(a.node, b.node).is_empty(),
                "links stay up in silence"
            );
            continue;
        };
        if let Some(interval) = interval(world, wire, end) {
            let ticks = time.as_nanos() / interval.as_nanos();
            let cells = u128::from(after - before);
            assert!(
                cells.abs_diff(ticks) <= 1,
                "{cells} cells in {ticks} ticks on {wire}, {end}"
            );
        }
    }
}

/// The peers that are linked to a process, in its own view.
pub fn peers_up(events: &[Event]) -> Vec<PeerId> {
    let Some(Event::Peers { peers, .. }) = events
        .iter()
        .rev()
        .find(|event| matches!(event, Event::Peers { .. }))
    else {
        return Vec::new();
    };
    // The others are addresses at which no peer has answered.
    let known: Vec<_> = peers
        .iter()
        .filter_map(|peer| Some((peer.who.as_ref()?.id, peer.state)))
        .collect();
    assert!(known.len() <= 256, "{} peers are known", known.len());
    let up = known
        .into_iter()
        .filter(|(_, state)| *state == PeerState::Up);
    up.map(|(id, _)| id).collect()
}

/// The command whose answer [`peers_up`] reads.
pub const ASK: Command = Command::Peers;
