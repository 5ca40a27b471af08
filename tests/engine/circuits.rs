//! Circuits, frame by frame: the engine as a relay, as the far end of a circuit, and as the end that
//! asks for one.

use std::time::Duration;

use sesame::mesh::{ConnId, Cover, DownReason, Event, Settings};
use sesame::proto::circuits::{MOST, WINDOW};
use sesame::proto::frame::{
    Circuit, CircuitField, CircuitFrame, Gossip, Hello, Linked, Listening, Payload, Way,
};
use sesame::proto::{Identity, PeerId};

use crate::rig::{Heard, Partner, Rig, hello, message, settings};

const SECOND: Duration = Duration::from_secs(1);

/// As many bytes as fit into a cell: a quarter of the window.
const CELLFUL: usize = WINDOW / 4;

/// The HELLO of a peer that carries circuits and can be dialled nowhere.
fn carries() -> Hello {
    about(true, false)
}

fn about(carries: bool, is_relayed: bool) -> Hello {
    Hello {
        circuits: Some(CircuitField {
            carries,
            is_relayed,
        }),
        listening: Listening::No,
        ..hello()
    }
}

fn frames(all: &[(u32, Circuit<'_>)]) -> Payload {
    let mut payload = Payload::default();
    for (id, what) in all {
        assert!(payload.circuit(&CircuitFrame {
            id: *id,
            what: *what
        }));
    }
    payload
}

fn open(way: Way, peer: PeerId) -> Circuit<'static> {
    Circuit::Open {
        interval_ms: 1000,
        way,
        peer,
    }
}

const OPENED: Circuit<'static> = Circuit::Opened { interval_ms: 1000 };

/// What the engine has said about circuits since the last call.
fn circuits(rig: &mut Rig, partner: &mut Partner) -> Vec<(u32, String)> {
    rig.hear(partner);
    let heard = std::mem::take(&mut partner.heard).into_iter();
    let circuits = heard.filter_map(|heard| match heard {
        Heard::Circuit(id, what) => Some((id, what)),
        _ => None,
    });
    circuits.collect()
}

fn shown(id: u32, what: Circuit<'_>) -> (u32, String) {
    (id, format!("{what:?}"))
}

/// An engine that is linked to two peers, which dialled it, with these HELLOs.
fn between(settings: Settings, hellos: [Hello; 2]) -> (Rig, [Partner; 2], [PeerId; 2]) {
    let mut rig = Rig::new(settings);
    let peers = [rig.identity(), rig.identity()];
    let ids = [peers[0].id(), peers[1].id()];
    let [near, far] = hellos;
    let near = rig.link(&peers[0], "203.0.113.5:40001", &near);
    let far = rig.link(&peers[1], "203.0.113.6:40001", &far);
    (rig, [near, far], ids)
}

/// The same, with a circuit from the one (1) to the other (2).
fn carrying() -> (Rig, [Partner; 2], [PeerId; 2]) {
    let (mut rig, [mut near, mut far], ids) = between(settings(), [carries(), carries()]);
    rig.say(&mut near, &frames(&[(1, open(Way::To, ids[1]))]));
    rig.say(&mut far, &frames(&[(2, OPENED)]));
    circuits(&mut rig, &mut near);
    circuits(&mut rig, &mut far);
    (rig, [near, far], ids)
}

#[test]
fn relay_carries_a_circuit_from_open_to_close() {
    let (mut rig, [mut near, mut far], ids) = between(settings(), [carries(), carries()]);
    rig.say(&mut near, &frames(&[(1, open(Way::To, ids[1]))]));
    assert_eq!(circuits(&mut rig, &mut near), []);
    let asked = circuits(&mut rig, &mut far);
    assert_eq!(asked, [shown(2, open(Way::From, ids[0]))]);
    rig.say(&mut far, &frames(&[(2, OPENED)]));
    assert_eq!(circuits(&mut rig, &mut near), [shown(1, OPENED)]);
    for (way, bytes) in [(0, &b"there"[..]), (1, b"and back")] {
        let (from, to) = match way {
            0 => ((1, &mut near), (2, &mut far)),
            _ => ((2, &mut far), (1, &mut near)),
        };
        rig.say(from.1, &frames(&[(from.0, Circuit::Data(bytes))]));
        let arrived = circuits(&mut rig, to.1);
        assert_eq!(arrived, [shown(to.0, Circuit::Data(bytes))]);
        assert_eq!(circuits(&mut rig, from.1), [], "too little for credit");
    }
    // Credit follows a cellful that was passed on.
    rig.say(&mut near, &frames(&[(1, Circuit::Data(&[7; CELLFUL]))]));
    let credit = Circuit::Credit(CELLFUL as u32 + 5);
    assert_eq!(circuits(&mut rig, &mut near), [shown(1, credit)]);
    circuits(&mut rig, &mut far);
    rig.say(
        &mut near,
        &frames(&[(1, Circuit::Data(b"last")), (1, Circuit::Close)]),
    );
    let end = circuits(&mut rig, &mut far);
    assert_eq!(
        end,
        [shown(2, Circuit::Data(b"last")), shown(2, Circuit::Close)]
    );
    // What was on its way meanwhile does no harm, and the next circuit has other numbers.
    rig.say(
        &mut far,
        &frames(&[(2, Circuit::Data(b"late")), (2, Circuit::Credit(9))]),
    );
    rig.say(&mut near, &frames(&[(3, open(Way::To, ids[1]))]));
    let next = circuits(&mut rig, &mut far);
    assert_eq!(next, [shown(4, open(Way::From, ids[0]))]);
    rig.say(&mut far, &frames(&[(4, Circuit::Refused)]));
    assert_eq!(circuits(&mut rig, &mut near), [shown(3, Circuit::Refused)]);
    assert_eq!(rig.closed, []);
}

#[test]
fn relay_holds_what_the_far_end_has_no_credit_for() {
    let (mut rig, [mut near, mut far], _) = carrying();
    let cellful = || frames(&[(1, Circuit::Data(&[7; CELLFUL]))]);
    // Four are passed on, and four wait.
    for _ in 0..8 {
        rig.say(&mut near, &cellful());
    }
    assert_eq!(circuits(&mut rig, &mut far).len(), 4);
    assert_eq!(circuits(&mut rig, &mut near).len(), 4, "credit for four");
    let credit = Circuit::Credit(CELLFUL as u32);
    rig.say(&mut far, &frames(&[(2, credit)]));
    assert_eq!(circuits(&mut rig, &mut far).len(), 1);
    assert_eq!(circuits(&mut rig, &mut near), [shown(1, credit)]);
    rig.say(&mut near, &cellful());
    assert_eq!(rig.closed, []);
    rig.say(&mut near, &frames(&[(1, Circuit::Data(&[7]))]));
    assert_eq!(rig.closed, [near.conn], "without credit");
}

/// The near end has closed the circuit, and its last bytes wait for a tick. The far end does not
/// know that yet.
#[test]
fn bytes_for_a_circuit_that_is_ending_are_no_fault() {
    let paced = Settings {
        cover: Cover::Every(SECOND),
        ..settings()
    };
    let (mut rig, [mut near, mut far], ids) = between(paced, [carries(), carries()]);
    rig.say(&mut near, &frames(&[(1, open(Way::To, ids[1]))]));
    rig.wait(2 * SECOND);
    rig.say(&mut far, &frames(&[(2, OPENED)]));
    rig.wait(2 * SECOND);
    circuits(&mut rig, &mut far);
    let last = Circuit::Data(b"last");
    rig.say(&mut near, &frames(&[(1, last), (1, Circuit::Close)]));
    let late = [
        (2, Circuit::Data(&[1; 500])),
        (2, Circuit::Credit(1)),
        (2, OPENED),
    ];
    rig.say(&mut far, &frames(&late[..1]));
    assert_eq!(rig.closed, []);
    rig.wait(2 * SECOND);
    let end = circuits(&mut rig, &mut far);
    assert_eq!(end, [shown(2, last), shown(2, Circuit::Close)]);
    rig.say(&mut far, &frames(&late));
    assert_eq!(rig.closed, []);
}

#[test]
fn relay_refuses_what_it_cannot_carry() {
    let slow = Settings {
        cover: Cover::Every(10 * SECOND),
        ..settings()
    };
    let unwilling = Settings {
        carry: false,
        ..settings()
    };
    let knows_none = Hello {
        circuits: None,
        ..carries()
    };
    let cases = [
        ("no capacity", slow, carries()),
        ("--no-carry", unwilling, carries()),
        ("over a circuit itself", settings(), about(true, true)),
        ("knows no circuits", settings(), knows_none),
    ];
    for (case, settings, far) in cases {
        let (mut rig, [mut near, mut far], ids) = between(settings, [carries(), far]);
        rig.say(&mut near, &frames(&[(1, open(Way::To, ids[1]))]));
        rig.wait(20 * SECOND);
        let answer = circuits(&mut rig, &mut near);
        assert_eq!(answer, [shown(1, Circuit::Refused)], "{case}");
        assert_eq!(circuits(&mut rig, &mut far), [], "{case}");
        assert_eq!(rig.closed, [], "{case}");
    }
    let (mut rig, [mut near, mut far], ids) = between(settings(), [carries(), carries()]);
    let gossiped = rig.identity().id();
    rig.say(&mut far, &linked_to(gossiped));
    for (number, peer) in [(1, PeerId([9; 32])), (3, gossiped), (5, ids[0])] {
        rig.say(&mut near, &frames(&[(number, open(Way::To, peer))]));
        let answer = circuits(&mut rig, &mut near);
        assert_eq!(answer, [shown(number, Circuit::Refused)]);
    }
    // A pair of links has one circuit at most, also if the other one asks.
    rig.say(&mut near, &frames(&[(7, open(Way::To, ids[1]))]));
    rig.say(&mut far, &frames(&[(1, open(Way::To, ids[0]))]));
    let heard = circuits(&mut rig, &mut far);
    let refused = shown(1, Circuit::Refused);
    assert_eq!(heard.last(), Some(&refused));
    assert_eq!(rig.closed, []);
}

/// Gossip of a direct link with a peer that can be dialled nowhere.
fn linked_to(id: PeerId) -> Payload {
    let gossip = Gossip {
        id,
        linked: Linked::Directly,
        address: None,
    };
    let mut payload = Payload::default();
    payload.peers([&gossip].into_iter(), 500);
    payload
}

#[test]
fn fault_about_a_circuit_costs_its_sender_the_link() {
    let nobody = open(Way::To, PeerId([9; 32]));
    let cases: [(&str, Vec<(u32, Circuit<'_>)>); 8] = [
        ("the engine's numbers", vec![(4, nobody)]),
        ("the same number", vec![(3, nobody), (3, nobody)]),
        ("a lesser number", vec![(7, nobody), (5, nobody)]),
        ("credit for nothing", vec![(1, Circuit::Credit(1))]),
        ("OPENED for its own", vec![(1, OPENED)]),
        ("REFUSED for its own", vec![(1, Circuit::Refused)]),
        ("more than the window", vec![(1, Circuit::Data(&[1; 900]))]),
        ("OPENED twice", vec![(1, OPENED), (1, OPENED)]),
    ];
    for (case, faults) in cases {
        let (mut rig, [mut near, mut far], _) = carrying();
        if case == "more than the window" {
            // The far end gives no credit, so four windows are too much by far.
            let all = frames(&faults);
            while rig.closed.is_empty() {
                rig.say(&mut near, &all);
                assert!(near.cells < 1000, "{case}");
            }
        } else {
            rig.say(&mut near, &frames(&faults));
        }
        assert_eq!(rig.closed, [near.conn], "{case}");
        let ended = circuits(&mut rig, &mut far);
        let is_data = |it: &&(u32, String)| it.1.starts_with("Data");
        let rest: Vec<_> = ended.iter().filter(|it| !is_data(it)).collect();
        assert_eq!(rest, [&shown(2, Circuit::Close)], "{case}");
        let reasons: Vec<_> = downs(&rig);
        assert_eq!(reasons, [DownReason::Protocol], "{case}");
        rig.say(&mut far, &message(1, "still here"));
        assert_eq!(rig.shown(), ["still here"], "{case}");
    }
}

fn downs(rig: &Rig) -> Vec<DownReason> {
    let downs = rig.events.iter().filter_map(|event| match event {
        Event::PeerDown { reason, .. } => Some(*reason),
        _ => None,
    });
    downs.collect()
}

#[test]
fn data_before_the_far_end_agrees_is_a_fault() {
    let (mut rig, [mut near, _], ids) = between(settings(), [carries(), carries()]);
    let early = [(1, open(Way::To, ids[1])), (1, Circuit::Data(&[1]))];
    rig.say(&mut near, &frames(&early));
    assert_eq!(rig.closed, [near.conn]);
}

#[test]
fn circuit_over_a_circuit_is_a_fault() {
    for way in [Way::To, Way::From] {
        let hellos = [about(true, true), carries()];
        let (mut rig, [mut near, mut far], ids) = between(settings(), hellos);
        rig.say(&mut near, &frames(&[(1, open(way, ids[1]))]));
        assert_eq!(rig.closed, [near.conn]);
        assert_eq!(circuits(&mut rig, &mut far), []);
    }
}

#[test]
fn frames_about_unknown_circuits_do_no_harm() {
    let (mut rig, [mut near, mut far], _) = carrying();
    for id in [0, 3, 4, 99, u32::MAX] {
        let all = [
            (id, OPENED),
            (id, Circuit::Refused),
            (id, Circuit::Data(&[1; 100])),
            (id, Circuit::Credit(u32::MAX)),
            (id, Circuit::Close),
        ];
        rig.say(&mut near, &frames(&all));
    }
    assert_eq!(
        (rig.closed.len(), circuits(&mut rig, &mut far)),
        (0, vec![])
    );
}

/// The far end has two circuits with unproven peers over one relay, and eight in all. A lot decides
/// between them and further ones.
#[test]
fn unproven_circuits_have_few_places() {
    let mut rig = Rig::new(settings());
    let mut relays: Vec<_> = (0..6)
        .map(|n| {
            let relay = rig.identity();
            rig.link(&relay, &format!("203.0.113.{}:40001", 5 + n), &carries())
        })
        .collect();
    let offer = |rig: &mut Rig, relay: &mut Partner, first: u32, count: u32| {
        let offers: Vec<_> = (0..count)
            .map(|n| {
                let peer = PeerId([(first + n) as u8; 32]);
                (first + 2 * n, open(Way::From, peer))
            })
            .collect();
        rig.say(relay, &frames(&offers));
        rig.circuits.len() - rig.closed.len()
    };
    for (n, relay) in relays.iter_mut().take(5).enumerate() {
        assert_eq!(offer(&mut rig, relay, 1, 3), (2 * n + 2).min(8));
    }
    // A peer that proves itself needs none of these places.
    let peer = rig.identity();
    let is_there = |(conn, _): &&(ConnId, bool)| !rig.closed.contains(conn);
    let (conn, dials) = *rig.circuits.iter().find(is_there).unwrap();
    assert!(!dials);
    let mut partner = rig.asks_over_circuit(conn, &peer);
    rig.greet(&mut partner, &about(false, true));
    assert_eq!(rig.ups_and_downs(), [7, 0]);
    assert_eq!(offer(&mut rig, &mut relays[5], 11, 2), 9);
    // The others have a minute.
    let mut all: Vec<_> = relays.iter_mut().chain([&mut partner]).collect();
    rig.live_on(&mut all, 61 * SECOND);
    assert_eq!(rig.circuits.len() - rig.closed.len(), 1);
    assert_eq!(offer(&mut rig, &mut relays[1], 11, 3), 3);
}

#[test]
fn offer_of_a_circuit_that_is_not_needed_is_refused() {
    let (mut rig, [mut relay, _], ids) = between(settings(), [carries(), carries()]);
    let own = rig.engine.id();
    for (number, peer) in [(1, own), (3, ids[1])] {
        rig.say(&mut relay, &frames(&[(number, open(Way::From, peer))]));
        let answer = circuits(&mut rig, &mut relay);
        assert_eq!(answer, [shown(number, Circuit::Refused)]);
    }
    assert_eq!((rig.circuits.len(), rig.closed.len()), (0, 0));
}

/// An engine that has asked its only relay for a circuit to a peer.
struct Asking {
    rig: Rig,
    relay: Partner,
    peer: Identity,
    /// The circuit's number, and its connection at the engine.
    circuit: (u32, ConnId),
}

fn asking() -> Asking {
    let mut rig = Rig::new(settings());
    let [relay, peer] = [rig.identity(), rig.identity()];
    let mut relay = rig.link(&relay, "203.0.113.5:40001", &carries());
    rig.say(&mut relay, &linked_to(peer.id()));
    let circuit = asked_again(&mut rig, &mut relay, &peer, 5 * SECOND);
    Asking {
        circuit: circuit.unwrap(),
        rig,
        relay,
        peer,
    }
}

/// Waits for the next OPEN, and agrees to it.
fn asked_again(
    rig: &mut Rig,
    relay: &mut Partner,
    peer: &Identity,
    within: Duration,
) -> Option<(u32, ConnId)> {
    let wanted = format!("{:?}", open(Way::To, peer.id()));
    for _ in 0..within.as_secs() {
        rig.live_on(&mut [relay], SECOND);
        let heard = circuits(rig, relay);
        if let Some((number, what)) = heard.into_iter().find(|(_, it)| it.starts_with("Open ")) {
            assert_eq!(what, wanted);
            rig.circuits.clear();
            rig.say(relay, &frames(&[(number, OPENED)]));
            let [(conn, true)] = rig.circuits[..] else {
                panic!("{:?}", rig.circuits);
            };
            return Some((number, conn));
        }
    }
    None
}

#[test]
fn circuit_that_leads_elsewhere_is_closed_and_not_asked_for_again() {
    for other_phrase in [false, true] {
        let Asking {
            mut rig,
            mut relay,
            peer,
            circuit: (number, conn),
        } = asking();
        let other = rig.identity();
        match other_phrase {
            true => rig.stranger_over_circuit(conn, &peer),
            false => drop(rig.answers_over_circuit(conn, &other)),
        }
        assert_eq!(rig.closed, [conn]);
        let said = circuits(&mut rig, &mut relay);
        assert_eq!(said.last(), Some(&shown(number, Circuit::Close)));
        let again = asked_again(&mut rig, &mut relay, &peer, 590 * SECOND);
        assert_eq!(again, None, "the relay rests");
        let again = asked_again(&mut rig, &mut relay, &peer, 90 * SECOND);
        let (_, conn) = again.unwrap();
        let mut partner = rig.answers_over_circuit(conn, &peer);
        rig.say(&mut partner, &Payload::default());
        rig.greet(&mut partner, &about(true, true));
        assert_eq!(rig.ups_and_downs(), [2, 0]);
        let guess = |event: &Event| matches!(event, Event::AuthFailed { .. });
        assert!(!rig.events.iter().any(guess));
    }
}

/// A circuit that ends before HELLO is tried again like one that ends in the handshake.
#[test]
fn circuit_that_ends_before_hello_is_asked_for_again() {
    let Asking {
        mut rig,
        mut relay,
        peer,
        circuit: (number, conn),
    } = asking();
    let mut partner = rig.answers_over_circuit(conn, &peer);
    rig.say(&mut partner, &Payload::default());
    assert!(partner.hello.is_some());
    rig.say(&mut relay, &frames(&[(number, Circuit::Close)]));
    assert_eq!(rig.closed, [conn]);
    assert!(asked_again(&mut rig, &mut relay, &peer, 5 * SECOND).is_some());
}

/// The relay has half a minute to agree. Then the minute for the handshake begins.
#[test]
fn circuit_has_a_minute_from_opened() {
    let mut rig = Rig::new(settings());
    let [relay, peer] = [rig.identity(), rig.identity()];
    let mut relay = rig.link(&relay, "203.0.113.5:40001", &carries());
    rig.say(&mut relay, &linked_to(peer.id()));
    rig.live_on(&mut [&mut relay], 5 * SECOND);
    let asked = circuits(&mut rig, &mut relay);
    assert_eq!(asked, [shown(2, open(Way::To, peer.id()))]);
    rig.live_on(&mut [&mut relay], 25 * SECOND);
    rig.say(&mut relay, &frames(&[(2, OPENED)]));
    rig.live_on(&mut [&mut relay], 59 * SECOND);
    assert_eq!(rig.closed, []);
    rig.live_on(&mut [&mut relay], 2 * SECOND);
    assert_eq!(rig.closed, [rig.circuits[0].0]);
    let said = circuits(&mut rig, &mut relay);
    assert_eq!(said.first(), Some(&shown(2, Circuit::Close)));
}

/// A relay that was busy for others asks for itself once it has room.
#[test]
fn relay_with_room_again_asks_for_itself() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut ends: Vec<_> = (0..=MOST)
        .map(|n| {
            let end = rig.identity();
            let partner = rig.link(&end, &format!("203.0.113.{}:40001", 5 + n), &carries());
            (end.id(), partner)
        })
        .collect();
    let (_, mut hub) = ends.remove(0);
    for (n, (id, _)) in ends.iter().enumerate() {
        rig.say(&mut hub, &frames(&[(1 + 2 * n as u32, open(Way::To, *id))]));
    }
    for (_, end) in &mut ends {
        rig.say(end, &frames(&[(2, OPENED)]));
    }
    assert_eq!(circuits(&mut rig, &mut hub).len(), MOST, "all stand");
    rig.say(&mut hub, &linked_to(peer.id()));
    let mut all: Vec<_> = ends
        .iter_mut()
        .map(|(_, end)| end)
        .chain([&mut hub])
        .collect();
    rig.live_on(&mut all, 20 * SECOND);
    assert_eq!(circuits(&mut rig, &mut hub), [], "there is no room");
    let (_, end) = &mut ends[0];
    rig.say(end, &frames(&[(2, Circuit::Close)]));
    let mut all: Vec<_> = ends
        .iter_mut()
        .map(|(_, end)| end)
        .chain([&mut hub])
        .collect();
    rig.live_on(&mut all, 5 * SECOND);
    let said = circuits(&mut rig, &mut hub);
    let expected = [shown(1, Circuit::Close), shown(2, open(Way::To, peer.id()))];
    assert_eq!(said, expected);
}

/// While a circuit always has more to send, each cell of the relay's own waits for one of the
/// circuit's at most, and the circuit's wait for one of the relay's.
#[test]
fn own_cells_and_those_of_a_circuit_alternate() {
    let paced = Settings {
        cover: Cover::Every(Duration::from_millis(100)),
        ..settings()
    };
    let (mut rig, [mut near, mut far], ids) = between(paced, [carries(), carries()]);
    rig.say(&mut near, &frames(&[(1, open(Way::To, ids[1]))]));
    rig.wait(SECOND);
    rig.say(&mut far, &frames(&[(2, OPENED)]));
    rig.wait(SECOND);
    assert!(rig.offer(&"x".repeat(20_000), Some(&[ids[1]])));
    circuits(&mut rig, &mut far);
    let (mut order, mut unsent) = (String::new(), WINDOW);
    while order.matches('m').count() < 12 {
        for (_, what) in circuits(&mut rig, &mut near) {
            let credit = what
                .strip_prefix("Credit(")
                .map(|it| it.trim_end_matches(')'));
            unsent += credit.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0);
        }
        while unsent >= CELLFUL {
            rig.say(&mut near, &frames(&[(1, Circuit::Data(&[7; CELLFUL]))]));
            unsent -= CELLFUL;
        }
        let cells = far.cells;
        rig.wait(Duration::from_millis(100));
        rig.hear(&mut far);
        assert!(far.cells <= cells + 1, "one cell per tick");
        let heard = std::mem::take(&mut far.heard);
        let first = heard.iter().find_map(|heard| match heard {
            Heard::Message(..) => Some('m'),
            Heard::Circuit(_, what) if what.starts_with("Data") => Some('c'),
            _ => None,
        });
        order.extend(first);
        if first == Some('c') {
            rig.say(&mut far, &frames(&[(2, Circuit::Credit(CELLFUL as u32))]));
        }
        assert!(order.len() < 100, "{order}");
    }
    assert!(!order.contains("mm") && !order.contains("cc"), "{order}");
}
