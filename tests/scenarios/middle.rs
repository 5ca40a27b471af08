//! An attacker on the wire between two peers that know the phrase.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::helper::{PATIENCE, Relay, Run, interceptor, up};

#[test]
fn the_wire_shows_nothing_that_was_said() {
    let alice = Run::named("alexandra").peer();
    let relay = Relay::to(&alice.addr());
    let mut bob = Run::named("robertson").with(&["-p", relay.addr()]).peer();
    up(&alice, &bob);
    bob.say("the cellar door is open");
    alice.hears(&bob, "the cellar door is open");
    let all: Vec<u8> = relay
        .traffic()
        .into_iter()
        .flat_map(|traffic| [traffic.to_listener, traffic.to_dialler].concat())
        .collect();
    assert!(all.len() > 8 * 1024);
    let (alice_id, bob_id) = (alice.id(), bob.id());
    for secret in [
        "cellar",
        // Three letters would occur by chance.
        "alexandra",
        "robertson",
        &alice_id[..16],
        &bob_id[..16],
        "sesame",
    ] {
        let found = all
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

#[test]
fn a_recorded_connection_played_to_the_listener_again_is_refused() {
    let mut alice = Run::named("alice").with(&["-v", "--stay"]).peer();
    let relay = Relay::to(&alice.addr());
    let mut bob = Run::named("bob")
        .listening(&["--no-listen"])
        .with(&["-p", relay.addr()])
        .peer();
    up(&alice, &bob);
    bob.say("once");
    alice.hears(&bob, "once");
    let recorded = relay.traffic().remove(0).to_listener;
    let mut again = TcpStream::connect(alice.addr()).unwrap();
    again.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = again.local_addr().unwrap().to_string();
    again.write_all(&recorded).unwrap();
    let mut answer = Vec::new();
    // It ends, with a reset if bytes were left unread.
    match again.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it stays open"),
        _ => alice.process.told(&own),
    };
    alice.settles();
    bob.say("twice");
    alice.hears(&bob, "twice");
    assert_eq!(alice.every("peer_up").len(), 1);
    assert_eq!(alice.every("message").len(), 2);
}

#[test]
fn a_recorded_connection_played_to_a_dialler_is_refused() {
    let alice = Run::named("alice").peer();
    let relay = Relay::to(&alice.addr());
    let bob = Run::named("bob").with(&["-p", relay.addr()]).peer();
    up(&alice, &bob);
    let recorded = relay.traffic().remove(0).to_dialler;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let player = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        // It may close before it has taken everything.
        let _ = stream.write_all(&recorded);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let carol = Run::named("carol").dials(&addr).peer();
    carol.process.told(&addr);
    player.join().unwrap();
    assert!(carol.every("peer_up").is_empty());
}

#[test]
fn two_tls_connections_with_somebody_in_between_are_refused_at_both_ends() {
    let alice = Run::named("alice").peer();
    let middle = interceptor(&alice.addr());
    let addr = middle.addr.to_string();
    let bob = Run::named("bob")
        .listening(&["--no-listen"])
        .dials(&addr)
        .peer();
    let refused = bob.expect("auth_failed", |event| event["inbound"] == false);
    assert_eq!(refused["addr"], addr);
    alice.expect("auth_failed", |event| event["inbound"] == true);
    // The attacker was indeed in the middle: Ya and Ta went through it to the listener, and so did
    // the answers.
    assert_eq!(middle.passed(), [2048, 2048]);
    assert!(alice.every("peer_up").is_empty() && bob.every("peer_up").is_empty());
}
