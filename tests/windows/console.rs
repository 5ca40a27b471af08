//! Chat at a console, which wine makes of a terminal.
//!
//! Wine puts the terminal's modes back some time after the program has ended, so they are not compared.
//! Two more things differ from a console of Windows. All that tmux types at once is a paste to sesame, so
//! the first character of a command is typed by itself, and Enter only once the line is shown. And
//! wine takes Ctrl-C for the event, never for a key.

use crate::scenario::{PHRASE, Peer, Run, Screen};
use crate::wine::windows_named;

fn alice() -> Peer {
    Run::named("alice").with(&["--stay"]).peer()
}

/// Bob at a console, linked with alice.
fn at_console(alice: &Peer) -> Option<Screen> {
    let screen = Screen::start(&windows_named("bob").to(alice))?;
    screen.shows_line("* alice is here (");
    alice.expect("peer_up", |_| true);
    Some(screen)
}

/// Types a line, waits until it is shown, and presses Enter.
fn enters(screen: &Screen, line: &str) {
    let (first, rest) = line.split_at(1);
    screen.types(first);
    screen.shows_typed(&format!("> {first}"));
    screen.types(rest);
    screen.shows_typed(&format!("> {line}"));
    screen.press(&["Enter"]);
}

fn says(alice: &Peer, text: &str) {
    alice.expect("message", |event| event["text"] == text);
}

#[test]
fn line_is_typed_edited_and_sent_below_what_comes() {
    let mut alice = alice();
    let Some(bob) = at_console(&alice) else {
        return;
    };
    bob.types("grüße, helo");
    bob.shows_typed("> grüße, helo");
    alice.say("sorry to interrupt");
    bob.shows_line("alice: sorry to interrupt");
    bob.press(&["Left"]);
    bob.types("l");
    bob.shows_typed("> grüße, hello");
    bob.press(&["Enter"]);
    says(&alice, "grüße, hello");
    bob.press(&["Up"]);
    bob.shows_typed("> grüße, hello");
    bob.press(&["Enter"]);
    says(&alice, "grüße, hello");
    // Wine shows an emoji as two signs.
    bob.types("😀 an emoji");
    bob.shows("an emoji", |lines| {
        lines.last().is_some_and(|last| last.ends_with(" an emoji"))
    });
    bob.press(&["Enter"]);
    says(&alice, "😀 an emoji");
    enters(&bob, "/quit");
    assert_eq!(bob.status(), 0);
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
}

#[test]
fn pasted_block_is_one_message_and_no_command() {
    let alice = alice();
    let Some(bob) = at_console(&alice) else {
        return;
    };
    for pasted in ["/quit\nand more", "/panic"] {
        bob.pastes(pasted);
        let last = pasted.lines().last().unwrap();
        bob.shows("what was pasted", |lines| {
            lines.last().is_some_and(|line| line.ends_with(last))
        });
        bob.press(&["Enter"]);
        says(&alice, pasted);
    }
    bob.press(&["C-d"]);
    assert_eq!(bob.status(), 0);
}

#[test]
fn panic_keys_clear_the_screen_and_the_chat_goes_on() {
    let alice = alice();
    let Some(bob) = at_console(&alice) else {
        return;
    };
    for keys in [&["F12"][..], &["C-x", "C-p"]] {
        enters(&bob, "/whoami");
        let before = bob.shows_line("* you are bob, ");
        bob.press(keys);
        bob.shows("a new start", |lines| {
            let has = |part: &str| lines.iter().any(|line| line.contains(part));
            has("sesame has forgotten everything") && has("listening on") && !has(&before)
        });
        bob.shows_typed(">");
        // The name has gone too.
        enters(&bob, "/name bob");
        bob.shows_line("your name is now bob");
        bob.shows_typed(">");
    }
    bob.press(&["C-d"]);
    assert_eq!(bob.status(), 0);
}

#[test]
fn passphrase_is_asked_for_and_not_shown() {
    let alice = alice();
    let Some(bob) = Screen::start(&windows_named("bob").no_phrase().to(&alice)) else {
        return;
    };
    bob.shows_line("Passphrase");
    bob.types(PHRASE);
    bob.press(&["Enter"]);
    bob.shows_line("* alice is here (");
    let shown = bob.with_scrollback().join("\n");
    assert!(!shown.contains(PHRASE), "{shown}");
    bob.press(&["C-d"]);
    assert_eq!(bob.status(), 0);
}
