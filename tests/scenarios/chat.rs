//! Chat at a real terminal.

use super::helper::{Peer, Relay, Run, Screen, seen};

pub fn alice() -> Peer {
    Run::named("alice").with(&["--stay"]).peer()
}

/// Bob at a terminal, linked with alice.
pub fn at_terminal(alice: &Peer, options: &[&str]) -> Option<Screen> {
    let screen = Screen::start(&Run::named("bob").to(alice).with(options))?;
    screen.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    Some(screen)
}

fn says(alice: &Peer, text: &str) {
    alice.expect("message", |event| event["text"] == text);
}

#[test]
fn a_message_appears_above_the_line_being_typed() {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("half a thou");
    bob.shows_typed("> half a thou");
    alice.say("sorry to interrupt");
    let line = bob.shows_line("alice: sorry to interrupt");
    assert_eq!(&line[2..3], ":", "{line}");
    bob.shows_typed("> half a thou");
    bob.enters("ght");
    says(&alice, "half a thought");
    alice.process.write(b"/msg bob for you\n");
    bob.shows_line("alice (to you): for you");
}

#[test]
fn ctrl_c_clears_the_line_and_on_an_empty_one_quits() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("never to be sent");
    bob.shows_typed("> never to be sent");
    bob.press(&["C-c"]);
    bob.shows_typed(">");
    bob.enters("sent");
    says(&alice, "sent");
    bob.shows_typed(">");
    bob.press(&["C-c"]);
    assert_eq!(bob.ends(), 0);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
    assert_eq!(alice.every("message").len(), 1);
}

#[test]
fn ctrl_d_and_quit_end_it_and_the_terminal_is_as_before() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("in the middle of");
    bob.shows_typed("> in the middle of");
    signal(&bob, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(bob.ends(), 143);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}

fn signal(screen: &Screen, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(screen.pid().try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

#[test]
fn tab_completes_commands_and_peers() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("/who");
    bob.press(&["Tab"]);
    bob.shows_typed("> /whoami");
    bob.press(&["Enter"]);
    bob.shows_line("* you are bob, ");
    bob.types("/msg al");
    bob.press(&["Tab"]);
    bob.shows_typed("> /msg alice");
    bob.enters("completed");
    says(&alice, "completed");
}

#[test]
fn a_pasted_block_is_one_message() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.pastes("one\ntwo\n\nfour");
    bob.shows("four", |lines| {
        lines.last().is_some_and(|line| line.contains("four"))
    });
    bob.press(&["Enter"]);
    says(&alice, "one\ntwo\n\nfour");
    assert_eq!(alice.every("message").len(), 1);
}

#[test]
fn pasted_line_is_never_a_command() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.pastes("/quit");
    bob.shows_typed("> /quit");
    bob.press(&["Enter"]);
    says(&alice, "/quit");
    bob.pastes("/panic\n/quit\n");
    bob.shows("the paste", |lines| {
        lines.iter().any(|line| line.contains("/panic"))
    });
    bob.press(&["Enter"]);
    alice.expect("message", |event| {
        event["text"].as_str().unwrap().starts_with("/panic\n/quit")
    });
    // Typed, it is a command; with two slashes it is a message.
    bob.enters("//quit");
    says(&alice, "/quit");
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn a_line_is_recalled_until_it_is_cleared() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.enters("remember me");
    says(&alice, "remember me");
    bob.press(&["Up"]);
    bob.shows_typed("> remember me");
    bob.press(&["C-c"]);
    bob.shows_typed(">");
    bob.enters("/clear");
    bob.shows("a clear screen", |lines| lines.len() <= 1);
    bob.press(&["Up"]);
    bob.types("x");
    bob.shows_typed("> x");
    let all = bob.with_scrollback().join("\n");
    assert!(
        !all.contains("alice is here") && !all.contains("remember"),
        "{all}"
    );
}

#[test]
fn cut_text_does_not_come_back_after_clear() {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("better unsaid");
    bob.shows_typed("> better unsaid");
    bob.press(&["C-u"]);
    bob.shows_typed(">");
    bob.press(&["C-y"]);
    bob.shows_typed("> better unsaid");
    bob.press(&["C-u"]);
    bob.enters("/clear");
    bob.shows("a clear screen", |lines| lines.len() <= 1);
    bob.press(&["C-y"]);
    bob.types("x");
    bob.shows_typed("> x");
    // Everything else is as before.
    alice.say("go on");
    bob.shows_line("alice: go on");
    bob.shows_typed("> x");
    bob.press(&["C-u", "C-y"]);
    bob.shows_typed("> x");
    bob.press(&["Enter"]);
    says(&alice, "x");
    bob.types("/who");
    bob.press(&["Tab"]);
    bob.shows_typed("> /whoami");
    bob.press(&["C-c"]);
    bob.shows_typed(">");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn mistakes_are_reported_and_not_sent() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.enters("/qiut");
    bob.shows_line("! unknown command '/qiut'");
    bob.enters("/msg nobody hello");
    bob.shows_line("! unknown peer 'nobody'");
    bob.press(&["Enter"]);
    bob.enters("real");
    says(&alice, "real");
    assert_eq!(alice.every("message").len(), 1, "an empty line is nothing");
}

fn panics(how: impl Fn(&Screen)) {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    let pid = bob.pid();
    alice.say("a secret");
    bob.shows_line("alice: a secret");
    bob.enters("another");
    says(&alice, "another");
    // After the acknowledgement, so that no message is owed any more.
    alice.say("heard");
    bob.shows_line("alice: heard");
    how(&bob);
    bob.shows_line("sesame has forgotten everything");
    alice.expect("peer_down", |event| event["reason"] == "lost");
    let shown = bob.with_scrollback();
    // Alice finds the new identity at the old address within a moment.
    let old = shown
        .iter()
        .filter(|line| !line.contains("* alice is here ("));
    let all = old.cloned().collect::<Vec<_>>().join("\n");
    for gone in ["secret", "another", "alice", "bob", "/panic"] {
        assert!(!all.contains(gone), "{gone}: {all}");
    }
    assert_eq!(bob.pid(), pid);
    assert!(std::path::Path::new("/proc").join(pid.to_string()).exists());
    bob.press(&["Up"]);
    bob.enters(&format!("/connect {}", alice.addr()));
    bob.shows_line("* alice is here (");
    bob.enters("who am I?");
    let heard = alice.expect("message", |event| event["text"] == "who am I?");
    assert_eq!(heard["name"], serde_json::json!(null));
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn f12_is_panic() {
    panics(|bob| bob.press(&["F12"]));
}

#[test]
fn f12_in_the_middle_of_a_line_is_panic() {
    panics(|bob| {
        bob.types("half a secr");
        bob.shows_typed("> half a secr");
        bob.press(&["F12"]);
    });
}

#[test]
fn ctrl_x_ctrl_p_is_panic() {
    panics(|bob| bob.press(&["C-x", "C-p"]));
}

#[test]
fn slash_panic_is_panic() {
    panics(|bob| bob.enters("/panic"));
}

#[test]
fn sigusr1_is_panic() {
    panics(|bob| signal(bob, nix::sys::signal::Signal::SIGUSR1));
}

#[test]
fn decoy_is_marked_in_chat() {
    let alice = Run::new().with(&["--decoy", "--stay"]).peer();
    let Some(bob) = Screen::start(&Run::new().with(&["--decoy"]).to(&alice)) else {
        return;
    };
    bob.shows_line("* [decoy] ");
    bob.shows_typed("[decoy] >");
    bob.shows_line(" is here (");
    alice.expect("peer_up", |_| true);
    bob.enters("nothing real");
    says(&alice, "nothing real");
}

#[test]
fn a_terminal_without_a_cursor_will_do() {
    let mut alice = alice();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start_with(&run, &[("SCREEN_TERM", "dumb")]) else {
        return;
    };
    bob.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    bob.enters("no cursor here");
    says(&alice, "no cursor here");
    alice.say("nor here");
    bob.shows_line("alice: nor here");
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn chat_without_colour_works() {
    let mut alice = alice();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start_with(&run, &[("NO_COLOR", "1")]) else {
        return;
    };
    bob.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    bob.enters("no colour here");
    says(&alice, "no colour here");
    alice.say("nor here");
    bob.shows_line("alice: nor here");
    alice.expect("delivered", |_| true);
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn a_name_with_spaces_is_quoted() {
    let alice = Run::named("Alice Liddell").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start(&run) else {
        return;
    };
    bob.shows_line("* Alice Liddell is here (");
    bob.types("/msg Al");
    bob.press(&["Tab"]);
    bob.shows_typed("> /msg \"Alice Liddell\"");
    bob.enters("quoted");
    alice.expect("message", |event| {
        event["text"] == "quoted" && event["direct"] == true
    });
    bob.enters("/verify \"Alice Liddell\"");
    let words = alice.every("peer_up")[0]["sas"]
        .as_str()
        .unwrap()
        .to_owned();
    bob.shows_line(&format!("* Alice Liddell: {words}"));
}

#[test]
fn nobody_draws_on_the_terminal() {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    alice.say("\u{1b}[2J\u{1b}[1;1H\u{9b}5m\u{7}\u{202e}olleh\rx");
    bob.shows_line(r"alice: \u{1b}[2J\u{1b}[1;1H\u{9b}5m\u{7}\u{202e}olleh\u{d}x");
    alice.say("two\n* mallory is here");
    bob.shows_line("  * mallory is here");
    bob.shows_line("* alice is here (");
}

#[test]
fn the_phrase_is_asked_for_without_echo() {
    let alice = alice();
    let run = Run::named("bob").no_phrase().to(&alice);
    let Some(bob) = Screen::start(&run) else {
        return;
    };
    bob.shows("a question", |lines| {
        lines
            .iter()
            .any(|line| line.to_lowercase().contains("phrase"))
    });
    bob.enters(super::helper::PHRASE);
    bob.shows_line("* alice is here (");
    let all = bob.with_scrollback().join("\n");
    assert!(!all.contains("lantern"), "{all}");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

const DERIVING: &str = "* deriving the key from the passphrase";

#[test]
fn user_sees_that_the_key_is_being_derived() {
    let Some(bob) = Screen::start(&Run::named("bob").no_phrase()) else {
        return;
    };
    bob.shows_typed("Passphrase:");
    let record = bob.records();
    bob.enters(super::helper::PHRASE);
    bob.shows_line("* you are bob (");
    let written = super::helper::seen("the record", || {
        let written = std::fs::read_to_string(&record).unwrap();
        written.contains("you are bob").then_some(written)
    });
    let (_, after) = written.split_once(DERIVING).expect(&written);
    let blank = " ".repeat(DERIVING.len());
    assert!(after.starts_with(&format!("\r{blank}\r")), "{after:?}");
    let all = bob.with_scrollback().join("\n");
    assert!(!all.contains("deriving"), "{all}");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn dumb_terminal_gets_a_line_about_the_derivation() {
    let run = Run::named("bob").with(&["--decoy"]);
    let Some(bob) = Screen::start_with(&run, &[("SCREEN_TERM", "dumb")]) else {
        return;
    };
    let line = bob.shows_line("deriving");
    assert_eq!(&line[6..], DERIVING.replace("* ", "* [decoy] "));
    bob.shows_line("you are bob (");
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn alt_enter_inserts_a_newline() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("one");
    bob.press(&["M-Enter"]);
    bob.types("/two");
    bob.shows("two rows", |lines| {
        lines.ends_with(&["> one".to_owned(), "/two".to_owned()])
    });
    bob.press(&["Enter"]);
    says(&alice, "one\n/two");
    // Ctrl-C clears all rows of a line, and only on an empty one does it quit.
    bob.types("three");
    bob.press(&["M-Enter"]);
    bob.types("four");
    bob.shows_typed("four");
    bob.press(&["C-c"]);
    bob.shows_typed(">");
    bob.enters("five");
    says(&alice, "five");
    assert_eq!(alice.every("message").len(), 2);
    bob.shows_typed(">");
    bob.press(&["C-c"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn tab_completes_only_what_would_be_accepted() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    for (typed, completed) in [
        ("/bell  a", "/bell  all"),
        ("/help /pend", "/help /pending"),
        ("/msg  al", "/msg  alice"),
        ("//see al", "//see alice"),
        ("/bell x", "/bell x"),
        ("/bell off a", "/bell off a"),
        ("/help nothing", "/help nothing"),
        ("/help peers p", "/help peers p"),
        ("/quit al", "/quit al"),
        ("/nothing al", "/nothing al"),
        ("/verify alice al", "/verify alice al"),
        ("/connect al", "/connect al"),
    ] {
        bob.types(typed);
        bob.press(&["Tab"]);
        // Behind it, so that Tab has had its effect.
        bob.types("|");
        let shown = bob.shows("a completion", |lines| {
            lines.last().is_some_and(|last| last.ends_with('|'))
        });
        let last = shown.last().unwrap();
        assert_eq!(last.replace(" |", "|"), format!("> {completed}|"));
        bob.press(&["C-u"]);
        bob.shows_typed(">");
    }
    // A pasted line is a message, whatever it begins with.
    bob.pastes("/who");
    bob.press(&["Tab"]);
    bob.types("|");
    bob.shows_typed("> /who|");
    bob.press(&["C-c"]);
    bob.shows_typed(">");
    // And in the middle of a word there is nothing to complete.
    bob.types("/whoami");
    bob.press(&["Left", "Left", "Left", "Tab"]);
    bob.types("|");
    bob.shows_typed("> /who|ami");
}

#[test]
fn long_message_is_cut_and_more_shows_its_rest() {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    let lines: Vec<_> = (1..=23).map(|n| format!("item {n}.")).collect();
    alice.say(&lines.join("\n"));
    bob.shows_line("* 3 more lines from alice; /more shows them");
    let is_shown = |lines: &[String], part: &str| lines.iter().any(|it| it.contains(part));
    assert!(!is_shown(&bob.with_scrollback(), "item 21."));
    bob.enters("/more");
    bob.shows_line("item 23.");
    assert!(is_shown(&bob.with_scrollback(), "item 21."));
    assert!(is_shown(&bob.lines(), "from alice goes on:"));
    bob.enters("/more");
    bob.shows_line("* all lines of all messages are shown");
}

#[test]
fn tab_completes_the_choice_of_a_command() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.types("/bell d");
    bob.press(&["Tab"]);
    bob.shows_typed("> /bell direct");
    bob.press(&["Enter"]);
    bob.shows_line("* the bell rings for direct messages only");
    bob.types("/help pen");
    bob.press(&["Tab"]);
    bob.shows_typed("> /help pending");
    bob.press(&["Enter"]);
    bob.shows_line("* /pending: list the messages");
}

#[test]
fn tables_fit_a_terminal_of_40_columns() {
    let alice = Run::named("Alice of the Long Garden Path")
        .with(&["--stay"])
        .peer();
    let Some(bob) = Screen::start(&Run::named("bob").to(&alice)) else {
        return;
    };
    bob.shows_line("* Alice of the Long Garden Path is here (");
    bob.resize(40, 30);
    bob.enters("/clear");
    bob.shows("a clear screen", |lines| lines.len() <= 1);
    bob.enters("/peers");
    bob.shows_line("*   127.0.0.1:");
    bob.enters("/stats");
    bob.shows_line("B queued");
    // A line that is not shorter than the terminal is wide would be joined from two rows.
    let lines = bob.joined();
    assert!(lines.iter().all(|line| line.len() < 40), "{lines:?}");
    let named = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(named("* Alice of the Long Garden Path"), 1);
    assert!(
        named("* peer ") > 1 && named("* peer ") == named("* Alice of th…"),
        "{lines:?}"
    );
}

#[test]
fn words_stay_whole_and_an_address_can_be_copied() {
    let mut alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.resize(40, 30);
    bob.enters("/clear");
    bob.shows("a clear screen", |lines| lines.len() <= 1);
    let url = format!("https://example.org/{}", "long/".repeat(10));
    let text = format!("words of any length stay together, and so does {url} here");
    alice.say(&text);
    bob.shows("the end", |lines| lines.iter().any(|line| line == "  here"));
    let rows = bob.lines();
    assert!(
        rows[0].ends_with(" alice: words of any length stay"),
        "{rows:?}"
    );
    assert!(
        rows[1].starts_with("  together, and so does https://"),
        "{rows:?}"
    );
    let part = format!(" does {url} ");
    let lines = bob.joined();
    let whole = |line: &String| line.contains(&part) && line.ends_with(" here");
    assert!(lines.iter().any(whole), "{lines:?}");
    // The terminal breaks the line anew.
    bob.resize(120, 30);
    let is_joined =
        |line: &String| line.contains(" length stay") && line.contains("so does https://");
    bob.shows("one row", |lines| lines.iter().any(is_joined));
}

#[test]
fn peer_that_is_back_at_once_gets_one_line() {
    let alice = alice();
    let relay = Relay::to(&alice.addr());
    let bob = Run::named("bob").with(&["-p", relay.addr()]);
    let Some(bob) = Screen::start(&bob) else {
        return;
    };
    bob.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    relay.cut();
    let back = bob.shows_line("* alice is here again (");
    let left = bob
        .lines()
        .iter()
        .any(|line| line.contains("* alice left: lost"));
    // On a machine that is too busy to link again within the time for which the line is held, both
    // lines appear.
    assert_ne!(back.contains("), gone for "), left, "{:?}", bob.lines());
    // A peer that does not come back has left.
    bob.enters("/disconnect alice");
    bob.shows_line("* you disconnected alice");
}

#[test]
fn notification_holds_no_text_and_no_name() {
    let mut alice = alice();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start_with(&run, &[("SCREEN_TERM", "xterm-256color")]) else {
        return;
    };
    bob.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    let record = bob.records();
    alice.say("before");
    bob.shows_line("alice: before");
    bob.types("/not");
    bob.press(&["Tab"]);
    bob.shows_typed("> /notify");
    bob.types("a");
    bob.press(&["Tab"]);
    bob.shows_typed("> /notify all");
    bob.press(&["Enter"]);
    bob.shows_line("* the terminal notifies you of every message");
    alice.say("secret");
    let notification = "\u{1b}]9;sesame: new message\u{7}";
    let recorded = || String::from_utf8_lossy(&std::fs::read(&record).unwrap()).into_owned();
    seen("a notification", || {
        recorded().contains(notification).then_some(())
    });
    bob.press(&["F12"]);
    bob.shows_line("sesame has forgotten everything");
    bob.enters(&format!("/connect {}", alice.addr()));
    bob.shows_line("* alice is here (");
    bob.enters("here again");
    says(&alice, "here again");
    // A panic forgets the choice, too.
    alice.say("after");
    bob.shows_line("alice: after");
    seen("the record", || {
        recorded().contains(": after").then_some(())
    });
    let all = recorded();
    assert_eq!(all.matches("]9;").count(), 1, "{all:?}");
}

#[test]
fn notify_is_refused_where_the_terminal_has_none() {
    let Some(bob) = Screen::start(&Run::named("bob")) else {
        return;
    };
    bob.shows_typed(">");
    bob.enters("/notify direct");
    bob.shows_line("! sesame knows no notifications of this terminal; /bell works");
    bob.enters("/notify off");
    bob.shows_line("* notifications are off");
}
