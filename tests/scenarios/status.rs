//! The row above the line being typed in a chat: what the user waits for.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::chat::{alice, at_terminal};
use super::helper::{Run, Screen, nobody};

/// Waits until the row directly above the line being typed fits.
fn shows_row(screen: &Screen, what: &str, fits: impl Fn(&str) -> bool) -> String {
    let row = |lines: &[String]| lines.len().checked_sub(2).map(|at| lines[at].clone());
    let lines = screen.shows(what, |lines| row(lines).is_some_and(|row| fits(&row)));
    row(&lines).unwrap()
}

/// Waits until no row says this, on the screen or above it.
fn shows_no_more(screen: &Screen, part: &str) {
    screen.shows("a row less", |lines| !lines.concat().contains(part));
    let all = screen.with_scrollback();
    let rows: Vec<_> = all.iter().filter(|line| line.contains(part)).collect();
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn each_dial_is_shown_while_nobody_is_here() {
    let nobody = nobody();
    let Some(bob) = Screen::start(&Run::named("bob").dials(&nobody)) else {
        return;
    };
    let addr = bob.shows_line("* listening on ");
    let addr = addr.rsplit(' ').next().unwrap();
    bob.types("half a line");
    bob.shows_typed("> half a line");
    let attempt = |row: &str| {
        let rest = row.strip_prefix(&format!("dialing {nobody}, attempt "))?;
        let attempt = rest.strip_suffix("; last: connection refused")?;
        Some(attempt.parse::<u32>().unwrap())
    };
    shows_row(&bob, "a third attempt", |row| attempt(row) >= Some(3));
    bob.shows_typed("> half a line");
    let carol = Run::named("carol").dials(addr).with(&["--stay"]).peer();
    bob.shows_line("* carol is here (");
    shows_no_more(&bob, "attempt");
    bob.press(&["Enter"]);
    carol.expect("message", |event| event["text"] == "half a line");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn unacknowledged_messages_are_marked_with_their_peers() {
    let (alice, carol) = (alice(), Run::named("carol").with(&["--stay"]).peer());
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    bob.enters(&format!("/connect {}", carol.addr()));
    bob.shows_line("* carol is here (");
    for peer in [&alice, &carol] {
        peer.signal(Signal::SIGSTOP);
    }
    bob.enters("are you there");
    let one = |row: &str| {
        let names = row.strip_suffix(": 1 message not acknowledged");
        names.is_some_and(|names| ["alice, carol", "carol, alice"].contains(&names))
    };
    shows_row(&bob, "both peers", one);
    bob.types("half a li");
    bob.shows_typed("> half a li");
    carol.signal(Signal::SIGCONT);
    shows_row(&bob, "alice only", |row| {
        row == "alice: 1 message not acknowledged"
    });
    bob.enters("ne");
    shows_row(&bob, "two messages", |row| {
        row == "alice: 2 messages not acknowledged"
    });
    alice.signal(Signal::SIGCONT);
    shows_no_more(&bob, "not acknowledged");
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn row_is_cut_to_40_columns_and_12_rows_scroll_past_it() {
    let nobody = nobody();
    let Some(bob) = Screen::start(&Run::named("bob").dials(&nobody)) else {
        return;
    };
    let addr = bob.shows_line("* listening on ");
    let addr = addr.rsplit(' ').next().unwrap();
    let mut carol = Run::named("carol").dials(addr).with(&["--stay"]).peer();
    bob.shows_line("* carol is here (");
    shows_no_more(&bob, "attempt");
    bob.resize(40, 12);
    bob.types("日本語");
    bob.shows_typed("> 日本語");
    carol.quit();
    let row = shows_row(&bob, "a cut row", |row| row.ends_with('…'));
    assert!(row.starts_with(&format!("dialing {nobody}, ")), "{row}");
    assert_eq!(row.chars().count(), 39, "{row}");
    for _ in 0..20 {
        bob.press(&["C-u"]);
        bob.enters("/whoami");
    }
    shows_row(&bob, "the cut row", |row| row.ends_with('…'));
    let all = bob.with_scrollback();
    let dials = all.iter().filter(|line| line.contains("attempt")).count();
    assert_eq!(dials, 1, "{all:?}");
    bob.resize(120, 12);
    shows_row(&bob, "the whole row", |row| {
        row.ends_with("; last: connection refused")
    });
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
    shows_no_more(&bob, "attempt");
}

#[test]
fn row_is_gone_after_a_signal_and_after_a_panic() {
    for end in [Some(Signal::SIGTERM), None] {
        let nobody = nobody();
        let Some(bob) = Screen::start(&Run::named("bob").dials(&nobody)) else {
            return;
        };
        shows_row(&bob, "a dial", |row| row.contains("; last: "));
        bob.types("half a line");
        bob.shows_typed("> half a line");
        match end {
            Some(signal) => {
                kill(Pid::from_raw(bob.pid().try_into().unwrap()), signal).unwrap();
                assert_eq!(bob.ends(), 143);
            }
            None => {
                bob.press(&["F12"]);
                bob.shows_line("sesame has forgotten everything");
                bob.shows_typed(">");
                assert!(!bob.with_scrollback().concat().contains(&nobody));
            }
        }
        shows_no_more(&bob, "attempt");
    }
}

#[test]
fn row_is_gone_after_a_second_signal() {
    let alice = alice();
    let Some(bob) = at_terminal(&alice, &[]) else {
        return;
    };
    alice.signal(Signal::SIGSTOP);
    bob.enters("are you there");
    const ROW: &str = "alice: 1 message not acknowledged";
    shows_row(&bob, ROW, |row| row == ROW);
    let bob_is_told = || {
        let pid = Pid::from_raw(bob.pid().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    };
    bob_is_told();
    bob.shows_line("* waiting for alice: 1 message, up to ");
    bob_is_told();
    assert_eq!(bob.ends(), 3);
    shows_no_more(&bob, ROW);
    alice.signal(Signal::SIGCONT);
}

#[test]
fn quiet_run_shows_no_row() {
    let nobody = nobody();
    let Some(bob) = Screen::start(&Run::named("bob").dials(&nobody).with(&["-q"])) else {
        return;
    };
    // Asked until a dial has failed.
    bob.shows("a failed dial", |lines| {
        bob.enters("/peers");
        lines.concat().contains("connection refused")
    });
    assert!(!bob.with_scrollback().concat().contains("attempt"));
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
}

#[test]
fn row_is_there_again_after_a_stop() {
    let Some(bob) = Screen::start_as_job(&Run::named("bob").dials(&nobody()), &[]) else {
        return;
    };
    shows_row(&bob, "a dial", |row| row.contains("; last: "));
    bob.press(&["C-z"]);
    bob.stops(1);
    bob.shows("no row", |lines| !lines.concat().contains("attempt"));
    bob.press(&["Enter"]);
    shows_row(&bob, "a dial", |row| row.contains("; last: "));
    bob.press(&["C-d"]);
    assert_eq!(bob.ends(), 0);
    shows_no_more(&bob, "attempt");
}

#[test]
fn terminal_without_a_cursor_gets_no_row() {
    let run = Run::named("bob").dials(&nobody());
    let Some(bob) = Screen::start_with(&run, &[("SCREEN_TERM", "dumb")]) else {
        return;
    };
    bob.shows_line("* cannot reach ");
    bob.enters("/whoami");
    bob.shows_line("* you are bob, ");
    assert!(!bob.with_scrollback().concat().contains("attempt"));
    bob.enters("/quit");
    assert_eq!(bob.ends(), 0);
}
