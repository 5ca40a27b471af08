//! The saved name if it is a link, or if it cannot be deleted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::helper::{Peer, Process, Run, skip};

fn folder(run: &Run) -> PathBuf {
    let folder = run.place.path("config/sesame/saved");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn named() -> Run {
    Run::new().with(&["--stay"])
}

/// Starts with the name that is there, saves another, and panics: the linked file is empty then.
fn follows(run: Run, linked: &std::path::Path) {
    let mut peer = run.peer();
    assert_eq!(peer.ready()["name"], "alice");
    peer.send(json!({"type": "name", "name": "Alix"}));
    super::helper::seen("the name where the link leads", || {
        (fs::read_to_string(linked).unwrap() == "Alix\n").then_some(())
    });
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    assert_eq!(peer.ready()["name"], json!(null));
    assert_eq!(fs::read_to_string(linked).unwrap(), "");
    let ended = peer.quit();
    let named = |line: &String| line.contains("cannot delete the saved name");
    assert!(!ended.err.iter().any(named), "{ended:?}");
    assert!(fs::symlink_metadata(peer.place().path("config/sesame/saved/name")).is_err());
}

#[test]
fn a_symbolic_link_is_followed_and_its_file_emptied() {
    let run = named();
    let linked = run.place.file("work/name", b"alice\n");
    symlink(&linked, folder(&run).join("name")).unwrap();
    follows(run, &linked);
}

#[test]
fn a_link_to_another_file_system_is_followed() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return skip("there is no /dev/shm to link to");
    };
    let run = named();
    let linked = elsewhere.path().join("name");
    fs::write(&linked, "alice\n").unwrap();
    symlink(&linked, folder(&run).join("name")).unwrap();
    follows(run, &linked);
}

#[test]
fn a_hard_link_holds_nothing_after_a_panic() {
    let run = named();
    let linked = run.place.file("work/name", b"alice\n");
    fs::hard_link(&linked, folder(&run).join("name")).unwrap();
    follows(run, &linked);
}

#[test]
fn a_linked_folder_holds_nothing_after_a_panic() {
    let run = named();
    fs::create_dir(run.place.path("work/dotfiles")).unwrap();
    symlink("../work/dotfiles", run.place.path("config/sesame")).unwrap();
    fs::create_dir(run.place.path("work/dotfiles/saved")).unwrap();
    run.place.file("work/dotfiles/saved/name", b"alice\n");
    let mut peer = run.peer();
    assert_eq!(peer.ready()["name"], "alice");
    peer.send(json!({"type": "panic", "quit": true}));
    let ended = peer.process.ends_with(0);
    assert!(ended.err.is_empty(), "{ended:?}");
    assert_eq!(peer.place().written(), Vec::<String>::new());
}

#[test]
fn a_folder_open_to_others_becomes_private() {
    let run = named();
    let folder = folder(&run);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let mut peer = run.peer();
    peer.send(json!({"type": "name", "name": "alice"}));
    super::helper::seen("the saved name", || {
        folder.join("name").exists().then_some(())
    });
    let mode = fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    assert_eq!(peer.place().written(), Vec::<String>::new());
}

#[test]
fn name_at_the_old_place_moves_and_goes_with_a_panic() {
    let run = named();
    let folder = folder(&run);
    let old = run.place.file("config/sesame/name", b"alice\n");
    let mut peer = run.peer();
    assert_eq!(peer.ready()["name"], "alice");
    assert!(!old.exists());
    let name = fs::read_to_string(folder.join("name")).unwrap();
    assert_eq!(name, "alice\n");
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    assert_eq!(peer.place().written(), Vec::<String>::new());
}

/// A run that continues, and one that ends, name what a panic could not delete.
fn is_named(mut start: impl FnMut() -> Process, path: &str) {
    for panic in ["/panic\n", "/panic quit\n"] {
        let mut process = start();
        process.told("listening on");
        process.write(panic.as_bytes());
        let told = process.told("cannot delete the saved name");
        assert!(told.contains(path), "{told}");
        process.close_stdin();
        process.ends_with(0);
    }
}

#[test]
fn file_that_a_panic_could_not_delete_is_named() {
    let run = Run::new().with(&["-q"]);
    let folder = folder(&run);
    fs::create_dir(folder.join("name")).unwrap();
    is_named(
        || Run::new().at(&run.place).plain(),
        "config/sesame/saved/name",
    );
    // A quiet run too.
    let mut peer: Peer = run.clone().peer();
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    peer.process.told("config/sesame/saved/name");
}

#[test]
fn a_link_that_was_made_during_the_run_is_named() {
    let run = named().saved_name("alice");
    let linked = run.place.file("work/other", b"alice\n");
    let name = run.place.path("config/sesame/saved/name");
    let mut peer = run.peer();
    fs::remove_file(&name).unwrap();
    symlink(&linked, &name).unwrap();
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    peer.process.told("work/other");
    assert!(fs::symlink_metadata(&name).is_err());
}

#[test]
fn a_name_in_a_folder_that_cannot_be_written_is_emptied() {
    let run = named().copied();
    let folder = folder(&run);
    fs::write(folder.join("name"), "alice\n").unwrap();
    if nix::unistd::geteuid().is_root() {
        let above = folder.parent().unwrap();
        for path in [above, &folder, &folder.join("name")] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let mut peer = run.peer();
    assert_eq!(peer.ready()["name"], "alice");
    peer.send(json!({"type": "panic"}));
    peer.begins_anew();
    peer.process.told("config/sesame/saved/name");
    assert_eq!(fs::read_to_string(folder.join("name")).unwrap(), "");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
}
