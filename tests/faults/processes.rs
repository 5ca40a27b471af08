//! Peers that are stopped, continued, killed and restarted.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::helper::{Net, lasting, pair, texts};

#[test]
fn a_peer_stopped_for_a_while_hears_everything_when_it_goes_on() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--cover", "20"]);
    let hers = texts("a", 100, 800);
    bob.signal(Signal::SIGSTOP);
    alice.say_all(&hers);
    lasting(Duration::from_secs(2));
    bob.signal(Signal::SIGCONT);
    bob.hears_all(&alice, &hers);
    alice.is_done_with(&hers, &[&bob]);
    bob.say("still here");
    alice.hears(&bob, "still here");
}

#[test]
fn a_peer_stopped_for_longer_than_the_timeout_comes_back_as_itself() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    bob.signal(Signal::SIGSTOP);
    bob.say_all(&his);
    alice.say_all(&hers);
    let down = alice.expect("peer_down", |event| event["peer"] == bob.id());
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("timeout"), &json!(true))
    );
    bob.signal(Signal::SIGCONT);
    alice.expect("peer_up", |event| {
        event["peer"] == bob.id() && event["resumed"] == true
    });
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
}

#[test]
fn peer_killed_and_restarted_is_a_new_peer() {
    let Some(net) = Net::of(2) else { return };
    let bob = net.run(1, "bob").peer();
    let mut alice = net.run(0, "alice").dials(&net.addr(1)).peer();
    alice.expect("peer_up", |event| event["peer"] == bob.id());
    let (old, before) = (bob.id(), texts("before", 10, 10));
    // Stopped first, so that it cannot have received it.
    bob.signal(Signal::SIGSTOP);
    alice.say_all(&before);
    alice.expect("queued", |event| event["ref"] == "before-10");
    bob.signal(Signal::SIGKILL);
    drop(bob);
    let bob = net.run(1, "bob").peer();
    alice.expect("peer_up", |event| {
        event["peer"] == bob.id() && event["resumed"] == false
    });
    for text in &before {
        let done = alice.expect("done", |event| {
            text.starts_with(event["ref"].as_str().unwrap())
        });
        assert_eq!(done["delivered"], json!([]));
        assert_eq!(
            done["undelivered"],
            json!([{"peer": old, "reason": "restarted"}])
        );
    }
    alice.say("after");
    bob.hears_all(&alice, &["after".to_owned()]);
    // Some messages stayed undelivered.
    alice.quits_with(3);
}

/// How many messages of a run the receiver reports as taken over.
const TAKEN: usize = 30;
const SAID: usize = 200;

#[test]
fn killed_receiver_leaves_an_exact_account_in_json() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--cover", "20", "--ack", "--timeout", "3"]);
    let hers = texts("a", SAID, 800);
    alice.say_all(&hers);
    bob.hears(&alice, &hers[2 * TAKEN]);
    bob.send(json!({"type": "ack", "peer": alice.id(), "seq": TAKEN}));
    alice.expect("delivered", |event| event["ref"] == format!("a-{TAKEN}"));
    bob.signal(Signal::SIGKILL);
    alice.process.close_stdin();
    let ended = alice.process.ends_with(3);
    let refs = |kind: &str, fits: fn(&serde_json::Value) -> bool| -> BTreeSet<String> {
        let events = ended.out.iter();
        let fitting = events.filter(|event| event["type"] == kind && fits(event));
        fitting
            .map(|event| event["ref"].as_str().unwrap().to_owned())
            .collect()
    };
    let taken: BTreeSet<_> = (1..=TAKEN).map(|number| format!("a-{number}")).collect();
    let lost: BTreeSet<_> = (TAKEN + 1..=SAID)
        .map(|number| format!("a-{number}"))
        .collect();
    assert_eq!(refs("delivered", |_| true), taken);
    assert_eq!(
        refs("done", |event| event["undelivered"] == json!([])),
        taken
    );
    assert_eq!(
        refs("done", |event| event["undelivered"][0]["reason"]
            == "timeout"),
        lost
    );
    let bye = ended.out.last().unwrap();
    assert_eq!((&bye["type"], &bye["status"]), (&json!("bye"), &json!(3)));
}

#[test]
fn killed_receiver_leaves_an_exact_account_in_plain_mode() {
    let Some(net) = Net::of(2) else { return };
    let mut bob = net
        .run(1, "bob")
        .with(&["--cover", "20", "--ack", "--stay"])
        .peer();
    let job = net.run(0, "job").dials(&net.addr(1));
    let mut job = job.with(&["--cover", "20", "--timeout", "3"]).plain();
    let lines = texts("line", SAID, 800);
    job.write((lines.join("\n") + "\n").as_bytes());
    let heard = bob.expect("message", |event| event["text"] == lines[2 * TAKEN]);
    bob.send(json!({"type": "ack", "peer": heard["peer"], "seq": TAKEN}));
    // An acknowledgement goes ahead of messages: when this message is there, so is the
    // acknowledgement.
    bob.say("taken");
    job.expect("the message", |line| line == "bob: taken");
    bob.signal(Signal::SIGKILL);
    // Its timeout runs from here on.
    job.close_stdin();
    job.told(&format!(
        "! not delivered to bob: timeout: lines {}-{SAID}",
        TAKEN + 1
    ));
    let ended = job.ends_with(3);
    let told = ended
        .err
        .iter()
        .filter(|line| line.contains("not delivered"))
        .count();
    assert_eq!(told, 1, "{:?}", ended.err);
}
