//! Circuits: two hosts between which nothing passes, and others that both reach.

use serde_json::{Value, json};

use super::helper::{Net, Peer, up};

/// Hosts: two members that both reach everybody, and two that do not reach each other.
const CAROL: usize = 0;
const ALICE: usize = 1;
const BOB: usize = 2;
const DAVE: usize = 3;

fn divided() -> Option<Net> {
    let net = Net::of(4)?;
    net.part(ALICE, BOB);
    Some(net)
}

fn member(net: &Net, host: usize, name: &str, args: &[&str]) -> Peer {
    net.run(host, name)
        .with(args)
        .dials(&net.addr(CAROL))
        .peer()
}

fn talk(one: &mut Peer, other: &mut Peer, text: &str) {
    one.say(&format!("{text} there"));
    other.hears(one, &format!("{text} there"));
    other.say(&format!("{text} back"));
    one.hears(other, &format!("{text} back"));
}

#[test]
fn peers_that_cannot_reach_each_other_talk_over_a_third_and_then_directly() {
    let Some(net) = divided() else { return };
    let mut carol = net.run(CAROL, "carol").peer();
    let mut alice = member(&net, ALICE, "alice", &[]);
    let mut bob = member(&net, BOB, "bob", &[]);
    up(&alice, &bob);
    for entry in [alice.entry_of(&bob), bob.entry_of(&alice)] {
        assert_eq!(entry["state"], "up");
        assert_eq!(entry["via"], carol.id());
    }
    assert_eq!(alice.words_with(&bob), bob.words_with(&alice));
    talk(&mut alice, &mut bob, "over carol");
    let stats = carol.ask("stats");
    for link in stats["links"].as_array().unwrap() {
        assert_eq!(link["carried_circuits"], 1, "{link}");
        assert!(link["carried_bytes"].as_u64().unwrap() > 1046, "{link}");
    }
    let long = "x".repeat(3000);
    alice.say(&long);
    net.reunite();
    up(&alice, &bob);
    for entry in [alice.entry_of(&bob), bob.entry_of(&alice)] {
        assert_eq!(entry["via"], Value::Null);
    }
    bob.hears(&alice, &long);
    talk(&mut alice, &mut bob, "directly");
    alice.quit();
    let goodbye = |event: &Value| event["peer"] == alice.id() && event["reason"] == "goodbye";
    bob.expect("peer_down", goodbye);
    drop(carol);
}

#[test]
fn another_relay_takes_over_and_a_goodbye_arrives() {
    let Some(net) = divided() else { return };
    let mut carol = net.run(CAROL, "carol").peer();
    let mut alice = member(&net, ALICE, "alice", &[]);
    let mut bob = member(&net, BOB, "bob", &[]);
    up(&alice, &bob);
    let dave = member(&net, DAVE, "dave", &[]);
    up(&dave, &alice);
    up(&dave, &bob);
    talk(&mut alice, &mut bob, "over carol");
    carol.quit();
    up(&alice, &bob);
    assert_eq!(alice.entry_of(&bob)["via"], json!(dave.id()));
    talk(&mut alice, &mut bob, "over dave");
    alice.quit();
    let goodbye = |event: &Value| event["peer"] == alice.id() && event["reason"] == "goodbye";
    bob.expect("peer_down", goodbye);
}

#[test]
fn who_carries_nothing_is_not_asked() {
    let Some(net) = divided() else { return };
    let mut carol = net.run(CAROL, "carol").with(&["--no-carry"]).peer();
    let mut alice = member(&net, ALICE, "alice", &[]);
    let bob = member(&net, BOB, "bob", &[]);
    let dave = member(&net, DAVE, "dave", &[]);
    up(&dave, &alice);
    up(&dave, &bob);
    up(&alice, &bob);
    assert_eq!(alice.entry_of(&bob)["via"], json!(dave.id()));
    let stats = carol.ask("stats");
    for link in stats["links"].as_array().unwrap() {
        assert_eq!(link["carried_circuits"], 0, "{link}");
    }
}
