//! Messages arrive: all of them, once, in order, and at their recipients only.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::helper::{Peer, Relay, Run, Running, mesh, pair, up};

/// A text of exactly this many bytes in which only some characters are ASCII, and which begins with
/// its number.
fn text(number: usize, bytes: usize) -> String {
    const LETTERS: [char; 8] = ['a', 'ß', ' ', '漢', '🦀', 'é', 'Ж', '\t'];
    let mut text = format!("{number:03} ");
    let mut dice = number;
    while text.len() < bytes {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let letter = LETTERS[dice >> 61 & 7];
        text.push(if text.len() + letter.len_utf8() > bytes {
            '.'
        } else {
            letter
        });
    }
    text
}

/// This many texts of 5 to 900 bytes, both ends included.
fn texts(count: usize) -> Vec<String> {
    let bytes = |number: usize| 5 + number * 895 / (count - 1);
    (0..count)
        .map(|number| text(number, bytes((number * 7) % count)))
        .collect()
}

/// The messages from a peer so far. Messages that a `done` reports are in the pipe, and seen here
/// once the last of them was awaited.
fn said_by(listener: &Peer, speaker: &Peer) -> Vec<Value> {
    let mut heard = listener.every("message");
    heard.retain(|event| event["peer"] == speaker.id());
    heard
}

#[test]
fn five_hundred_each_way_at_once_arrive_in_order_and_once() {
    let (mut alice, mut bob) = pair();
    let texts = texts(500);
    assert_eq!(texts.iter().map(String::len).min(), Some(5));
    assert_eq!(texts.iter().map(String::len).max(), Some(900));
    let sends: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| json!({"type": "send", "text": text, "ref": number}).to_string())
        .collect();
    let input = (sends.join("\n") + "\n").into_bytes();
    alice.process.write(&input);
    bob.process.write(&input);
    for (speaker, listener) in [(&alice, &bob), (&bob, &alice)] {
        let last = texts.len() - 1;
        let done = speaker.expect("done", |event| event["ref"] == last);
        assert_eq!(done["delivered"], json!([listener.id()]));
        listener.hears(speaker, &texts[last]);
        let heard = said_by(listener, speaker);
        let heard_texts: Vec<_> = heard
            .iter()
            .map(|event| event["text"].as_str().unwrap())
            .collect();
        assert_eq!(heard_texts, texts);
        let numbers: Vec<_> = heard
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert!(numbers.into_iter().eq(1..=500));
        for kind in ["queued", "delivered", "done"] {
            let told = speaker.every(kind);
            let refs: BTreeSet<_> = told
                .iter()
                .map(|event| event["ref"].as_u64().unwrap())
                .collect();
            assert_eq!((told.len(), refs.len()), (500, 500), "{kind}");
        }
        assert!(
            speaker
                .every("done")
                .iter()
                .all(|event| event["undelivered"] == json!([]))
        );
    }
    assert_eq!(alice.quit().status, 0);
    // As the input is open, Bob might have had more messages.
    assert_eq!(bob.process.ends().status, 4);
}

#[test]
fn six_peers_that_know_only_the_first_make_15_links() {
    let names = ["ann", "ben", "cid", "dot", "eve", "fay"];
    let mut all = mesh(&names);
    for peer in &mut all {
        let known = peer.ask("peers");
        let known = known["peers"].as_array().unwrap();
        assert_eq!(known.len(), 5);
        assert!(
            known.iter().all(|other| other["state"] == "up"),
            "{known:?}"
        );
        assert_eq!(peer.ask("stats")["links"].as_array().unwrap().len(), 5);
    }
    for (speaker, name) in names.iter().enumerate() {
        all[speaker].say(&format!("this is {name}"));
    }
    for (speaker, name) in names.iter().enumerate() {
        let text = format!("this is {name}");
        let mut mids = BTreeSet::new();
        for (listener, peer) in all
            .iter()
            .enumerate()
            .filter(|(listener, _)| *listener != speaker)
        {
            let heard = peer.hears(&all[speaker], &text);
            assert_eq!(heard["name"], *name, "as {} sees it", names[listener]);
            assert_eq!(heard["direct"], false);
            mids.insert(heard["mid"].to_string());
        }
        assert_eq!(mids.len(), 1, "one message has one mid everywhere");
        let done = all[speaker].expect("done", |event| event["ref"] == text);
        assert_eq!(done["delivered"].as_array().unwrap().len(), 5);
    }
    all[1].process.write(b"/msg fay between us\n");
    assert_eq!(all[5].hears(&all[1], "between us")["direct"], true);
    // A later message has arrived everywhere, and this one nowhere else.
    all[1].say("and now to all");
    for (listener, peer) in all
        .iter()
        .enumerate()
        .filter(|(listener, _)| *listener != 1)
    {
        peer.hears(&all[1], "and now to all");
        let whispers = said_by(peer, &all[1])
            .iter()
            .filter(|event| event["text"] == "between us")
            .count();
        assert_eq!(whispers, usize::from(listener == 5));
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_the_wire_is_cut() {
    let alice = Run::named("alice").with(&["--cover", "20"]).peer();
    let relay = Relay::to(&alice.addr());
    let mut bob = Run::named("bob")
        .listening(&["--no-listen"])
        .with(&["--cover", "20", "-p", relay.addr()])
        .peer();
    up(&alice, &bob);
    let texts = texts(120);
    for (number, text) in texts.iter().enumerate() {
        bob.send(json!({"type": "send", "text": text, "ref": number}));
        if number % 40 == 20 {
            relay.cut();
            bob.expect("peer_down", |event| event["reason"] == "lost");
            let back = bob.expect("peer_up", |_| true);
            assert_eq!(back["resumed"], true);
        }
    }
    let last = texts.len() - 1;
    bob.expect("done", |event| event["ref"] == last);
    alice.hears(&bob, &texts[last]);
    let heard = said_by(&alice, &bob);
    let heard: Vec<_> = heard
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(heard, texts);
    let done = bob.every("done");
    assert_eq!(done.len(), texts.len());
    assert!(done.iter().all(|event| event["undelivered"] == json!([])));
}

#[test]
fn the_longest_text_arrives_whole() {
    let (alice, mut bob) = pair();
    let long = text(1, 65_536);
    bob.send(json!({"type": "send", "text": long, "ref": "long"}));
    alice.hears(&bob, &long);
    bob.expect("done", |event| {
        event["ref"] == "long" && event["undelivered"] == json!([])
    });
}

#[test]
fn text_is_passed_on_unaltered() {
    let (alice, mut bob) = pair();
    for text in [
        "",
        "/quit",
        " two\nlines\r\n\tand a tab ",
        "\u{1b}[2J\u{7}\u{0}\u{9b}\u{202e}\u{feff}",
        "e\u{301} is not \u{e9}",
    ] {
        bob.say(text);
        alice.hears(&bob, text);
    }
    // No line of output contains a raw control character.
    let carol = Run::named("carol").to(&alice).with(&["--json"]).plain();
    carol.expect("carol to be linked with bob", |line| {
        line.contains("peer_up") && line.contains(&bob.id())
    });
    bob.expect("peer_up", |event| event["name"] == "carol");
    bob.say("\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{200b}");
    let line = carol.expect("bob's message", |line| line.contains("\"message\""));
    assert!(line.is_ascii() && !line.contains('\u{1b}'), "{line:?}");
    assert!(
        line.contains(r"\u001b[2J\u007f\u009b\u202e\u200b"),
        "{line:?}"
    );
}

#[test]
fn a_message_waits_for_so_many_peers_and_commands_do_not() {
    let alice = Run::named("alice").peer();
    let mut carol = Run::named("carol")
        .to(&alice)
        .with(&["--min-peers", "2"])
        .peer();
    up(&alice, &carol);
    carol.say("to both");
    carol.settles();
    assert!(
        carol.every("queued").is_empty(),
        "it waits for a second peer"
    );
    let bob = Run::named("bob").to(&alice).peer();
    alice.hears(&carol, "to both");
    bob.hears(&carol, "to both");
    let done = carol.expect("done", |_| true);
    assert_eq!(done["delivered"].as_array().unwrap().len(), 2);
}

#[test]
fn message_goes_to_the_present_peers_after_the_timeout() {
    let alice = Run::named("alice").peer();
    let mut carol = Run::named("carol")
        .to(&alice)
        .with(&["--min-peers", "3", "--timeout", "5"])
        .peer();
    up(&alice, &carol);
    carol.say("to the peers that are here");
    alice.hears(&carol, "to the peers that are here");
    assert_eq!(
        carol.expect("done", |_| true)["delivered"],
        json!([alice.id()])
    );
}

#[test]
fn message_with_ack_is_delivered_when_the_reader_says_so() {
    let mut alice = Run::named("alice").with(&["--ack"]).peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    for text in ["one", "two", "three"] {
        bob.say(text);
        alice.hears(&bob, text);
    }
    alice.send(json!({"type": "ack", "peer": bob.id(), "seq": 2}));
    bob.expect("delivered", |event| event["ref"] == "one");
    bob.expect("delivered", |event| event["ref"] == "two");
    let queue = |bob: &mut Peer| bob.ask("stats")["links"][0]["queued_messages"].clone();
    assert_eq!(queue(&mut bob), 1, "the third is taken over by nobody");
    alice.send(json!({"type": "ack", "peer": bob.id(), "seq": 4, "ref": "none yet"}));
    let error = alice.expect("error", |event| event["ref"] == "none yet");
    assert_eq!(error["code"], "bad_command");
    assert_eq!(queue(&mut bob), 1);
    alice.send(json!({"type": "ack", "peer": bob.id(), "seq": 3}));
    bob.expect("done", |event| event["ref"] == "three");
    assert_eq!(queue(&mut bob), 0);
    assert_eq!(bob.quit().status, 0);
}

#[test]
fn ignored_peer_is_not_shown_and_does_not_notice() {
    let (mut alice, mut bob) = pair();
    alice.send(json!({"type": "ignore", "peer": "bob", "on": true}));
    alice.settles();
    bob.say("unheard");
    bob.expect("done", |event| event["delivered"] == json!([alice.id()]));
    alice.send(json!({"type": "ignore", "peer": "bob", "on": false}));
    alice.settles();
    bob.say("heard");
    let heard = alice.hears(&bob, "heard");
    assert_eq!(heard["seq"], 1, "seq counts what was handed over");
    assert_eq!(alice.every("message").len(), 1);
}

#[test]
fn later_peer_does_not_get_earlier_messages() {
    let (alice, mut bob) = pair();
    bob.say("early");
    alice.hears(&bob, "early");
    let carol = Run::named("carol").to(&alice).peer();
    up(&alice, &carol);
    up(&bob, &carol);
    bob.say("late");
    carol.hears(&bob, "late");
    assert_eq!(carol.every("message").len(), 1);
}

#[test]
fn peer_that_takes_nothing_does_not_delay_others_for_ever() {
    let run = |name: &str| Run::named(name).with(&["--cover", "off"]);
    let deaf = run("deaf").with(&["--ack"]).peer();
    let carol = run("carol").to(&deaf).peer();
    let mut bob = run("bob")
        .to(&deaf)
        .to(&carol)
        .with(&["--give-up", "2"])
        .peer();
    up(&deaf, &carol);
    up(&deaf, &bob);
    up(&carol, &bob);
    // Twice as much as one peer may leave unacknowledged.
    let long = "x".repeat(65_536);
    for number in 0..32 {
        bob.send(json!({"type": "send", "text": long, "ref": number}));
    }
    for number in 0..32 {
        let done = bob.expect("done", |event| event["ref"] == number);
        assert_eq!(done["delivered"], json!([carol.id()]));
        assert_eq!(
            done["undelivered"],
            json!([{"peer": deaf.id(), "reason": "stalled"}])
        );
        carol.hears(&bob, &long);
    }
    assert_eq!(said_by(&carol, &bob).len(), 32);
    assert!(bob.every("peer_down").is_empty());
}

#[test]
fn a_peer_that_stands_still_is_gone_until_it_moves_again() {
    let mut alice = Run::named("alice")
        .with(&["--inactivity-timeout", "2"])
        .peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.signal(Signal::SIGSTOP);
    alice.say("are you there?");
    let down = alice.expect("peer_down", |_| true);
    assert_eq!(
        (&down["reason"], &down["retrying"]),
        (&json!("timeout"), &json!(true))
    );
    bob.signal(Signal::SIGCONT);
    let back = alice.expect("peer_up", |_| true);
    assert_eq!(
        (&back["peer"], &back["resumed"]),
        (&json!(bob.id()), &json!(true))
    );
    bob.hears(&alice, "are you there?");
    alice.expect("done", |event| event["undelivered"] == json!([]));
    bob.say("I was asleep");
    alice.hears(&bob, "I was asleep");
}

#[test]
fn a_slow_reader_slows_down_the_writer_and_nothing_is_lost() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let bob = Run::named("bob").with(&["--cover", "off"]).peer();
    let run = Run::named("alice").to(&bob);
    let run = run.with(&["--cover", "off", "--literal"]);
    let mut alice = Running::start_with(run, Stdio::null(), Stdio::piped());
    let mut told = BufReader::new(alice.stderr()).lines().map_while(Result::ok);
    let reading = Run::named("reader").to(&bob);
    let reading = reading.with(&["--cover", "off", "--json"]);
    let mut reader = Running::start(reading);
    let mut events = reader.events();
    events.find(|event| event["name"] == "alice").unwrap();
    // The reader may see her before she sees the reader, and then misses what she says.
    told.find(|line| line.contains("reader is here")).unwrap();
    let told = std::thread::spawn(move || told.count());
    bob.expect("peer_up", |event| event["name"] == "reader");
    bob.expect("peer_up", |event| event["name"] == "alice");
    // More than all buffers on the way hold while the output is not read.
    let mut stdin = alice.stdin();
    let writer = std::thread::spawn(move || {
        for number in 0..6000 {
            writeln!(stdin, "{number:04} {}", "x".repeat(495)).unwrap();
        }
    });
    bob.expect("message", |event| {
        event["text"].as_str().unwrap().starts_with("0500")
    });
    for number in 0..6000 {
        let event = events.find(|event| event["type"] == "message").unwrap();
        let text = event["text"].as_str().unwrap();
        assert!(text.starts_with(&format!("{number:04} x")), "{event}");
    }
    writer.join().unwrap();
    assert_eq!(alice.ends().code(), Some(0));
    told.join().unwrap();
}
