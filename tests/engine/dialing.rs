//! Which addresses the engine dials, and how it treats the peers that answer.

use std::time::Duration;

use sesame::mesh::{Event, Settings, Undelivered};
use sesame::proto::Address;
use sesame::proto::frame::{Hello, Payload};

use crate::rig::{Heard, Partner, Rig, goodbye, gossip, hello, settings};

/// A lost peer is redialled within this time.
const SOON: Duration = Duration::from_secs(1);

/// Whether the last link that came up continues an earlier one.
fn resumed(rig: &Rig) -> Option<bool> {
    let mut events = rig.events.iter().rev();
    events.find_map(|event| match event {
        Event::PeerUp { resumed, .. } => Some(*resumed),
        _ => None,
    })
}

/// A router with one address: its port leads to one of the two peers, and the other can only dial
/// out.
#[test]
fn two_behind_one_address_are_told_apart() {
    let mut rig = Rig::new(settings());
    let (reachable, hidden) = (rig.identity(), rig.identity());
    rig.link(&reachable, "203.0.113.5:40001", &hello());
    rig.pass(SOON);
    let partner = rig.link(&hidden, "203.0.113.5:40002", &hello());
    rig.pass(SOON);
    rig.lose(&partner);
    assert!(rig.offer("are you there", Some(&[hidden.id()])));
    let (conn, address) = rig.next_dial();
    assert_eq!(address.to_string(), "203.0.113.5:9000");
    rig.answer(conn, &reachable, "203.0.113.5:9000");
    assert_eq!(rig.undelivered(), [], "it is still waited for");
    rig.pass(SOON);
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..hello()
    };
    let mut partner = rig.link(&hidden, "203.0.113.5:40003", &again);
    assert_eq!(resumed(&rig), Some(true));
    let owed = Heard::Message(1, "are you there".into());
    rig.wait(SOON);
    rig.hear(&mut partner);
    assert!(partner.heard.contains(&owed));
}

/// The same, after both links broke with the router: the peer that is back first was there before.
#[test]
fn two_behind_a_restarted_router_are_told_apart() {
    let mut rig = Rig::new(settings());
    let (reachable, hidden) = (rig.identity(), rig.identity());
    let links = [
        rig.link(&reachable, "203.0.113.5:40001", &hello()),
        rig.link(&hidden, "203.0.113.5:40002", &hello()),
    ];
    rig.pass(SOON);
    assert!(rig.offer("are you there", None));
    for partner in &links {
        rig.lose(partner);
    }
    let (conn, _) = rig.next_dial();
    let mut partner = rig.answer(conn, &reachable, "203.0.113.5:9000");
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..hello()
    };
    rig.greet(&mut partner, &again);
    assert_eq!(resumed(&rig), Some(true));
    assert_eq!(rig.undelivered(), []);
}

/// The old process is found dead only after the new one has connected by itself.
#[test]
fn restarted_peer_that_connects_first_is_a_new_peer() {
    let mut rig = Rig::new(settings());
    let (before, after) = (rig.identity(), rig.identity());
    rig.link(&before, "203.0.113.5:40001", &hello());
    assert!(rig.offer("are you there", None));
    rig.pass(SOON);
    let mut partner = rig.link(&after, "203.0.113.5:40002", &hello());
    while rig.dials.is_empty() {
        rig.wait(SOON);
        rig.say(&mut partner, &Payload::default());
    }
    let (conn, _) = rig.next_dial();
    rig.answer(conn, &after, "203.0.113.5:9000");
    let lost = (before.id(), Undelivered::Restarted);
    assert_eq!(rig.undelivered(), [lost]);
}

#[test]
fn peer_that_leaves_during_a_dial_is_not_redialled() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    rig.lose(&partner);
    let (conn, _) = rig.next_dial();
    rig.answer(conn, &peer, "203.0.113.5:9000");
    let again = Hello {
        link_seq: 3,
        oldest_live: 2,
        ..hello()
    };
    let mut partner = rig.link(&peer, "203.0.113.5:40002", &again);
    rig.say(&mut partner, &goodbye());
    rig.wait(Duration::from_secs(300));
    assert_eq!(rig.dials, []);
}

/// Takes all places except those reserved for peers that the user names.
fn full_house(rig: &mut Rig) -> Vec<Partner> {
    let mut full = Vec::new();
    for host in 0..240 {
        let peer = rig.identity();
        let from = format!("203.0.{host}.5:40001");
        full.push(rig.link(&peer, &from, &hello()));
    }
    full
}

/// When all places are taken, a dial leads to no link, with a whole handshake each time.
#[test]
fn peer_without_a_place_is_dialled_after_ever_longer_waits() {
    let mut rig = Rig::new(settings());
    let mut full = full_house(&mut rig);
    let newcomer = rig.identity();
    let at = "203.1.0.1:9000";
    rig.say(&mut full[0], &gossip(newcomer.id(), at));
    let mut dials = 0;
    for _ in 0..60 {
        rig.wait(10 * SOON);
        for partner in &mut full {
            rig.say(partner, &Payload::default());
        }
        while let Some((conn, address)) = rig.dials.pop() {
            assert_eq!(address.to_string(), at);
            dials += 1;
            let partner = rig.answer(conn, &newcomer, at);
            assert!(rig.closed.contains(&partner.conn));
            assert_eq!(partner.hello, None, "it gets no frame");
        }
    }
    assert!((3..40).contains(&dials), "{dials} dials in ten minutes");
    assert_eq!(rig.ups_and_downs(), [240, 0]);
}

/// A peer that has no place for this end. If it proves itself and closes, there was no link; if it
/// sends HELLO and closes, there was one, but that is no reason to redial sooner.
#[test]
fn peer_that_closes_again_and_again_does_not_flap() {
    for greets in [false, true] {
        let at = "198.51.100.1:9000";
        let mut rig = Rig::new(Settings {
            peers: vec![Address::parse(at).unwrap()],
            ..settings()
        });
        let full = rig.identity();
        let (start, mut dials) = (rig.now, 0);
        while rig.now < start + 1200 * SOON {
            let (conn, _) = rig.next_dial();
            dials += 1;
            let mut partner = rig.answer(conn, &full, at);
            if greets {
                let hello = Hello {
                    link_seq: dials,
                    oldest_live: dials,
                    ..hello()
                };
                rig.greet(&mut partner, &hello);
                rig.wait(SOON);
            }
            rig.lose(&partner);
        }
        assert!((10..80).contains(&dials), "{dials} dials in twenty minutes");
        let links = if greets { dials as usize } else { 0 };
        assert_eq!(rig.ups_and_downs(), [links, links]);
    }
}

#[test]
fn link_that_has_lasted_is_dialled_again_at_once() {
    let at = "198.51.100.1:9000";
    let mut rig = Rig::new(Settings {
        peers: vec![Address::parse(at).unwrap()],
        ..settings()
    });
    let peer = rig.identity();
    for order in 1..20 {
        let (conn, _) = rig.next_dial();
        let mut partner = rig.answer(conn, &peer, at);
        let hello = Hello {
            link_seq: order,
            oldest_live: order,
            ..hello()
        };
        rig.greet(&mut partner, &hello);
        rig.wait(11 * SOON);
        let before = rig.now;
        rig.lose(&partner);
        let again = rig.next_dial();
        assert!(rig.now - before < SOON);
        rig.dials.push(again);
    }
}
