//! The configuration file, as a user writes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use super::helper::{Ended, Run, up};

/// A run with this configuration file.
fn configured(content: &str) -> (Run, PathBuf) {
    let run = Run::new();
    fs::create_dir(run.place.path("config/sesame")).unwrap();
    let file = run.place.file("config/sesame/config", content.as_bytes());
    (run, file)
}

/// The run ends as wrong usage, with these parts in its lines, and has neither printed nor saved
/// anything.
fn is_refused(run: Run, parts: &[&str]) -> Ended {
    let place = run.place.clone();
    let ended = run.pipe(b"hello\n");
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.out.is_empty() && ended.err.len() <= 2, "{ended:?}");
    for part in parts {
        let contains = |line: &String| line.contains(part);
        assert!(ended.err.iter().any(contains), "{part}: {ended:?}");
    }
    assert_eq!(place.written(), ["config/sesame/config"]);
    ended
}

#[test]
fn section_with_a_passphrase_file_links_two_runs() {
    let (alice, _) = configured("phrase-file ../../phrase\n[work]\nstay\ndisplay-name alice\n");
    let alice = alice
        .no_phrase()
        .listening(&["@work", "--listen", "127.0.0.1", "--port", "0"])
        .peer();
    assert_eq!(alice.ready()["name"], "alice");
    let (bob, _) = configured(&format!("peer {}\n", alice.addr()));
    let bob = bob.peer();
    up(&alice, &bob);
}

#[test]
fn command_line_replaces_what_the_file_says() {
    let (run, _) = configured("display-name carol\nport 1\nstay\n--literal\n");
    let mut peer = run.with(&["--display-name", "alice"]).peer();
    assert_eq!(peer.ready()["name"], "alice");
    assert_eq!(peer.quit().status, 0);
    let (run, _) = configured("--nonsense\n");
    let mut peer = run.with(&["--no-config", "--stay"]).peer();
    assert_eq!(peer.quit().status, 0);
}

#[test]
fn panic_keeps_the_options_of_the_start() {
    let (run, file) = configured("[travel]\ndecoy\nstay\n");
    let mut peer = run
        .listening(&["@travel", "--listen", "127.0.0.1", "--port", "0"])
        .peer();
    assert_eq!(peer.ready()["decoy"], true);
    fs::write(&file, "--nonsense\n").unwrap();
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    assert_eq!(peer.ready()["decoy"], true);
    // The file is the user's, and a panic leaves it.
    assert_eq!(peer.place().written(), ["config/sesame/config"]);
    assert_eq!(peer.quit().status, 0);
}

#[test]
fn fault_in_the_file_is_wrong_usage_by_line() {
    let (run, file) = configured("# mine\nstay\nprot 1\n");
    is_refused(run, &[&format!("{}:3: ", file.display())]);
    let (run, file) = configured("[work]\ncover fast\n");
    let run = run.listening(&["@work"]);
    is_refused(run, &[&format!("{}:2: ", file.display()), "10 to 10000"]);
    let (run, _) = configured("[work]\n");
    is_refused(run.listening(&["@play"]), &["no section [play]", "@work"]);
    let (run, file) = configured("phrase correct horse\n");
    let place = format!("{}:1: ", file.display());
    let ended = is_refused(run, &[&place, "phrase-file PATH"]);
    assert!(!ended.err.join(" ").contains("horse"), "{ended:?}");
}

#[test]
fn file_that_others_can_write_is_refused_unless_named() {
    let (run, file) = configured("stay\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    is_refused(run.clone(), &["other users can write it", "chmod go-w"]);
    let named = file.display().to_string();
    let mut peer = run.with(&["--config", &named]).peer();
    assert_eq!(peer.quit().status, 0);
}
