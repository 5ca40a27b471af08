//! The programs in `scripts/examples`, each with real peers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::helper::{Peer, Run, has, skip};
use crate::tools::{Family, command, repository};

/// A program that can be read at once has no more lines than this.
const LINES: usize = 60;

fn script(name: &str) -> String {
    let path = repository("scripts/examples").join(name);
    path.into_os_string().into_string().unwrap()
}

/// Starts an example with the arguments of a run, for as long as the test lasts.
fn start(name: &str, run: &Run) -> Family {
    let mut command = command(run, script(name));
    command.args(run.args());
    Family::start(run, command)
}

/// Whether what an example needs is there.
fn can_run(example: &str, program: &str, version: &str) -> bool {
    let found = has(program, version);
    if !found {
        skip(&format!("the example {example} needs {program}"));
    }
    found
}

/// The id of the peer of this name, once it is here.
fn comes(peer: &Peer, name: &str) -> String {
    let event = peer.expect("peer_up", |event| event["name"] == name);
    event["peer"].as_str().unwrap().to_owned()
}

/// Has something delivered to everybody, whose ends then know of the link, so that they can say goodbye.
fn is_heard(peer: &mut Peer, ids: &[&str]) {
    peer.say("is anybody here?");
    for id in ids {
        peer.expect("delivered", |event| event["peer"] == *id);
    }
}

/// Waits until this peer has said goodbye.
fn says_goodbye(peer: &Peer, id: &str) {
    let event = peer.expect("peer_down", |event| event["peer"] == id);
    assert_eq!(event["reason"], "goodbye");
}

#[test]
fn examples_can_be_read_at_once() {
    for entry in fs::read_dir(repository("scripts/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= LINES, "{path:?}");
        assert!(text.starts_with("#!/usr/bin/env "), "{path:?}");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{path:?} can be executed");
    }
}

#[test]
fn python_bot_answers_everybody_or_the_one_that_asked() {
    if !can_run("bot.py", "python3", "--version") {
        return;
    }
    let mut alice = Run::named("alice").peer();
    let mut bot = start("bot.py", &Run::new().to(&alice));
    let id = comes(&alice, "bot");
    for (direct, command) in [
        (false, json!({"type": "send", "text": "!roll"})),
        (true, json!({"type": "send", "text": "!roll", "to": [id]})),
    ] {
        // Not each message is for the bot.
        alice.say("hello");
        alice.send(command);
        let answer = alice.expect("message", |event| event["peer"] == id);
        let text = answer["text"].as_str().unwrap();
        assert!(text.starts_with("alice rolls a "), "{text}");
        assert_eq!(answer["direct"], direct);
    }
    bot.process.signal(Signal::SIGKILL);
    // sesame ends with the bot, whose input it was.
    says_goodbye(&alice, &id);
    bot.process.ends();
}

#[test]
fn python_bot_ends_with_the_status_of_sesame() {
    if !can_run("bot.py", "python3", "--version") {
        return;
    }
    let mut wrong = start("bot.py", &Run::new().with(&["--cover", "1"]));
    let ended = wrong.process.ends_with(2);
    assert!(ended.err[0].contains("10 to 10000"), "{ended:?}");
    let mut alice = Run::named("alice").peer();
    let mut bot = start("bot.py", &Run::new().to(&alice));
    let id = comes(&alice, "bot");
    is_heard(&mut alice, &[&id]);
    bot.signal(Signal::SIGINT);
    says_goodbye(&alice, &id);
    bot.process.ends_with(130);
}

#[test]
fn shell_bot_answers_the_one_that_asked() {
    if !can_run("bot.sh", "jq", "--version") {
        return;
    }
    let mut alice = Run::named("alice").peer();
    let mut bot = start("bot.sh", &Run::new().to(&alice));
    let id = comes(&alice, "uptime");
    alice.say("hello");
    for _ in 0..2 {
        alice.say("!uptime");
        let answer = alice.expect("message", |event| event["peer"] == id);
        let text = answer["text"].as_str().unwrap();
        assert!(text.contains("load average"), "{text}");
        assert_eq!(answer["direct"], true);
    }
    bot.process.signal(Signal::SIGTERM);
    says_goodbye(&alice, &id);
    bot.process.ends();
}

#[test]
fn notifier_gives_each_message_to_the_desktop_as_one_line() {
    if !can_run("notify.sh", "jq", "--version") {
        return;
    }
    let mut alice = Run::named("alice").peer();
    let run = Run::new();
    let desktop = run
        .place
        .file("desktop", b"#!/bin/sh\nprintf '%s|' \"$@\"\necho\n");
    fs::set_permissions(&desktop, fs::Permissions::from_mode(0o700)).unwrap();
    let run = run.to(&alice).env("NOTIFY", &desktop.display().to_string());
    let notifier = start("notify.sh", &run);
    let id = comes(&alice, "notifier");
    for (text, shown) in [
        ("backup finished", "backup finished"),
        ("-u critical", "-u critical"),
        ("one\ntwo\tthree \\n", "one two three \\n"),
        ("a\u{0}b\u{1b}[31m", "a b [31m"),
        ("<b>x</b> & $(id)", "&lt;b&gt;x&lt;/b&gt; &amp; $(id)"),
    ] {
        alice.say(text);
        let line = notifier.process.expect("a notification", |_| true);
        assert_eq!(line, format!("--|alice|{shown}|"));
    }
    notifier.signal(Signal::SIGTERM);
    says_goodbye(&alice, &id);
}

#[test]
fn bridge_carries_messages_to_everybody_both_ways() {
    if !can_run("bridge.py", "python3", "--version") {
        return;
    }
    let mut alice = Run::named("alice").phrase("bright amber window").peer();
    let mut bob = Run::named("bob").phrase("quiet river stone").peer();
    let side = |peer: &Peer| {
        let phrase = peer.place().path("phrase");
        format!(
            "--no-listen -p {} --phrase-file '{}'",
            peer.addr(),
            phrase.display()
        )
    };
    let run = Run::new();
    let mut command = command(&run, script("bridge.py"));
    command.args([side(&alice), side(&bob)]);
    let mut bridge = Family::start(&run, command);
    let ids = (comes(&alice, "bridge"), comes(&bob, "bridge"));
    alice.send(json!({"type": "send", "text": "a secret", "to": [ids.0]}));
    alice.say("hello");
    let first = bob.expect("message", |_| true);
    assert_eq!(first["text"], "alice: hello", "nothing else was carried");
    bob.say("two\nlines");
    assert_eq!(alice.expect("message", |_| true)["text"], "bob: two\nlines");
    bridge.signal(Signal::SIGINT);
    says_goodbye(&alice, &ids.0);
    says_goodbye(&bob, &ids.1);
    bridge.process.ends_with(0);
}

#[test]
fn bridge_that_loses_one_mesh_leaves_the_other() {
    if !can_run("bridge.py", "python3", "--version") {
        return;
    }
    let alice = Run::named("alice").peer();
    let run = Run::new().to(&alice);
    let mut command = command(&run, script("bridge.py"));
    command.args([run.args().join(" "), "--cover 1".to_owned()]);
    let mut bridge = Family::start(&run, command);
    let ended = bridge.process.ends_with(0);
    assert!(ended.err[0].contains("10 to 10000"), "{ended:?}");
}

#[test]
fn expect_session_prints_the_answer_and_ends_with_the_chat() {
    if !can_run("session.exp", "expect", "-version") {
        return;
    }
    let mut alice = Run::named("alice").peer();
    let run = Run::new().to(&alice);
    let mut command = command(&run, script("session.exp"));
    command.arg("!status").args(run.args());
    let mut session = Family::start(&run, command);
    let id = comes(&alice, "visitor");
    let question = alice.expect("message", |event| event["peer"] == id);
    assert_eq!(question["text"], "!status");
    alice.say("all is well: 3 of 3");
    session
        .process
        .expect("the answer", |line| line == "alice: all is well: 3 of 3");
    says_goodbye(&alice, &id);
    session.process.ends_with(0);
}
