//! Chat and its terminal: all peers leave, the window changes, the process is stopped, keys come
//! together.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::helper::{PHRASE, Peer, Run, Screen};

/// Bob at a terminal, linked with alice, started by a shell with job control.
fn bob_and(alice: &Peer, options: &[&str]) -> Option<Screen> {
    let bob = Run::named("bob").to(alice).with(options);
    let screen = Screen::start_as_job(&bob, &[])?;
    screen.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    Some(screen)
}

fn says(peer: &Peer, text: &str) {
    peer.expect("message", |event| event["text"] == text);
}

/// Where a run at a terminal listens.
fn addr(screen: &Screen) -> String {
    let line = screen.shows_line("* listening on ");
    line.rsplit(' ').next().unwrap().to_owned()
}

const LEFT: &str = "* nobody is left; Enter on an empty line quits";
const KEPT: &str = "* nobody is here; Enter sends the line when somebody is";

#[test]
fn last_peer_leaves_chat_stays_and_keeps_the_line() {
    let mut alice = Run::named("alice").peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    let addr = addr(&bob);
    bob.types("half a li");
    bob.shows_typed("> half a li");
    alice.quit();
    bob.shows_line(LEFT);
    bob.shows_typed("> half a li");
    bob.enters("ne");
    bob.shows_line(KEPT);
    bob.shows_typed("> half a line");
    bob.press(&["C-u"]);
    bob.enters("/whoami");
    bob.shows_line("* you are bob, ");
    bob.press(&["C-y"]);
    bob.shows_typed("> half a line");

    let mut carol = Run::named("carol").dials(&addr).peer();
    bob.shows_line("* carol is here (");
    bob.shows_typed("> half a line");
    bob.press(&["Enter"]);
    says(&carol, "half a line");
    bob.enters("and another");
    says(&carol, "and another");
    // A message without an acknowledgement would count.
    carol.say("heard");
    bob.shows_line("carol: heard");
    carol.quit();
    bob.shows("two goodbyes", |lines| {
        lines.iter().filter(|line| line.contains(LEFT)).count() == 2
    });
    assert_eq!(bob.ends_by_enter(), 0);
}

#[test]
fn with_stay_enter_does_not_close_a_chat() {
    let mut alice = Run::named("alice").peer();
    let Some(bob) = bob_and(&alice, &["--stay"]) else {
        return;
    };
    alice.quit();
    bob.shows_line("* nobody is left");
    bob.presses_at_once("\r\r\r/whoami\r");
    bob.shows_line("* you are bob, ");
    bob.enters("a text");
    bob.shows_line(KEPT);
    bob.presses_at_once("\x03\x03");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn lines_and_pastes_are_kept_before_the_first_peer() {
    let Some(bob) = Screen::start_as_job(&Run::named("bob"), &[]) else {
        return;
    };
    let addr = addr(&bob);
    bob.press(&["Enter", "Enter"]);
    bob.pastes("one\n/two");
    bob.press(&["Enter"]);
    bob.shows_line(KEPT);
    bob.shows_typed("/two");
    let alice = Run::named("alice").dials(&addr).with(&["--stay"]).peer();
    bob.shows_line("* alice is here (");
    bob.press(&["Enter"]);
    says(&alice, "one\n/two");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn keys_behind_the_end_do_not_reach_the_shell() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    bob.presses_at_once("/quit\rtouch this\recho that\r");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn dumb_terminal_stays_when_all_peers_have_left() {
    let mut alice = Run::named("alice").peer();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start_with(&run, &[("SCREEN_TERM", "dumb")]) else {
        return;
    };
    bob.shows_line("* alice is here (");
    alice.quit();
    bob.shows_line(LEFT);
    bob.enters("too late");
    bob.shows_line("! not sent: nobody is here: too late");
    assert_eq!(bob.ends_by_enter(), 0);
}

/// Messages arrive while the window changes, and all of them are there in the end.
fn resizes(typed: &str) {
    let mut alice = Run::named("alice")
        .with(&["--cover", "10", "--stay"])
        .peer();
    let Some(bob) = bob_and(&alice, &["--cover", "10"]) else {
        return;
    };
    bob.resize(40, 30);
    for part in typed.chars().collect::<Vec<_>>().chunks(100) {
        bob.types(&part.iter().collect::<String>());
    }
    let mut number = 0;
    for (columns, rows) in [
        (120, 30),
        (25, 30),
        (77, 12),
        (40, 40),
        (200, 8),
        (30, 30),
        (120, 30),
    ] {
        for _ in 0..20 {
            number += 1;
            alice.say(&format!(
                "message <{number}> wide 語 and long {}",
                "z".repeat(1 + number % 60)
            ));
        }
        bob.resize(columns, rows);
    }
    bob.shows("the last message", |lines| {
        lines.concat().contains(&format!("<{number}>"))
    });
    // Where a word did not fit, chat has filled up the row with spaces.
    let one_blank = |line: &String| {
        let words = line.split(' ').filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    };
    let all: Vec<_> = bob.joined().iter().map(one_blank).collect();
    let all = all.join("\n");
    let mut rest = all.as_str();
    for number in 1..=number {
        let text = format!(
            "alice: message <{number}> wide 語 and long {}",
            "z".repeat(1 + number % 60)
        );
        let at = rest.find(&text);
        let at =
            at.unwrap_or_else(|| panic!("message {number} is not where it should be in\n{all}"));
        rest = &rest[at + text.len()..];
    }
    bob.press(&["Enter"]);
    says(&alice, typed);
    bob.presses_at_once("\x03");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn resizes_with_200_typed_keep_all_messages() {
    resizes(&"typed text ".repeat(19)[..200]);
}

#[test]
fn resizes_with_2000_wide_typed_keep_all_messages() {
    resizes(&"日本語 and 👩🚀 ".repeat(143));
}

/// How a process is stopped.
#[derive(Clone, Copy, Debug)]
enum How {
    Key,
    Signal(Signal),
}

const EVERY_WAY: [How; 4] = [
    How::Key,
    How::Signal(Signal::SIGTSTP),
    How::Signal(Signal::SIGSTOP),
    How::Key,
];

fn stop(screen: &Screen, how: How, times: usize) {
    match how {
        How::Key => screen.press(&["C-z"]),
        How::Signal(signal) => {
            let pid = Pid::from_raw(screen.pid().try_into().unwrap());
            kill(pid, signal).unwrap();
        }
    }
    screen.stops(times);
    if !matches!(how, How::Signal(Signal::SIGSTOP)) {
        assert!(screen.was_itself_when_stopped(), "{how:?}");
    }
    // For the shell, which then continues the run.
    screen.press(&["Enter"]);
}

/// Stops a chat in every way in this state, types between the stops, and panics at last.
fn stops_in(state: &str, prompt: &str) {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    bob.enters("earlier");
    says(&alice, "earlier");
    // Behind the acknowledgement: a panic that erases a message which is not acknowledged ends with 3.
    alice.say("heard");
    bob.shows_line("alice: heard");
    bob.presses_at_once(state);
    bob.shows_typed(prompt);
    for (number, how) in EVERY_WAY.into_iter().enumerate() {
        // In a search and after Ctrl-X, Ctrl-Z is an ordinary key, which leaves that state.
        stop(&bob, how, number + 1);
        bob.shows("the line again", |lines| {
            lines
                .last()
                .is_some_and(|last| last.starts_with("> ") || last == prompt)
        });
    }
    bob.press(&["F12"]);
    bob.shows_line("sesame has forgotten everything");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn stops_in_the_middle_of_a_line_are_survived() {
    stops_in("half a line", "> half a line");
}

#[test]
fn stops_in_a_search_are_survived() {
    stops_in("\x12ear", "(search: ear) earlier");
}

#[test]
fn stops_behind_a_completion_are_survived() {
    stops_in("/p\t\t", "> /p");
}

#[test]
fn a_stop_in_the_middle_of_a_paste_is_survived() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    bob.presses_at_once("typed\x1b[200~half a paste");
    bob.shows_typed("> typed");
    stop(&bob, How::Signal(Signal::SIGSTOP), 1);
    bob.shows_typed("> typed");
    stop(&bob, How::Signal(Signal::SIGTSTP), 2);
    bob.shows_typed("> typed");
    bob.press(&["F12"]);
    bob.shows_line("sesame has forgotten everything");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn modes_that_the_shell_changed_are_given_back() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start_as_job(&run, &[("CHANGED_MODES", "-echoctl -onlcr tostop")])
    else {
        return;
    };
    bob.shows_line("* alice is here (");
    bob.types("half");
    bob.shows_typed("> half");
    stop(&bob, How::Signal(Signal::SIGSTOP), 1);
    bob.shows_typed("> half");
    bob.enters(" a line");
    says(&alice, "half a line");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn stops_at_the_passphrase_prompt_show_nothing() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").no_phrase().to(&alice);
    let Some(bob) = Screen::start_as_job(&run, &[]) else {
        return;
    };
    bob.shows_typed("Passphrase:");
    for (number, how) in EVERY_WAY.into_iter().enumerate() {
        bob.types_to_the_run("wrong");
        stop(&bob, how, number + 1);
        bob.shows_typed("Passphrase:");
    }
    bob.enters(PHRASE);
    bob.shows_line("* alice is here (");
    let all = bob.with_scrollback().join("\n");
    assert!(!all.contains("lantern") && !all.contains("wrong"), "{all}");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn a_run_stopped_at_the_prompt_can_be_ended() {
    let Some(bob) = Screen::start_as_job(&Run::named("bob").no_phrase(), &[]) else {
        return;
    };
    bob.shows_typed("Passphrase:");
    bob.press(&["C-z"]);
    bob.stops(1);
    let pid = Pid::from_raw(bob.pid().try_into().unwrap());
    // As `kill %1` of a shell does.
    kill(pid, Signal::SIGTERM).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    super::helper::seen("the end", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn keys_that_come_together_all_count() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    bob.presses_at_once("gone\x03hello\r");
    says(&alice, "hello");
    bob.presses_at_once("a\x1b[200~b\nc\x1b[201~d\re\r");
    says(&alice, "ab\ncd");
    says(&alice, "e");
    bob.presses_at_once("/clear\rbehind\r");
    says(&alice, "behind");
    bob.presses_at_once("text\x04 and more\r");
    says(&alice, "text and more");
    for part in ["\x1b", "[", "20", "0~in parts\x1b[2", "01", "~\r"] {
        bob.presses_at_once(part);
    }
    says(&alice, "in parts");
    assert_eq!(alice.every("message").len(), 6);
    bob.presses_at_once("gone\x03\x03");
    assert_eq!(bob.ends(), 0);
}

#[test]
fn a_panic_key_counts_behind_anything_and_in_parts() {
    for keys in [
        &["half\x1b[24~"][..],
        &["one\rtwo\x03three\x18\x10"],
        &["half\x1b", "[24", "~"],
        &["\x18", "\x10"],
        &["\x12ear\x1b[24~"],
        &["\x1b[200~pasted\x1b[201~\x1b[24~"],
    ] {
        let alice = Run::named("alice").with(&["--stay"]).peer();
        let Some(bob) = bob_and(&alice, &[]) else {
            return;
        };
        for part in keys {
            bob.presses_at_once(part);
        }
        bob.shows_line("sesame has forgotten everything");
        alice.expect("peer_down", |event| event["reason"] == "lost");
    }
}

#[test]
fn port_in_use_is_told_before_a_passphrase_is_asked() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let listen_options = ["--listen", "127.0.0.1", "--port", &port];
    let Some(bob) = Screen::start(&Run::new().no_phrase().listening(&listen_options)) else {
        return;
    };
    let taken = format!("sesame: cannot listen on port {port}: another program uses it");
    assert_eq!(bob.shows_line("cannot listen"), taken);
    assert_eq!(bob.ends(), 1);
    assert!(!bob.lines().concat().contains("Passphrase"));
}

/// The title that the terminal itself has.
fn own_title() -> Option<String> {
    let run = Run::named("bob").with(&["--no-title"]);
    let bob = Screen::start(&run)?;
    bob.shows_typed(">");
    Some(bob.title())
}

#[test]
fn title_counts_messages_since_the_last_key() {
    let Some(own) = own_title() else {
        return;
    };
    assert!(!own.contains("sesame"), "{own}");
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let Some(bob) = bob_and(&alice, &[]) else {
        return;
    };
    bob.is_titled("sesame");
    alice.say("one");
    bob.is_titled("(1) sesame");
    alice.say("two");
    bob.is_titled("(2) sesame");
    bob.press(&["x"]);
    bob.is_titled("sesame");
    alice.say("three");
    bob.is_titled("(1) sesame");
    let pid = Pid::from_raw(bob.pid().try_into().unwrap());
    kill(pid, Signal::SIGTSTP).unwrap();
    bob.stops(1);
    bob.is_titled(&own);
    // For the shell.
    bob.press(&["Enter"]);
    bob.is_titled("(1) sesame");
    bob.press(&["F12"]);
    bob.shows_line("sesame has forgotten everything");
    bob.is_titled("sesame");
    bob.press(&["C-d"]);
    bob.ends();
    bob.is_titled(&own);
}

#[test]
fn title_is_restored_by_a_signal_and_left_to_others() {
    let Some(own) = own_title() else {
        return;
    };
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let run = Run::named("bob").to(&alice);
    let Some(bob) = Screen::start(&run) else {
        return;
    };
    bob.is_titled("sesame");
    kill(
        Pid::from_raw(bob.pid().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(bob.ends(), 143);
    bob.is_titled(&own);
    for (term, option) in [
        ("linux", &[][..]),
        ("screen", &["--no-title"]),
        ("dumb", &[]),
    ] {
        let run = Run::named("carol").to(&alice).with(option);
        let Some(carol) = Screen::start_with(&run, &[("SCREEN_TERM", term)]) else {
            return;
        };
        carol.shows_line("* alice is here (");
        alice.say("unread");
        carol.shows_line("alice: unread");
        assert_eq!(carol.title(), own, "{term}");
    }
}
