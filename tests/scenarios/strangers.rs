//! A stranger without the phrase gets nowhere, learns nothing, and keeps no friend out.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::helper::{
    Flood, PATIENCE, Peer, Run, Shown, Stranger, connect_from, far, older_hello, up,
};

/// A listener with diagnostics that stays.
fn listener() -> Peer {
    Run::named("alice").with(&["-v", "--stay"]).peer()
}

fn connect(to: &Peer) -> (TcpStream, String) {
    let stream = TcpStream::connect(to.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = stream.local_addr().unwrap().to_string();
    (stream, own)
}

/// Everything until the other end closes, which it must.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut block = [0; 4096];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return all,
            Ok(read) => all.extend(&block[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the connection stays open")
            }
            // A reset, because bytes of ours were on their way.
            Err(_) => return all,
        }
    }
}

/// A friend connects, is the first who did, and exchanges messages.
fn friend_gets_in(alice: &mut Peer) {
    let mut bob = Run::named("bob").to(alice).peer();
    up(alice, &bob);
    assert_eq!(alice.every("peer_up").len(), 1);
    bob.say("made it");
    alice.hears(&bob, "made it");
    alice.say("welcome");
    bob.hears(alice, "welcome");
}

/// How many diagnostics name this address.
fn lines_about(alice: &Peer, addr: &str) -> usize {
    let named = |line: &&String| {
        line.split([' ', ';', ','])
            .any(|word| word.trim_end_matches(':') == addr)
    };
    alice.process.err.all().iter().filter(named).count()
}

fn at_most_one_line(alice: &mut Peer, addr: &str) {
    alice.settles();
    let count = lines_about(alice, addr);
    assert!(
        count <= 1,
        "{count} lines about {addr}: {:#?}",
        alice.process.err.all()
    );
}

/// What a stranger gets from a listener that refuses it after TLS.
fn refused_after_tls(stranger: &Stranger, say: &[u8]) -> (Peer, Result<Vec<u8>, String>, String) {
    let alice = listener();
    let (stream, own) = connect(&alice);
    let seen = stranger
        .handshake(stream)
        .map_err(|error| error.to_string())
        .map(|mut shown| {
            // The connection may be over already.
            let _ = shown.say(say);
            shown.rest()
        });
    (alice, seen, own)
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (mut alice, seen, own) = refused_after_tls(&Stranger::without_certificate(), &[0; 1024]);
    assert_eq!(seen.unwrap_or_default(), b"");
    at_most_one_line(&mut alice, &own);
    friend_gets_in(&mut alice);
}

#[test]
fn a_client_without_post_quantum_key_exchange_is_refused() {
    let (mut alice, seen, own) = refused_after_tls(&Stranger::without_post_quantum(), &[0; 1024]);
    assert!(seen.is_err(), "{seen:?}");
    at_most_one_line(&mut alice, &own);
    friend_gets_in(&mut alice);
}

#[test]
fn a_client_that_speaks_nothing_but_tls_is_refused() {
    for say in [
        &[0x5a; 1024][..],
        &[0; 4096],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut alice = listener();
        let (stream, own) = connect(&alice);
        let mut shown = Stranger::with_all().handshake(stream).unwrap();
        shown.say(say).unwrap();
        assert_eq!(shown.rest(), b"", "nobody answers what is no first message");
        at_most_one_line(&mut alice, &own);
        friend_gets_in(&mut alice);
    }
}

#[test]
fn a_client_of_before_tls_1_3_is_refused() {
    let mut alice = listener();
    let (mut stream, own) = connect(&alice);
    stream.write_all(&older_hello()).unwrap();
    let answer = rest(&mut stream);
    // An alert (21), fatal (2): protocol_version (70); and no certificate.
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert_eq!(answer.get(5..), Some(&[2, 70][..]), "{answer:?}");
    at_most_one_line(&mut alice, &own);
    friend_gets_in(&mut alice);
}

#[test]
fn bytes_that_mean_nothing_are_refused() {
    let mut alice = listener();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 2000],
        &[0xff; 7],
        &[22, 3, 1, 0xff, 0xff],
    ] {
        let (mut stream, own) = connect(&alice);
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.len() < 10, "an alert at most: {answer:?}");
        at_most_one_line(&mut alice, &own);
    }
    friend_gets_in(&mut alice);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut alice = listener();
    let (mut silent, own) = connect(&alice);
    let (stream, in_tls) = connect(&alice);
    let mut silent_in_tls = Stranger::with_all().handshake(stream).unwrap();
    friend_gets_in(&mut alice);
    assert_eq!(rest(&mut silent), b"");
    assert_eq!(silent_in_tls.rest(), b"");
    at_most_one_line(&mut alice, &own);
    at_most_one_line(&mut alice, &in_tls);
}

#[test]
fn a_hundred_silent_connections_keep_no_friend_out() {
    let mut alice = listener();
    let mut silent: Vec<_> = (0..100).map(|_| connect(&alice)).collect();
    friend_gets_in(&mut alice);
    for (stream, own) in &mut silent {
        assert_eq!(rest(stream), b"");
        at_most_one_line(&mut alice, own);
    }
    assert_eq!(alice.every("peer_up").len(), 1);
}

#[test]
fn a_flood_from_many_networks_keeps_no_friend_out() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let flood = Flood::of_bare_connections(&alice.addr());
    flood.has_made(900);
    let wire = far(&alice.addr());
    let bob = Run::named("bob").dials(&wire).peer();
    up(&alice, &bob);
    alice.say("welcome");
    bob.hears(&alice, "welcome");
    let made = flood.stop();
    assert!(made > 900, "it went on");
    alice.settles();
}

#[test]
fn strangers_never_hold_all_descriptors() {
    const LIMIT: usize = 64;
    const FRIEND: usize = 1;
    let script = format!("ulimit -n {LIMIT}; exec \"$@\"");
    let run = Run::named("alice").with(&["--stay"]);
    let mut alice = run.under_shell("sh", &script).peer();
    let (closed_in, closed) = std::sync::mpsc::channel();
    let strangers: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = connect_from(number, &alice.addr()).unwrap();
            let closed = closed_in.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0]);
                // The test may be over.
                let _ = closed.send(());
            })
        })
        .collect();
    // Some have made room for others, long before their time was up.
    for _ in 0..60 {
        closed.recv_timeout(PATIENCE).unwrap();
    }
    // The friend came last, so by now others have made room for each stranger that was let in.
    friend_gets_in(&mut alice);
    let open = std::fs::read_dir(format!("/proc/{}/fd", alice.process.pid())).unwrap();
    let open = open.count();
    assert!(open <= LIMIT - 16 + FRIEND, "{open} of {LIMIT} are open");
    drop(strangers);
}

#[test]
fn without_v_strangers_go_unmentioned() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let (mut stream, _) = connect(&alice);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    rest(&mut stream);
    let (stream, _) = connect(&alice);
    let mut shown = Stranger::with_all().handshake(stream).unwrap();
    shown.say(&[7; 1024]).unwrap();
    shown.rest();
    alice.settles();
    assert_eq!(alice.process.err.all(), Vec::<String>::new());
    assert!(
        alice.every("auth_failed").is_empty(),
        "it has guessed nothing"
    );
}

#[test]
fn two_connections_show_unrelated_certificates() {
    let alice = listener();
    let mut bob = Run::named("bob").peer();
    let handshake = |peer: &Peer| {
        let shown: Shown = Stranger::with_all().handshake(connect(peer).0).unwrap();
        shown.certificate
    };
    let (first, second, elsewhere) = (handshake(&alice), handshake(&alice), handshake(&bob));
    bob.settles();
    assert_eq!(parts(&first).constant, parts(&second).constant);
    assert_eq!(parts(&first).constant, parts(&elsewhere).constant);
    for [one, other] in [[&first, &second], [&first, &elsewhere]] {
        assert_eq!(one.len(), other.len());
        assert_ne!(parts(one).key, parts(other).key);
        assert_ne!(parts(one).serial, parts(other).serial);
        assert_ne!(parts(one).signature, parts(other).signature);
    }
}

struct Parts<'a> {
    serial: &'a [u8],
    key: &'a [u8],
    signature: &'a [u8],
    /// Everything else.
    constant: Vec<u8>,
}

/// Takes an Ed25519 certificate (RFC 5280, RFC 8410) apart.
fn parts(der: &[u8]) -> Parts<'_> {
    // The version, explicitly tagged, then the serial number.
    let version = [0xa0, 3, 2, 1, 2];
    let at = |needle: &[u8]| {
        der.windows(needle.len())
            .position(|window| window == needle)
            .unwrap()
            + needle.len()
    };
    let serial_at = at(&version) + 2;
    let serial = &der[serial_at..serial_at + usize::from(der[serial_at - 1])];
    let key_at = at(&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0]);
    let key = &der[key_at..key_at + 32];
    let signature_at = der.len() - 64;
    let constant = [
        &der[..serial_at],
        &der[serial_at + serial.len()..key_at],
        &der[key_at + 32..signature_at],
    ]
    .concat();
    Parts {
        serial,
        key,
        signature: &der[signature_at..],
        constant,
    }
}

#[test]
fn wrong_guesses_of_others_keep_no_friend_out() {
    let mut alice = Run::named("alice").with(&["--stay"]).peer();
    let guessers: Vec<_> = (0..8)
        .map(|number| {
            Run::new()
                .phrase(&format!("guess number {number}"))
                .to(&alice)
                .peer()
        })
        .collect();
    let mut told = 0;
    while told < 8 {
        told += alice.expect("auth_failed", |_| true)["count"]
            .as_u64()
            .unwrap();
    }
    friend_gets_in(&mut alice);
    for guesser in &guessers {
        guesser.expect("auth_failed", |event| event["inbound"] == false);
        assert!(guesser.every("peer_up").is_empty());
    }
}
