//! JSON mode: strict input, complete output.

use serde_json::json;

use super::helper::{Peer, Run, pair, up};

fn refusal(peer: &mut Peer, line: &str) -> (String, serde_json::Value) {
    let error = peer.refused(line);
    (
        error["code"].as_str().unwrap().to_owned(),
        error["ref"].clone(),
    )
}

#[test]
fn ready_says_what_the_program_is() {
    let alice = Run::named("alice").peer();
    let ready = alice.ready();
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&ready["api"], &ready["protocol"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&ready["name"], &ready["decoy"]),
        (&json!("alice"), &json!(false))
    );
    let id = ready["id"].as_str().unwrap();
    assert!(id.len() == 64 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
    assert_eq!(alice.process.out.all()[0], *ready, "it comes first");
}

#[test]
fn a_wrong_line_is_an_error_with_its_code_and_nothing_is_done() {
    let (alice, mut bob) = pair();
    for (line, code, reference) in [
        (r#"hello"#, "bad_json", json!(null)),
        (r#"[1]"#, "bad_json", json!(null)),
        (r#""#, "bad_json", json!(null)),
        (r#"{"type":"send","text":"x""#, "bad_json", json!(null)),
        (
            r#"{"type":"sned","text":"x","ref":"a"}"#,
            "bad_command",
            json!("a"),
        ),
        (
            r#"{"type":"send","text":"x","tp":["alice"],"ref":"b"}"#,
            "bad_command",
            json!("b"),
        ),
        (
            r#"{"type":"send","text":"x","to":[],"ref":3}"#,
            "bad_command",
            json!(3),
        ),
        (
            r#"{"type":"send","text":"x","to":[""],"ref":4}"#,
            "bad_command",
            json!(4),
        ),
        (
            r#"{"type":"send","text":"x","to":"alice"}"#,
            "bad_command",
            json!(null),
        ),
        (
            r#"{"type":"send","text":1,"ref":-5}"#,
            "bad_command",
            json!(-5),
        ),
        (r#"{"type":"send","ref":6}"#, "bad_command", json!(6)),
        (
            r#"{"type":"send","text":"x","ref":1.5}"#,
            "bad_command",
            json!(null),
        ),
        (
            r#"{"type":"ack","peer":"alice","seq":1,"ref":"ack"}"#,
            "bad_command",
            json!("ack"),
        ),
        (
            r#"{"type":"send","text":"x","to":["nobody"],"ref":"c"}"#,
            "no_such_peer",
            json!("c"),
        ),
        (
            r#"{"type":"send","text":"x","to":["alice","nobody"],"ref":"c"}"#,
            "no_such_peer",
            json!("c"),
        ),
        (
            r#"{"type":"verify","peer":"nobody","ref":"d"}"#,
            "no_such_peer",
            json!("d"),
        ),
        (
            r#"{"type":"disconnect","peer":"nobody","ref":"e"}"#,
            "no_such_peer",
            json!("e"),
        ),
        (
            r#"{"type":"ignore","peer":"nobody","on":true,"ref":"f"}"#,
            "no_such_peer",
            json!("f"),
        ),
        (
            r#"{"type":"connect","addr":"host:0","ref":"g"}"#,
            "bad_address",
            json!("g"),
        ),
        (
            r#"{"type":"connect","addr":"","ref":"h"}"#,
            "bad_address",
            json!("h"),
        ),
        (
            r#"{"type":"name","name":"a:b","ref":"i"}"#,
            "bad_name",
            json!("i"),
        ),
        (
            r#"{"type":"name","name":"","ref":"j"}"#,
            "bad_name",
            json!("j"),
        ),
        ("/nonsense", "bad_command", json!(null)),
        ("/msg nobody x", "no_such_peer", json!(null)),
    ] {
        assert_eq!(
            refusal(&mut bob, line),
            (code.to_owned(), reference),
            "{line}"
        );
    }
    let long = json!({"type": "send", "text": "x".repeat(65_537), "ref": "k"}).to_string();
    assert_eq!(refusal(&mut bob, &long), ("too_long".into(), json!("k")));
    let longer = json!({"type": "send", "text": "x".repeat(600_000), "ref": "l"}).to_string();
    assert_eq!(refusal(&mut bob, &longer).0, "too_long");
    bob.process
        .write(b"{\"type\":\"send\",\"text\":\"\xff\"}\n");
    let error = bob.expect("error", |_| true);
    assert_eq!(
        (&error["code"], &error["line"]),
        (&json!("bad_json"), &json!(27))
    );
    bob.say("the first that is heard");
    alice.hears(&bob, "the first that is heard");
    assert_eq!(alice.every("message").len(), 1);
}

#[test]
fn bad_line_of_any_kind_carries_its_ref() {
    let mut alice = Run::named("alice").peer();
    let long = "x".repeat(65_537);
    let longer = "x".repeat(600_000);
    for (line, code) in [
        (
            r#"{"type":"send","text":"\ud800","ref":"r"}"#.into(),
            "bad_json",
        ),
        (
            r#"{"ref":"r","type":"send","text":"\udfff"}"#.into(),
            "bad_json",
        ),
        (r#"{"ref":"r","type":"send","text":"x""#.into(), "bad_json"),
        (
            r#"{"type":"send","text":1,"ref":"r"}"#.into(),
            "bad_command",
        ),
        (r#"{"type":"none","ref":"r"}"#.into(), "bad_command"),
        (
            format!(r#"{{"type":"send","text":"{long}","ref":"r"}}"#),
            "too_long",
        ),
        (
            format!(r#"{{"type":"send","text":"{longer}","ref":"r"}}"#),
            "too_long",
        ),
        (
            format!(r#"{{"ref":"r","type":"send","text":"{longer}"}}"#),
            "too_long",
        ),
    ] {
        assert_eq!(
            refusal(&mut alice, &line),
            (code.into(), json!("r")),
            "{}",
            &line[..line.len().min(80)]
        );
    }
    alice
        .process
        .write(b"{\"type\":\"send\",\"text\":\"\xff\",\"ref\":\"r\"}\n");
    let error = alice.expect("error", |_| true);
    assert_eq!(
        (&error["code"], &error["ref"], &error["line"]),
        (&json!("bad_json"), &json!("r"), &json!(9))
    );
}

#[test]
fn ref_of_64_bits_comes_back_as_it_was() {
    let mut alice = Run::named("alice").peer();
    for number in ["18446744073709551615", "-9223372036854775808", "0"] {
        alice
            .process
            .write(format!("{{\"type\":\"whoami\",\"ref\":{number}}}\n").as_bytes());
        let answer = alice.expect("whoami", |_| true);
        assert_eq!(answer["ref"].to_string(), number);
    }
    for other in ["1.0", "1e3", "18446744073709551616", "-9223372036854775809"] {
        let line = format!(r#"{{"type":"whoami","ref":{other}}}"#);
        let error = refusal(&mut alice, &line);
        assert_eq!(error, ("bad_command".into(), json!(null)), "{other}");
    }
}

#[test]
fn utf16_input_ends_the_run_with_1() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).with(&["--stay"]).json();
    let line = r#"{"type":"send","text":"x"}"#.encode_utf16();
    let units = [0xfeff].into_iter().chain(line).chain([0x0a]);
    bob.write(&units.flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    // Its input stays open, and it has `--stay`.
    let ended = bob.ends_with(1);
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.contains("UTF-16") && line.contains("$OutputEncoding")),
        "{ended:?}"
    );
    let error = ended
        .out
        .iter()
        .find(|event| event["type"] == "error")
        .unwrap();
    assert_eq!(
        (&error["code"], &error["line"]),
        (&json!("bad_json"), &json!(1))
    );
    assert_eq!(
        ended.out.last().unwrap(),
        &json!({"type": "bye", "reason": "failed", "status": 1})
    );
    assert!(alice.every("message").is_empty());
}

#[test]
fn a_name_that_two_have_is_ambiguous() {
    let one = Run::named("sam").peer();
    let two = Run::named("sam").to(&one).peer();
    let mut bob = Run::named("bob").to(&one).to(&two).peer();
    up(&one, &two);
    up(&one, &bob);
    up(&two, &bob);
    let line = r#"{"type":"send","text":"x","to":["sam"],"ref":"r"}"#;
    assert_eq!(
        refusal(&mut bob, line),
        ("ambiguous_peer".into(), json!("r"))
    );
    for to in [
        one.id(),
        one.id()[..8].to_owned(),
        format!("sam#{}", &one.id()[..8]),
    ] {
        bob.send(json!({"type": "send", "text": to, "to": [to], "ref": "ok"}));
        one.hears(&bob, &to);
    }
    assert!(two.every("message").is_empty());
}

#[test]
fn message_without_a_peer_ends_as_no_peers_with_its_ref() {
    let mut alice = Run::named("alice").with(&["--timeout", "2"]).peer();
    alice.send(json!({"type": "send", "text": "hello?", "ref": 12}));
    let error = alice.expect("error", |_| true);
    assert_eq!(
        (&error["code"], &error["ref"]),
        (&json!("no_peers"), &json!(12))
    );
    assert!(alice.every("queued").is_empty());
    assert_eq!(alice.quit().status, 4);
}

#[test]
fn every_answer_carries_the_ref() {
    let (mut alice, bob) = pair();
    for (number, command) in ["peers", "stats", "whoami"].into_iter().enumerate() {
        alice.send(json!({"type": command, "ref": number}));
        alice.expect(command, |event| event["ref"] == number);
    }
    alice.send(json!({"type": "verify", "peer": "bob", "ref": "v"}));
    assert_eq!(
        alice.expect("verify", |event| event["ref"] == "v")["peer"],
        bob.id()
    );
    alice.send(json!({"type": "send", "text": "x", "ref": "s"}));
    let mids: Vec<_> = ["queued", "delivered", "done"]
        .map(|kind| alice.expect(kind, |event| event["ref"] == "s")["mid"].clone())
        .into();
    assert!(mids.iter().all(|mid| *mid == mids[0] && mid.is_string()));
    assert_eq!(bob.hears(&alice, "x")["mid"], mids[0]);
}

#[test]
fn panicked_carries_the_ref_of_its_command() {
    let mut alice = Run::named("alice").peer();
    alice.send(json!({"type": "panic", "ref": "p"}));
    assert_eq!(alice.expect("panicked", |_| true)["ref"], "p");
}

#[test]
fn a_slash_command_is_the_same_command() {
    let (mut alice, bob) = pair();
    // A question overtakes, and input after it may be handled first: so this waits for its answer.
    alice.process.write(b"/whoami\n");
    assert_eq!(alice.expect("whoami", |_| true)["name"], "alice");
    alice
        .process
        .write(b"/name Alice Liddell\n/msg bob hello\n");
    let renamed = bob.expect("peer_name", |_| true);
    assert_eq!(
        (&renamed["peer"], &renamed["name"]),
        (&json!(alice.id()), &json!("Alice Liddell"))
    );
    assert_eq!(bob.hears(&alice, "hello")["direct"], true);
    assert_eq!(alice.ask("whoami")["name"], "Alice Liddell");
}

#[test]
fn questions_overtake_messages_that_wait() {
    let mut alice = Run::named("alice").peer();
    alice.say("for the first peer that comes");
    alice.ask("whoami");
    assert!(alice.every("queued").is_empty());
    let bob = Run::named("bob").to(&alice).peer();
    bob.hears(&alice, "for the first peer that comes");
}

#[test]
fn input_written_at_once_and_closed_counts() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).json();
    bob.write_all_and_close(b"{\"type\":\"send\",\"text\":\"before ready\"}\n{\"type\":\"send\",\"text\":\"no newline\"}".to_vec());
    let ended = bob.ends_with(0);
    assert_eq!(ended.out[0]["type"], "ready");
    assert_eq!(
        ended.out.last().unwrap(),
        &json!({"type": "bye", "reason": "eof", "status": 0})
    );
    for text in ["before ready", "no newline"] {
        alice.expect("message", |event| event["text"] == text);
    }
}

#[test]
fn peers_lists_the_state_of_each_peer() {
    let (mut alice, bob) = pair();
    let answer = alice.ask("peers");
    let [known] = &answer["peers"].as_array().unwrap()[..] else {
        panic!("{answer}");
    };
    assert_eq!(
        (&known["peer"], &known["name"]),
        (&json!(bob.id()), &json!("bob"))
    );
    assert_eq!(
        (&known["state"], &known["addr"]),
        (&json!("up"), &json!(bob.addr()))
    );
    bob.signal(nix::sys::signal::Signal::SIGKILL);
    alice.expect("peer_down", |_| true);
    let answer = alice.ask("peers");
    let state = answer["peers"][0]["state"].as_str().unwrap();
    assert!(["retrying", "dialing"].contains(&state), "{answer}");
}
