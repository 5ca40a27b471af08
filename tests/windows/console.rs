//! Chat at a console, which wine makes of a terminal.
//!
//! Wine puts the terminal's modes back some time after the program has ended, so they are not compared.
//! Three more things differ from a console of Windows. All that tmux types at once is a paste to sesame,
//! so the first character of a command is typed by itself, and Enter only once the line is shown.
//! Wine takes Ctrl-C for the event, never for a key. And an escape sequence is text to it, of which it
//! passes on to the terminal only the characters that differ from what stood there: now and then the
//! rest of a sequence is shown.

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

/// What may be shown behind a line: sequences without their ESC.
const REMAINS: [&str; 4] = ["[?7h", "[?7l", "[K", "[J"];

/// Waits until the line that is being typed fits.
fn shows_last(screen: &Screen, what: &str, fits: impl Fn(&str) -> bool) {
    screen.shows(what, |lines| {
        let mut line = lines.last().map_or("", String::as_str);
        while let Some(before) = REMAINS.iter().find_map(|it| line.strip_suffix(it)) {
            line = before.trim_end();
        }
        fits(line)
    });
}

fn shows_typed(screen: &Screen, line: &str) {
    shows_last(screen, line, |last| last == line);
}

/// Types a line, waits until it is shown, and presses Enter.
fn enters(screen: &Screen, line: &str) {
    let (first, rest) = line.split_at(1);
    screen.types(first);
    shows_typed(screen, &format!("> {first}"));
    screen.types(rest);
    shows_typed(screen, &format!("> {line}"));
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
    shows_typed(&bob, "> grüße, helo");
    alice.say("sorry to interrupt");
    bob.shows_line("alice: sorry to interrupt");
    bob.press(&["Left"]);
    bob.types("l");
    shows_typed(&bob, "> grüße, hello");
    bob.press(&["Enter"]);
    says(&alice, "grüße, hello");
    bob.press(&["Up"]);
    shows_typed(&bob, "> grüße, hello");
    bob.press(&["Enter"]);
    says(&alice, "grüße, hello");
    // Wine shows an emoji as two signs.
    bob.types("😀 an emoji");
    shows_last(&bob, "an emoji", |last| last.ends_with(" an emoji"));
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
        shows_last(&bob, "what was pasted", |line| line.ends_with(last));
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
        shows_typed(&bob, ">");
        // The name has gone too.
        enters(&bob, "/name bob");
        bob.shows_line("your name is now bob");
        shows_typed(&bob, ">");
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
