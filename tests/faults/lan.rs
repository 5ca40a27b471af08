//! `--lan`: hosts that find each other by multicast.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use serde_json::Value;

use super::helper::{Home, Net, OUTSIDE, Peer, enter, seen, up};

/// The group and the port of beacons (PROTOCOL.md, section 10).
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 83, 101);
const PORT: u16 = 9000;

/// The host outside, for those behind a router.
const NEIGHBOUR: &str = "44.1.1.9";

const ALICE: usize = 0;
const BOB: usize = 1;
const MALLORY: usize = 2;

fn found(net: &Net, host: usize, name: &str) -> Peer {
    net.run(host, name).with(&["--lan"]).peer()
}

fn beacon(port: u16) -> Vec<u8> {
    [&b"sesame\0\x01"[..], &port.to_be_bytes()].concat()
}

/// A listener that does not wait, and its port.
fn listen(addr: Ipv4Addr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((addr, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Alice, when her first beacon has come to this host, where it has to be called. From then on she
/// hears others. The socket is one to send from.
fn heard(net: &Net, addr: Ipv4Addr) -> (Peer, UdpSocket) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    socket.join_multicast_v4(&GROUP, &addr).unwrap();
    socket.set_nonblocking(true).unwrap();
    let alice = found(net, ALICE, "alice");
    let mut bytes = [0; 100];
    let (length, from) = seen("a beacon", || socket.recv_from(&mut bytes).ok());
    let from_alice: SocketAddr = format!("{}:{PORT}", net.addr(ALICE)).parse().unwrap();
    assert_eq!(from, from_alice);
    assert_eq!(bytes[..length], beacon(alice.port()));
    (alice, UdpSocket::bind((addr, 0)).unwrap())
}

/// Does something on a host, with sockets of its network.
fn on<T: Send>(net: &Net, host: usize, act: impl FnOnce(Ipv4Addr) -> T + Send) -> T {
    let (space, addr) = (net.space(host), net.addr(host));
    let acting = || {
        enter(&space);
        act(addr.parse().unwrap())
    };
    thread::scope(|scope| scope.spawn(acting).join().unwrap())
}

#[test]
fn two_in_one_network_find_each_other() {
    let Some(net) = Net::of(2) else { return };
    let mut alice = found(&net, ALICE, "alice");
    let bob = found(&net, BOB, "bob");
    up(&alice, &bob);
    alice.say("found");
    bob.hears(&alice, "found");
}

#[test]
fn two_find_each_other_by_ipv6_without_ipv4() {
    let Some(net) = Net::of(2) else { return };
    for host in [ALICE, BOB] {
        net.only_link_local(host);
    }
    let alice = found(&net, ALICE, "alice");
    let bob = found(&net, BOB, "bob");
    up(&alice, &bob);
}

#[test]
fn neighbour_with_another_passphrase_is_no_event() {
    let Some(net) = Net::of(3) else { return };
    let mut alice = found(&net, ALICE, "alice");
    let run = net.run(MALLORY, "mallory").with(&["--lan"]);
    let mut mallory = run.phrase("quite another phrase of other people").peer();
    let bob = found(&net, BOB, "bob");
    up(&alice, &bob);
    let stats = mallory.ask("stats");
    assert_eq!(stats["links"].as_array().unwrap().len(), 0);
    alice.ask("stats");
    for peer in [&alice, &bob, &mallory] {
        let outbound = |event: &&Value| event["inbound"] == false;
        let failed = peer.every("auth_failed");
        assert_eq!(failed.iter().find(outbound), None);
    }
    mallory.quit();
}

#[test]
fn who_does_not_use_the_option_sends_and_hears_nothing() {
    let Some(net) = Net::of(3) else { return };
    let mut mallory = net.run(MALLORY, "mallory").peer();
    net.count_what_leaves(MALLORY);
    let alice = found(&net, ALICE, "alice");
    let bob = found(&net, BOB, "bob");
    up(&alice, &bob);
    let peers = mallory.ask("peers");
    assert_eq!(peers["peers"].as_array().unwrap().len(), 0);
    assert_eq!(net.counted(MALLORY), 0);
}

#[test]
fn beacon_is_fixed_bytes_and_a_port_to_the_next_network_only() {
    let Some(net) = Net::of(2) else { return };
    net.count_near_datagrams(BOB, &GROUP.to_string(), PORT);
    let mut alice = on(&net, BOB, |addr| heard(&net, addr).0);
    assert!(net.counted(BOB) > 0, "not with a TTL of 1");
    alice.quit();
}

#[test]
fn only_a_beacon_to_the_group_from_the_subnet_leads_to_a_dial() {
    let Some(net) = Net::of(2) else { return };
    let alice_at = net.addr(ALICE);
    on(&net, BOB, |addr| {
        let (_alice, socket) = heard(&net, addr);
        let [(straight, first), (grouped, second)] = [listen(addr), listen(addr)];
        // To the port of alice, and not to the group.
        socket
            .send_to(&beacon(first), (alice_at.as_str(), PORT))
            .unwrap();
        socket.send_to(&beacon(second), (GROUP, PORT)).unwrap();
        seen("a dial because of a beacon", || grouped.accept().ok());
        let none = straight.accept().err().map(|error| error.kind());
        assert_eq!(none, Some(ErrorKind::WouldBlock));
    });
}

#[test]
fn host_with_many_ports_is_dialled_five_times() {
    let Some(net) = Net::of(3) else { return };
    on(&net, MALLORY, |addr| {
        let (alice, socket) = heard(&net, addr);
        let listeners: Vec<_> = (0..12).map(|_| listen(addr)).collect();
        for (_, port) in &listeners {
            socket.send_to(&beacon(*port), (GROUP, PORT)).unwrap();
        }
        // Whatever follows the beacons of mallory comes after them.
        let bob = found(&net, BOB, "bob");
        up(&alice, &bob);
        let dialled = || {
            let reached = listeners.iter().filter(|(one, _)| one.accept().is_ok());
            reached.count()
        };
        assert_eq!(dialled(), 5);
    });
}

#[test]
fn two_behind_one_router_get_from_a_circuit_to_a_direct_link() {
    let Some(home) = Home::of(2) else { return };
    home.net.drop_datagrams(PORT);
    let oscar = home.net.run(OUTSIDE, "oscar").peer();
    let member = |host, name| {
        let run = home.net.run(host, name).with(&["--lan"]);
        run.dials(NEIGHBOUR).peer()
    };
    let mut alice = member(1, "alice");
    let mut bob = member(2, "bob");
    for peer in [&alice, &bob] {
        up(peer, &oscar);
    }
    up(&alice, &bob);
    // Over oscar at first, unless the direct link was faster.
    while alice.entry_of(&bob)["via"] != Value::Null {
        up(&alice, &bob);
    }
    alice.say("directly");
    bob.hears(&alice, "directly");
    let inner = format!("{}:", home.net.addr(2));
    let there = alice.entry_of(&bob)["addr"].as_str().unwrap().to_owned();
    let here = bob.entry_of(&alice)["addr"].as_str().unwrap().to_owned();
    let other = format!("{}:", home.net.addr(1));
    assert!(there.starts_with(&inner), "{there}");
    assert!(here.starts_with(&other), "{here}");
}
