//! What must hold after each step, and what must hold when everything is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sesame::mesh::{Command, Cover, Event, PeerState};
use sesame::proto::{CELL, PeerId};

use crate::network::{State, address, other_address};
use crate::world::World;

/// Paced cells are sealed at most this long before their moment (`proto::schedule`), and so is the
/// answer to a Ta.
const LEAD: Duration = Duration::from_millis(3);
const ANSWER: Duration = Duration::from_millis(20);
/// Every stage of a connection, and a link of the slowest peer, ends within this time.
const LONGEST: Duration = Duration::from_secs(61);
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
    assert!(cells.transmits > 4, "a tick before HELLO");
    let interval = interval.expect("a moment where both ends chose off");
    assert_eq!(bytes.len(), CELL, "one cell per tick");
    assert!(at <= now + LEAD, "sealed {:?} ahead", at - now);
    let late = now.saturating_duration_since(at);
    assert!(
        late <= interval / 4,
        "a missed tick is made up for, {late:?} late of {interval:?} on {wire}, {end}"
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
    for (a, b) in &links {
        if !links.contains(&(*b, *a)) {
            return Err(format!(
                "{a} thinks that it is linked to {b}, which does not"
            ));
        }
        let wires = world.open_wires(*a, *b);
        if wires.len() != 1 {
            return Err(format!("{} wires between {a} and {b}", wires.len()));
        }
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
    for (a, b) in must_be_linked(world, &running, &links) {
        if !links.contains(&(a, b)) {
            return Err(format!(
                "{a} and {b} can reach each other and are not linked"
            ));
        }
    }
    for (a, b) in &links {
        let [of_a, of_b] = [(*a, *b), (*b, *a)].map(|(node, peer)| {
            world
                .model
                .words(node, &world.nodes[peer].id)
                .map(str::to_owned)
        });
        assert!(
            of_a.is_some() && of_a == of_b,
            "{a} and {b} see other words: {of_a:?}, {of_b:?}"
        );
    }
    if let Some(node) = running.iter().find(|node| !world.is_settled(**node)) {
        return Err(format!("{node} has not caught up"));
    }
    let ends = |node: &&usize| world.model.people[**node].ends_by.is_some();
    if let Some(node) = running.iter().find(ends) {
        return Err(format!("{node} has been told to end, and has not yet"));
    }
    Ok(())
}

/// The pairs that must be linked: those of which one was given the other's address, those that are
/// linked already, and from there those that a common friend can introduce.
fn must_be_linked(
    world: &World,
    running: &[usize],
    links: &BTreeSet<(usize, usize)>,
) -> BTreeSet<(usize, usize)> {
    let fits = |a: usize, b: usize| {
        let (node, other) = (&world.nodes[a], &world.nodes[b]);
        world.are_friends(a, b)
            && !world.model.are_parted(a, b)
            && !world.net.is_blocked(node.host, other.host)
    };
    let mut must: BTreeSet<(usize, usize)> = links.clone();
    for (a, b) in running
        .iter()
        .flat_map(|a| running.iter().map(move |b| (*a, *b)))
    {
        if fits(a, b) && world.is_wished(a, b) {
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
    if world.nodes[b].settings.listen_port.is_none() {
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
    let before = count(world);
    world.run(time);
    let after = count(world);
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
