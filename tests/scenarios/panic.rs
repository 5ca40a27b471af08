//! `/panic`: the same process continues under an identity that no peer knows.

use nix::sys::signal::Signal;
use serde_json::json;

use super::helper::{Peer, Run, Running, pair, readable, schema, seen, skip, up};

/// After a panic no peer is known; a peer that connects meets a new one, without a name.
fn meets_again(alice: &mut Peer, before: &str) {
    assert_ne!(alice.id(), before);
    assert_eq!(alice.ready()["name"], json!(null));
    assert_eq!(alice.ask("peers")["peers"], json!([]));
    let mut carol = Run::named("carol").to(alice).peer();
    let met = carol.expect("peer_up", |_| true);
    assert_eq!(
        (&met["peer"], &met["name"]),
        (&json!(alice.id()), &json!(null))
    );
    alice.expect("peer_up", |event| event["peer"] == carol.id());
    carol.say("who are you?");
    alice.hears(&carol, "who are you?");
    alice.say("nobody");
    carol.hears(alice, "nobody");
}

fn panicked(alice: &mut Peer, bob: &Peer) {
    let (pid, before, listens) = (alice.process.pid(), alice.id(), alice.listens());
    alice.begins_anew();
    assert_eq!(alice.process.pid(), pid);
    assert_eq!(
        alice.listens(),
        listens,
        "the listeners keep their addresses"
    );
    let down = bob.expect("peer_down", |event| event["peer"] == before);
    assert_eq!(down["reason"], "lost", "a panic says no goodbye");
    meets_again(alice, &before);
}

#[test]
fn a_panic_in_json_is_a_new_identity_in_the_same_process() {
    let (mut alice, bob) = pair();
    alice.send(json!({"type": "panic", "ref": "p"}));
    panicked(&mut alice, &bob);
    let order: Vec<_> = alice
        .process
        .out
        .all()
        .iter()
        .filter_map(|event| event["type"].as_str().map(str::to_owned))
        .filter(|kind| kind == "ready" || kind == "panicked")
        .collect();
    assert_eq!(order, ["ready", "panicked", "ready"]);
}

/// Nobody can reach it any more, which would be wrong usage of a run that begins.
#[test]
fn panic_of_a_literal_run_that_only_dials_goes_on() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob")
        .listening(&["--no-listen"])
        .with(&["--literal"])
        .to(&alice)
        .plain();
    bob.told("* alice is here (");
    alice.expect("peer_up", |event| event["name"] == "bob");
    bob.signal(Signal::SIGUSR1);
    let down = alice.expect("peer_down", |event| event["name"] == "bob");
    assert_eq!(down["reason"], "lost");
    bob.told("* you are ");
    bob.told("* you are ");
    bob.close_stdin();
    bob.ends_with(0);
}

#[test]
fn slash_panic_and_sigusr1_are_the_same() {
    let (mut alice, bob) = pair();
    alice.process.write(b"/panic\n");
    panicked(&mut alice, &bob);
    let (mut alice, bob) = pair();
    alice.signal(Signal::SIGUSR1);
    panicked(&mut alice, &bob);
}

#[test]
fn old_peer_finds_the_new_identity_by_itself() {
    let (mut alice, bob) = pair();
    let before = alice.id();
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    bob.expect("peer_down", |event| event["peer"] == before);
    // Bob keeps dialling the address that he was given, and meets a new peer there.
    up(&alice, &bob);
}

#[test]
fn input_behind_a_panic_is_still_read() {
    let (mut alice, bob) = pair();
    let connect = json!({"type": "connect", "addr": bob.addr()});
    let send = json!({"type": "send", "text": "from before and after", "ref": "kept"});
    alice
        .process
        .write(format!("{{\"type\":\"panic\"}}\n{connect}\n{send}\n{{\"type\":\"who").as_bytes());
    alice.begins_anew();
    up(&alice, &bob);
    bob.hears(&alice, "from before and after");
    alice.expect("done", |event| event["ref"] == "kept");
    // But a line whose beginning has been read is dropped to its end.
    for part in ["ami\",\"ref\":7", "}", "\n"] {
        alice.process.write(part.as_bytes());
    }
    alice.settles();
    let refers = |event: &serde_json::Value| event["ref"] == 7 || event["type"] == "error";
    assert!(!alice.process.out.all().iter().any(refers));
    assert_eq!(alice.quit().status, 0);
}

#[test]
fn owed_message_is_forgotten_at_a_panic_and_counts() {
    let alice = Run::named("alice").with(&["--ack", "--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.say("owed");
    alice.hears(&bob, "owed");
    bob.send(json!({"type": "panic", "ref": "p"}));
    let panicked = bob.expect("panicked", |_| true);
    assert_eq!(panicked["ref"], "p", "{panicked}");
    bob.expect("ready", |_| true);
    let ended = bob.quit();
    assert_eq!(ended.status, 3);
    assert!(
        ended.err.iter().all(|line| !line.contains("alice")),
        "{ended:?}"
    );
    // The final event of the message is its own, or that of the panic.
    let last = ended
        .out
        .iter()
        .position(|event| event["type"] == "panicked")
        .unwrap();
    let mut done = ended.out.iter().filter(|event| event["type"] == "done");
    // On a busy machine it may come too late to be written at all.
    if let Some(done) = done.next() {
        assert!(ended.out[..last].contains(done), "{ended:?}");
        let forgot = json!([{"peer": alice.id(), "reason": "panic"}]);
        assert_eq!(done["undelivered"], forgot);
    }
    assert_eq!(done.next(), None);
}

#[test]
fn message_not_yet_sent_is_forgotten_and_counts() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let ended = Run::named("bob").to(&alice).pipe(b"hello\n/panic\n");
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(
        ended.err.iter().all(|line| !line.contains("hello")),
        "{ended:?}"
    );
    // No peer was ever there, and the wait for one was on.
    let ended = Run::named("bob").pipe(b"hello\n/panic\n");
    assert_eq!(ended.status, 3, "{ended:?}");
    let mut carol = Run::named("carol").peer();
    carol.say("waits for somebody");
    carol.settles();
    carol.send(json!({"type": "panic"}));
    carol.begins_anew();
    assert_eq!(carol.quit().status, 3);
}

#[test]
fn a_panic_without_anything_owed_leaves_a_clean_status() {
    let (mut alice, bob) = pair();
    alice.say("arrives");
    bob.hears(&alice, "arrives");
    alice.expect("done", |_| true);
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    assert_eq!(alice.quit().status, 0);
}

#[test]
fn a_panic_deletes_the_saved_name_and_forgets_the_peers() {
    let (alice, mut bob) = pair();
    bob.send(json!({"type": "name", "name": "robert"}));
    alice.expect("peer_name", |event| event["name"] == "robert");
    seen("the saved name", || {
        (bob.place().written() == ["config/sesame/saved/name"]).then_some(())
    });
    bob.send(json!({"type": "panic"}));
    bob.begins_anew();
    assert_eq!(bob.place().written(), Vec::<String>::new());
    // Bob had dialled alice; now neither knows the other.
    alice.expect("peer_down", |event| event["reason"] == "lost");
    assert_eq!(bob.ask("peers")["peers"], json!([]));
    let whoami = bob.ask("whoami");
    assert_eq!(whoami["name"], json!(null));
}

#[test]
fn the_arguments_of_the_process_are_bare_after_a_panic() {
    let alice = Run::named("alice").peer();
    let mut bob = Run::named("bob")
        .to(&alice)
        .with(&["--cover", "50", "--advertise", "192.0.2.1:9"])
        .peer();
    up(&alice, &bob);
    bob.send(json!({"type": "panic"}));
    bob.begins_anew();
    let path = format!("/proc/{}/cmdline", bob.process.pid());
    if let Ok(line) = std::fs::read(path) {
        let line = String::from_utf8_lossy(&line);
        for gone in ["bob", "192.0.2.1", &alice.addr(), "phrase"] {
            assert!(!line.contains(gone), "{line:?}");
        }
    } else {
        skip("the argument list of a process needs /proc");
    }
}

#[test]
fn panic_after_panic_after_panic() {
    let mut alice = Run::named("alice").peer();
    let pid = alice.process.pid();
    for _ in 0..20 {
        let before = alice.id();
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        assert_ne!(alice.id(), before);
    }
    assert_eq!(alice.process.pid(), pid);
    let before = String::new();
    meets_again(&mut alice, &before);
}

#[test]
fn a_panic_keeps_the_phrase_the_decoy_and_the_timing() {
    let mut one = Run::new().with(&["--decoy", "--cover", "50"]).peer();
    one.send(json!({"type": "panic"}));
    one.begins_anew();
    assert_eq!(one.ready()["decoy"], true);
    let mut other = Run::new()
        .with(&["--decoy", "--cover", "70"])
        .to(&one)
        .peer();
    up(&one, &other);
    assert_eq!(one.ask("stats")["links"][0]["interval_ms"], 50);
    assert_eq!(other.ask("stats")["links"][0]["interval_ms"], 70);
}

#[test]
fn panic_in_plain_mode_is_reported_and_the_run_goes_on() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).plain();
    alice.expect("peer_up", |_| true);
    bob.write(format!("/panic\n/connect {}\nhello again\n", alice.addr()).as_bytes());
    bob.told("sesame has forgotten everything");
    let heard = alice.expect("message", |event| event["text"] == "hello again");
    assert_eq!(heard["name"], json!(null));
    bob.close_stdin();
    assert_eq!(bob.ends().status, 0);
}

#[test]
fn a_panic_with_a_reader_that_reads_nothing_goes_through() {
    use std::io::{BufRead, BufReader, Write};

    let mut alice = Run::named("alice")
        .with(&["--cover", "off", "--stay"])
        .peer();
    let run = Run::named("bob").to(&alice);
    let run = run.with(&["--cover", "off", "--json"]);
    let mut bob = Running::start(run);
    let out = bob.stdout();
    alice.expect("peer_up", |_| true);
    // More than the pipe holds. Either all of it is written at once, so that no message is
    // acknowledged; or the pipe is full of pages that are not full.
    for number in 0..40 {
        alice.say(&format!("{number:04} {}", "x".repeat(4000)));
    }
    seen("a pipe that is full", || {
        (readable(&out) >= 30_000).then_some(())
    });
    let mut stdin = bob.stdin();
    stdin.write_all(b"{\"type\":\"panic\"}\n").unwrap();
    let down = alice.expect("peer_down", |_| true);
    assert_eq!(down["reason"], "lost");
    let lines = BufReader::new(out).lines();
    let kinds: Vec<String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.contains("\"panicked\""))
        .collect();
    assert!(kinds[0].contains("\"ready\""));
    // The line that the panic cut short was ended, and no other is broken.
    let broken = kinds
        .iter()
        .filter(|line| schema::event(line).is_err())
        .count();
    assert!(broken <= 1, "{kinds:#?}");
}

#[test]
fn a_line_begun_before_a_panic_is_dropped_to_its_end() {
    for (args, end) in [(&[][..], "\n"), (&["--null"], "\0")] {
        let alice = Run::named("alice").with(&["--stay"]).peer();
        let mut bob = Run::named("bob")
            .with(args)
            .with(&["--stay"])
            .to(&alice)
            .plain();
        alice.expect("peer_up", |_| true);
        bob.write(format!("whole{end}half").as_bytes());
        alice.expect("message", |event| event["text"] == "whole");
        // Its beginning has been read. The panic comes twice, so that further panics change
        // nothing.
        for _ in 0..2 {
            bob.signal(Signal::SIGUSR1);
            bob.told("sesame has forgotten everything");
            bob.write(b" and more");
        }
        let connect = format!("/connect {}", alice.addr());
        bob.write(format!(" at last{end}{connect}{end}next{end}").as_bytes());
        let heard = alice.expect("message", |event| event["text"] != "whole");
        assert_eq!(heard["text"], "next", "{args:?}");
        bob.close_stdin();
    }
}
