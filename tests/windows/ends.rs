//! How a run ends, and what its parent learns of it.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::scenario::{PHRASE, Run, Running, nobody, up};
use crate::wine::{windows, windows_named, worker};

#[test]
fn wrong_usage_ends_with_2() {
    let ended = windows().with(&["--nonsense"]).pipe(b"");
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.err[0].contains("--nonsense"), "{ended:?}");
}

#[test]
fn descriptor_of_the_phrase_is_stdin_or_refused() {
    let ended = windows().no_phrase().with(&["--phrase-fd", "3"]).pipe(b"");
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.err[0].contains("use --phrase-file"), "{ended:?}");

    let alice = Run::named("alice").with(&["--stay"]).peer();
    // As PowerShell writes to a pipe: a BOM, and two characters at each line's end.
    let input = format!("\u{feff}{PHRASE}\r\nthe rest\r\n");
    let run = windows().no_phrase().with(&["--phrase-fd", "0"]);
    let ended = run.to(&alice).pipe(input.as_bytes());
    assert_eq!(ended.status, 0, "{ended:?}");
    alice.expect("message", |event| event["text"] == "the rest");
}

#[test]
fn input_in_utf16_ends_with_1() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let text = "\u{feff}hello\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes);
    let ended = windows().to(&alice).pipe(&text.collect::<Vec<u8>>());
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(
        ended.err.iter().any(|line| line.contains("UTF-16")),
        "{ended:?}"
    );
}

#[test]
fn port_in_use_ends_with_1() {
    let alice = Run::named("alice").peer();
    let port = alice.port().to_string();
    let run = windows().listening(&["--listen", "127.0.0.1", "--port", &port]);
    let ended = run.pipe(b"");
    assert_eq!(ended.status, 1, "{ended:?}");
    // Another run on Windows holds it as well.
    let bob = windows().peer();
    let port = bob.port().to_string();
    let run = windows().listening(&["--listen", "127.0.0.1", "--port", &port]);
    let ended = run.pipe(b"");
    assert_eq!(ended.status, 1, "{ended:?}");
    let says = |part: &str| ended.err.iter().any(|line| line.contains(part));
    assert!(
        says("another program uses it") && says("--port"),
        "{ended:?}"
    );
}

#[test]
fn nobody_reached_ends_with_4() {
    let ended = windows()
        .dials(&nobody())
        .with(&["--timeout", "1"])
        .pipe(b"hello\n");
    assert_eq!(ended.status, 4, "{ended:?}");
}

#[test]
fn wrong_phrase_ends_with_5() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let run = windows().phrase("another phrase entirely").to(&alice);
    let ended = run.pipe(b"hello\n");
    assert_eq!(ended.status, 5, "{ended:?}");
    alice.expect("auth_failed", |_| true);
    assert!(alice.every("message").is_empty());
}

#[test]
fn undelivered_message_ends_with_3() {
    let alice = Run::named("alice").peer();
    let mut bob = windows().with(&["--timeout", "1"]).to(&alice).peer();
    up(&alice, &bob);
    alice.signal(Signal::SIGSTOP);
    bob.say("lost");
    let ended = bob.quits_with(3);
    let done = ended.out.iter().find(|event| event["type"] == "done");
    assert_eq!(done.unwrap()["undelivered"][0]["reason"], "timeout");
    alice.signal(Signal::SIGCONT);
}

#[test]
fn ctrl_c_says_goodbye_and_ends_with_130() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = windows_named("bob").to(&alice).with(&["--stay"]).peer();
    up(&alice, &bob);
    // A console gives it to all of its processes.
    for pid in [bob.process.pid(), worker(&bob.place())] {
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGINT).unwrap();
    }
    let ended = bob.process.ends_with(130);
    assert_eq!(ended.out.last().unwrap()["reason"], "signal");
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}

#[test]
fn reader_who_goes_away_is_a_quiet_end() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let run = windows_named("bob").to(&alice).with(&["--json", "--stay"]);
    let mut bob = Running::start_with(run, Stdio::piped(), Stdio::piped());
    let mut events = bob.events();
    assert!(events.any(|event| event["type"] == "peer_up"));
    drop(events);
    // To wine a pipe of Linux does not tell that its reader has gone; the next write does.
    alice.send(json!({"type": "send", "text": "for nobody"}));
    assert_eq!(bob.ends().code(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut bob.stderr(), &mut said).unwrap();
    assert_eq!(said, "");
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}
