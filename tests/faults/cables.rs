//! Cables that are pulled and put back, and connections that are reset.

use std::time::Duration;

use super::helper::{Net, Peer, lasting, pair, texts};

/// Whether any link was found dead.
fn found_dead(peer: &Peer) -> bool {
    let down = peer.every("peer_down");
    down.iter().any(|event| event["reason"] == "timeout")
}

#[test]
fn cable_out_for_less_than_the_timeout_costs_only_time() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "20"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    net.pull(0);
    alice.say_all(&hers);
    bob.say_all(&his);
    lasting(Duration::from_secs(3));
    net.plug(0);
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
    assert!(!found_dead(&alice) && !found_dead(&bob));
}

#[test]
fn cable_out_beyond_the_timeout_is_reported_and_mended() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    net.pull(1);
    alice.say_all(&hers);
    for (peer, other) in [(&alice, &bob), (&bob, &alice)] {
        let down = peer.expect("peer_down", |event| event["peer"] == other.id());
        assert_eq!(down["reason"], "timeout");
        assert_eq!(down["retrying"], true);
    }
    // Messages to a peer that is away and will come back.
    bob.say_all(&his);
    net.plug(1);
    for (peer, other) in [(&alice, &bob), (&bob, &alice)] {
        peer.expect("peer_up", |event| {
            event["peer"] == other.id() && event["resumed"] == true
        });
    }
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
}

#[test]
fn an_interface_that_goes_down_and_up_again_takes_nothing_with_it() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    // Here the system itself reports that there is no route.
    net.radio(1, false);
    bob.say_all(&his);
    alice.say_all(&hers);
    bob.expect("peer_down", |event| event["peer"] == alice.id());
    net.radio(1, true);
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
}

#[test]
fn connections_reset_again_and_again_lose_and_double_nothing() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--cover", "20"]);
    let (hers, his) = (texts("a", 400, 800), texts("b", 400, 800));
    alice.say_all(&hers);
    bob.say_all(&his);
    for at in [50, 150, 250] {
        alice.hears(&bob, &his[at]);
        bob.hears(&alice, &hers[at]);
        net.reset(&[&alice, &bob]);
    }
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
}
