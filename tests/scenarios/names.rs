//! Names and texts of other peers: how sesame distinguishes them, and what reaches the terminal.

use serde_json::json;

use super::helper::{Peer, Process, Run, Screen, up};

fn alice() -> Peer {
    Run::named("alice").with(&["--stay"]).peer()
}

/// A run in plain mode with `--stay`, linked with this peer.
fn reader(peer: &Peer) -> Process {
    let reader = Run::named("dana").to(peer).with(&["--stay"]).plain();
    peer.expect("peer_up", |event| event["name"] == "dana");
    reader
}

/// Waits until a peer and the reader are linked in the view of both, so that the peer's next
/// message reaches both.
fn meets(dana: &Process, peer: &Peer) {
    dana.told(&format!("is here ({})", &peer.id()[..16]));
    peer.expect("peer_up", |event| event["name"] == "dana");
}

#[test]
fn friend_who_quits_and_comes_back_has_its_name() {
    let mut alice = alice();
    let mut left = Vec::new();
    for text in ["first", "second", "third"] {
        let mut bob = Run::named("bob").to(&alice).peer();
        up(&alice, &bob);
        alice.send(json!({"type": "send", "text": text, "to": ["bob"], "ref": text}));
        bob.hears(&alice, text);
        alice.expect("done", |event| event["ref"] == text);
        bob.quit();
        alice.expect("peer_down", |event| event["peer"] == bob.id());
        left.push(bob.id());
    }
    assert!(alice.every("error").is_empty());
    left.dedup();
    assert_eq!(left.len(), 3, "each was somebody else");
}

#[test]
fn job_that_runs_again_is_shown_by_its_name() {
    let alice = alice();
    let dana = reader(&alice);
    for text in ["one", "two", "three"] {
        let mut job = Run::named("job").to(&alice).peer();
        meets(&dana, &job);
        job.say(text);
        dana.expect(text, |line| *line == format!("job: {text}"));
        job.quit();
        dana.told("* job left: goodbye");
    }
    let taken_over = |line: &&String| line.contains("), not the job (");
    assert_eq!(dana.err.all().iter().filter(taken_over).count(), 2);
}

#[test]
fn disconnected_peer_keeps_its_name() {
    let mut alice = alice();
    let bob = Run::named("bob").with(&["--stay"]).to(&alice).peer();
    up(&alice, &bob);
    alice.send(json!({"type": "disconnect", "peer": "bob"}));
    bob.expect("peer_down", |event| event["reason"] == "goodbye");
    let other = Run::named("bob").to(&alice).peer();
    up(&alice, &other);
    let refused = alice.refused(r#"{"type":"send","text":"x","to":["bob"]}"#);
    assert_eq!(refused["code"], "ambiguous_peer");
}

#[test]
fn disconnect_is_reported_as_the_users_own() {
    let alice = alice();
    let mut dana = reader(&alice);
    dana.told("* alice is here (");
    dana.write(b"/disconnect alice\n");
    dana.told("* you disconnected alice");
    let down = alice.expect("peer_down", |event| event["name"] == "dana");
    assert_eq!(down["reason"], "goodbye");
}

#[test]
fn help_explains_disconnect() {
    let alice = alice();
    let mut dana = reader(&alice);
    dana.write(b"/help\n");
    let line = dana.told("/disconnect PEER");
    assert!(line.contains("neither end dials the other"), "{line}");
    assert!(!line.contains("forget"), "{line}");
}

#[test]
fn name_has_one_bearer_again_when_the_other_leaves() {
    let alice = alice();
    let dana = reader(&alice);
    let first = Run::named("bob").to(&alice).peer();
    meets(&dana, &first);
    let mut second = Run::named("bob").to(&alice).peer();
    meets(&dana, &second);
    second.quit();
    dana.told(&format!(
        "* the name bob now means only {}: the other peer with this name ({}…) left",
        &first.id()[..16],
        &second.id()[..8]
    ));
}

#[test]
fn names_that_look_alike_are_told_apart() {
    let mut alice = alice();
    let dana = reader(&alice);
    let mut bob = Run::named("bob").to(&alice).peer();
    meets(&dana, &bob);
    // Greek and Cyrillic.
    let mut other = Run::named("Βоb").to(&alice).peer();
    up(&alice, &other);
    up(&bob, &other);
    meets(&dana, &other);
    for (peer, name) in [(&mut bob, "bob"), (&mut other, "Βоb")] {
        peer.say("it is me");
        let digits = peer.id()[..8].to_owned();
        dana.expect("digits", |line| {
            *line == format!("{name}#{digits}: it is me")
        });
    }
    let refused = alice.refused(r#"{"type":"send","text":"x","to":["bob"]}"#);
    assert_eq!(refused["code"], "ambiguous_peer");
}

#[test]
fn name_that_could_mislead_is_wrong_usage() {
    let mut alice = alice();
    for name in [
        "sesame",
        "ѕеѕаmе",
        "! not delivered to bob",
        "ǃ not delivered",
        "* alice is here",
        "alice: hi",
        "alice (to you)",
        "[decoy] alice",
        "alice ✓ verified",
        "3f9c01aa24b7d08e",
        "a\u{2028}b",
        "x\u{323}\u{323}\u{323}\u{323}\u{323}\u{323}",
    ] {
        let line = json!({"type": "name", "name": name}).to_string();
        assert_eq!(alice.refused(&line)["code"], "bad_name", "{name}");
        let ended = Run::named(name).to(&alice).pipe(b"");
        assert_eq!(ended.status, 2, "{name} {ended:?}");
    }
}

#[test]
fn text_of_a_peer_never_looks_like_the_programs_own() {
    let alice = alice();
    let mut dana = reader(&alice);
    let mut mallory = Run::named("mallory").to(&alice).peer();
    meets(&dana, &mallory);
    for start in [
        "\n", "\r", "\r\n", "\u{2028}", "\u{2029}", "\u{85}", "\u{b}", "\u{c}", "  \n",
    ] {
        for own in [
            "sesame: warning: x",
            "* bob is here",
            "! not delivered",
            "bob: hi",
        ] {
            mallory.say(&format!("{start}{own}"));
        }
    }
    mallory.say("the last");
    dana.expect("the last", |line| line == "mallory: the last");
    dana.close_stdin();
    let written = dana.out.all();
    let known = |line: &String| line.starts_with("mallory: ") || line.starts_with("  ");
    assert!(written.iter().all(known), "{written:?}");
    let unseen = |line: &String| line.chars().any(|c| c.is_control() || c == '\u{2028}');
    assert!(!written.iter().any(unseen), "{written:?}");
}

#[test]
fn emoji_and_scripts_that_need_joiners_are_shown_as_written() {
    let alice = alice();
    let dana = reader(&alice);
    let mut anna = Run::named("Anna ❤\u{fe0f}").to(&alice).peer();
    meets(&dana, &anna);
    for text in [
        "❤\u{fe0f} 👨\u{200d}👩\u{200d}👧 👩🏽\u{200d}🚒",
        "می\u{200c}خواهم",
        "അവന്\u{200d} ക്\u{200d}ഷ",
    ] {
        anna.say(text);
        dana.expect(text, |line| *line == format!("Anna ❤\u{fe0f}: {text}"));
    }
    anna.say("a\u{200d}b \u{202e}c \u{2066}d \u{e0041} \u{200b}");
    dana.expect("escapes", |line| {
        line.ends_with(r": a\u{200d}b \u{202e}c \u{2066}d \u{e0041} \u{200b}")
    });
    anna.say(&format!("x{}y", "\u{301}".repeat(20)));
    dana.expect("few marks", |line| {
        line.ends_with('y') && line.matches('\u{301}').count() == 4
    });
}

#[test]
fn name_taken_over_is_confirmed_by_the_same_line() {
    let alice = alice();
    let Some(dana) = Screen::start(&Run::named("dana").to(&alice)) else {
        return;
    };
    dana.shows_line("* alice is here (");
    let mut first = Run::named("bob").to(&alice).peer();
    dana.shows_line("* bob is here (");
    dana.types("/msg bo");
    dana.press(&["Tab"]);
    dana.shows_typed("> /msg bob");
    dana.enters("to the first");
    first.expect("message", |event| event["text"] == "to the first");
    first.quit();
    dana.shows_line("* bob left: goodbye");
    dana.types("/msg bo");
    dana.press(&["Tab"]);
    // The next line shows that the key was read.
    dana.enters("x nobody");
    dana.shows_line("unknown peer 'box'");
    let second = Run::named("bob").to(&alice).peer();
    let told = dana.shows_line(&format!(
        "* bob is here ({}), not the bob (",
        &second.id()[..16]
    ));
    assert!(
        told.contains(&format!("({}…) who left at ", &first.id()[..8])),
        "{told}"
    );
    dana.enters("/msg bob for the friend only");
    let held = dana.shows_line("not sent: ");
    assert!(
        held.contains(&second.id()[..16]) && held.contains(&first.id()[..8]),
        "{held}"
    );
    dana.enters("/msg bob for the friend only");
    second.expect("message", |event| event["text"] == "for the friend only");
    dana.enters("/msg bob and more");
    second.expect("message", |event| event["text"] == "and more");
    assert_eq!(second.every("message").len(), 2);
}

#[test]
fn tab_offers_ambiguous_names_with_their_digits() {
    let alice = alice();
    let Some(dana) = Screen::start(&Run::named("dana").to(&alice)) else {
        return;
    };
    dana.shows_line("* alice is here (");
    let bobs = [0, 1].map(|_| Run::named("bob").to(&alice).peer());
    up(&bobs[0], &bobs[1]);
    for bob in &bobs {
        dana.shows_line(&format!("is here ({})", &bob.id()[..16]));
    }
    let bob = &bobs[0];
    let digits = &bob.id()[..8];
    dana.types(&format!("/msg bob#{}", &digits[..7]));
    dana.press(&["Tab"]);
    dana.shows_typed(&format!("> /msg bob#{digits}"));
    dana.enters("hello");
    bob.expect("message", |event| event["text"] == "hello");
    assert!(bobs[1].every("message").is_empty());
}
