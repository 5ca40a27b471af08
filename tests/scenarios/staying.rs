//! Runs that outlast their peers: `--stay`, and what a run without it does when its reader leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use nix::sys::signal::Signal;

use crate::helper::{Process, Run, corner, nobody, pair, up};

/// How often the reader of a forwarder is restarted.
const RESTARTS: usize = 20;

/// Writes this many more numbered lines, like a log. Returns the numbers.
fn log(forwarder: &mut Process, written: &mut usize, count: usize) -> Range<usize> {
    let first = *written + 1;
    for number in first..first + count {
        forwarder.write(format!("line {number}\n").as_bytes());
    }
    *written += count;
    first..first + count
}

fn number(line: &str) -> usize {
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// The numbers in `lines 3-5, 7`.
fn named(line: &str) -> impl Iterator<Item = usize> {
    let ranges = line.rsplit_once("line").unwrap().1;
    let ranges = ranges.trim_start_matches('s').trim().to_owned();
    let ranges: Vec<_> = ranges.split(", ").map(ToOwned::to_owned).collect();
    ranges.into_iter().flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((&range, &range));
        first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap()
    })
}

#[test]
fn a_forwarder_survives_twenty_restarts_of_its_reader() {
    let (ip, port) = corner();
    let reader = Run::named("reader")
        .listening(&["--listen", &ip, "--port", &port.to_string()])
        .with(&["--stay", "--literal"]);
    let forwarder = Run::named("log").with(&["-p", &format!("{ip}:{port}")]);
    let mut forwarder = forwarder
        .with(&["--stay=input", "--literal", "--no-listen", "--cover", "20"])
        .listening(&[])
        .plain();
    let mut written = 0;
    // There is no peer yet.
    log(&mut forwarder, &mut written, 10);
    let (mut heard, mut in_flight) = (BTreeMap::new(), BTreeSet::new());
    for restart in 0..=RESTARTS {
        let mut reader = reader.clone().plain();
        log(&mut forwarder, &mut written, 10);
        let last = format!("log: line {written}");
        reader.expect("the last line", |line| *line == last);
        // These may be under way when the reader leaves.
        let next = log(&mut forwarder, &mut written, 10);
        if restart == RESTARTS {
            forwarder.close_stdin();
            let last = format!("log: line {written}");
            reader.expect("the last line", |line| *line == last);
            reader.signal(Signal::SIGTERM);
        } else {
            in_flight.extend(next);
            reader.signal(match restart % 2 {
                0 => Signal::SIGTERM,
                _ => Signal::SIGKILL,
            });
            forwarder.told(" left: ");
            log(&mut forwarder, &mut written, 10);
        }
        for line in &reader.ends().out {
            *heard.entry(number(line)).or_insert(0) += 1;
        }
    }
    let ended = forwarder.ends_with(3);
    let undelivered = ended.err.iter();
    let undelivered = undelivered.filter(|line| line.contains("not delivered to"));
    let undelivered: BTreeSet<_> = undelivered.flat_map(|line| named(line)).collect();
    let twice: Vec<_> = heard.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "heard more than once: {twice:?}");
    let missed = (1..=written).filter(|line| !heard.contains_key(line));
    let missed: BTreeSet<_> = missed.collect();
    assert!(
        missed.is_subset(&undelivered) && missed.is_subset(&in_flight),
        "missed: {missed:?}\nnamed: {undelivered:?}"
    );
}

#[test]
fn a_listener_that_stays_is_back_after_its_peer_restarts() {
    let (ip, port) = corner();
    let alice = Run::named("alice").listening(&["--listen", &ip, "--port", &port.to_string()]);
    let mut first = alice.clone().peer();
    let bob = Run::named("bob").to(&first).with(&["--stay"]);
    let bob = bob.listening(&["--no-listen"]).peer();
    up(&first, &bob);
    assert_eq!(first.quit().status, 0);
    bob.expect("peer_down", |event| event["reason"] == "goodbye");
    let mut second = alice.peer();
    up(&second, &bob);
    second.say("back again");
    bob.hears(&second, "back again");
}

#[test]
fn a_reader_that_leaves_in_the_middle_is_4() {
    let (mut alice, mut bob) = pair();
    bob.say("heard");
    alice.hears(&bob, "heard");
    bob.expect("done", |event| event["ref"] == "heard");
    assert_eq!(alice.quit().status, 0);
    assert_eq!(bob.process.ends().status, 4);
}

#[test]
fn a_reader_that_leaves_a_plain_sender_is_4() {
    let mut alice = Run::named("alice").peer();
    let mut bob = Run::named("bob").to(&alice).plain();
    bob.write(b"log 1\n");
    alice.expect("message", |event| event["text"] == "log 1");
    assert_eq!(alice.quit().status, 0);
    bob.ends_with(4);
}

#[test]
fn a_listener_whose_last_peer_leaves_is_0() {
    let (mut alice, mut bob) = pair();
    assert_eq!(alice.quit().status, 0);
    assert_eq!(bob.process.ends().status, 0);
}

#[test]
fn each_message_without_a_peer_is_refused_in_its_time() {
    let bob = Run::named("bob").dials(&nobody()).with(&["--timeout", "1"]);
    let mut bob = bob.peer();
    for text in ["first", "second"] {
        bob.say(text);
        let error = bob.expect("error", |event| event["ref"] == text);
        assert_eq!(error["code"], "no_peers");
    }
    assert_eq!(bob.quit().status, 4);
}

#[test]
fn a_killed_peer_that_cannot_be_dialled_is_given_up() {
    let mut alice = Run::named("alice").with(&["--stay", "--away", "1"]).peer();
    for _ in 0..3 {
        let ghost = Run::named("ghost")
            .to(&alice)
            .listening(&["--no-listen"])
            .peer();
        up(&alice, &ghost);
        ghost.signal(Signal::SIGKILL);
        let down = alice.expect("peer_down", |event| event["peer"] == ghost.id());
        assert_eq!(down["retrying"], false);
        assert_eq!(down["awaited"], true);
        alice.expect("peer_gone", |event| event["peer"] == ghost.id());
    }
    assert_eq!(alice.ask("peers")["peers"], serde_json::json!([]));
}
