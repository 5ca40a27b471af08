//! How runs end, which status the shell gets, and what that means for the remaining peers.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;

use super::helper::{Ended, Peer, Run, Running, corner, mesh, nobody, pair, seen, up};

fn bye(ended: &Ended<serde_json::Value>) -> (String, i64) {
    let last = ended.out.last().unwrap();
    assert_eq!(last["type"], "bye");
    let status = last["status"].as_i64().unwrap();
    assert_eq!(status, i64::from(ended.status));
    (last["reason"].as_str().unwrap().to_owned(), status)
}

#[test]
fn a_pipe_ends_with_0_when_its_line_has_arrived() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let ended = Run::named("job").to(&alice).pipe(b"backup finished\n");
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.out.is_empty());
    let heard = alice.expect("message", |event| event["text"] == "backup finished");
    assert_eq!(heard["name"], "job");
    let down = alice.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("goodbye"), &json!(false))
    );
}

#[test]
fn run_that_reached_no_peer_exits_with_4() {
    let addr = nobody();
    let ended = Run::new()
        .dials(&addr)
        .with(&["--timeout", "2"])
        .pipe(b"hello\nhello?\n");
    assert_eq!(ended.status, 4, "{ended:?}");
    assert!(
        ended.err.iter().any(|line| line.contains(&addr)),
        "{ended:?}"
    );
    let lost: Vec<_> = ended
        .err
        .iter()
        .filter(|line| line.contains("lines 1-2"))
        .collect();
    assert_eq!(lost.len(), 1, "{ended:?}");
    assert!(
        ended.err.iter().all(|line| !line.contains("hello")),
        "{ended:?}"
    );
}

#[test]
fn run_without_messages_and_peers_exits_with_0() {
    let run = Run::new().dials(&nobody()).with(&["--timeout", "2"]);
    assert_eq!(run.pipe(b"").status, 0);
}

#[test]
fn unacknowledged_message_is_named_and_exits_with_3() {
    let alice = Run::named("alice").with(&["--ack", "--stay"]).peer();
    let ended = Run::new()
        .to(&alice)
        .with(&["--timeout", "3"])
        .pipe(b"one\ntwo\n");
    assert_eq!(ended.status, 3, "{ended:?}");
    let named = "! not delivered to alice: timeout: lines 1-2";
    assert!(ended.err.iter().any(|line| line == named), "{ended:?}");
}

#[test]
fn a_receiver_that_dies_leaves_it_undelivered() {
    let alice = Run::named("alice").with(&["--ack"]).peer();
    let mut bob = Run::named("bob")
        .to(&alice)
        .with(&["--timeout", "3"])
        .peer();
    up(&alice, &bob);
    bob.say("anybody there?");
    alice.hears(&bob, "anybody there?");
    alice.signal(Signal::SIGKILL);
    let down = bob.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("lost"), &json!(true))
    );
    let ended = bob.quit();
    assert_eq!(bye(&ended), ("quit".into(), 3));
    let done = ended
        .out
        .iter()
        .find(|event| event["type"] == "done")
        .unwrap();
    assert_eq!(
        done["undelivered"],
        json!([{"peer": alice.id(), "reason": "timeout"}])
    );
}

#[test]
fn require_says_how_many_are_enough() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let deaf = Run::named("deaf")
        .to(&alice)
        .with(&["--ack", "--stay"])
        .peer();
    up(&alice, &deaf);
    for (require, status) in [("any", 0), ("1", 0), ("all", 3), ("2", 3)] {
        let run = Run::new()
            .to(&alice)
            .to(&deaf)
            .with(&["--timeout", "3", "--require", require]);
        let ended = run.pipe(b"hello\n");
        assert_eq!(ended.status, status, "{require}: {ended:?}");
    }
}

#[test]
fn goodbye_ends_a_run_without_other_peers() {
    let (mut alice, mut bob) = pair();
    assert_eq!(bye(&alice.quit()), ("quit".into(), 0));
    let down = bob.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("goodbye"), &json!(false))
    );
    let ended = bob.process.ends();
    assert_eq!(bye(&ended), ("goodbye".into(), 0));
}

#[test]
fn goodbye_does_not_end_a_run_with_stay() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    assert_eq!(bob.quit().status, 0);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
    let mut carol = Run::named("carol").to(&alice).peer();
    up(&alice, &carol);
    carol.say("still here?");
    alice.hears(&carol, "still here?");
}

#[test]
fn goodbye_does_not_end_runs_with_other_peers() {
    let mut all = mesh(&["ann", "ben", "cid"]);
    let mut ann = all.remove(0);
    assert_eq!(ann.quit().status, 0);
    for peer in &all {
        peer.expect("peer_down", |event| {
            event["peer"] == ann.id() && event["reason"] == "goodbye"
        });
    }
    all[0].say("and then there were two");
    all[1].hears(&all[0], "and then there were two");
    assert_eq!(all[0].quit().status, 0);
    assert_eq!(bye(&all[1].process.ends()).0, "goodbye");
}

#[test]
fn disconnect_parts_two_that_go_on_until_one_connects_again() {
    let alice = Run::named("alice").with(&["-vv"]).peer();
    let mut bob = Run::named("bob").with(&["-vv"]).to(&alice).peer();
    let mut alice = alice;
    up(&alice, &bob);
    bob.process.write(b"/disconnect alice\n");
    let down = bob.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("local"), &json!(false))
    );
    let down = alice.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("goodbye"), &json!(false))
    );
    for peer in [&mut alice, &mut bob] {
        assert_eq!(peer.ask("peers")["peers"], json!([]));
        assert_eq!(peer.ask("stats")["links"], json!([]));
    }
    // A third peer that knows both does not bring them together, and is linked to both.
    let carol = Run::named("carol").to(&alice).to(&bob).peer();
    up(&alice, &carol);
    up(&bob, &carol);
    alice.say("to carol");
    carol.hears(&alice, "to carol");
    let done = alice.expect("done", |_| true);
    assert_eq!(done["delivered"], json!([carol.id()]));
    bob.process
        .write(format!("/connect {}\n", alice.addr()).as_bytes());
    up(&alice, &bob);
    bob.say("back again");
    alice.hears(&bob, "back again");
    assert_eq!(alice.every("peer_up").len(), 3);
}

#[test]
fn disconnect_of_the_only_peer_does_not_end_it() {
    let (mut alice, mut bob) = pair();
    alice.send(json!({"type": "disconnect", "peer": "bob"}));
    bob.expect("peer_down", |event| event["reason"] == "goodbye");
    alice.expect("peer_down", |event| event["reason"] == "local");
    alice.settles();
    bob.settles();
    bob.say("to nobody");
    bob.send(json!({"type": "connect", "addr": alice.addr()}));
    up(&alice, &bob);
    alice.hears(&bob, "to nobody");
}

#[test]
fn a_signal_is_a_clean_goodbye_and_128_and_its_number() {
    for (signal, status) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let alice = Run::named("alice").with(&["--stay"]).peer();
        let mut bob = Run::named("bob").to(&alice).peer();
        up(&alice, &bob);
        bob.signal(signal);
        let ended = bob.process.ends();
        assert_eq!(bye(&ended), ("signal".into(), status));
        alice.expect("peer_down", |event| event["reason"] == "goodbye");
    }
}

#[test]
fn signal_waits_for_acknowledgements_but_a_second_does_not() {
    let mut alice = Run::named("alice").with(&["--ack", "--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    let mut carol = Run::named("carol").to(&alice).peer();
    up(&alice, &bob);
    up(&alice, &carol);
    up(&bob, &carol);
    bob.send(json!({"type": "send", "text": "owed", "to": ["alice"]}));
    carol.send(json!({"type": "send", "text": "owed too", "to": ["alice"]}));
    alice.hears(&bob, "owed");
    alice.hears(&carol, "owed too");
    bob.signal(Signal::SIGTERM);
    carol.signal(Signal::SIGTERM);
    alice.send(json!({"type": "ack", "peer": bob.id(), "seq": 1}));
    assert_eq!(bye(&bob.process.ends()), ("signal".into(), 143));
    carol.settles();
    carol.signal(Signal::SIGTERM);
    let ended = carol.process.ends();
    assert_eq!(ended.status, 3, "that something is owed comes first");
    let told = "sesame: 1 message was not delivered";
    assert!(ended.err.iter().any(|line| line == told), "{ended:?}");
    assert!(ended.out.last().unwrap()["type"] != "bye", "{ended:?}");
    alice.expect("peer_down", |event| {
        event["peer"] == carol.id() && event["reason"] == "lost"
    });
}

#[test]
fn reader_that_leaves_ends_the_run_quietly() {
    for json in [false, true] {
        let alice = Run::named("alice").with(&["--stay"]).peer();
        let mut run = Run::named("bob").to(&alice);
        if json {
            run = run.with(&["--json"]);
        }
        let mut bob = Running::start_all_piped(run);
        let mut alice = alice;
        alice.expect("peer_up", |_| true);
        alice.say("first line");
        let mut out = BufReader::new(bob.stdout());
        out.read_line(&mut String::new()).unwrap();
        drop(out);
        // It notices without any further message.
        let status = bob.ends();
        assert_eq!(status.code(), Some(0), "{status:?}");
        let mut err = String::new();
        bob.stderr().read_to_string(&mut err).unwrap();
        assert!(err.lines().all(|line| line.starts_with("* ")), "{err}");
        alice.expect("peer_down", |_| true);
    }
}

#[test]
fn a_reader_that_ends_its_part_of_a_pipe_ends_the_writer() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let script = r#"set -o pipefail; tail -f /dev/null --pid=$$ | "$@" | head -1"#;
    let run = run.under_shell("bash", script);
    let mut shell = Running::start(run);
    alice.expect("peer_up", |_| true);
    alice.say("one line is enough");
    let mut line = String::new();
    BufReader::new(shell.stdout()).read_line(&mut line).unwrap();
    assert_eq!(line, "alice: one line is enough\n");
    alice.expect("peer_down", |_| true);
}

#[test]
fn the_end_of_input_ends_it_and_stay_does_not() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    alice.process.close_stdin();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.say("last words");
    alice.hears(&bob, "last words");
    bob.process.close_stdin();
    assert_eq!(bye(&bob.process.ends()), ("eof".into(), 0));
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
    alice.signal(Signal::SIGTERM);
    assert_eq!(alice.process.ends().status, 143);
}

#[test]
fn first_peer_gets_everything_that_was_read_before() {
    let (ip, port) = corner();
    let addr = format!("{ip}:{port}");
    let mut bob = Run::named("bob").dials(&addr).plain();
    bob.write(b"early\nbird\n");
    bob.told(&addr);
    bob.close_stdin();
    let alice = Run::named("alice")
        .listening(&["--listen", &ip, "--port", &port.to_string()])
        .peer();
    for text in ["early", "bird"] {
        alice.expect("message", |event| event["text"] == text);
    }
    assert_eq!(bob.ends().status, 0);
}

#[test]
fn a_peer_that_comes_back_as_another_is_another() {
    let (ip, port) = corner();
    let run = Run::named("alice").listening(&["--listen", &ip, "--port", &port.to_string()]);
    let alice = run.clone().with(&["--ack"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.say("to the first alice");
    alice.hears(&bob, "to the first alice");
    let first = alice.id();
    alice.signal(Signal::SIGKILL);
    bob.expect("peer_down", |event| event["reason"] == "lost");
    drop(alice);
    let alice = run.peer();
    up(&alice, &bob);
    let done = bob.expect("done", |event| event["ref"] == "to the first alice");
    assert_eq!(
        done["undelivered"],
        json!([{"peer": first, "reason": "restarted"}])
    );
    bob.say("to the second");
    alice.hears(&bob, "to the second");
    assert_eq!(alice.every("message").len(), 1);
    assert_eq!(bye(&bob.quit()), ("quit".into(), 3));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_1() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut bob = Running::start_with(run, full.into(), Stdio::piped());
    alice.expect("peer_up", |_| true);
    alice.say("lost on a full disk");
    assert_eq!(bob.ends().code(), Some(1));
    let mut err = String::new();
    bob.stderr().read_to_string(&mut err).unwrap();
    assert!(err.contains("sesame: cannot write to stdout"), "{err}");
    let done = alice.expect("done", |_| true);
    assert_eq!(done["delivered"], json!([]), "it was shown to nobody");
}

#[test]
fn quit_sends_earlier_messages() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob: Peer = Run::named("bob").to(&alice).peer();
    let lines: String = (0..50)
        .map(|n| json!({"type": "send", "text": n.to_string()}).to_string() + "\n")
        .collect();
    bob.process.write((lines + "/quit\n").as_bytes());
    let ended = bob.process.ends();
    assert_eq!(bye(&ended), ("quit".into(), 0));
    alice.expect("peer_down", |_| true);
    assert_eq!(alice.every("message").len(), 50);
}

#[test]
fn no_message_behind_a_quit_is_sent_missed_or_counted() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let bob = Run::named("bob").to(&alice);
    let ended = bob.pipe(b"said\n/quit\nnot said\nnor \xff this\n");
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(!ended.err.join("\n").contains("UTF-8"), "{ended:?}");
    let carol = Run::named("carol").to(&alice).with(&["--json"]);
    let long = json!({"type": "send", "text": "x".repeat(65_537)});
    let lines = format!("{{\"type\":\"quit\"}}\n{long}\n");
    assert_eq!(carol.pipe(lines.as_bytes()).status, 0);
    assert_eq!(alice.every("message").len(), 1);
}

#[test]
fn a_signal_ends_a_run_whose_input_goes_on() {
    let alice = Run::named("alice")
        .with(&["--stay", "--cover", "off"])
        .peer();
    for (name, args) in [
        ("bob", &["--cover", "off"][..]),
        ("carol", &["--cover", "off", "--json"]),
    ] {
        let run = Run::named(name).to(&alice).with(args);
        let mut bob = Running::start(run);
        let mut stdin = bob.stdin();
        // Its output is not read, and the end must not depend on that either.
        let line: &[u8] = match name {
            "bob" => b"on and on\n",
            _ => b"{\"type\":\"send\",\"text\":\"on and on\"}\n",
        };
        let feeding = thread::spawn(move || while stdin.write_all(line).is_ok() {});
        alice.expect("message", |event| event["name"] == name);
        bob.signal(Signal::SIGTERM);
        let status = bob.ends();
        // Input that it had read and not sent counts, if there was any.
        assert!(status.code().is_none_or(|code| code == 3), "{status}");
        feeding.join().unwrap();
        alice.expect("peer_down", |event| event["name"] == name);
    }
}

/// This many lines, each with its number.
fn numbers(count: usize) -> Vec<u8> {
    let lines = (1..=count).map(|number| format!("{number}\n"));
    lines.collect::<String>().into_bytes()
}

/// More messages than one peer may be owed.
const MANY: usize = 12_000;

#[test]
fn more_than_may_be_owed_does_not_keep_a_pipe_from_ending() {
    for end in ["", "/quit\n"] {
        let alice = Run::named("alice").with(&["--stay"]).peer();
        let bob = Run::named("bob").to(&alice);
        let mut bob = bob.with(&["--timeout", "1"]).plain();
        bob.told("alice is here");
        alice.signal(Signal::SIGSTOP);
        bob.write(&[&numbers(MANY)[..], end.as_bytes()].concat());
        if end.is_empty() {
            bob.close_stdin();
        }
        let ended = bob.ends_with(3);
        let err = ended.err.join("\n");
        assert!(err.contains("lines 1-8192"), "{err}");
        assert!(err.contains(&format!("lines 8193-{MANY}")), "{err}");
    }
}

#[test]
fn message_that_waits_at_the_last_goodbye_is_named() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let bob = Run::named("bob").to(&alice);
    let mut bob = bob.with(&["--min-peers", "2"]).plain();
    alice.expect("peer_up", |_| true);
    bob.write(b"deploy\n/whoami\n");
    bob.told("you are bob,");
    alice.quit();
    let ended = bob.ends_with(3);
    assert!(
        ended
            .err
            .join("\n")
            .contains("not sent: the run ended first: line 1"),
        "{ended:?}"
    );
}

#[test]
fn message_that_waits_when_stdout_closes_counts() {
    let run = Run::named("bob").dials(&nobody());
    let mut bob = Running::start_all_piped(run);
    let (mut stdin, stdout) = (bob.stdin(), bob.stdout());
    stdin.write_all(b"said to nobody\n/whoami\n").unwrap();
    let stderr = BufReader::new(bob.stderr());
    let mut lines = stderr.lines().map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains("you are bob,")),
        "it is read"
    );
    drop(stdout);
    assert!(lines.any(|line| line.contains("not sent: nobody is connected: line 1")));
    let status = bob.ends();
    assert_eq!(status.code(), Some(4));
}

#[test]
fn signal_leaves_no_gap_in_the_messages() {
    let cover: &[&str] = &["--cover", "off"];
    let alice = Run::named("alice").with(cover).with(&["--stay"]).peer();
    let mut bob = Run::named("bob").with(cover).to(&alice).plain();
    bob.told("alice is here");
    alice.signal(Signal::SIGSTOP);
    bob.write(&numbers(2 * MANY));
    bob.write(b"/whoami\n");
    bob.told("you are bob,");
    bob.signal(Signal::SIGTERM);
    alice.signal(Signal::SIGCONT);
    let ended = bob.ends_with(3);
    alice.expect("peer_down", |_| true);
    let heard = alice.every("message");
    let heard: Vec<_> = heard
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    let count = heard.len();
    let said: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
    assert_eq!(heard, said, "none is left out");
    let rest = format!("lines {}-{}", count + 1, 2 * MANY);
    assert!(
        ended.err.join("\n").contains(&rest),
        "{count} heard; {:?}",
        ended.err
    );
}

#[test]
fn signal_names_all_messages_without_a_recipient() {
    let mut bob = Run::named("bob").dials(&nobody()).plain();
    bob.write(&numbers(2 * MANY));
    bob.write(b"/whoami\n");
    bob.told("you are bob,");
    bob.signal(Signal::SIGTERM);
    let ended = bob.ends_with(4);
    let all = format!("lines 1-{}", 2 * MANY);
    assert!(ended.err.join("\n").contains(&all), "{ended:?}");
}

#[test]
fn a_signal_sends_what_was_held_for_more_peers() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let bob = Run::named("bob").to(&alice);
    let mut bob = bob.with(&["--min-peers", "2"]).plain();
    bob.told("alice is here");
    bob.write(b"one\ntwo\n/whoami\n");
    bob.told("you are bob,");
    bob.signal(Signal::SIGTERM);
    bob.ends_with(143);
    for text in ["one", "two"] {
        alice.expect("message", |event| event["text"] == text);
    }
}

#[test]
fn a_panic_does_not_forget_that_a_signal_asked_for_the_end() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    alice.signal(Signal::SIGSTOP);
    bob.say("never heard");
    bob.expect("queued", |_| true);
    bob.signal(Signal::SIGTERM);
    bob.settles();
    bob.signal(Signal::SIGUSR1);
    bob.begins_anew();
    bob.process.ends();
}

#[test]
fn second_signal_ends_a_run_whose_stderr_is_not_read() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let mut bob = Running::start_all_piped(run);
    let mut stdin = bob.stdin();
    stdin.write_all(b"heard\n").unwrap();
    alice.expect("message", |_| true);
    alice.signal(Signal::SIGSTOP);
    stdin.write_all(b"owed\n").unwrap();
    // More than a pipe holds.
    stdin.write_all(&b"/nonsense\n".repeat(4000)).unwrap();
    // Two signals that come together may count as one.
    let status = seen("the end of a process", || {
        bob.signal(Signal::SIGTERM);
        bob.ended()
    });
    assert_eq!(status.code(), Some(3));
}

#[test]
fn signal_to_an_unread_run_does_not_hide_losses() {
    let mut alice = Run::named("alice").with(&["--stay", "--ack"]).peer();
    let run = Run::named("bob").to(&alice).with(&["--timeout", "1"]);
    let mut bob = Running::start(run);
    let mut stdin = bob.stdin();
    stdin.write_all(b"never acknowledged\n").unwrap();
    alice.expect("message", |_| true);
    // More than a pipe holds.
    let long = "x".repeat(20_000);
    for _ in 0..10 {
        alice.say(&long);
    }
    for _ in 0..10 {
        alice.expect("queued", |_| true);
    }
    drop(stdin);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
    bob.signal(Signal::SIGTERM);
    let status = bob.ends();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn the_reason_of_an_end_is_the_signal_that_hastened_it() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    alice.signal(Signal::SIGSTOP);
    bob.say("late");
    bob.expect("queued", |_| true);
    bob.process.close_stdin();
    bob.signal(Signal::SIGTERM);
    alice.signal(Signal::SIGCONT);
    assert_eq!(bye(&bob.process.ends()), ("signal".into(), 143));
}
