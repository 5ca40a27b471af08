//! What a user can see of a link: its words, its ratchet, its cells.

use serde_json::{Value, json};

use super::helper::{Peer, Run, pair, seen, up};

fn words(peer: &mut Peer, of: &str) -> String {
    peer.send(json!({"type": "verify", "peer": of, "ref": "verify"}));
    peer.expect("verify", |_| true)["sas"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn link(peer: &mut Peer) -> Value {
    let links = peer.ask("stats")["links"].take();
    assert_eq!(links.as_array().unwrap().len(), 1);
    links[0].clone()
}

#[test]
fn words_are_equal_at_both_ends_and_differ_per_link() {
    let mut alice = Run::named("alice").peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    let seen = bob.expect("peer_up", |_| true)["sas"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.expect("peer_up", |event| event["sas"] == seen);
    assert_eq!(seen.split(' ').count(), 6);
    assert_eq!(words(&mut alice, "bob"), seen);
    assert_eq!(words(&mut bob, "alice"), seen);
    bob.send(json!({"type": "disconnect", "peer": "alice"}));
    alice.expect("peer_down", |_| true);
    bob.send(json!({"type": "connect", "addr": alice.addr()}));
    up(&alice, &bob);
    let next = words(&mut alice, "bob");
    assert_eq!(words(&mut bob, "alice"), next);
    assert_ne!(next, seen);
}

#[test]
fn the_ratchet_steps_in_silence_too() {
    let (mut alice, mut bob) = pair();
    for peer in [&mut alice, &mut bob] {
        // Both ends take their turns, however long that takes here.
        while link(peer)["ratchet_steps"].as_u64().unwrap() < 4 {}
        let stats = link(peer);
        assert_eq!(
            (&stats["queued_messages"], &stats["queued_bytes"]),
            (&json!(0), &json!(0))
        );
        assert!(stats["cells_received"].as_u64() > stats["data_cells_received"].as_u64());
    }
}

#[test]
fn first_post_quantum_epoch_begins_with_the_link() {
    let (mut alice, mut bob) = pair();
    for peer in [&mut alice, &mut bob] {
        let begun = |stats: &Value| stats["epoch"].as_u64() >= Some(1);
        let stats = seen("an epoch", || Some(link(peer)).filter(begun));
        assert!(stats["epoch_age_ms"].as_u64() <= stats["up_for_ms"].as_u64());
    }
}

#[test]
fn a_link_is_as_fast_as_each_end_chose() {
    let mut alice = Run::named("alice").with(&["--cover", "40"]).peer();
    let mut bob = Run::named("bob")
        .to(&alice)
        .with(&["--cover", "200"])
        .peer();
    up(&alice, &bob);
    assert_eq!(link(&mut alice)["interval_ms"], 40);
    assert_eq!(link(&mut bob)["interval_ms"], 200);
}

#[test]
fn cover_off_at_both_ends_sends_at_once() {
    let mut alice = Run::named("alice").with(&["--cover", "off"]).peer();
    let mut bob = Run::named("bob")
        .to(&alice)
        .with(&["--cover", "off"])
        .peer();
    up(&alice, &bob);
    alice.process.told("--cover off");
    assert_eq!(link(&mut alice)["interval_ms"], json!(null));
    assert_eq!(link(&mut bob)["interval_ms"], json!(null));
    for number in 0..200 {
        alice.say(&number.to_string());
    }
    bob.hears(&alice, "199");
    bob.say("and back");
    alice.hears(&bob, "and back");
}

#[test]
fn cover_off_at_one_end_keeps_the_interval_of_the_other() {
    let mut alice = Run::named("alice").with(&["--cover", "off"]).peer();
    let mut bob = Run::named("bob").to(&alice).with(&["--cover", "60"]).peer();
    up(&alice, &bob);
    assert_eq!(link(&mut alice)["interval_ms"], 60);
    assert_eq!(link(&mut bob)["interval_ms"], 60);
    alice.say("covered");
    bob.hears(&alice, "covered");
}

#[test]
fn every_cell_has_one_size_whatever_is_said() {
    use super::helper::Relay;

    let alice = Run::named("alice").with(&["--cover", "20"]).peer();
    let relay = Relay::to(&alice.addr());
    let run = Run::named("bob").listening(&["--no-listen"]);
    let mut bob = run.with(&["--cover", "20", "-p", relay.addr()]).peer();
    up(&alice, &bob);
    for text in ["", "x", &"long ".repeat(1000)] {
        bob.say(text);
        alice.hears(&bob, text);
    }
    let traffic = relay.traffic().remove(0);
    for bytes in [&traffic.to_listener, &traffic.to_dialler] {
        let lengths = application_records(bytes);
        // The encrypted part of TLS's own handshake comes first; the rest are cells.
        let first = lengths.iter().position(|length| *length == CELL).unwrap();
        let cells = &lengths[first..];
        assert!(
            cells.len() > 4 && cells.iter().all(|length| *length == CELL),
            "{lengths:?}"
        );
    }
}

/// A cell in TLS: its 1,024 bytes, one for the inner type, 16 for the tag.
const CELL: usize = 1041;

/// The lengths of the records of application data (23) in a TLS stream.
fn application_records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if rest.len() < length {
            break;
        }
        if *kind == 23 {
            lengths.push(length);
        }
        bytes = &rest[length..];
    }
    lengths
}
