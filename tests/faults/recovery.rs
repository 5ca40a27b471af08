//! All faults at once, and how soon the mesh recovers.

use std::time::{Duration, Instant};

use super::helper::{Net, Peer, lasting, pair, texts};

const CUT: Duration = Duration::from_secs(4);

/// The time from this moment to the first message.
fn next_message(peer: &Peer, since: Instant) -> Duration {
    peer.expect_after(since, "message").0 - since
}

/// A cell holds one text of this length and no second one, so that the link is busy all the time.
const LENGTH: usize = 800;

#[test]
fn two_thousand_messages_each_way_survive_loss_cuts_and_resets() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--cover", "20"]);
    net.narrow("20mbit");
    net.lose(5);
    let (hers, his) = (texts("a", 2000, LENGTH), texts("b", 2000, LENGTH));
    alice.say_all(&hers);
    bob.say_all(&his);
    let mut waits = Vec::new();
    for (at, fault) in [
        (100, "cut"),
        (450, "reset"),
        (800, "cut"),
        (1150, "reset"),
        (1500, "cut"),
    ] {
        bob.hears(&alice, &hers[at]);
        alice.hears(&bob, &his[at]);
        if fault == "cut" {
            net.cut(true);
            lasting(CUT);
            let since = net.cut(false);
            waits.extend([next_message(&alice, since), next_message(&bob, since)]);
        } else {
            net.reset(&[&alice, &bob]);
        }
    }
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
    waits.sort_unstable();
    let median = (waits[2] + waits[3]) / 2;
    println!("from the cable's return to the next message: {waits:?}, median {median:?}");
    for peer in [&alice, &bob] {
        let down = peer.every("peer_down");
        let dead = down.iter().filter(|event| event["reason"] == "timeout");
        assert_eq!(dead.count(), 0, "each cut is shorter than the timeout");
    }
}
