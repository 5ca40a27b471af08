//! The display name and the options in `%APPDATA%`.

use serde_json::{Value, json};

use crate::scenario::{Run, seen};
use crate::wine::{path, program, windows};

/// A run with a folder of its own for configurations, which wine itself cannot be given.
fn with_folder() -> Run {
    let run = windows();
    let folder = path(&run.place.path("config").display().to_string());
    let set = format!("APPDATA={folder}&&");
    run.program_is(&["wine", "cmd", "/c", "set", &set, &program()])
}

#[test]
fn name_is_saved_found_again_and_deleted_by_a_panic() {
    let run = with_folder();
    let file = run.place.path("config/sesame/saved/name");
    let mut first = run.clone().peer();
    assert_eq!(first.ready()["name"], Value::Null);
    first.send(json!({"type": "name", "name": "Zoë"}));
    first.process.told("your name is now Zoë");
    first.quits_with(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "Zoë\n");

    let mut second = run.clone().peer();
    assert_eq!(second.ready()["name"], "Zoë");
    second.send(json!({"type": "name", "name": "Zara"}));
    second.process.told("your name is now Zara");
    // sesame says so first, and then saves it.
    seen("the name in its file", || {
        (std::fs::read_to_string(&file).ok()? == "Zara\n").then_some(())
    });
    second.send(json!({"type": "panic"}));
    second.begins_anew();
    assert_eq!(second.ready()["name"], Value::Null);
    assert!(!file.exists());
    second.quits_with(0);
    assert_eq!(run.place.written(), Vec::<String>::new());
}

#[test]
fn options_are_read_from_the_configuration_file() {
    let run = with_folder();
    std::fs::create_dir_all(run.place.path("config/sesame")).unwrap();
    run.place
        .file("config/sesame/config", b"display-name alice\r\nstay\r\n");
    let mut peer = run.peer();
    assert_eq!(peer.ready()["name"], "alice");
    peer.quits_with(0);
}
