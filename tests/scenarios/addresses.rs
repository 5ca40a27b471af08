//! Where peers listen, and how others find them.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;

use super::helper::{PATIENCE, Relay, Run, Stranger, corner, skip, up};

fn has_ipv6() -> bool {
    let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !there {
        skip("IPv6 needs a kernel that has it switched on");
    }
    there
}

#[test]
fn ipv6_is_written_in_brackets() {
    if !has_ipv6() {
        return;
    }
    let alice = Run::named("alice")
        .listening(&["--listen", "::1", "--port", "0"])
        .peer();
    assert!(alice.addr().starts_with("[::1]:"), "{}", alice.addr());
    let mut bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    bob.say("over six");
    alice.hears(&bob, "over six");
}

#[test]
fn by_default_it_listens_on_both_with_one_port() {
    if !has_ipv6() {
        return;
    }
    let alice = Run::named("alice").listening(&["--port", "0"]).peer();
    let listens: Vec<SocketAddr> = alice
        .listens()
        .iter()
        .map(|addr| addr.parse().unwrap())
        .collect();
    assert!(
        listens
            .iter()
            .all(|addr| addr.port() == alice.port() && addr.ip().is_unspecified())
    );
    let four = format!("127.0.0.1:{}", alice.port());
    let six = format!("[::1]:{}", alice.port());
    let bob = Run::named("bob")
        .listening(&["--no-listen"])
        .dials(&four)
        .peer();
    let carol = Run::named("carol")
        .listening(&["--no-listen"])
        .dials(&six)
        .peer();
    up(&alice, &bob);
    up(&alice, &carol);
    assert!(bob.listens().is_empty());
}

#[test]
fn a_name_is_looked_up() {
    let alice = Run::named("alice").listening(&["--port", "0"]).peer();
    let addr = format!("localhost:{}", alice.port());
    let mut bob = Run::named("bob").dials(&addr).peer();
    up(&alice, &bob);
    bob.say("by name");
    alice.hears(&bob, "by name");
}

#[test]
fn name_that_does_not_resolve_is_reported_once() {
    let bob = Run::named("bob")
        .with(&["-p", "nowhere.invalid:9000"])
        .peer();
    let line = bob.process.told("nowhere.invalid:9000");
    assert!(
        line.contains("cannot reach") && line.contains("trying again"),
        "{line}"
    );
}

#[test]
fn two_that_dial_each_other_at_once_are_one_link() {
    let mut alice = Run::named("alice").peer();
    let mut bob = Run::named("bob").peer();
    alice.send(json!({"type": "connect", "addr": bob.addr()}));
    bob.send(json!({"type": "connect", "addr": alice.addr()}));
    up(&alice, &bob);
    for number in 0..20 {
        alice.say(&format!("a{number}"));
        bob.say(&format!("b{number}"));
    }
    for number in 0..20 {
        bob.hears(&alice, &format!("a{number}"));
        alice.hears(&bob, &format!("b{number}"));
    }
    for peer in [&mut alice, &mut bob] {
        assert_eq!(peer.ask("stats")["links"].as_array().unwrap().len(), 1);
        assert_eq!(peer.ask("peers")["peers"].as_array().unwrap().len(), 1);
        assert_eq!(peer.every("message").len(), 20);
    }
}

#[test]
fn own_address_leads_to_no_peer() {
    let mut alice = Run::named("alice").with(&["-vv"]).peer();
    let addr = alice.addr();
    alice.process.write(format!("/connect {addr}\n").as_bytes());
    alice.process.told("is this sesame itself");
    let known = alice.ask("peers");
    let mut known = known["peers"].as_array().unwrap().iter();
    assert!(known.all(|listed| listed["peer"].is_null()), "nobody");
    assert!(alice.every("peer_up").is_empty() && alice.every("auth_failed").is_empty());
    let bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
}

#[test]
fn a_port_in_use_is_1_with_the_port_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ended = Run::new()
        .listening(&["--listen", "127.0.0.1", "--port", &port])
        .pipe(b"");
    assert_eq!(ended.status, 1, "{ended:?}");
    let line = format!("sesame: cannot listen on port {port}: another program uses it");
    let advice =
        "sesame: if it is sesame, -p localhost joins it; or choose another port with --port N";
    assert_eq!(ended.err, [line.as_str(), advice]);
}

#[cfg(target_os = "linux")]
#[test]
fn default_port_in_use_is_replaced_if_the_run_can_dial() {
    let (ip, _) = corner();
    let listener = TcpListener::bind((ip.as_str(), 9000));
    // The user's own sesame may listen there on every address, which serves as well.
    assert!(
        !listener
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::AddrInUse)
    );
    let ended = Run::new().listening(&["--listen", &ip]).pipe(b"");
    assert_eq!(ended.status, 1, "{ended:?}");
    let alice = Run::named("alice").peer();
    let bob = Run::named("bob")
        .listening(&["--listen", &ip])
        .to(&alice)
        .peer();
    up(&alice, &bob);
    bob.process.told("another program uses port 9000");
    assert_ne!(bob.port(), 9000);
}

#[test]
fn run_without_a_listener_dials_and_is_not_dialled() {
    let alice = Run::named("alice").peer();
    let mut bob = Run::named("bob")
        .listening(&["--no-listen"])
        .to(&alice)
        .peer();
    let carol = Run::named("carol")
        .listening(&["--no-listen"])
        .to(&alice)
        .peer();
    up(&alice, &bob);
    up(&alice, &carol);
    bob.say("alice hears this");
    alice.hears(&bob, "alice hears this");
    // Two peers without listeners cannot reach each other, but know of each other.
    let known = loop {
        let answer = bob.ask("peers");
        let known = answer["peers"].as_array().unwrap().clone();
        if known.len() == 2 {
            break known;
        }
    };
    let carol_there = known
        .iter()
        .find(|peer| peer["peer"] == carol.id())
        .unwrap();
    assert_eq!(carol_there["state"], "known");
}

#[test]
fn an_advertised_address_is_the_one_that_others_dial() {
    let bobs_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let advertised = bobs_listener.local_addr().unwrap().to_string();
    let alice = Run::named("alice").peer();
    let bob = Run::named("bob")
        .listening(&["--no-listen"])
        .to(&alice)
        .with(&["--advertise", &advertised])
        .peer();
    let met = alice.expect("peer_up", |event| event["peer"] == bob.id());
    assert_eq!(met["addr"], advertised);
    // Bob, who gets gossip about carol too, cannot dial her first.
    let run = Run::named("carol").listening(&["--no-listen"]);
    let _carol = run.to(&alice).peer();
    let (came, dialled) = mpsc::channel();
    thread::spawn(move || came.send(bobs_listener.accept().is_ok()));
    assert_eq!(dialled.recv_timeout(PATIENCE), Ok(true));
}

#[cfg(target_os = "linux")]
#[test]
fn listener_on_one_address_is_closed_on_others() {
    let (ip, port) = corner();
    let alice = Run::named("alice")
        .listening(&["--listen", &ip, "--port", &port.to_string()])
        .peer();
    assert_eq!(alice.addr(), format!("{ip}:{port}"));
    let elsewhere = format!("127.0.0.1:{}", alice.port());
    let refused = std::net::TcpStream::connect(elsewhere)
        .and_then(|stream| Stranger::with_all().handshake(stream))
        .is_err();
    assert!(refused);
    let bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
}

/// Through a forwarder, as far as alice can tell on this computer.
fn lost_through_a_forwarder(alice: Run, advertised: &[&str]) -> serde_json::Value {
    let alice = alice.peer();
    let forwarder = Relay::to(&alice.addr());
    let bob = Run::named("bob")
        .with(&["-p", forwarder.addr()])
        .with(advertised)
        .peer();
    up(&alice, &bob);
    bob.signal(Signal::SIGKILL);
    alice.expect("peer_down", |event| event["peer"] == bob.id())
}

#[test]
fn a_private_address_told_through_a_forwarder_is_not_dialled() {
    for inside in ["192.168.77.1:8080", "10.0.0.1:9000", "169.254.1.1:80"] {
        let down = lost_through_a_forwarder(Run::named("alice"), &["--advertise", inside]);
        assert_eq!(down["retrying"], false, "{inside}: {down}");
    }
}

#[test]
fn a_port_of_this_computer_is_dialled_unless_forwarded() {
    let down = lost_through_a_forwarder(Run::named("alice"), &[]);
    assert_eq!(down["retrying"], true, "{down}");
    let alice = Run::named("alice").with(&["--forwarded"]);
    let down = lost_through_a_forwarder(alice, &[]);
    assert_eq!(down["retrying"], false, "{down}");
}

/// Wrong addresses, and how the error line ends.
const WRONG: [(&str, &str); 20] = [
    ("", "expected HOST[:PORT], but the host is missing"),
    (":9000", "expected HOST[:PORT], but the host is missing"),
    (
        "http://x:9000",
        "expected HOST[:PORT], not a URL: try x:9000",
    ),
    ("x:9000/chat", "expected HOST[:PORT], without a path"),
    ("me@x", "expected HOST[:PORT], without a user name"),
    ("x:0", "expected a port from 1 to 65535"),
    ("x:70000", "expected a port from 1 to 65535"),
    ("x:", "expected a port from 1 to 65535"),
    ("x:1:2", "expected HOST[:PORT], with one colon"),
    (
        "1.2.3.4.5",
        "expected an IPv4 address of four numbers from 0 to 255",
    ),
    (
        "1.2.3.400:1",
        "expected an IPv4 address of four numbers from 0 to 255",
    ),
    (
        "[::1",
        "expected an IPv6 address in a pair of brackets, as in [ADDRESS]:PORT",
    ),
    ("[::1]9000", "expected :PORT after the closing bracket"),
    ("[x]:9000", "expected an IPv6 address in the brackets"),
    ("2001::db8::1", "expected an IPv6 address"),
    (
        "2001:db8::1:9000",
        "write [2001:db8::1]:9000 if 9000 is the port, or [2001:db8::1:9000] if it is part of the address",
    ),
    (
        "fe80::1",
        "a link-local address needs its interface, as in fe80::1%eth0",
    ),
    ("fe80::1%nope", "unknown interface 'nope'"),
    (
        "::1%lo",
        "only a link-local IPv6 address takes an interface",
    ),
    (
        "a b",
        "expected a host name of letters, digits, '-', '_' and '.'",
    ),
];

#[test]
fn wrong_address_of_an_option_is_2_with_a_fitting_line() {
    for (address, why) in WRONG {
        let expected = format!("sesame: invalid address '{address}': {why}");
        let ended = Run::new().with(&["-p", address]).pipe(b"");
        assert_eq!(ended.status, 2, "{ended:?}");
        assert_eq!(ended.err, [expected.as_str(), "sesame: see sesame --help"]);
    }
    for (option, address) in [
        ("--advertise", "fe80::1%lo"),
        ("--advertise", "fe80::1"),
        ("--advertise", "x:0"),
        ("--listen", "fe80::1"),
        ("--listen", "127.0.0.1:9000"),
        ("--listen", "home.example"),
    ] {
        let ended = Run::new().listening(&[option, address]).pipe(b"");
        let begin = format!("sesame: invalid address '{address}': ");
        assert!(
            ended.status == 2 && ended.err.len() == 2 && ended.err[0].starts_with(&begin),
            "{option}: {ended:?}"
        );
    }
}

#[test]
fn wrong_address_of_a_command_is_a_fitting_error() {
    let mut alice = Run::named("alice").peer();
    for (address, why) in WRONG {
        let expected = format!("invalid address '{address}': {why}");
        alice.send(json!({"type": "connect", "addr": address, "ref": address}));
        let error = alice.expect("error", |event| event["ref"] == address);
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("bad_address"), &json!(expected))
        );
        if address.is_empty() {
            continue;
        }
        let error = alice.refused(&format!("/connect {address}"));
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("bad_address"), &json!(expected))
        );
    }
    assert_eq!(alice.ask("peers")["peers"], json!([]));
}

#[cfg(target_os = "linux")]
#[test]
fn link_local_address_is_dialled_behind_its_interface() {
    // There is no listener, and the error line names the interface as it was given.
    for zone in ["lo", "1"] {
        let mut alice = Run::named("alice").peer();
        let address = format!("[fe80::1%{zone}]:9");
        alice.send(json!({"type": "connect", "addr": address}));
        alice.process.told(&format!("cannot reach {address}"));
    }
}
