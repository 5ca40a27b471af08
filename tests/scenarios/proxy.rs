//! Dials through a proxy (`--proxy`), with a proxy of the test's own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::json;

use super::helper::{Door, Manner, Peer, Run, Socks, seen, up};

/// A run that dials this address through the proxy.
fn proxied(socks: &Socks, name: &str, addr: &str) -> Run {
    let run = Run::named(name).listening(&["--port", "0"]);
    run.with(&["--proxy", &socks.url()]).dials(addr)
}

/// Alice, whom the proxy finds under a name.
fn alice(socks: &Socks) -> Peer {
    let alice = Run::named("alice").peer();
    socks.knows("alice.test", &alice.addr());
    alice
}

fn users(socks: &Socks) -> Vec<String> {
    socks.asked().into_iter().map(|asked| asked.user).collect()
}

#[test]
fn names_go_to_the_proxy_as_they_are_each_under_a_user_of_its_own() {
    let socks = Socks::new();
    let alice = alice(&socks);
    let carol = Run::named("carol").phrase("another phrase").peer();
    socks.knows("carol.onion", &carol.addr());
    let mut bob = proxied(&socks, "bob", "alice.test:9000")
        .with(&[
            "-p",
            "carol.onion:9001",
            "-p",
            "[::1]:1",
            "--min-peers",
            "1",
        ])
        .peer();
    up(&alice, &bob);
    bob.say("through it");
    alice.hears(&bob, "through it");
    // The other addresses are dialled again and again.
    seen("a repeated dial", || {
        (socks.asked().len() > 5).then_some(())
    });
    let asked = socks.asked();
    for target in ["alice.test:9000", "carol.onion:9001", "[::1]:1"] {
        assert!(asked.iter().any(|it| it.target == target), "{asked:?}");
    }
    let different: BTreeSet<_> = asked.iter().map(|it| &it.user).collect();
    assert_eq!(different.len(), asked.len(), "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|it| it.user.len() == 32 && it.user != it.password)
    );
}

#[test]
fn it_listens_on_this_computer_only_and_tells_nobody() {
    let socks = Socks::new();
    let alice = alice(&socks);
    let bob = proxied(&socks, "bob", "alice.test:9000").peer();
    up(&alice, &bob);
    for addr in bob.listens() {
        let addr: SocketAddr = addr.parse().unwrap();
        assert!(addr.ip().is_loopback(), "{addr}");
    }
    // Dave learns of bob from alice, without an address.
    let mut dave = Run::named("dave").to(&alice).peer();
    up(&dave, &alice);
    let known = seen("what dave knows of bob", || {
        let peers = dave.ask("peers");
        let mut known = peers["peers"].as_array().unwrap().iter();
        known.find(|peer| peer["peer"] == bob.id()).cloned()
    });
    assert_eq!(known["state"], "known", "{known}");
}

#[test]
fn address_that_is_advertised_is_told() {
    let socks = Socks::new();
    let alice = alice(&socks);
    let bob = proxied(&socks, "bob", "alice.test:9000")
        .with(&["--advertise", "bob.onion:9000"])
        .peer();
    socks.knows("bob.onion", &bob.addr());
    up(&alice, &bob);
    // Alice has no proxy, and cannot dial it; eve has one.
    let eve = proxied(&socks, "eve", "bob.onion:9000").peer();
    up(&eve, &bob);
}

#[test]
fn proxied_peers_find_onion_services_by_gossip() {
    let socks = Socks::new();
    let hub = Run::named("hub")
        .listening(&["--port", "0"])
        .with(&["--proxy", &socks.url(), "--advertise", "hub.onion:9000"])
        .peer();
    socks.knows("hub.onion", &hub.addr());
    let members: Vec<Peer> = ["one", "two"]
        .map(|name| {
            let onion = format!("{name}.onion");
            let member = proxied(&socks, name, "hub.onion:9000")
                .with(&["--advertise", &format!("{onion}:9000")])
                .peer();
            socks.knows(&onion, &member.addr());
            up(&hub, &member);
            member
        })
        .into();
    up(&members[0], &members[1]);
}

#[test]
fn each_fault_of_the_proxy_has_its_line() {
    let socks = Socks::new();
    for (manner, line) in [
        (Manner::Refuses(1), "could not connect"),
        (Manner::Refuses(2), "rules do not allow"),
        (Manner::Refuses(3), "no route to that network"),
        (Manner::Refuses(4), "cannot reach this host"),
        (Manner::Refuses(5), "connection refused"),
        (Manner::Refuses(6), "no answer from this host"),
        (Manner::Refuses(7), "does not make connections"),
        (Manner::Refuses(8), "this kind of address"),
        (Manner::Refuses(0x5b), "the code 0x5b"),
        (
            Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "does not speak SOCKS5",
        ),
        (Manner::Closes, "without an answer"),
    ] {
        socks.behaves(manner.clone());
        let bob = proxied(&socks, "bob", "alice.test:9000").peer();
        let told = bob.process.told("cannot reach alice.test:9000");
        assert!(told.contains(line), "{manner:?}: {told}");
    }
}

#[test]
fn proxy_that_is_not_there_is_named_and_asked_again() {
    let mut socks = Socks::new();
    let alice = alice(&socks);
    socks.dies();
    let bob = proxied(&socks, "bob", "alice.test:9000").peer();
    let told = bob.process.told("cannot reach alice.test:9000");
    let place = format!("no connection to the proxy at {}", socks.addr());
    assert!(told.contains(&place), "{told}");
    socks.starts_again();
    up(&alice, &bob);
    // Links end with it, and come back with it.
    socks.dies();
    bob.expect("peer_down", |event| event["peer"] == alice.id());
    socks.starts_again();
    bob.expect("peer_up", |event| event["resumed"] == true);
}

#[test]
fn proxy_that_hangs_delays_no_end() {
    let socks = Socks::new();
    socks.behaves(Manner::Hangs);
    let mut bob = proxied(&socks, "bob", "alice.test:9000").peer();
    bob.send(json!({"type": "quit"}));
    bob.process.ends();
}

#[test]
fn user_of_the_url_is_used_as_it_is() {
    let socks = Socks::new();
    socks.lets_in(Door::Only("me", "pass:word"));
    let alice = alice(&socks);
    let url = socks.url_of("me", "pass%3Aword");
    let bob = Run::named("bob")
        .with(&["-v", "--proxy", &url, "-p", "alice.test:9000"])
        .peer();
    up(&alice, &bob);
    assert_eq!(users(&socks), ["me"]);
    bob.process.told("--proxy names a user");
}

#[test]
fn login_that_fails_is_reported() {
    let socks = Socks::new();
    socks.lets_in(Door::Only("me", "word"));
    let wrong = socks.url_of("me", "wrong");
    for (url, line) in [
        (wrong, "refused the user name"),
        (socks.url(), "wants a user name and a password"),
    ] {
        let bob = Run::named("bob")
            .with(&["--proxy", &url, "-p", "alice.test:9000"])
            .peer();
        let told = bob.process.told("cannot reach alice.test:9000");
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn proxy_that_takes_no_random_user_is_asked_without() {
    for door in [Door::NoLogin, Door::OnlyOrNone("me", "word")] {
        let socks = Socks::new();
        socks.lets_in(door);
        let alice = alice(&socks);
        let bob = proxied(&socks, "bob", "alice.test:9000").peer();
        up(&alice, &bob);
        assert_eq!(users(&socks), [""]);
    }
}

#[test]
fn panic_keeps_the_proxy() {
    let socks = Socks::new();
    socks.lets_in(Door::Only("me", "word"));
    let alice = alice(&socks);
    let url = socks.url_of("me", "word");
    let mut bob = Run::named("bob")
        .listening(&["--port", "0"])
        .with(&["--proxy", &url, "-p", "alice.test:9000"])
        .peer();
    up(&alice, &bob);
    let before = socks.asked().len();
    bob.send(json!({"type": "panic"}));
    bob.expect("panicked", |_| true);
    let ready = bob.expect("ready", |_| true);
    for addr in ready["listen"].as_array().unwrap() {
        let addr: SocketAddr = addr.as_str().unwrap().parse().unwrap();
        assert!(addr.ip().is_loopback());
    }
    bob.send(json!({"type": "connect", "addr": "alice.test:9000"}));
    bob.expect("peer_up", |event| event["peer"] == alice.id());
    assert!(socks.asked().len() > before);
}

#[test]
fn what_does_not_go_with_a_proxy_is_wrong_usage() {
    for (args, line) in [
        (
            &["--proxy", "socks5://127.0.0.1:1", "--listen", "0.0.0.0"][..],
            "with --proxy sesame does not listen on 0.0.0.0",
        ),
        (
            &["--proxy", "http://127.0.0.1:1"],
            "expected socks5://HOST:PORT",
        ),
        (
            &["--proxy", "socks5://tor.example:1"],
            "must be an IP address or localhost",
        ),
        (&["--proxy", "socks5://127.0.0.1"], "PORT is missing"),
        (
            &["--proxy", "socks5://me:@127.0.0.1:1"],
            "expected USER:PASS",
        ),
        (&["-p", "abc.onion"], "an onion service needs --proxy"),
    ] {
        let ended = Run::new().listening(&[]).with(args).pipe(b"");
        assert_eq!(ended.status, 2, "{args:?}");
        let error = ended.err.join("\n");
        assert!(error.contains(line), "{args:?}: {error}");
        assert!(
            !error.contains("//me"),
            "no part of a login is shown: {error}"
        );
    }
}
