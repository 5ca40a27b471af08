//! Plain mode: lines in, lines out.

use super::helper::{Ended, Peer, Process, Run, up};

fn alice() -> Peer {
    Run::named("alice").with(&["--stay"]).peer()
}

/// Pipes this input to alice, and returns the texts that she got, in order.
fn heard(input: &[u8], options: &[&str]) -> (Ended, Vec<String>) {
    let alice = alice();
    let ended = Run::named("bob").to(&alice).with(options).pipe(input);
    alice.expect("peer_down", |_| true);
    let texts = alice.every("message");
    let texts = texts
        .iter()
        .map(|event| event["text"].as_str().unwrap().to_owned());
    (ended, texts.collect())
}

#[test]
fn a_line_is_a_message_and_an_empty_one_too() {
    let (ended, texts) = heard(b"one\n\n two \nthe last needs no newline", &[]);
    assert_eq!(texts, ["one", "", " two ", "the last needs no newline"]);
    assert_eq!(ended.status, 0);
}

#[test]
fn messages_go_to_stdout_and_all_else_to_stderr() {
    let mut alice = alice();
    let mut bob = Run::named("bob").to(&alice).plain();
    alice.expect("peer_up", |_| true);
    alice.say("hello");
    alice.process.write(b"/msg bob hello you\n");
    alice.say("two\nlines \u{1b}[2J\u{202e}");
    bob.expect("the last line", |line| line.contains("lines"));
    bob.close_stdin();
    let ended = bob.ends_with(0);
    assert_eq!(
        ended.out,
        [
            "alice: hello",
            "alice (to you): hello you",
            "alice: two",
            r"  lines \u{1b}[2J\u{202e}",
        ]
    );
    let here = format!("* alice is here ({})", &alice.id()[..16]);
    assert!(ended.err.contains(&here), "{ended:?}");
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.starts_with("* you are bob (")),
        "{ended:?}"
    );
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.starts_with("* listening on 127.0.0.1:")),
        "{ended:?}"
    );
}

#[test]
fn peer_without_a_name_is_shown_by_its_id() {
    let mut nameless = Run::new().with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&nameless).plain();
    nameless.expect("peer_up", |_| true);
    nameless.say("hello");
    bob.expect("hello", |line| {
        line == &format!("{}: hello", &nameless.id()[..16])
    });
    bob.close_stdin();
    bob.ends_with(0);
}

#[test]
fn peers_with_one_name_are_shown_with_digits() {
    let mut one = Run::named("sam").with(&["--stay"]).peer();
    let mut two = Run::named("sam").to(&one).with(&["--stay"]).peer();
    up(&one, &two);
    let mut bob = Run::named("bob").to(&one).to(&two).plain();
    one.expect("peer_up", |event| event["name"] == "bob");
    two.expect("peer_up", |event| event["name"] == "bob");
    // He knows of both only once both are up.
    for peer in [&one, &two] {
        bob.told(&peer.id()[..16]);
    }
    one.say("first");
    two.say("second");
    let shown = |peer: &Peer| format!("sam#{}", &peer.id()[..8]);
    bob.expect("first", |line| line == &format!("{}: first", shown(&one)));
    bob.expect("second", |line| line == &format!("{}: second", shown(&two)));
    bob.write(b"/msg sam to whom?\n");
    bob.told("! line 1: ambiguous peer 'sam'");
    bob.write(format!("/msg {} to you\n", shown(&two)).as_bytes());
    two.expect("message", |event| {
        event["text"] == "to you" && event["direct"] == true
    });
    bob.close_stdin();
    // A refused message counts as undelivered.
    bob.ends_with(3);
    assert!(
        one.every("message")
            .iter()
            .all(|event| event["text"] == "second")
    );
}

#[test]
fn a_line_with_a_slash_is_a_command_and_two_slashes_are_one() {
    let (ended, texts) = heard(b"//quit\n/whoami\n/nonsense\n /peers\nafter\n", &[]);
    assert_eq!(texts, ["/quit", " /peers", "after"]);
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.starts_with("* you are bob, ")),
        "{ended:?}"
    );
    let unknown = "! line 3: unknown command '/nonsense'";
    assert!(
        ended.err.iter().any(|line| line.starts_with(unknown)),
        "{ended:?}"
    );
}

#[test]
fn quit_in_a_line_ends_it() {
    let alice = alice();
    let mut bob = Run::named("bob").to(&alice).plain();
    bob.write(b"before\n/quit\n");
    bob.ends_with(0);
    alice.expect("message", |event| event["text"] == "before");
}

#[test]
fn literally_every_line_is_a_message() {
    let (ended, texts) = heard(b"/quit\n//x\n/panic\n", &["--literal"]);
    assert_eq!(texts, ["/quit", "//x", "/panic"]);
    assert_eq!(ended.status, 0);
}

#[test]
fn null_cuts_at_nul_and_whole_nowhere() {
    let (ended, texts) = heard(b"two\nlines\0second\0\0last", &["--null", "--literal"]);
    assert_eq!(texts, ["two\nlines", "second", "", "last"]);
    assert_eq!(ended.status, 0);
    let (ended, texts) = heard(b"/diff\n+a\n-b\n", &["--whole"]);
    assert_eq!((ended.status, texts.len()), (0, 1));
    assert_eq!(texts[0].trim_end(), "/diff\n+a\n-b");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_dropped() {
    let (ended, texts) = heard(
        "\u{feff}one\r\ntwo\r\n\u{feff}three\rfour\n".as_bytes(),
        &[],
    );
    assert_eq!(texts, ["one", "two", "\u{feff}three\rfour"]);
    assert_eq!(ended.status, 0);
}

#[test]
fn a_line_that_cannot_be_sent_is_named_and_the_rest_goes_on() {
    let long = "x".repeat(65_537);
    let fits = "y".repeat(65_536);
    let input = [
        b"one\nno \xff UTF-8\n",
        long.as_bytes(),
        b"\n",
        fits.as_bytes(),
        b"\nfive\n",
    ]
    .concat();
    let (ended, texts) = heard(&input, &["--cover", "10"]);
    assert_eq!(texts, ["one", &fits, "five"]);
    assert_eq!(ended.status, 3);
    let told = |part: &str| ended.err.iter().filter(|line| line.contains(part)).count();
    assert_eq!(told("line 2: not sent: not UTF-8"), 1, "{:?}", ended.err);
    assert_eq!(
        told("line 3: not sent: longer than 65,536 bytes"),
        1,
        "{:?}",
        ended.err
    );
}

#[test]
fn line_far_too_long_costs_only_that_line() {
    let mut input = vec![b'x'; 3 << 20];
    input.extend(b"\nafter\n");
    let (ended, texts) = heard(&input, &[]);
    assert_eq!(texts, ["after"]);
    assert_eq!(ended.status, 3);
}

#[test]
fn timestamps_begin_each_line() {
    let mut alice = alice();
    let mut bob = Run::named("bob").to(&alice).with(&["--timestamps"]).plain();
    alice.expect("peer_up", |_| true);
    alice.say("hello");
    let line = bob.expect("hello", |line| line.ends_with(" alice: hello"));
    let stamp = line.split_once(' ').unwrap().0;
    assert_eq!(
        (stamp.len(), &stamp[10..11], &stamp[23..]),
        (24, "T", "Z"),
        "{line}"
    );
    let line = bob.told("alice is here");
    assert!(line.contains("Z * alice is here"), "{line}");
    bob.write(b"\xff\n");
    let line = bob.told("not UTF-8");
    assert!(
        line.contains("Z sesame: line 1: not sent: not UTF-8"),
        "{line}"
    );
    bob.close_stdin();
    bob.ends_with(3);
}

#[test]
fn quiet_drops_notices_and_keeps_answers_and_mistakes() {
    let (ended, texts) = heard(b"hello\n/whoami\n/nonsense\n", &["-q"]);
    assert_eq!(texts, ["hello"]);
    assert_eq!(ended.err.len(), 2, "{ended:?}");
    for part in ["* you are bob", "! line 3: unknown command '/nonsense'"] {
        assert!(
            ended.err.iter().any(|line| line.starts_with(part)),
            "{ended:?}"
        );
    }
}

#[test]
fn help_lists_every_command() {
    let (ended, _) = heard(b"/help\nx\n", &[]);
    for command in [
        "/help",
        "/peers",
        "/msg",
        "/connect",
        "/disconnect",
        "/name",
        "/whoami",
        "/verify",
        "/ignore",
        "/bell",
        "/stats",
        "/clear",
        "/panic",
        "/quit",
    ] {
        let listed = |line: &String| line.starts_with(&format!("* {command} "));
        assert!(ended.err.iter().any(listed), "{command}: {ended:?}");
    }
}

#[test]
fn output_comes_at_each_line_into_a_pipe_too() {
    let mut alice = alice();
    let mut bob = Run::named("bob").to(&alice).plain();
    alice.expect("peer_up", |_| true);
    for text in ["one", "two", "three"] {
        alice.say(text);
        bob.expect(text, |line| line == &format!("alice: {text}"));
    }
    bob.close_stdin();
    bob.ends_with(0);
}

#[test]
fn dropped_carriage_returns_do_not_count_as_length() {
    let (ended, texts) = heard(
        &b"123456789\r\n".repeat(6500),
        &["--whole", "--cover", "10"],
    );
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(texts == ["123456789\n".repeat(6500).trim_end()]);
}

/// Starts a run from this shell script: `$1` is the program, and `$@` is the program with its
/// arguments.
fn by_shell(run: &Run, script: &str) -> Process {
    run.clone().under_shell("sh", script).plain()
}

#[test]
fn nothing_is_started_where_stdout_is_closed() {
    let alice = alice();
    let bob = Run::named("bob").to(&alice);
    let mistaken = bob.clone().with(&["--ack"]);
    let closed = [
        "sesame: cannot write to stdout: it is closed",
        "sesame: use >/dev/null to discard the output",
    ];
    for asked in [r#""$@""#, r#""$1" man"#, r#""$1" --version"#] {
        let ended = by_shell(&bob, &format!("exec {asked} >&-")).ends_with(1);
        assert_eq!(ended.err, closed);
    }
    assert_eq!(bob.place.written(), [""; 0]);
    by_shell(&mistaken, r#"exec "$@" >&-"#).ends_with(2);
    let mut thrown_away = by_shell(&bob, r#"exec "$@" 1<>/dev/null"#);
    thrown_away.write_all_and_close(b"hello\n".to_vec());
    thrown_away.ends_with(0);
    alice.expect("peer_down", |_| true);
    assert_eq!(alice.every("peer_up").len(), 1);
}

#[test]
fn a_stdin_that_is_closed_is_an_empty_one() {
    let bob = Run::named("bob");
    by_shell(&bob, r#"exec "$@" <&-"#).ends_with(0);
}

#[test]
fn utf16_input_is_refused_before_anything_is_sent() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let little = b"\xff\xfeh\0i\0\r\0\n\0".as_slice();
    let big = b"\xfe\xff\0h\0i\0\r\0\n";
    for (input, how) in [
        (little, "--stay"),
        (big, "--literal"),
        (little, "--whole"),
        (big, "--null"),
    ] {
        let ended = Run::named("bob").to(&alice).with(&[how]).pipe(input);
        assert_eq!(ended.status, 1, "{how}: {ended:?}");
        let told = ended.err.iter().filter(|line| line.contains("UTF-16"));
        assert!(
            told.clone().count() == 1
                && told.clone().all(|line| line.contains("write it as UTF-8")),
            "{how}: {ended:?}"
        );
    }
    assert!(alice.every("message").is_empty());
}
