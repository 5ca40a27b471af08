//! Local networks: dials because of beacons, and addresses that members in the same place tell each
//! other.

use std::net::SocketAddr;
use std::time::Duration;

use sesame::mesh::{Command, ConnId, DownReason, Event, LocalNetwork, PeerQuery, Settings};
use sesame::proto::frame::{Circuit, CircuitField, CircuitFrame, Hello, Listening, Payload, Way};
use sesame::proto::{Address, Identity};

use crate::rig::{Heard, Partner, Rig, gossip, hello, settings};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The interface on which the engine is in a network.
const HERE: u32 = 2;
/// Where this place meets the Internet, and where another one does.
const SHARED: &str = "93.184.216.34";
const ELSEWHERE: &str = "93.184.216.35";
/// A member with a public address.
const HUB: &str = "8.8.4.4:40000";

fn at(address: &str) -> Address {
    Address::parse(address).unwrap()
}

/// An engine with `--lan` that knows its networks.
fn with_lan() -> Rig {
    let mut rig = Rig::new(Settings {
        lan: true,
        ..settings()
    });
    networks(&mut rig, "192.168.1.7");
    rig
}

fn networks(rig: &mut Rig, own: &str) {
    let network = |interface, ip: &str, prefix| LocalNetwork {
        interface,
        ip: ip.parse().unwrap(),
        prefix,
    };
    let networks = vec![network(HERE, own, 24), network(3, "10.0.0.7", 24)];
    let gateways = vec!["192.168.1.1".parse().unwrap()];
    rig.tell(|engine, now| engine.handle_networks(now, networks, gateways));
}

fn beacon_on(rig: &mut Rig, from: &str, interface: u32) {
    let from: SocketAddr = from.parse().unwrap();
    rig.tell(|engine, now| engine.handle_beacon(now, from, interface));
}

fn beacon(rig: &mut Rig, from: &str) {
    beacon_on(rig, from, HERE);
}

/// What the engine has dialled since the last call.
fn dialled(rig: &mut Rig) -> Vec<String> {
    let dials = std::mem::take(&mut rig.dials).into_iter();
    dials.map(|(_, address)| address.to_string()).collect()
}

/// Each dial fails that is under way. Returns how many there were.
fn fail_all(rig: &mut Rig) -> usize {
    let dials = std::mem::take(&mut rig.dials);
    for (conn, _) in &dials {
        refuse(rig, *conn);
    }
    dials.len()
}

fn refuse(rig: &mut Rig, conn: ConnId) {
    let cause = sesame::mesh::CloseCause::Failed("connection refused".into());
    rig.tell(|engine, now| engine.handle_closed(now, conn, cause));
}

/// The HELLO of a member with `--lan`.
fn local_hello() -> Hello {
    Hello {
        local: true,
        ..hello()
    }
}

fn observed(ip: &str) -> Payload {
    let mut payload = Payload::default();
    assert!(payload.observed(ip.parse().unwrap()));
    payload
}

fn local(addresses: &[&str]) -> Payload {
    let addresses: Vec<_> = addresses.iter().map(|address| at(address)).collect();
    let mut payload = Payload::default();
    assert!(payload.local(&addresses));
    payload
}

fn told(partner: &Partner) -> Vec<Vec<String>> {
    let told = partner.heard.iter().filter_map(|heard| match heard {
        Heard::Local(addresses) => Some(addresses.iter().map(ToString::to_string).collect()),
        _ => None,
    });
    told.collect()
}

#[test]
fn beacon_of_a_neighbour_leads_to_one_dial() {
    let mut rig = with_lan();
    beacon(&mut rig, "192.168.1.9:9000");
    beacon(&mut rig, "192.168.1.9:9000");
    let (conn, address) = rig.next_dial();
    assert_eq!(address.to_string(), "192.168.1.9:9000");
    assert_eq!(dialled(&mut rig), [""; 0], "while it is being dialled");
    let peer = rig.identity();
    let mut partner = rig.answer(conn, &peer, "192.168.1.9:9000");
    rig.greet(&mut partner, &hello());
    assert_eq!(rig.ups_and_downs(), [1, 0]);
    for _ in 0..20 {
        beacon(&mut rig, "192.168.1.9:9000");
        assert_eq!(dialled(&mut rig), [""; 0], "while its peer is up");
        rig.live_on(&mut [&mut partner], 10 * SECOND);
    }
    // A lost link is redialled there without another beacon.
    rig.lose(&partner);
    assert_eq!(rig.next_dial().1.to_string(), "192.168.1.9:9000");
}

#[test]
fn beacon_without_the_option_leads_nowhere() {
    let mut rig = Rig::new(settings());
    networks(&mut rig, "192.168.1.7");
    beacon(&mut rig, "192.168.1.9:9000");
    rig.wait(MINUTE);
    assert_eq!(dialled(&mut rig), [""; 0]);
}

#[test]
fn beacon_from_nowhere_near_leads_nowhere() {
    let mut rig = with_lan();
    for (from, interface) in [
        ("192.168.2.9:9000", HERE),
        ("8.8.8.8:9000", HERE),
        ("192.168.1.1:9000", HERE),
        ("192.168.1.7:9000", HERE),
        ("10.0.0.7:9000", 3),
        ("192.168.1.9:9000", 3),
        ("10.0.0.9:9000", HERE),
        ("192.168.1.9:0", HERE),
        ("127.0.0.1:9000", HERE),
        ("[fe80::9]:9000", HERE),
    ] {
        beacon_on(&mut rig, from, interface);
        assert_eq!(dialled(&mut rig), [""; 0], "{from}");
    }
    beacon_on(&mut rig, "10.0.0.9:9000", 3);
    assert_eq!(dialled(&mut rig), ["10.0.0.9:9000"]);
}

#[test]
fn dial_that_failed_waits_for_the_next_beacon() {
    let mut rig = with_lan();
    beacon(&mut rig, "192.168.1.9:9000");
    assert_eq!(fail_all(&mut rig), 1);
    rig.wait(10 * MINUTE);
    assert_eq!(dialled(&mut rig), [""; 0]);
    assert_eq!(rig.warnings, [""; 0]);
    beacon(&mut rig, "192.168.1.9:9000");
    assert_eq!(dialled(&mut rig), ["192.168.1.9:9000"]);
}

#[test]
fn source_causes_five_dials_and_then_one_a_minute() {
    let mut rig = with_lan();
    let count = |rig: &mut Rig| {
        let ports = 9000..9050;
        ports.for_each(|port| beacon(rig, &format!("192.168.1.9:{port}")));
        fail_all(rig)
    };
    assert_eq!(count(&mut rig), 5);
    rig.wait(MINUTE / 2);
    assert_eq!(count(&mut rig), 0);
    rig.wait(MINUTE / 2);
    assert_eq!(count(&mut rig), 1);
    rig.wait(3 * MINUTE);
    assert_eq!(count(&mut rig), 3);
}

#[test]
fn network_causes_thirty_dials_and_then_one_a_minute() {
    let mut rig = with_lan();
    let count = |rig: &mut Rig| {
        let hosts = 10..250;
        hosts.for_each(|host| beacon(rig, &format!("192.168.1.{host}:9000")));
        fail_all(rig)
    };
    assert_eq!(count(&mut rig), 30);
    rig.wait(MINUTE / 2);
    assert_eq!(count(&mut rig), 0);
    rig.wait(MINUTE / 2);
    for _ in 0..10 {
        assert_eq!(count(&mut rig), 1);
        rig.wait(MINUTE);
    }
}

/// Forty neighbours join the chat, one after another.
#[test]
fn dial_that_leads_to_a_peer_costs_nothing() {
    let mut rig = with_lan();
    for host in 10..50 {
        let from = format!("192.168.1.{host}:9000");
        beacon(&mut rig, &from);
        let (conn, _) = rig.dials.pop().expect("it is dialled");
        let peer = rig.identity();
        let mut partner = rig.answer(conn, &peer, &from);
        rig.greet(&mut partner, &hello());
    }
    assert_eq!(rig.ups_and_downs(), [40, 0]);
}

/// Dials that beacons cause and those that gossip causes do not count together.
#[test]
fn beacons_use_nothing_of_the_limits_of_gossip() {
    let mut rig = with_lan();
    let mut partner = {
        let member = rig.identity();
        rig.link(&member, "192.168.1.20:40000", &hello())
    };
    for port in 9000..9010 {
        beacon(&mut rig, &format!("192.168.1.9:{port}"));
    }
    assert_eq!(fail_all(&mut rig), 5);
    let gossiped = rig.identity().id();
    rig.say(&mut partner, &gossip(gossiped, "192.168.1.9:9000"));
    let dials = rig.dialled_in_vain(20 * SECOND);
    assert_eq!(dials.len(), 3, "as without beacons");
}

#[test]
fn neighbour_with_another_phrase_is_not_reported() {
    let mut rig = with_lan();
    let stranger = rig.identity();
    for _ in 0..4 {
        beacon(&mut rig, "192.168.1.9:9000");
        let (conn, _) = rig.next_dial();
        rig.stranger_answers(conn, &stranger, "192.168.1.9:9000");
        rig.wait(2 * SECOND);
        assert!(rig.closed.contains(&conn));
    }
    assert_eq!((rig.events.len(), rig.warnings.len()), (0, 0));
    rig.command(Command::Quit);
    rig.wait(MINUTE);
    let outcome = rig.engine.outcome().expect("it has ended");
    assert!(!outcome.all_refused);
}

#[test]
fn neighbour_that_the_user_disconnected_is_left_alone() {
    let mut rig = with_lan();
    let peer = rig.identity();
    // It came by itself, from the address of its beacons.
    let mut partner = rig.link(&peer, "192.168.1.9:40000", &hello());
    rig.say(&mut partner, &Payload::default());
    rig.command(Command::Disconnect(PeerQuery(peer.id().to_string())));
    rig.wait(SECOND);
    for _ in 0..5 {
        beacon(&mut rig, "192.168.1.9:9000");
        rig.wait(MINUTE);
    }
    assert_eq!(dialled(&mut rig), [""; 0]);
    // From another address it is dialled, but gets no link.
    beacon(&mut rig, "192.168.1.10:9000");
    let (conn, _) = rig.next_dial();
    let partner = rig.answer(conn, &peer, "192.168.1.10:9000");
    assert!(rig.closed.contains(&partner.conn) && partner.hello.is_none());
    beacon(&mut rig, "192.168.1.10:9000");
    assert_eq!(dialled(&mut rig), [""; 0]);
}

/// A computer that is in the network with two addresses sends two beacons.
#[test]
fn second_address_of_a_peer_is_dialled_once() {
    let mut rig = with_lan();
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "192.168.1.9:40000", &hello());
    for _ in 0..5 {
        beacon(&mut rig, "192.168.1.10:9000");
        while let Some((conn, address)) = rig.dials.pop() {
            let again = rig.answer(conn, &peer, &address.to_string());
            assert!(rig.closed.contains(&again.conn));
        }
        rig.live_on(&mut [&mut partner], 10 * SECOND);
    }
    assert_eq!(rig.closed.len(), 1);
    assert_eq!(rig.ups_and_downs(), [1, 0]);
}

#[test]
fn link_end_that_asks_learns_its_public_address() {
    let mut rig = Rig::new(settings());
    let cases = [
        (SHARED, local_hello(), 1),
        ("93.184.216.36", hello(), 0),
        ("192.168.1.20", local_hello(), 0),
    ];
    for (ip, hello, count) in cases {
        let peer = rig.identity();
        let partner = rig.link(&peer, &format!("{ip}:40000"), &hello);
        let seen = |heard: &&Heard| matches!(heard, Heard::Observed(_));
        let seen: Vec<_> = partner.heard.iter().filter(seen).collect();
        assert_eq!(seen.len(), count, "{ip}");
        assert!(
            seen.iter()
                .all(|it| **it == Heard::Observed(ip.parse().unwrap()))
        );
    }
}

/// The HELLO of a hub with `--lan` that carries circuits.
fn hub_hello() -> Hello {
    Hello {
        circuits: Some(CircuitField {
            carries: true,
            is_relayed: false,
        }),
        listening: Listening::No,
        ..local_hello()
    }
}

/// The HELLO of a member at the other end of a circuit.
fn relayed(local: bool) -> Hello {
    Hello {
        circuits: Some(CircuitField {
            carries: false,
            is_relayed: true,
        }),
        local,
        interval_ms: 1000,
        ..hello()
    }
}

/// The engine, a hub, and a peer to which the hub carries a circuit.
struct Behind {
    rig: Rig,
    hub: Partner,
    peer: Identity,
    partner: Partner,
}

impl Behind {
    /// The hub sees the engine at one address, and gossips another one of the peer.
    fn new(sees: &str, peer_is_at: &str, hello: &Hello) -> Self {
        let mut rig = with_lan();
        let (hub, peer) = (rig.identity(), rig.identity());
        let mut hub = rig.link(&hub, HUB, &hub_hello());
        rig.say(&mut hub, &observed(sees));
        let mut offer = Payload::default();
        let what = Circuit::Open {
            interval_ms: 1000,
            way: Way::From,
            peer: peer.id(),
        };
        assert!(offer.circuit(&CircuitFrame { id: 1, what }));
        rig.say(&mut hub, &offer);
        let (conn, _) = rig.circuits.pop().expect("the offer is taken");
        let mut partner = rig.asks_over_circuit(conn, &peer);
        rig.greet(&mut partner, hello);
        assert_eq!(rig.ups_and_downs(), [2, 0]);
        rig.say(&mut hub, &gossip(peer.id(), peer_is_at));
        let mut behind = Self {
            rig,
            hub,
            peer,
            partner,
        };
        // The gossiped address leads nowhere.
        behind.live_on(180);
        assert_eq!(fail_all(&mut behind.rig), 0);
        behind
    }

    /// Time passes, with cells on both links. Dials fail.
    fn live_on(&mut self, seconds: u64) {
        for _ in 0..seconds {
            fail_all(&mut self.rig);
            let mut all = [&mut self.hub, &mut self.partner];
            self.rig.live_on(&mut all, SECOND);
        }
    }

    /// The engine's addresses, as often as the peer was told them.
    fn told(&mut self) -> Vec<Vec<String>> {
        self.rig.wait(2 * SECOND);
        self.rig.hear(&mut self.partner);
        told(&self.partner)
    }

    /// The peer says where it listens. Returns the dials that follow at once.
    fn says(&mut self, addresses: &[&str]) -> Vec<String> {
        self.rig.say(&mut self.partner, &local(addresses));
        let dials = self.rig.dials.iter();
        dials.map(|(_, address)| address.to_string()).collect()
    }
}

fn beside() -> Behind {
    Behind::new(SHARED, &format!("{SHARED}:9001"), &relayed(true))
}

const OWN: [&str; 2] = ["192.168.1.7:9000", "10.0.0.7:9000"];

#[test]
fn members_with_one_public_address_tell_their_local_ones() {
    let mut beside = beside();
    assert_eq!(beside.told(), [OWN]);
    assert_eq!(told(&beside.hub).len(), 0, "it is elsewhere");
    // Another OBSERVED and the same networks change nothing.
    beside.rig.say(&mut beside.hub, &observed(SHARED));
    networks(&mut beside.rig, "192.168.1.7");
    assert_eq!(beside.told().len(), 1);
    networks(&mut beside.rig, "192.168.1.8");
    let moved = ["192.168.1.8:9000", "10.0.0.7:9000"];
    assert_eq!(beside.told(), [OWN, moved]);
}

#[test]
fn members_elsewhere_or_without_the_option_are_not_told() {
    let [here, there] = [SHARED, ELSEWHERE].map(|ip| format!("{ip}:9001"));
    for (case, sees, peer_is_at, local) in [
        ("another public address", SHARED, &there, true),
        ("a private address observed", "192.168.1.7", &here, true),
        ("without --lan", SHARED, &here, false),
    ] {
        let mut behind = Behind::new(sees, peer_is_at, &relayed(local));
        assert!(behind.told().is_empty(), "{case}");
    }
}

#[test]
fn member_over_a_direct_link_is_told_too() {
    let mut rig = with_lan();
    let (hub, peer) = (rig.identity(), rig.identity());
    let mut hub = rig.link(&hub, HUB, &hub_hello());
    let mut partner = rig.link(&peer, &format!("{SHARED}:40000"), &local_hello());
    rig.say(&mut hub, &observed(SHARED));
    rig.hear(&mut partner);
    assert_eq!(told(&partner), [OWN]);
    // It has a direct link already, so its addresses are of no use.
    rig.say(&mut partner, &local(&["192.168.1.9:9000"]));
    assert_eq!(dialled(&mut rig), [""; 0]);
    assert_eq!(rig.closed, []);
}

#[test]
fn end_that_does_not_listen_tells_no_address() {
    let mut rig = Rig::new(Settings {
        lan: true,
        listen_port: None,
        ..settings()
    });
    networks(&mut rig, "192.168.1.7");
    let peer = rig.identity();
    let mut partner = rig.link(&peer, &format!("{SHARED}:40000"), &local_hello());
    rig.say(&mut partner, &observed(SHARED));
    rig.hear(&mut partner);
    assert!(told(&partner).is_empty());
}

#[test]
fn local_address_leads_to_a_dial_and_a_direct_link() {
    let mut beside = beside();
    assert_eq!(beside.says(&["192.168.1.9:9000"]), ["192.168.1.9:9000"]);
    let is_gossiped = |hub: &Partner| {
        let peer = |heard: &Heard| match heard {
            Heard::Peer(_, address) => address.is_some(),
            _ => false,
        };
        hub.heard.iter().any(peer)
    };
    assert!(!is_gossiped(&beside.hub));
    let (conn, _) = beside.rig.dials.remove(0);
    let Behind {
        mut rig,
        mut hub,
        peer,
        partner,
    } = beside;
    let mut direct = rig.answer(conn, &peer, "192.168.1.9:9000");
    let hello = Hello {
        link_seq: 2,
        circuits: hub_hello().circuits,
        ..local_hello()
    };
    rig.greet(&mut direct, &hello);
    assert!(rig.closed.contains(&partner.conn), "the circuit has ended");
    let downs = rig.events.iter().filter_map(|event| match event {
        Event::PeerDown { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(downs.collect::<Vec<_>>(), [DownReason::Replaced]);
    // From now on it is an address like any other: gossiped, and redialled after a loss.
    rig.wait(2 * SECOND);
    rig.hear(&mut hub);
    assert!(is_gossiped(&hub));
    rig.lose(&direct);
    assert_eq!(rig.next_dial().1.to_string(), "192.168.1.9:9000");
}

#[test]
fn local_address_is_dialled_once() {
    let mut beside = beside();
    assert_eq!(beside.says(&["192.168.1.9:9000"]).len(), 1);
    fail_all(&mut beside.rig);
    assert_eq!(beside.says(&["192.168.1.9:9000"]).len(), 0);
    beside.live_on(600);
    assert_eq!(beside.rig.dials, []);
    assert_eq!(beside.says(&["192.168.1.9:9000"]).len(), 0);
    // One more, and that is all.
    assert_eq!(beside.says(&["10.0.0.9:9000", "10.0.0.10:9000"]).len(), 1);
    fail_all(&mut beside.rig);
    assert_eq!(beside.says(&["10.0.0.11:9000"]).len(), 0);
}

#[test]
fn stranger_at_a_local_address_is_not_reported() {
    let mut beside = beside();
    let stranger = beside.rig.identity();
    assert_eq!(beside.says(&["192.168.1.9:9000"]).len(), 1);
    let (conn, address) = beside.rig.dials.remove(0);
    let rig = &mut beside.rig;
    rig.stranger_answers(conn, &stranger, &address.to_string());
    rig.wait(2 * SECOND);
    let failed = |event: &Event| matches!(event, Event::AuthFailed { .. });
    assert!(!rig.events.iter().any(failed));
    assert_eq!(rig.warnings, [""; 0]);
}

#[test]
fn liar_has_nothing_dialled_outside_the_networks() {
    let mut beside = beside();
    for address in [
        "192.168.2.9:22",
        "192.168.1.1:80",
        "192.168.1.7:22",
        "10.0.0.7:22",
        "127.0.0.1:22",
        "169.254.169.254:80",
        "224.0.0.1:9000",
        "8.8.8.8:53",
        "[fe80::9]:9000",
        "[::1]:9000",
    ] {
        assert_eq!(beside.says(&[address]), [""; 0], "{address}");
    }
    assert_eq!(beside.rig.ups_and_downs(), [2, 0]);
}

/// A liar that comes back with new identities is limited like gossip: the network from which it is
/// linked, here the hub's, pays for its dials.
#[test]
fn liars_that_come_back_cannot_search_the_network() {
    let mut beside = beside();
    let mut dials = 0;
    for n in 0..60 {
        let liar = beside.rig.identity();
        let mut offer = Payload::default();
        let what = Circuit::Open {
            interval_ms: 1000,
            way: Way::From,
            peer: liar.id(),
        };
        assert!(offer.circuit(&CircuitFrame {
            id: 3 + 2 * n,
            what
        }));
        beside.rig.say(&mut beside.hub, &offer);
        if let Some((conn, _)) = beside.rig.circuits.pop() {
            let mut partner = beside.rig.asks_over_circuit(conn, &liar);
            beside.rig.greet(&mut partner, &relayed(true));
            let hosts = [10, 11].map(|host| format!("192.168.1.{}:22", host + 2 * n));
            let hosts = [&*hosts[0], &*hosts[1]];
            beside.rig.say(&mut partner, &local(&hosts));
            dials += fail_all(&mut beside.rig);
            let mut end = Payload::default();
            end.goodbye(true);
            beside.rig.say(&mut partner, &end);
        }
        beside.live_on(1);
    }
    assert!((10..=40).contains(&dials), "{dials} dials in a minute");
}

fn ends_the_link(rig: &mut Rig, partner: &mut Partner, frames: &[u8]) -> bool {
    rig.say_bytes(partner, frames);
    rig.closed.contains(&partner.conn)
}

#[test]
fn frame_about_local_networks_unasked_is_a_fault() {
    let local = local(&["192.168.1.9:9000"]);
    for (case, lan, hello, frames, is_fault) in [
        ("LOCAL between both", true, local_hello(), &local, false),
        ("LOCAL of an end without it", true, hello(), &local, true),
        (
            "LOCAL to an end without it",
            false,
            local_hello(),
            &local,
            true,
        ),
        (
            "OBSERVED of any end",
            true,
            hello(),
            &observed(SHARED),
            false,
        ),
        (
            "OBSERVED to an end without it",
            false,
            hello(),
            &observed(SHARED),
            true,
        ),
    ] {
        let mut rig = Rig::new(Settings { lan, ..settings() });
        let peer = rig.identity();
        let mut partner = rig.link(&peer, HUB, &hello);
        let ended = ends_the_link(&mut rig, &mut partner, frames.as_slice());
        assert_eq!(ended, is_fault, "{case}");
    }
}

#[test]
fn local_with_other_content_is_a_fault() {
    let three = local(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    let cases: [(&str, &[u8]); 4] = [
        ("three addresses", three.as_slice()),
        ("none", &[15, 0, 0]),
        ("a name", &[15, 0, 5, 1, 1, b'a', 0, 9]),
        ("an empty address", &[15, 0, 1, 0]),
    ];
    for (case, frames) in cases {
        let mut rig = with_lan();
        let peer = rig.identity();
        let mut partner = rig.link(&peer, HUB, &local_hello());
        assert!(ends_the_link(&mut rig, &mut partner, frames), "{case}");
    }
}
