//! Which gossiped addresses the engine accepts, and how often it dials them.

use std::time::Duration;

use sesame::mesh::Settings;
use sesame::proto::frame::{Hello, Listening, Payload};
use sesame::proto::{Address, Identity, PeerId};

use crate::rig::{Heard, Partner, Rig, gossip, hello, settings};

/// Shorter than the life of a silent link, and long enough for three dials.
const A_WHILE: Duration = Duration::from_secs(25);

const PUBLIC: &str = "1.2.3.4:9000";
/// Addresses that only the user may name.
const INSIDE: [&str; 6] = [
    "192.168.77.1:8080",
    "10.0.0.1:9000",
    "169.254.169.254:80",
    "[fd00::1]:9000",
    "[::ffff:192.168.77.1]:8080",
    "[64:ff9b::127.0.0.1]:22",
];
const LOOPBACK: [&str; 3] = ["127.0.0.1:22", "127.0.0.2:9000", "[::1]:9000"];

fn behind_a_forwarder() -> Settings {
    Settings {
        forwarded: true,
        ..settings()
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A partner gossips a new peer at each of these addresses.
fn tell_of<'a>(rig: &mut Rig, partner: &mut Partner, addresses: impl IntoIterator<Item = &'a str>) {
    for address in addresses {
        let somebody = rig.identity();
        rig.say(partner, &gossip(somebody.id(), address));
    }
}

/// Those of all addresses that the engine dials after a partner has gossiped them.
fn taken(rig: &mut Rig, partner: &mut Partner) -> Vec<Address> {
    tell_of(
        rig,
        partner,
        INSIDE.into_iter().chain(LOOPBACK).chain([PUBLIC]),
    );
    let mut dialled = rig.dialled_in_vain(A_WHILE);
    dialled.sort();
    dialled.dedup();
    dialled
}

/// A partner at an address that the user named.
fn dialled_partner(rig: &mut Rig, identity: &Identity, at: &str) -> Partner {
    let (conn, to) = rig.next_dial();
    assert_eq!(to, address(at));
    let mut partner = rig.answer(conn, identity, at);
    rig.greet(&mut partner, &hello());
    partner
}

#[test]
fn a_link_from_loopback_names_public_addresses_only() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "127.0.0.1:40001", &hello());
    assert_eq!(taken(&mut rig, &mut partner), [address(PUBLIC)]);
}

#[test]
fn a_link_dialled_at_loopback_names_loopback_too() {
    let mut rig = Rig::new(Settings {
        peers: vec![address("127.0.0.1:7000")],
        ..settings()
    });
    let peer = rig.identity();
    let mut partner = dialled_partner(&mut rig, &peer, "127.0.0.1:7000");
    let mut expected = LOOPBACK.map(address).to_vec();
    expected.push(address(PUBLIC));
    expected.sort();
    assert_eq!(taken(&mut rig, &mut partner), expected);
}

#[test]
fn a_forwarded_link_names_public_addresses_only() {
    for dialled in [false, true] {
        let mut rig = Rig::new(Settings {
            peers: Vec::from_iter(dialled.then(|| address("[::1]:7000"))),
            ..behind_a_forwarder()
        });
        let peer = rig.identity();
        let mut partner = match dialled {
            true => dialled_partner(&mut rig, &peer, "[::1]:7000"),
            false => rig.link(&peer, "[::1]:40001", &hello()),
        };
        assert_eq!(taken(&mut rig, &mut partner), [address(PUBLIC)]);
    }
}

/// Like a forwarder that dials the computer's own address in its network.
#[test]
fn a_link_from_an_own_address_names_public_addresses_only() {
    let mut rig = Rig::new(settings());
    rig.own_computer = true;
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "192.168.77.9:40001", &hello());
    assert_eq!(taken(&mut rig, &mut partner), [address(PUBLIC)]);
}

#[test]
fn a_link_dialled_at_an_own_address_names_its_ports() {
    let mut rig = Rig::new(Settings {
        peers: vec![address("192.168.77.9:7000")],
        ..settings()
    });
    rig.own_computer = true;
    let peer = rig.identity();
    let mut partner = dialled_partner(&mut rig, &peer, "192.168.77.9:7000");
    tell_of(&mut rig, &mut partner, ["192.168.77.9:7001"]);
    let mut expected = LOOPBACK.map(address).to_vec();
    expected.extend([address(PUBLIC), address("192.168.77.9:7001")]);
    expected.sort();
    assert_eq!(taken(&mut rig, &mut partner), expected);
}

#[test]
fn a_link_from_the_network_names_private_addresses() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "192.168.77.9:40001", &hello());
    let taken = taken(&mut rig, &mut partner);
    assert!(taken.contains(&address("192.168.77.1:8080")));
    assert!(
        !taken
            .iter()
            .any(|it| LOOPBACK.contains(&it.to_string().as_str()))
    );
}

/// Whether the advertised address of a lost peer is dialled, that is, was accepted.
fn redialled(settings: Settings, from: &str, listening: Listening) -> Vec<Address> {
    let mut rig = Rig::new(settings);
    let peer = rig.identity();
    let greeting = Hello {
        listening,
        ..hello()
    };
    let partner = rig.link(&peer, from, &greeting);
    rig.lose(&partner);
    let mut dialled = rig.dialled_in_vain(A_WHILE);
    dialled.dedup();
    dialled
}

#[test]
fn an_advertised_address_is_judged_as_gossip_is() {
    let from = "127.0.0.1:40001";
    for inside in INSIDE.iter().chain(&LOOPBACK[1..]) {
        let advertised = Listening::At(address(inside));
        assert_eq!(redialled(settings(), from, advertised), [], "{inside}");
    }
    let advertised = Listening::At(address(PUBLIC));
    assert_eq!(redialled(settings(), from, advertised), [address(PUBLIC)]);
}

#[test]
fn own_port_on_loopback_is_accepted_unless_forwarded() {
    let own = [address("127.0.0.1:8080")];
    let from = "127.0.0.1:40001";
    for listening in [Listening::Port(8080), Listening::At(own[0].clone())] {
        assert_eq!(redialled(settings(), from, listening.clone()), own);
        assert_eq!(redialled(behind_a_forwarder(), from, listening), []);
    }
}

#[test]
fn a_forwarded_setting_changes_nothing_for_other_links() {
    let listening = Listening::Port(8080);
    let from = "192.168.77.9:40001";
    let dialled = redialled(behind_a_forwarder(), from, listening);
    assert_eq!(dialled, [address("192.168.77.9:8080")]);
}

/// The addresses in gossip about a peer.
fn told_of(partner: &Partner, id: PeerId) -> Vec<Option<Address>> {
    let told = partner.heard.iter().filter_map(|heard| match heard {
        Heard::Peer(about, address) if *about == id => Some(address.clone()),
        _ => None,
    });
    told.collect()
}

fn advertising(at: &str) -> Hello {
    Hello {
        listening: Listening::At(address(at)),
        ..hello()
    }
}

#[test]
fn an_advertised_address_is_passed_on_once_it_was_reached() {
    let mut rig = Rig::new(settings());
    let (listens, advertises) = (rig.identity(), rig.identity());
    let mut listener = rig.link(&listens, "203.1.0.5:40001", &hello());
    rig.link(&advertises, "203.1.1.5:40001", &advertising(PUBLIC));
    rig.say(&mut listener, &Payload::default());
    assert_eq!(told_of(&listener, advertises.id()), [None]);
    let (conn, to) = rig.next_dial();
    assert_eq!(to, address(PUBLIC));
    rig.answer(conn, &advertises, PUBLIC);
    rig.say(&mut listener, &Payload::default());
    let told = [None, Some(address(PUBLIC))];
    assert_eq!(told_of(&listener, advertises.id()), told);
    // A peer that connects later gets the gossip at once.
    let later = rig.identity();
    let mut partner = rig.link(&later, "203.1.2.5:40001", &hello());
    rig.say(&mut partner, &Payload::default());
    let told = [Some(address(PUBLIC))];
    assert_eq!(told_of(&partner, advertises.id()), told);
}

#[test]
fn an_advertised_address_of_another_is_not_passed_on() {
    let mut rig = Rig::new(settings());
    let (listens, advertises, other) = (rig.identity(), rig.identity(), rig.identity());
    let mut listener = rig.link(&listens, "203.1.0.5:40001", &hello());
    rig.link(&advertises, "203.1.1.5:40001", &advertising(PUBLIC));
    let (conn, _) = rig.next_dial();
    let stranger = rig.answer(conn, &other, PUBLIC);
    rig.lose(&stranger);
    assert_eq!(rig.dialled_in_vain(A_WHILE).len(), 2, "three in all");
    rig.say(&mut listener, &Payload::default());
    assert_eq!(told_of(&listener, advertises.id()), [None]);
}

#[test]
fn gossiped_address_is_not_passed_on() {
    let mut rig = Rig::new(settings());
    let (talks, listens, somebody) = (rig.identity(), rig.identity(), rig.identity());
    let mut talker = rig.link(&talks, "203.1.0.5:40001", &hello());
    let mut listener = rig.link(&listens, "203.1.1.5:40001", &hello());
    rig.say(&mut talker, &gossip(somebody.id(), PUBLIC));
    assert!(!rig.dialled_in_vain(A_WHILE).is_empty());
    rig.say(&mut listener, &Payload::default());
    assert_eq!(told_of(&listener, somebody.id()), []);
}

/// The dials of an hour in which a partner keeps its link and no dial is answered.
fn hour_of_dials(rig: &mut Rig, partner: &mut Partner) -> Vec<Address> {
    let mut dialled = Vec::new();
    for _ in 0..3600 / A_WHILE.as_secs() {
        dialled.extend(rig.dialled_in_vain(A_WHILE));
        rig.say(partner, &Payload::default());
    }
    dialled
}

#[test]
fn member_that_gossips_512_ports_has_four_dialled() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.1.0.5:40001", &hello());
    let ports: Vec<_> = (1..=512).map(|port| format!("1.2.3.4:{port}")).collect();
    tell_of(&mut rig, &mut partner, ports.iter().map(String::as_str));
    assert_eq!(hour_of_dials(&mut rig, &mut partner).len(), 4);
}

#[test]
fn members_that_gossip_one_host_have_six_dialled() {
    let mut rig = Rig::new(settings());
    let mut dialled = 0;
    for network in 0..5 {
        let peer = rig.identity();
        let mut partner = rig.link(&peer, &format!("203.{network}.0.5:40001"), &hello());
        let port = |port| format!("1.2.3.4:{}", 1000 * network + port);
        let ports: Vec<_> = (1..=100).map(port).collect();
        tell_of(&mut rig, &mut partner, ports.iter().map(String::as_str));
        let all = rig.dialled_in_vain(A_WHILE).into_iter();
        let victim = address("1.2.3.4").ip();
        dialled += all.filter(|address| address.ip() == victim).count();
    }
    assert_eq!(dialled, 6);
}

#[test]
fn member_that_gossips_512_hosts_pays_for_each() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.1.0.5:40001", &hello());
    let host = |n: u32| format!("1.2.{}.{}:9000", n / 256, n % 256);
    let hosts: Vec<_> = (0..512).map(host).collect();
    tell_of(&mut rig, &mut partner, hosts.iter().map(String::as_str));
    let dials = hour_of_dials(&mut rig, &mut partner).len();
    assert!((32 + 350..=32 + 360).contains(&dials), "{dials}");
}

#[test]
fn a_name_of_gossip_that_leads_inside_is_not_dialled() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.1.0.5:40001", &hello());
    let numbers = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let inside = numbers(&["127.0.0.1", "192.168.77.1", "64:ff9b::10.0.0.1"]);
    rig.names.insert("inside.example".into(), inside);
    let both = numbers(&["192.168.77.1", "1.2.3.4"]);
    rig.names.insert("both.example".into(), both);
    let names = [
        "inside.example:22",
        "both.example:9000",
        "abcdefghijklmnop.onion:1",
    ];
    tell_of(&mut rig, &mut partner, names);
    let dialled = rig.dialled_in_vain(A_WHILE);
    let expected = [(); 3].map(|()| address("1.2.3.4:9000"));
    assert_eq!(dialled, expected);
}
