//! That nothing passes a proxy by: the host of the run can reach all others, and its kernel drops
//! and counts what does not go to the proxy.

use serde_json::json;

use super::helper::{Manner, Net, Peer, Socks, Tor, TorManner, enter, up};

/// Hosts: the run, the proxy, and two members that dial directly. Their addresses count as public,
/// so that gossip of them is taken.
const BOB: usize = 0;
const PROXY: usize = 1;
const ALICE: usize = 2;
const CAROL: usize = 3;

fn public(host: usize) -> String {
    format!("11.99.0.{}", host + 1)
}

struct Scene {
    net: Net,
    socks: Socks,
    alice: Peer,
}

fn scene() -> Option<Scene> {
    let net = Net::of(4)?;
    for host in [BOB, PROXY, ALICE, CAROL] {
        net.readdress(host, &public(host));
    }
    let place = format!("{}:1080", public(PROXY));
    let socks = Socks::within(&place, enter, &net.space(PROXY));
    net.route_everything(BOB, &public(PROXY));
    net.count_what_passes_by(BOB, &place);
    let alice = net.run(ALICE, "alice").peer();
    socks.knows("alice.test", &format!("{}:{}", public(ALICE), alice.port()));
    Some(Scene { net, socks, alice })
}

fn bob(scene: &Scene, args: &[&str]) -> Peer {
    let run = scene
        .net
        .run(BOB, "bob")
        .with(&["--proxy", &scene.socks.url()]);
    run.with(args).peer()
}

/// Dials what nobody has, and waits until that has failed.
fn fails(bob: &mut Peer, addr: &str) {
    bob.send(json!({"type": "connect", "addr": addr}));
    bob.process.told(&format!("cannot reach {addr}"));
}

#[test]
fn nothing_passes_the_proxy_by() {
    let Some(mut scene) = scene() else { return };
    let mut bob = bob(&scene, &["-p", "alice.test"]);
    up(&scene.alice, &bob);
    fails(&mut bob, "nobody.test:9000");
    fails(&mut bob, "nobody.onion:9000");
    // Carol's address comes by gossip, and is a public one.
    let carol = scene.net.run(CAROL, "carol").dials(&public(ALICE)).peer();
    up(&carol, &bob);
    let hers = format!("{}:9000", public(CAROL));
    let asked = scene.socks.asked();
    assert!(asked.iter().any(|asked| asked.target == hers), "{asked:?}");
    bob.say("through it");
    carol.hears(&bob, "through it");

    scene.socks.dies();
    for peer in [&scene.alice, &carol] {
        bob.expect("peer_down", |event| event["peer"] == peer.id());
    }
    fails(&mut bob, "dead.onion:1");
    scene.socks.starts_again();
    for peer in [&scene.alice, &carol] {
        bob.expect("peer_up", |event| event["peer"] == peer.id());
    }

    for (number, manner) in [
        Manner::Refuses(5),
        Manner::Says(b"no proxy at all"),
        Manner::Closes,
    ]
    .into_iter()
    .enumerate()
    {
        scene.socks.behaves(manner);
        scene.socks.cut();
        fails(&mut bob, &format!("other{number}.onion:1"));
    }

    scene.socks.behaves(Manner::Hangs);
    scene.socks.cut();
    bob.send(json!({"type": "panic"}));
    bob.expect("panicked", |_| true);
    bob.expect("ready", |_| true);
    scene.socks.behaves(Manner::Serves);
    bob.send(json!({"type": "connect", "addr": "alice.test"}));
    bob.expect("peer_up", |event| event["peer"] == scene.alice.id());
    fails(&mut bob, "another.test:9000");
    bob.quit();
    assert_eq!(scene.net.counted(BOB), 0);

    // The counter counts.
    let direct = scene
        .net
        .run(BOB, "direct")
        .with(&["-p", &public(ALICE)])
        .peer();
    while scene.net.counted(BOB) == 0 {
        std::thread::yield_now();
    }
    drop(direct);
}

/// The same with `--onion`. Tor is on bob's host, and its own connections are made from another one.
#[test]
fn nothing_passes_tor_by() {
    let Some(net) = Net::of(4) else { return };
    for host in [BOB, PROXY, ALICE, CAROL] {
        net.readdress(host, &public(host));
    }
    let mut tor = Tor::within(enter, &net.space(BOB));
    tor.socks.dials_from(&net.space(PROXY));
    net.route_everything(BOB, &public(PROXY));
    net.count_what_leaves(BOB);
    let alice = net.run(ALICE, "alice").peer();
    let hers = format!("{}:{}", public(ALICE), alice.port());
    tor.socks.knows("alice.test", &hers);
    let mut bob = net
        .run(BOB, "bob")
        .with(&["--onion", &tor.control(), "-p", "alice.test"])
        .peer();
    up(&alice, &bob);
    fails(&mut bob, "nobody.test:9000");
    fails(&mut bob, "nobody.onion:9000");
    let carol = net.run(CAROL, "carol").dials(&public(ALICE)).peer();
    up(&carol, &bob);

    tor.dies();
    bob.process.told("tor has ended the onion service");
    fails(&mut bob, "dead.onion:1");
    tor.behaves(TorManner::Answers("ADD_ONION", "551 Failed"));
    tor.starts_again();
    bob.process.told("did not create the onion service");
    tor.behaves(TorManner::Serves);
    bob.expect("advertised", |_| true);
    for peer in [&alice, &carol] {
        bob.expect("peer_up", |event| event["peer"] == peer.id());
    }

    tor.dies();
    bob.send(json!({"type": "panic"}));
    bob.begins_anew();
    fails(&mut bob, "another.test:9000");
    tor.starts_again();
    bob.expect("advertised", |_| true);
    bob.send(json!({"type": "connect", "addr": "alice.test"}));
    bob.expect("peer_up", |event| event["peer"] == alice.id());
    bob.quit();
    assert_eq!(net.counted(BOB), 0);

    // The counter counts.
    let direct = net.run(BOB, "direct").with(&["-p", &public(ALICE)]).peer();
    while net.counted(BOB) == 0 {
        std::thread::yield_now();
    }
    drop(direct);
}
