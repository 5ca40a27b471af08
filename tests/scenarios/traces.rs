//! What a run leaves behind, and what other processes on the machine could see of it.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::helper::{PHRASE, Run, Screen, seen, skip, up};

const SAVED: &str = "config/sesame/saved/name";

#[test]
fn the_name_is_saved_for_its_owner_alone_and_used_again() {
    let mut alice = Run::new().peer();
    let path = alice.place().path(SAVED);
    alice.send(json!({"type": "name", "name": "alice"}));
    // The file is there a moment before its content.
    seen("the saved name", || {
        let saved = std::fs::read_to_string(&path).ok()?;
        (saved == "alice\n").then_some(())
    });
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o600);
    assert_eq!(mode(path.parent().unwrap().to_path_buf()), 0o700);
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim_end(), "alice");
    alice.send(json!({"type": "name", "name": "Älice"}));
    assert_eq!(alice.quit().status, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim_end(), "Älice");
    assert_eq!(mode(path), 0o600);
    let again = Run::new().at(&alice.place()).peer();
    assert_eq!(again.ready()["name"], "Älice");
}

#[test]
fn name_of_the_command_line_is_saved_by_a_chat_only() {
    let script = Run::named("backup").saved_name("alice");
    let saved = || std::fs::read_to_string(script.place.path(SAVED)).unwrap();
    let mut peer = script.clone().peer();
    assert_eq!(peer.ready()["name"], "backup");
    assert_eq!(peer.quit().status, 0);
    let plain = script.clone().with(&["--stay"]).plain();
    plain.told("listening on");
    assert_eq!(saved(), "alice\n");
    if let Some(chat) = Screen::start(&Run::named("bob").at(&script.place)) {
        chat.shows_line("listening on");
        assert_eq!(saved(), "bob\n");
    }
}

#[test]
fn a_decoy_neither_reads_nor_writes_the_saved_name() {
    let place = Run::new().saved_name("alice").place;
    let path = place.path(SAVED);
    let before = (
        std::fs::read(&path).unwrap(),
        std::fs::metadata(&path).unwrap().modified().unwrap(),
    );
    let mut decoy = Run::new().at(&place).with(&["--decoy"]).peer();
    assert_eq!(decoy.ready()["name"], json!(null));
    decoy.send(json!({"type": "name", "name": "Mr X"}));
    assert_eq!(decoy.quit().status, 0);
    let mut named = Run::new()
        .at(&place)
        .with(&["--decoy", "--display-name", "Mr Y"])
        .peer();
    assert_eq!(named.ready()["name"], "Mr Y");
    assert_eq!(named.quit().status, 0);
    let after = (
        std::fs::read(&path).unwrap(),
        std::fs::metadata(&path).unwrap().modified().unwrap(),
    );
    assert_eq!(before, after);
    let fresh = Run::new()
        .with(&["--decoy", "--display-name", "Mr Z"])
        .peer();
    assert_eq!(fresh.place().written(), Vec::<String>::new());
    // Its panic deletes the name nevertheless.
    let mut decoy = Run::new().at(&place).with(&["--decoy"]).peer();
    decoy.send(json!({"type": "panic"}));
    decoy.begins_anew();
    assert_eq!(place.written(), Vec::<String>::new());
}

#[test]
fn nothing_but_the_name_is_written_to_disk() {
    let mut alice = Run::new().peer();
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.send(json!({"type": "name", "name": "bob"}));
    bob.say("off the record");
    alice.hears(&bob, "off the record");
    alice.process.write(b"/verify bob\n/stats\n/peers\n");
    assert_eq!(bob.quit().status, 0);
    alice.process.ends();
    assert_eq!(alice.place().written(), Vec::<String>::new());
    assert_eq!(bob.place().written(), [SAVED]);
}

#[test]
fn the_argument_list_of_a_run_shows_no_phrase() {
    for args in [
        ["--phrase", PHRASE].as_slice(),
        &[&format!("--phrase={PHRASE}")],
    ] {
        let alice = Run::new().no_phrase().with(args).peer();
        let proc = format!("/proc/{}", alice.process.pid());
        let Ok(line) = std::fs::read(format!("{proc}/cmdline")) else {
            return skip("the argument list of a process needs /proc");
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(line.contains("--port"), "{line:?}");
        assert!(
            !PHRASE.split(' ').any(|word| line.contains(word)),
            "{line:?}"
        );
        let bob = Run::new().to(&alice).peer();
        up(&alice, &bob);
    }
}

#[test]
fn no_diagnostics_show_a_text_or_the_phrase() {
    let run = |name: &str| Run::named(name).with(&["-vvv"]);
    let mut alice = run("alice").peer();
    let bob = run("bob").to(&alice).peer();
    let other = Run::new()
        .with(&["-vvv"])
        .phrase("unlikely tangerine")
        .to(&alice)
        .peer();
    other.expect("auth_failed", |_| true);
    up(&alice, &bob);
    alice.say("the heron flies at dusk");
    bob.hears(&alice, "the heron flies at dusk");
    alice.process.write(b"heron is no command\n/heron\n{\"type\":\"send\",\"text\":\"heron\",\"to\":[\"nobody\"]}\n");
    for _ in 0..3 {
        alice.expect("error", |_| true);
    }
    alice.settles();
    let mut bob = bob;
    bob.settles();
    for peer in [&alice, &bob, &other] {
        let told = peer.process.err.all();
        assert!(!told.is_empty(), "-vvv says something");
        for line in told {
            for secret in ["heron", "dusk", "tangerine", PHRASE, "lantern", "crisp"] {
                assert!(!line.contains(secret), "{line}");
            }
        }
    }
}

#[test]
fn sesame_log_is_v() {
    let alice = Run::named("alice").with(&["--stay"]).peer();
    let mut bob = Run::named("bob").to(&alice).env("SESAME_LOG", "vv").plain();
    bob.told(&format!("dialling {}", alice.addr()));
    bob.close_stdin();
    bob.ends_with(0);
}

#[test]
fn others_may_not_look_into_the_process() {
    let alice = Run::named("alice").peer();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", alice.process.pid()));
    let Ok(limits) = limits else {
        return skip("the limits of a process need /proc");
    };
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "no core is ever dumped");
}
