//! What a run tells while it waits: for acknowledgements, and for somebody to answer.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::helper::{Run, nobody, pair, up};

#[test]
fn pending_counts_what_a_peer_has_not_acknowledged() {
    let (mut alice, bob) = pair();
    bob.signal(Signal::SIGSTOP);
    alice.send(json!({"type": "send", "text": "one"}));
    alice.send(json!({"type": "send", "text": "three"}));
    for _ in 0..2 {
        alice.expect("queued", |_| true);
    }
    let pending = alice.ask("pending");
    let peers = pending["peers"].as_array().unwrap();
    let count = |field: &str| peers[0][field].as_u64();
    assert_eq!(
        (peers.len(), count("messages"), count("bytes")),
        (1, Some(2), Some(8))
    );
    assert_eq!(
        (&peers[0]["peer"], &peers[0]["name"]),
        (&json!(bob.id()), &json!("bob"))
    );
    bob.signal(Signal::SIGCONT);
    for _ in 0..2 {
        alice.expect("done", |_| true);
    }
    assert_eq!(alice.ask("pending")["peers"], json!([]));
}

/// The entries of `peers` without a peer, once a dial of the first has failed.
fn unanswered(asking: &mut super::helper::Peer) -> Vec<Value> {
    loop {
        let all = asking.ask("peers")["peers"].as_array().unwrap().clone();
        let without: Vec<_> = all.into_iter().filter(|it| it["peer"].is_null()).collect();
        if without.first().is_none_or(|it| !it["error"].is_null()) {
            return without;
        }
    }
}

#[test]
fn address_without_an_answer_is_listed_with_the_reason() {
    let nobody = nobody();
    let mut alice = Run::named("alice").with(&["-p", &nobody]).peer();
    let listed = unanswered(&mut alice);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let fields = ["name", "addr", "state", "via", "error"].map(|field| listed[0][field].clone());
    let expected = json!([
        null,
        nobody,
        "dialing",
        null,
        "connection refused: nothing listens there"
    ]);
    assert_eq!(json!(fields), expected);
}

#[test]
fn address_with_an_answer_is_listed_as_its_peer() {
    let bob = Run::named("bob").peer();
    let mut alice = Run::named("alice").to(&bob).peer();
    up(&alice, &bob);
    assert_eq!(unanswered(&mut alice), [] as [Value; 0]);
}

#[test]
fn own_address_is_reported_as_this_sesame() {
    let mut alice = Run::named("alice").peer();
    let own = alice.addr();
    alice.send(json!({"type": "connect", "addr": own}));
    alice.process.told("is this sesame itself");
    let listed = unanswered(&mut alice);
    assert_eq!(listed[0]["error"], "this sesame itself");
}

#[test]
fn end_of_input_names_whom_it_waits_for() {
    let bob = Run::named("bob").with(&["--stay"]).peer();
    let mut job = Run::named("job").to(&bob).plain();
    job.told("bob is here");
    bob.signal(Signal::SIGSTOP);
    job.write(b"one\ntwo\n");
    job.close_stdin();
    let line = job.told("waiting for");
    let limit = line.strip_prefix("* waiting for bob: 2 messages, up to ");
    let limit = limit.and_then(|rest| rest.strip_suffix(" s"));
    assert!(
        limit.is_some_and(|limit| limit.parse::<u8>().is_ok()),
        "{line}"
    );
    bob.signal(Signal::SIGCONT);
    job.ends_with(0);
}
