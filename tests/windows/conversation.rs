//! Messages both ways between Windows and Linux.

use std::time::Instant;

use serde_json::json;

use crate::scenario::{Peer, Run, up};
use crate::wine::{windows, windows_named};

/// How many messages go each way.
const MANY: usize = 2000;

fn texts(name: &str) -> Vec<String> {
    let text = |number| format!("{name}{number} grüße, 😀 und こんにちは");
    (0..MANY).map(text).collect()
}

fn heard_from(peer: &Peer, name: &str) -> Vec<String> {
    let mut heard = peer.every("message");
    heard.retain(|event| event["name"] == name);
    let text = |event: &serde_json::Value| event["text"].as_str().unwrap().to_owned();
    heard.iter().map(text).collect()
}

#[test]
fn json_mode_carries_2000_messages_each_way() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = windows_named("bob").to(&alice).peer();
    up(&alice, &bob);
    let (from_alice, from_bob) = (texts("a"), texts("b"));
    let begin = Instant::now();
    alice.say_all(&from_alice);
    bob.say_all(&from_bob);
    alice.hears_all(&bob, &from_bob);
    bob.hears_all(&alice, &from_alice);
    println!(
        "{MANY} messages each way in JSON mode: {:?}",
        begin.elapsed()
    );
    alice.is_done_with(&from_alice, &[&bob]);
    bob.is_done_with(&from_bob, &[&alice]);
    let ended = bob.quits_with(0);
    assert_eq!(ended.out.last().unwrap()["reason"], "quit");
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}

#[test]
fn plain_mode_carries_2000_messages_each_way() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = windows_named("bob").to(&alice).plain();
    bob.told("* alice is here");
    alice.expect("peer_up", |event| event["name"] == "bob");
    let (from_alice, from_bob) = (texts("a"), texts("b"));
    let begin = Instant::now();
    alice.say_all(&from_alice);
    let lines: String = from_bob.iter().map(|text| format!("{text}\r\n")).collect();
    bob.write(lines.as_bytes());
    let last = format!("alice: {}", from_alice.last().unwrap());
    bob.expect("the last message", |line| *line == last);
    let last = from_bob.last().unwrap();
    alice.expect("message", |event| event["text"] == last.as_str());
    println!(
        "{MANY} messages each way in plain mode: {:?}",
        begin.elapsed()
    );
    assert_eq!(heard_from(&alice, "bob"), from_bob);
    bob.close_stdin();
    let shown: Vec<String> = from_alice
        .iter()
        .map(|text| format!("alice: {text}"))
        .collect();
    assert_eq!(bob.ends_with(0).out, shown);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}

#[test]
fn windows_listens_and_long_texts_arrive_whole() {
    let mut bob = windows_named("bob").with(&["--stay"]).peer();
    let mut alice = Run::named("alice").to(&bob).peer();
    up(&alice, &bob);
    let long = "ü\n😀\t".repeat(65_536 / 8);
    assert_eq!(long.len(), 65_536);
    alice.send(json!({"type": "send", "text": long}));
    bob.hears(&alice, &long);
    bob.send(json!({"type": "send", "text": long}));
    alice.hears(&bob, &long);
    let words = |peer: &Peer| peer.every("peer_up")[0]["sas"].clone();
    assert_eq!(words(&alice), words(&bob));
}

#[test]
fn two_windows_runs_meet() {
    let mut alice = windows_named("alice").peer();
    let mut bob = windows_named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.say("hello");
    alice.hears(&bob, "hello");
    bob.quits_with(0);
    // Nobody is left.
    assert_eq!(
        alice.process.ends_with(0).out.last().unwrap()["reason"],
        "goodbye"
    );
}

#[test]
fn one_line_by_pipe_is_delivered() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let ended = windows().to(&alice).pipe(b"backup finished");
    assert_eq!(ended.status, 0, "{ended:?}");
    alice.expect("message", |event| event["text"] == "backup finished");
}
