//! The rights that the process has given up, and its work, which it can still do.
#![cfg(target_os = "linux")]

use serde_json::json;

use super::helper::{Peer, Run, up};

/// A line of the kernel's report about a process.
fn status(peer: &Peer, field: &str) -> String {
    let path = format!("/proc/{}/status", peer.process.pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.map_or_else(String::new, |rest| {
        rest.trim_matches([':', '\t']).to_owned()
    })
}

#[test]
fn seventeen_panics_add_no_layer_and_lose_none() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let filters = status(&alice, "Seccomp_filters");
    for _ in 0..17 {
        assert_eq!(status(&alice, "NoNewPrivs"), "1");
        assert_eq!(status(&alice, "Seccomp"), "2", "system calls are filtered");
        assert_eq!(status(&alice, "Seccomp_filters"), filters);
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
    }
    assert_eq!(status(&alice, "Seccomp_filters"), filters);
    // It still resolves names, meets peers and saves its own name.
    let mut bob = Run::named("bob").peer();
    let connect = json!({"type": "connect", "addr": format!("localhost:{}", bob.port())});
    alice.send(connect);
    up(&alice, &bob);
    bob.say("here");
    alice.hears(&bob, "here");
    alice.send(json!({"type": "name", "name": "Alix"}));
    bob.expect("peer_name", |event| event["name"] == "Alix");
    assert_eq!(alice.quit().status, 0);
    assert_eq!(alice.place().written(), ["config/sesame/saved/name"]);
}

#[test]
fn unknown_name_is_answered_as_before() {
    let alice = Run::named("alice").with(&["--stay", "-v", "-p", "nonexistent.invalid"]);
    let alice = alice.peer();
    alice.process.told("nonexistent.invalid");
    alice.process.told("the sandbox (Landlock) blocks files");
}
