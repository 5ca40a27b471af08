//! The first minute at a terminal: what a chat says about reaching it, and `/invite`.

use super::helper::{PHRASE, Run, Screen};

/// The words that a chat tells others to type, without the program itself.
fn told_words(line: &str) -> Vec<String> {
    let (_, command) = line.split_once(" type sesame ").unwrap();
    command.split(' ').map(str::to_owned).collect()
}

/// The notices on the screen, without their times.
fn notices(lines: &[String]) -> Vec<String> {
    let text = |line: &String| Some(line.split_once(" * ")?.1.to_owned());
    lines.iter().filter_map(text).collect()
}

const NOBODY_YET: &str = "* nobody has come yet; /help lists the commands";

#[test]
fn chat_begins_with_how_others_reach_it() {
    let Some(alice) = Screen::start(&Run::named("alice")) else {
        return;
    };
    alice.shows_line(NOBODY_YET);
    let first = notices(&alice.lines());
    let line = alice.shows_line("* listening on 127.0.0.1:");
    let words = told_words(&line);
    let addr = words[1].clone();
    let expected = [
        format!("listening on {addr}: others on this computer type sesame -p {addr}"),
        format!("from other computers: only if something forwards a port to {addr}"),
    ];
    assert!(first[0].starts_with("you are alice ("), "{first:?}");
    assert_eq!(first[1..3], expected);
    assert_eq!(first.len(), 4, "{first:?}");
    // With these words a script waits for a peer.
    assert!(!alice.lines().concat().contains("is here"));

    alice.enters("/invite");
    let again = alice.shows("the lines again", |lines| notices(lines).len() == 8);
    assert_eq!(notices(&again)[4..], first);

    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut bob = Run::named("bob").with(&words).peer();
    alice.shows_line("* bob is here (");
    alice.enters("/name Alicia");
    alice.shows_line("* your name is now Alicia");
    alice.enters("/clear");
    alice.shows("a clear screen", |lines| lines.len() <= 1);
    alice.enters("/invite");
    let lines = alice.shows("the new name", |lines| notices(lines).len() == 3);
    assert_eq!(
        notices(&lines),
        [
            first[0].replace("alice", "Alicia"),
            first[1].clone(),
            first[2].clone()
        ]
    );
    bob.quit();
    alice.shows_line("* nobody is left");
    alice.enters("/invite");
    alice.shows_line("* all have left; /help lists the commands");
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn invitation_vanishes_at_a_panic_and_is_told_anew() {
    let Some(alice) = Screen::start(&Run::named("alice")) else {
        return;
    };
    let before = alice.shows_line("* listening on 127.0.0.1:");
    alice.shows_line(NOBODY_YET);
    alice.press(&["F12"]);
    alice.shows_line("sesame has forgotten everything");
    alice.shows_line(NOBODY_YET);
    let all = alice.with_scrollback();
    assert_eq!(notices(&all).len(), 4, "{all:?}");
    assert!(!all.concat().contains("alice"), "{all:?}");
    // The port stays.
    let after = alice.shows_line("* listening on 127.0.0.1:");
    assert_eq!(told_words(&before), told_words(&after));
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn chat_that_does_not_listen_invites_nobody() {
    let run = Run::named("alice").listening(&["--no-listen"]);
    let Some(alice) = Screen::start(&run) else {
        return;
    };
    alice.shows_line("* not listening: nobody can dial you; /connect HOST[:PORT] dials");
    alice.shows_line(NOBODY_YET);
    assert_eq!(notices(&alice.lines()).len(), 3);
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn quiet_chat_says_nothing_until_it_is_asked() {
    let Some(alice) = Screen::start(&Run::named("alice").with(&["-q"])) else {
        return;
    };
    alice.shows_typed(">");
    assert_eq!(notices(&alice.lines()), Vec::<String>::new());
    alice.enters("/invite");
    alice.shows_line(NOBODY_YET);
    assert_eq!(notices(&alice.lines()).len(), 4);
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn decoy_chat_invites_to_a_decoy_session() {
    let Some(alice) = Screen::start(&Run::new().with(&["--decoy"])) else {
        return;
    };
    alice.shows_line("type sesame --decoy -p");
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn invite_answers_on_stderr_in_plain_and_json_mode() {
    let run = Run::named("alice").with(&["--timeout", "1"]);
    let plain = run.clone().pipe(b"/invite\n");
    assert_eq!((plain.status, plain.out.len()), (0, 0), "{plain:?}");
    let told =
        |line: &&String| line.contains(": others on this computer type sesame -p 127.0.0.1:");
    assert_eq!(plain.err.iter().filter(told).count(), 1, "{plain:?}");
    assert!(!plain.err.concat().contains("has come yet"), "{plain:?}");
    let json = run.with(&["--json"]).pipe(b"/invite\n");
    assert!(
        json.out.iter().all(|line| line.starts_with('{')),
        "{json:?}"
    );
    assert_eq!(json.err.iter().filter(told).count(), 1, "{json:?}");
}

/// A run that asks for its passphrase.
fn asked(options: &[&str]) -> Option<Screen> {
    let screen = Screen::start(&Run::named("alice").no_phrase().with(options))?;
    screen.shows_typed("Passphrase:");
    Some(screen)
}

const HINT: [&str; 2] = [
    "All members type the same passphrase.",
    "Enter by itself offers a new one.",
];

/// The phrase that the screen offers.
fn offered(screen: &Screen) -> String {
    screen.shows_line("Enter takes it; or type another one.");
    let lines = screen.lines();
    let at = lines
        .iter()
        .rposition(|line| line.starts_with("A new passphrase"));
    lines[at.unwrap() + 2].trim().to_owned()
}

#[test]
fn empty_answer_gets_a_new_passphrase_and_the_next_takes_it() {
    let Some(alice) = asked(&[]) else { return };
    assert_eq!(alice.lines(), [HINT[0], HINT[1], "Passphrase:"]);
    alice.press(&["Enter"]);
    let phrase = offered(&alice);
    let known = std::fs::read_to_string("src/proto/words.txt").unwrap();
    let words: Vec<&str> = phrase.split(' ').collect();
    assert_eq!(words.len(), 6, "{phrase}");
    assert!(words.iter().all(|word| known.lines().any(|it| it == *word)));
    alice.shows_typed("Passphrase:");
    alice.press(&["Enter"]);
    let line = alice.shows_line("* listening on 127.0.0.1:");
    let words = told_words(&line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let bob = Run::named("bob").phrase(&phrase).with(&words).peer();
    bob.expect("peer_up", |_| true);
    alice.shows_line("* bob is here (");
    let all = alice.with_scrollback().concat();
    assert_eq!(all.matches(&phrase).count(), 1, "{all}");
    assert!(!all.contains("warning"), "{all}");
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn another_passphrase_is_taken_in_place_of_the_offer() {
    let Some(alice) = asked(&[]) else { return };
    alice.press(&["Enter"]);
    offered(&alice);
    alice.shows_typed("Passphrase:");
    alice.enters(PHRASE);
    let line = alice.shows_line("* listening on 127.0.0.1:");
    let bob = Run::named("bob").dials(&told_words(&line)[1]).peer();
    bob.expect("peer_up", |_| true);
    alice.shows_line("* bob is here (");
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn end_of_input_after_the_offer_is_no_answer() {
    let Some(alice) = asked(&[]) else { return };
    alice.press(&["Enter"]);
    offered(&alice);
    alice.press(&["C-d"]);
    alice.shows_line("sesame: no passphrase entered");
    assert_eq!(alice.ends(), 2);
}

#[test]
fn panic_after_the_offer_takes_it_away() {
    let Some(alice) = asked(&[]) else { return };
    alice.press(&["Enter"]);
    let first = offered(&alice);
    alice.press(&["F12"]);
    alice.shows("a clear screen", |lines| lines == ["Passphrase:"]);
    assert!(!alice.with_scrollback().concat().contains(&first));
    alice.press(&["Enter"]);
    assert_ne!(offered(&alice), first);
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 130);
}

#[test]
fn empty_passphrase_outside_a_chat_is_still_wrong_usage() {
    let Some(alice) = asked(&["--json"]) else {
        return;
    };
    assert_eq!(alice.lines(), ["Passphrase:"]);
    alice.press(&["Enter"]);
    alice.shows_line("sesame: invalid passphrase: it is empty");
    assert_eq!(alice.ends(), 2);
}

#[test]
fn weak_passphrase_is_pointed_out_and_taken() {
    const WARNING: &str = "sesame: warning: this passphrase is weak, about ";
    for (options, warns) in [(&[][..], true), (&["-q"], false)] {
        let Some(alice) = asked(options) else { return };
        alice.enters("hunter2");
        let lines = alice.shows_typed(">");
        assert_eq!(
            lines.iter().any(|line| line.starts_with(WARNING)),
            warns,
            "{lines:?}"
        );
        assert!(!lines.concat().contains("hunter"), "{lines:?}");
        alice.press(&["C-c"]);
        assert_eq!(alice.ends(), 0);
    }
    let Some(alice) = asked(&[]) else { return };
    alice.enters("vT9#kQz!m2Lx");
    let lines = alice.shows_typed(">");
    assert!(!lines.concat().contains("weak"), "{lines:?}");
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

#[test]
fn passphrase_from_a_file_gets_no_remark() {
    let ended = Run::new()
        .phrase("hunter2")
        .with(&["--timeout", "1"])
        .pipe(b"");
    assert!(!ended.err.concat().contains("weak"), "{ended:?}");
}
