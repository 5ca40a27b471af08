//! Circuits: two peers that listen nowhere, and a third one that both dial.

use serde_json::{Value, json};

use super::helper::{Peer, Run, up};

/// One that dials the relay and that nobody can dial.
fn dials(relay: &Peer, name: &str) -> Run {
    let run = Run::named(name).listening(&["--no-listen"]);
    run.dials(&relay.addr())
}

#[test]
fn two_that_nobody_can_dial_talk_over_a_third() {
    let mut carol = Run::named("carol").peer();
    let mut alice = dials(&carol, "alice").peer();
    let mut bob = dials(&carol, "bob").peer();
    up(&alice, &bob);
    assert_eq!(alice.entry_of(&bob)["via"], carol.id());
    assert_eq!(bob.entry_of(&alice)["via"], carol.id());
    assert_eq!(alice.words_with(&bob), bob.words_with(&alice));

    alice.say("over carol");
    bob.hears(&alice, "over carol");
    let long = "x".repeat(3000);
    bob.send(json!({"type": "send", "text": long, "to": [alice.id()]}));
    alice.hears(&bob, &long);
    let stats = carol.ask("stats");
    for link in stats["links"].as_array().unwrap() {
        assert_eq!(link["carried_circuits"], 1, "{link}");
        assert!(link["carried_bytes"].as_u64() > Some(1046), "{link}");
    }
    assert!(
        carol
            .every("message")
            .iter()
            .all(|event| event["text"] != long)
    );

    alice.quit();
    let goodbye = |event: &Value| event["peer"] == alice.id() && event["reason"] == "goodbye";
    for peer in [&bob, &carol] {
        peer.expect("peer_down", goodbye);
    }
}

#[test]
fn line_about_a_peer_names_the_relay() {
    let carol = Run::named("carol").peer();
    let _alice = dials(&carol, "alice").peer();
    let mut bob = dials(&carol, "bob").with(&["--min-peers", "2"]).plain();
    bob.told("alice is here via carol (");
    bob.write(b"/peers\n");
    bob.told("up via carol");
}

#[test]
fn a_panic_and_a_new_identity_lead_to_a_new_circuit() {
    let carol = Run::named("carol").peer();
    let mut alice = dials(&carol, "alice").peer();
    let mut bob = dials(&carol, "bob").peer();
    up(&alice, &bob);
    bob.send(json!({"type": "panic"}));
    bob.begins_anew();
    bob.send(json!({"type": "connect", "addr": carol.addr()}));
    up(&alice, &bob);
    assert_eq!(bob.entry_of(&alice)["via"], carol.id());
    alice.say("to the new one");
    bob.hears(&alice, "to the new one");
}
