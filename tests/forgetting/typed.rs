//! What was typed at a terminal, and must be gone after `/clear`.

use nix::libc;

use crate::helper::memory::{self, Memory};
use crate::helper::needle::{Needle, chance};
use crate::helper::{Findings, seen};
use crate::scenario::{Peer, Run, Screen};

/// Bob at a terminal, linked with alice.
fn at_terminal() -> Option<(Peer, Screen, Memory)> {
    let alice = Run::named("alice")
        .with(&["--cover", "off", "--stay"])
        .peer();
    let bob = Screen::start(&Run::named("bob").with(&["--cover", "off"]).to(&alice))?;
    bob.shows_line("* alice is here (");
    let memory = Memory::of(bob.pid())?;
    Some((alice, bob, memory))
}

/// Types like a person: the program reads each key by itself.
fn keys(screen: &Screen, text: &str) {
    for (at, key) in text.char_indices() {
        screen.types(&key.to_string());
        screen.shows_typed(&format!("> {}", &text[..at + key.len_utf8()]));
    }
}

fn enters(screen: &Screen, text: &str) {
    keys(screen, text);
    screen.press(&["Enter"]);
    screen.shows_typed(">");
}

fn clears(screen: &Screen) {
    enters(screen, "/clear");
    screen.shows("a clear screen", |lines| lines.len() <= 1);
}

#[test]
fn typed_lines_are_gone_after_clear() {
    let Some((alice, bob, memory)) = at_terminal() else {
        return;
    };
    bob.shows_typed(">");
    let mut all = Vec::new();
    let mut plant = |what: &str| {
        let text = chance(16);
        let needle = Needle::text(what, &text);
        all.push(needle.clone());
        (text, [needle])
    };

    let (text, needle) = plant("a line that was sent");
    enters(&bob, &text);
    alice.expect("message", |event| event["text"] == text.as_str());
    memory.holds(&needle);

    let (text, needle) = plant("a line that was recalled and given up");
    enters(&bob, &text);
    bob.press(&["Up"]);
    bob.shows_typed(&format!("> {text}"));
    memory.holds(&needle);
    bob.press(&["C-c"]);
    bob.shows_typed(">");

    let (text, needle) = plant("a line that was given up");
    keys(&bob, &text);
    memory.holds(&needle);
    bob.press(&["C-c"]);
    bob.shows_typed(">");

    let (text, needle) = plant("a line that was removed");
    keys(&bob, &text);
    memory.holds(&needle);
    bob.press(&["C-u"]);
    bob.shows_typed(">");

    let mut findings = Findings::default();
    clears(&bob);
    findings.none("after /clear", &memory.remains(&all));
}

#[test]
fn a_line_that_was_removed_is_not_brought_back_after_clear() {
    let Some((_alice, bob, _)) = at_terminal() else {
        return;
    };
    bob.shows_typed(">");
    keys(&bob, "removed");
    bob.press(&["C-u"]);
    bob.shows_typed(">");
    clears(&bob);
    bob.press(&["C-y"]);
    keys_behind(&bob);
}

/// What the line becomes when keys arrive together.
fn keys_behind(screen: &Screen) {
    screen.types("x");
    let line = seen("the key", || {
        let last = screen.lines().last().cloned()?;
        last.ends_with('x').then_some(last)
    });
    assert_eq!(line, "> x");
}

#[test]
fn a_pasted_line_is_gone_after_clear() {
    let Some((alice, bob, memory)) = at_terminal() else {
        return;
    };
    bob.shows_typed(">");
    let text = chance(40);
    let needle = [Needle::text("a pasted line", &text[8..])];
    bob.pastes(&text);
    bob.shows_typed(&format!("> {text}"));
    memory.holds(&needle);
    bob.press(&["Enter"]);
    alice.expect("message", |event| event["text"] == text.as_str());
    bob.shows_typed(">");
    clears(&bob);
    let mut findings = Findings::default();
    findings.none("after /clear", &memory.remains(&needle));
}

/// For a handler, the kernel saves the registers of the running thread on its stack.
#[test]
fn signals_leave_no_text_on_a_stack() {
    let Some((mut alice, bob, memory)) = at_terminal() else {
        return;
    };
    bob.shows_typed(">");
    let mut needles = Vec::new();
    // A register has room for a few of the same piece.
    let mut plant = |what: &str, times: usize| {
        let piece = chance(9);
        needles.push(Needle::text(what, &piece));
        piece.repeat(times)
    };
    for number in 0..20 {
        let typed = plant("a line that was typed", 5 + number);
        let heard = plant("a line that came", 5 + 20 * number);
        bob.pastes(&typed);
        bob.press(&["Enter"]);
        alice.expect("message", |event| event["text"] == typed.as_str());
        signal_each_thread(bob.pid());
        alice.say(&heard);
        alice.expect("done", |_| true);
        signal_each_thread(bob.pid());
    }
    bob.shows_typed(">");
    clears(&bob);
    let mut findings = Findings::default();
    findings.none("after /clear", &memory.remains(&needles));
}

fn signal_each_thread(pid: u32) {
    for thread in memory::tasks(pid) {
        let id: i32 = thread.rsplit('/').next().unwrap().parse().unwrap();
        for signal in [libc::SIGCONT, libc::SIGWINCH] {
            // SAFETY: the call takes numbers. A thread that has ended meanwhile gets none.
            unsafe { libc::syscall(libc::SYS_tgkill, pid, id, signal) };
        }
    }
}
