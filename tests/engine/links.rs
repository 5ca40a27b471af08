//! Links that are about to come up, and what both ends remember of each other.

use std::time::Duration;

use sesame::mesh::{Cover, DownReason, Event, Settings};
use sesame::proto::frame::{CircuitField, Hello, Listening, Payload};

use crate::rig::{Partner, Rig, hello, message, settings};

const SECOND: Duration = Duration::from_secs(1);

/// More than the number of peers without HELLO that the engine remembers.
const CROWD: usize = 1100;

/// Many peers come that never send HELLO, and the session_id sent to each is kept for a while. That
/// of a peer with a connection is kept as long as this is open, since its HELLO may be on the way.
#[test]
fn peer_with_several_connections_gets_one_session_id() {
    let mut rig = Rig::new(settings());
    let mut crowd: Vec<_> = (0..CROWD).map(|_| rig.identity()).collect();
    // Neither the order of ids nor the order of arrival makes a difference.
    crowd.sort_by_key(|identity| identity.id());
    let peer = crowd.remove(0);
    let mut first = rig.dialled_by(&peer, "203.0.113.5:40001");
    for passer in &crowd {
        let partner = rig.dialled_by(passer, "198.51.100.7:50000");
        rig.lose(&partner);
    }
    let mut second = rig.dialled_by(&peer, "203.0.113.5:40002");
    let told = |hello: &Option<Hello>| hello.as_ref().unwrap().session_id;
    let session_id = told(&first.hello);
    assert_eq!(told(&second.hello), session_id);
    // As specified: a message on the first connection stays the peer's first message.
    let greeting = Hello {
        listening: Listening::No,
        ..hello()
    };
    rig.greet(&mut first, &greeting);
    rig.say(&mut first, &message(1, "first"));
    let again = Hello {
        link_seq: 2,
        ..greeting.clone()
    };
    rig.greet(&mut second, &again);
    rig.lose(&first);
    rig.lose(&second);
    let mut third = rig.dialled_by(&peer, "203.0.113.5:40003");
    assert_eq!(told(&third.hello), session_id);
    let heard = third.hello.as_ref().map(|hello| hello.heard);
    assert_eq!(heard, Some(1));
    let last = Hello {
        link_seq: 3,
        oldest_live: 3,
        heard_session_id: session_id,
        ..greeting
    };
    rig.greet(&mut third, &last);
    rig.say(&mut third, &message(2, "second"));
    assert_eq!(rig.shown(), ["first", "second"]);
}

/// A connection that the engine accepted or made, after its handshake.
fn shaken(rig: &mut Rig, dialled: bool) -> Partner {
    let peer = rig.identity();
    if !dialled {
        return rig.shake_hands(&peer, "203.0.113.5:40001");
    }
    let at = "203.0.113.6:9000";
    let (conn, _) = rig.next_dial();
    rig.shake_hands_at(conn, &peer, at)
}

/// An engine with an address to dial, and with this time between its cells.
fn dialling(cover: Cover) -> Rig {
    Rig::new(Settings {
        peers: vec![
            "203.0.113.6:9000"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        ],
        cover,
        ..settings()
    })
}

const COVERS: [Cover; 2] = [Cover::Off, Cover::Every(Duration::from_millis(100))];

/// An end proves its identity with its first cell. HELLO is only for a peer that has done the same.
#[test]
fn hello_waits_for_the_first_cell_and_ticks_wait_for_hello() {
    for (cover, dialled) in COVERS
        .into_iter()
        .flat_map(|cover| [(cover, false), (cover, true)])
    {
        let mut rig = dialling(cover);
        let mut partner = shaken(&mut rig, dialled);
        assert_eq!((partner.cells, &partner.hello), (1, &None), "at once");
        rig.wait(20 * SECOND);
        rig.hear(&mut partner);
        assert_eq!(
            (partner.cells, &partner.hello),
            (1, &None),
            "nothing follows"
        );
        rig.say(&mut partner, &Payload::default());
        assert_eq!(partner.cells, 2, "HELLO leaves at once");
        let field = partner.hello.as_ref().and_then(|hello| hello.circuits);
        let carries = CircuitField {
            carries: true,
            is_relayed: false,
        };
        assert_eq!(field, Some(carries));
        rig.wait(SECOND);
        rig.hear(&mut partner);
        let ticks = if cover == Cover::Off { 0..1 } else { 9..11 };
        assert!(ticks.contains(&(partner.cells - 2)), "{}", partner.cells);
        assert_eq!(rig.ups_and_downs(), [0, 0]);
        rig.greet(
            &mut partner,
            &Hello {
                circuits: Some(carries),
                ..hello()
            },
        );
        assert_eq!(rig.ups_and_downs(), [1, 0]);
    }
}

fn greeting(hello: &Hello) -> Payload {
    let mut frames = Payload::default();
    frames.hello(hello);
    frames
}

#[test]
fn frame_in_the_first_cell_is_a_fault() {
    let mut acknowledged = Payload::default();
    acknowledged.ack(0);
    for frames in [greeting(&hello()), message(1, "hi"), acknowledged] {
        for dialled in [false, true] {
            let mut rig = dialling(Cover::Off);
            let mut partner = shaken(&mut rig, dialled);
            rig.say(&mut partner, &frames);
            assert_eq!(rig.closed, [partner.conn]);
            assert_eq!(partner.hello, None);
            assert_eq!(rig.ups_and_downs(), [0, 0]);
        }
    }
}

#[test]
fn message_between_proof_and_hello_is_a_fault() {
    let mut rig = Rig::new(settings());
    let mut partner = shaken(&mut rig, false);
    rig.say(&mut partner, &Payload::default());
    rig.say(&mut partner, &message(1, "hi"));
    assert_eq!(rig.closed, [partner.conn]);
    assert_eq!((rig.shown(), rig.ups_and_downs()), (vec![], [0, 0]));
}

#[test]
fn second_hello_is_a_fault() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    rig.greet(&mut partner, &hello());
    assert_eq!(rig.closed, [partner.conn]);
    let fault = DownReason::Protocol;
    assert!(matches!(rig.events.last(), Some(Event::PeerDown { reason, .. }) if *reason == fault));
}

/// Whether or not it proves its identity, it is closed, and was never reported.
#[test]
fn peer_that_never_says_hello_is_closed_in_half_a_minute() {
    for proves in [false, true] {
        let mut rig = Rig::new(settings());
        let mut partner = shaken(&mut rig, false);
        for _ in 0..29 {
            if proves {
                rig.say(&mut partner, &Payload::default());
            }
            rig.wait(SECOND);
        }
        assert_eq!(rig.closed, []);
        rig.wait(SECOND);
        assert_eq!(rig.closed, [partner.conn]);
        assert_eq!(rig.ups_and_downs(), [0, 0]);
    }
}

/// Sixteen links from one address, and as many connections that have proven nothing.
#[test]
fn source_with_enough_links_gets_no_hello() {
    let mut rig = Rig::new(settings());
    let from = |n: usize| format!("203.0.113.5:{}", 40_000 + n);
    let mut partners = Vec::new();
    for n in 0..16 {
        let peer = rig.identity();
        partners.push(rig.link(&peer, &from(n), &hello()));
    }
    let peer = rig.identity();
    let one_more = rig.dialled_by(&peer, &from(16));
    assert_eq!(rig.closed, [one_more.conn]);
    assert_eq!((one_more.cells, one_more.hello), (1, None));
    for n in 0..16 {
        let peer = rig.identity();
        rig.shake_hands(&peer, &from(20 + n));
    }
    assert_eq!(rig.closed.len(), 1, "they may still prove themselves");
    let peer = rig.identity();
    let one_more = rig.shake_hands(&peer, &from(40));
    assert_eq!(rig.closed[1..], [one_more.conn]);
    assert_eq!(rig.ups_and_downs(), [16, 0]);
}

/// Links that replace each other, as fast as they come.
#[test]
fn peer_that_replaces_its_link_too_often_gets_no_hello() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partners = Vec::new();
    for order in 1..=8 {
        let mut partner = rig.dialled_by(&peer, &format!("203.0.113.5:{}", 40_000 + order));
        if partner.hello.is_some() {
            let hello = Hello {
                link_seq: order,
                oldest_live: order,
                ..hello()
            };
            rig.greet(&mut partner, &hello);
        }
        partners.push(partner);
    }
    let told = partners.iter().filter(|partner| partner.hello.is_some());
    assert_eq!(told.count(), 5, "one, and four that replaced it");
    assert_eq!(rig.ups_and_downs(), [5, 4]);
    let newest = partners[4].conn;
    assert!(!rig.closed.contains(&newest), "it stays");
}

/// Between the proof and HELLO an older connection may end.
#[test]
fn oldest_live_is_that_of_the_moment_hello_is_sealed() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let first = rig.link(&peer, "203.0.113.5:40001", &hello());
    let seqs = |partner: &Partner| {
        let hello = partner.hello.as_ref();
        hello.map(|hello| (hello.link_seq, hello.oldest_live))
    };
    assert_eq!(seqs(&first), Some((1, 1)));
    let second = rig.dialled_by(&peer, "203.0.113.5:40002");
    assert_eq!(seqs(&second), Some((2, 1)));
    rig.stalls = true;
    let mut third = rig.dialled_by(&peer, "203.0.113.5:40003");
    rig.lose(&first);
    rig.lose(&second);
    rig.stalls = false;
    assert_eq!(seqs(&third), None, "Tb is still on its way");
    rig.sent(&mut third);
    assert_eq!(seqs(&third), Some((3, 3)));
}

/// A peer whose HELLO says `off` sends at the interval of this end.
#[test]
fn silent_link_to_an_off_peer_lives_for_three_own_intervals() {
    let mut rig = Rig::new(Settings {
        cover: Cover::Every(10 * SECOND),
        inactivity: 5 * SECOND,
        ..settings()
    });
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    rig.wait(29 * SECOND);
    assert_eq!(rig.closed, []);
    rig.wait(SECOND);
    assert_eq!(rig.closed, [partner.conn]);
}
