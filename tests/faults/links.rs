//! Networks that are bad all the time.

use super::helper::{Net, Peer, pair, texts, up};

/// A cell holds one text of this length and no second one.
const LENGTH: usize = 800;

/// Three members, each linked to both others; of the last two, each dialled the first.
fn three(net: &Net, args: &[&str]) -> [Peer; 3] {
    let alice = net.run(0, "alice").with(args).peer();
    let [bob, carol] = [("bob", 1), ("carol", 2)]
        .map(|(name, host)| net.run(host, name).with(args).dials(&net.addr(0)).peer());
    up(&alice, &bob);
    up(&alice, &carol);
    up(&bob, &carol);
    [alice, bob, carol]
}

#[test]
fn lost_packets_cost_only_time() {
    let Some(net) = Net::of(3) else { return };
    let mut peers = three(&net, &["--cover", "20"]);
    net.lose(10);
    let said = ["a", "b", "c"].map(|name| texts(name, 100, LENGTH));
    for (peer, texts) in peers.iter_mut().zip(&said) {
        peer.say_all(texts);
    }
    for (speaker, texts) in said.iter().enumerate() {
        let others: Vec<_> = (0..3)
            .filter(|peer| *peer != speaker)
            .map(|peer| &peers[peer])
            .collect();
        for other in &others {
            other.hears_all(&peers[speaker], texts);
        }
        peers[speaker].is_done_with(texts, &others);
    }
}

#[test]
fn link_narrower_than_its_cells_carries_the_messages() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--cover", "20"]);
    // Fifty cells a second would take more than twice as much.
    net.narrow("200kbit");
    let (hers, his) = (texts("a", 100, LENGTH), texts("b", 100, LENGTH));
    alice.say_all(&hers);
    bob.say_all(&his);
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
    for peer in [&alice, &bob] {
        assert_eq!(peer.every("peer_down").len(), 0, "slow is not dead");
    }
}

#[test]
fn two_of_three_lose_sight_of_each_other_and_meet_again() {
    let Some(net) = Net::of(3) else { return };
    let [mut alice, mut bob, carol] = three(&net, &["--inactivity-timeout", "3"]);
    net.part(1, 2);
    bob.expect("peer_down", |event| {
        event["peer"] == carol.id() && event["reason"] == "timeout"
    });
    carol.expect("peer_down", |event| {
        event["peer"] == bob.id() && event["reason"] == "timeout"
    });
    alice.say("from-alice");
    let his = texts("b", 20, LENGTH);
    bob.say_all(&his);
    bob.hears(&alice, "from-alice");
    carol.hears(&alice, "from-alice");
    alice.hears_all(&bob, &his);
    assert_eq!(
        alice.every("peer_down").len(),
        0,
        "she sees both all the time"
    );
    net.reunite();
    carol.hears_all(&bob, &his);
    bob.is_done_with(&his, &[&alice, &carol]);
}

#[test]
fn peer_without_a_cable_does_not_delay_the_others() {
    let Some(net) = Net::of(3) else { return };
    let [mut alice, bob, carol] = three(&net, &["--cover", "20"]);
    let hers = texts("a", 50, LENGTH);
    net.pull(2);
    alice.say_all(&hers);
    bob.hears_all(&alice, &hers);
    assert_eq!(alice.every("done").len(), 0, "carol has not had her say");
    net.plug(2);
    carol.hears_all(&alice, &hers);
    alice.is_done_with(&hers, &[&bob, &carol]);
}
