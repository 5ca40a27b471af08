//! After a panic only those descriptors are open that were open at the start.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::helper::{look, runs};
use crate::scenario::{Peer, Run};

fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn after_a_panic_nothing_else_is_open() {
    for _ in 0..runs() {
        let bob = Run::named("bob").with(&["--stay"]).peer();
        let mut alice = Run::named("alice").with(&["--stay"]).peer();
        let pid = alice.process.pid();
        // A first panic closes what the parent of the process left open.
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        alice.settles();
        let before = look::descriptors(pid);
        let listens = alice.listens();
        // A link, a silent stranger, and a dial to a silent listener.
        alice.send(json!({"type": "connect", "addr": bob.addr()}));
        alice.expect("peer_up", |_| true);
        let mut stranger = TcpStream::connect(alice.addr()).unwrap();
        let listener = silent();
        let addr = listener.local_addr().unwrap();
        alice.send(json!({"type": "connect", "addr": addr.to_string()}));
        let (mut dialled, _) = listener.accept().unwrap();
        assert_ne!(look::descriptors(pid), before);
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        assert_eq!(alice.process.pid(), pid);
        assert_eq!(alice.listens(), listens);
        // After everything sent before comes the end.
        for stream in [&mut stranger, &mut dialled] {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        // Bob knows her address.
        drop(bob);
        look::become_these(pid, &before);
        assert_eq!(look::arguments(pid), "sesame\0");
    }
}

#[test]
fn a_descriptor_that_was_inherited_is_closed_by_a_panic() {
    let run = Run::named("alice").under_shell("bash", "exec \"$@\" 7</dev/zero");
    let mut alice = run.peer();
    let pid = alice.process.pid();
    assert!(look::descriptors(pid).contains_key("/dev/zero"));
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    assert!(!look::descriptors(pid).contains_key("/dev/zero"));
}

/// The environment is kept, except for the variable that handed over the state.
#[test]
fn the_environment_shows_nothing_of_a_panic() {
    let mut alice: Peer = Run::named("alice").peer();
    let path = format!("/proc/{}/environ", alice.process.pid());
    let variables = |bytes: Vec<u8>| -> Vec<String> {
        let all = bytes.split(|byte| *byte == 0).filter(|one| !one.is_empty());
        let mut all: Vec<_> = all
            .map(|one| String::from_utf8_lossy(one).into_owned())
            .collect();
        all.sort();
        all
    };
    let before = variables(std::fs::read(&path).unwrap());
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    assert_eq!(variables(std::fs::read(&path).unwrap()), before);
}
