//! How long a panic takes. INTERFACE demands 100 ms; on a busy machine a test cannot check that, so
//! the figures are printed. The test fails if a panic has no effect.

use std::time::Instant;

use serde_json::json;

use crate::helper::runs;
use crate::scenario::{Peer, Run};

/// The size of one message; fewer than twenty of them fill the window of every peer.
const SIZE: usize = 60_000;

#[test]
fn a_panic_with_ten_peers_and_full_queues() {
    let peers: Vec<Peer> = (0..10)
        .map(|number| {
            Run::named(&format!("peer {number}"))
                .with(&["--stay"])
                .peer()
        })
        .collect();
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let mut times = Vec::new();
    for _ in 0..runs().max(3) {
        for peer in &peers {
            alice.send(json!({"type": "connect", "addr": peer.addr()}));
        }
        for _ in &peers {
            alice.expect("peer_up", |_| true);
        }
        // The windows hold seventeen, and the read-ahead some more.
        for _ in 0..28 {
            alice.say(&"x".repeat(SIZE));
        }
        for _ in 0..17 {
            alice.expect("queued", |_| true);
        }
        let begun = Instant::now();
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        times.push(begun.elapsed());
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "from /panic to ready, 10 peers, full queues, {} times: median {median:?}, worst {worst:?}",
        times.len()
    );
}
