//! The second implementation of the protocol, in `tests/interop`, meets sesame.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::helper::{Peer, Process, Run, skip};

/// A Python that has what the second implementation needs: the one in the folder that its page
/// names, or the system's.
fn python() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let candidates = [target.join("interop/bin/python"), "python3".into()];
    let works = |python: &PathBuf| {
        let mut probe = Command::new(python);
        let imports =
            "import OpenSSL, cryptography, ristretto, sys; assert sys.version_info >= (3, 11)";
        probe
            .args(["-B", "-c", imports])
            .env("PYTHONPATH", folder());
        probe.stdin(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(works);
    if found.is_none() {
        skip(
            "the second implementation needs Python 3.11, libsodium and two Python packages: tests/interop/README.md",
        );
    }
    found
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// The second implementation, started with the passphrase of a run.
struct SecondPeer(Process);

impl SecondPeer {
    fn start(python: &Path, run: &Run, args: &[&str]) -> Self {
        let mut command = Command::new(python);
        command.arg("-B").arg(folder().join("peer.py"));
        command
            .arg("--passphrase-file")
            .arg(run.place.path("phrase"));
        command.args(["--name", "second"]).args(args);
        run.dress(&mut command);
        Self(Process::start(&run.place, command))
    }

    fn send(&mut self, command: Value) {
        self.0.write(format!("{command}\n").as_bytes());
    }

    /// Takes the first event of this type that fits.
    fn expect(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let event = |line: &String| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["type"] == kind && fits(&event)).then_some(event)
        };
        let line = self.0.expect(kind, |line| event(line).is_some());
        event(&line).unwrap()
    }
}

/// Both say something, short and long; then sesame leaves.
fn talk(mut alice: Peer, mut second: SecondPeer) {
    let seen = alice.expect("peer_up", |event| event["name"] == "second");
    let up = second.expect("up", |event| event["peer"] == alice.id());
    assert_eq!(up["words"], seen["sas"]);
    assert_eq!(up["name"], "alice");
    let long = "Schlange ".repeat(7000);
    for text in ["hello", "", &long, "the end"] {
        second.send(json!({"type": "say", "text": text}));
        alice.send(json!({"type": "send", "text": text}));
        alice.expect("message", |event| event["text"] == text);
        second.expect("message", |event| event["text"] == text);
    }
    for _ in 0..4 {
        second.expect("delivered", |_| true);
        alice.expect("done", |event| event["undelivered"] == json!([]));
    }
    alice.quits_with(0);
    second.expect("left", |event| event["leaving"] == true);
}

#[test]
fn second_implementation_computes_the_worked_example() {
    let Some(python) = python() else { return };
    let mut command = Command::new(python);
    let output = command.arg("-B").arg(folder().join("example.py")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn second_implementation_dials_talks_and_is_verified() {
    let Some(python) = python() else { return };
    let run = Run::named("alice").with(&["--cover", "20"]);
    let place = Run::new();
    let alice = run.peer();
    let second = SecondPeer::start(&python, &place, &["--dial", &alice.addr(), "--cover", "20"]);
    talk(alice, second);
}

#[test]
fn second_implementation_listens_talks_and_is_verified() {
    let Some(python) = python() else { return };
    let place = Run::new();
    let second = SecondPeer::start(&python, &place, &["--listen", "0", "--cover", "20"]);
    let ready = second.expect("ready", |_| true);
    let addr = format!("127.0.0.1:{}", ready["port"]);
    let alice = Run::named("alice").with(&["--cover", "20"]).dials(&addr);
    talk(alice.peer(), second);
}

#[test]
fn second_implementation_takes_a_broken_link_up_again() {
    let Some(python) = python() else { return };
    let place = Run::new();
    let mut alice = Run::named("alice").with(&["--cover", "20"]).peer();
    let mut second =
        SecondPeer::start(&python, &place, &["--dial", &alice.addr(), "--cover", "20"]);
    second.expect("up", |_| true);
    alice.expect("peer_up", |_| true);
    let long = "x".repeat(60_000);
    alice.send(json!({"type": "send", "text": long}));
    second.send(json!({"type": "say", "text": long}));
    second.send(json!({"type": "drop"}));
    second.expect("up", |event| event["resumed"] == true);
    alice.expect("peer_up", |event| event["resumed"] == true);
    alice.expect("message", |event| event["text"] == long);
    second.expect("message", |event| event["text"] == long);
    second.send(json!({"type": "leave"}));
    alice.expect("peer_down", |event| event["reason"] == "goodbye");
    second.0.ends_with(0);
    assert_eq!(alice.every("message").len(), 1, "each text arrives once");
}

#[test]
fn second_implementation_with_another_phrase_is_refused() {
    let Some(python) = python() else { return };
    let place = Run::new().phrase("some other passphrase");
    let alice = Run::named("alice").peer();
    let mut second = SecondPeer::start(&python, &place, &["--dial", &alice.addr()]);
    second.expect("wrong_passphrase", |event| event["inbound"] == false);
    alice.expect("auth_failed", |event| event["inbound"] == true);
    second.0.ends_with(1);
}
