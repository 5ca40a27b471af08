//! The states of a peer: up, redialled, away, gone; and messages while no peer is up.

use std::time::Duration;

use sesame::mesh::{
    ByeReason, Command, Event, Outcome, PeerQuery, PeerState, Settings, Stay, Undelivered,
};
use sesame::proto::frame::{Hello, Listening, Payload};
use sesame::proto::{Address, PeerId};

use crate::rig::{Partner, Rig, goodbye, hello, settings};

const SECOND: Duration = Duration::from_secs(1);
const ADDRESS: &str = "203.0.113.5:9000";

/// The HELLO of a peer that cannot be dialled.
fn unreachable() -> Hello {
    Hello {
        listening: Listening::No,
        ..hello()
    }
}

fn states(rig: &mut Rig) -> Vec<(PeerId, PeerState)> {
    rig.command(Command::Peers);
    let peers = rig.events.iter().rev().find_map(|event| match event {
        Event::Peers { peers, .. } => Some(peers),
        _ => None,
    });
    let peers = peers.unwrap().iter();
    peers
        .filter_map(|peer| Some((peer.who.as_ref()?.id, peer.state)))
        .collect()
}

/// Whether the last reported loss is that of a redialled peer, and of an awaited one.
fn last_loss(rig: &Rig) -> Option<(bool, bool)> {
    rig.events.iter().rev().find_map(|event| match event {
        Event::PeerDown {
            retrying, awaited, ..
        } => Some((*retrying, *awaited)),
        _ => None,
    })
}

fn gone(rig: &Rig) -> Vec<PeerId> {
    let gone = rig.events.iter().filter_map(|event| match event {
        Event::PeerGone { who } => Some(who.id),
        _ => None,
    });
    gone.collect()
}

fn queued(rig: &Rig) -> Option<&[PeerId]> {
    rig.events.iter().rev().find_map(|event| match event {
        Event::Queued { peers, .. } => Some(&peers[..]),
        _ => None,
    })
}

fn outcome(rig: &Rig) -> Option<&Outcome> {
    rig.events.iter().find_map(|event| match event {
        Event::Bye(outcome) => Some(outcome),
        _ => None,
    })
}

/// A peer that the engine dialled at the user's wish.
fn dialled(rig: &mut Rig) -> (PeerId, Partner) {
    let peer = rig.identity();
    let (conn, at) = rig.next_dial();
    assert_eq!(at.to_string(), ADDRESS);
    let mut partner = rig.answer(conn, &peer, ADDRESS);
    rig.greet(&mut partner, &hello());
    (peer.id(), partner)
}

fn with_peer(settings: Settings) -> Settings {
    Settings {
        peers: vec![Address::parse(ADDRESS).unwrap()],
        ..settings
    }
}

#[test]
fn a_vanished_peer_is_away_and_then_gone() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    assert!(rig.offer("owed", None));
    rig.lose(&partner);
    assert_eq!(last_loss(&rig), Some((false, true)));
    assert_eq!(states(&mut rig), [(peer.id(), PeerState::Away)]);
    rig.wait(1799 * SECOND);
    assert!(rig.offer("owed too", None));
    assert_eq!((rig.undelivered(), gone(&rig)), (vec![], vec![]));
    rig.wait(2 * SECOND);
    let away = (peer.id(), Undelivered::Away);
    assert_eq!(rig.undelivered(), [away, away]);
    assert_eq!(gone(&rig), [peer.id()]);
    assert_eq!(outcome(&rig).map(|it| it.left_early), Some(true));
}

#[test]
fn a_peer_that_is_gone_is_not_listed_nor_sent_to() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    rig.lose(&partner);
    rig.wait(1801 * SECOND);
    assert_eq!(states(&mut rig), []);
    assert!(!rig.offer("to nobody", None), "it waits for a peer");
}

#[test]
fn a_peer_given_up_that_returns_is_linked_anew() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    rig.lose(&partner);
    rig.wait(1801 * SECOND);
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..unreachable()
    };
    rig.link(&peer, "203.0.113.5:40002", &again);
    let resumed = rig.events.iter().rev().find_map(|event| match event {
        Event::PeerUp { resumed, .. } => Some(*resumed),
        _ => None,
    });
    assert_eq!(resumed, Some(false));
    assert_eq!(states(&mut rig), [(peer.id(), PeerState::Up)]);
}

#[test]
fn peer_down_and_peers_agree_on_redialling() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    rig.lose(&partner);
    assert_eq!(last_loss(&rig), Some((true, true)));
    assert_eq!(states(&mut rig), [(peer.id(), PeerState::Retrying)]);
    rig.wait(1801 * SECOND);
    assert_eq!(gone(&rig), [peer.id()]);
    let tried = rig.dials.len();
    rig.wait(1800 * SECOND);
    assert_eq!(rig.dials.len(), tried, "a peer given up is not dialled");
}

#[test]
fn an_address_of_the_user_is_dialled_after_the_peer_is_gone() {
    let mut rig = Rig::new(with_peer(settings()));
    let (id, partner) = dialled(&mut rig);
    rig.lose(&partner);
    while gone(&rig).is_empty() {
        let (conn, _) = rig.next_dial();
        rig.tell(|engine, now| {
            let cause = sesame::mesh::CloseCause::Failed("refused".into());
            engine.handle_closed(now, conn, cause);
        });
    }
    assert_eq!(gone(&rig), [id]);
    let (next, _) = dialled(&mut rig);
    assert_eq!(states(&mut rig), [(next, PeerState::Up)]);
}

#[test]
fn another_identity_at_its_address_makes_a_peer_gone() {
    let mut rig = Rig::new(with_peer(settings()));
    let (before, partner) = dialled(&mut rig);
    rig.lose(&partner);
    let (after, _) = dialled(&mut rig);
    assert_eq!(gone(&rig), [before]);
    assert_eq!(states(&mut rig), [(after, PeerState::Up)]);
}

/// Another connection might have taken over, and the peer is given up before it is clear that none
/// does.
#[test]
fn loss_is_reported_before_the_peer_is_gone() {
    let mut rig = Rig::new(Settings {
        away: SECOND,
        ..settings()
    });
    let peer = rig.identity();
    let lost = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    rig.dialled_by(&peer, "203.0.113.5:40002");
    rig.lose(&lost);
    rig.wait(5 * SECOND);
    assert_eq!(rig.ups_and_downs(), [1, 1]);
    assert_eq!(last_loss(&rig), Some((false, true)));
    assert!(matches!(rig.events.last(), Some(Event::PeerGone { .. })));
}

#[test]
fn fault_on_an_earlier_link_is_no_reason_later() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut faulty = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    rig.greet(&mut faulty, &unreachable());
    assert!(rig.closed.contains(&faulty.conn));
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..unreachable()
    };
    rig.link(&peer, "203.0.113.5:40002", &again);
    assert!(rig.offer("owed", None));
    rig.tell(|engine, now| engine.abort(now, ByeReason::Quit));
    assert_eq!(rig.undelivered(), [(peer.id(), Undelivered::Timeout)]);
}

/// `/disconnect`, and the end at once: the other end would take a broken connection for a loss.
#[test]
fn goodbye_on_its_way_out_is_not_cut_off_by_the_end() {
    let mut rig = Rig::new(settings());
    rig.lingers = true;
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    let query = PeerQuery(peer.id().to_string());
    rig.command(Command::Disconnect(query));
    rig.tell(|engine, now| engine.quit(now, ByeReason::Quit));
    assert_eq!((&rig.closed[..], outcome(&rig)), (&[][..], None));
    rig.lose(&partner);
    assert!(outcome(&rig).is_some(), "it is out");
}

/// The user names an address while one who vanished is still waited for.
#[test]
fn address_named_in_that_minute_keeps_the_run_going() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let (ghost, other) = (rig.identity(), rig.identity());
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable());
    let mut partner = rig.link(&other, "203.0.113.6:40001", &unreachable());
    rig.lose(&lost);
    rig.say(&mut partner, &goodbye());
    let address = Address::parse("198.51.100.9:9000").unwrap();
    rig.command(Command::Connect(address.clone()));
    let dialled = rig.dialled_in_vain(70 * SECOND);
    assert!(dialled.contains(&address));
    assert_eq!(outcome(&rig), None);
    let (conn, _) = rig.next_dial();
    let newcomer = rig.identity();
    let mut partner = rig.answer(conn, &newcomer, "198.51.100.9:9000");
    assert_eq!(outcome(&rig), None, "its HELLO is on the way");
    rig.greet(&mut partner, &hello());
    assert_eq!(
        states(&mut rig)[..]
            .iter()
            .filter(|it| it.1 == PeerState::Up)
            .count(),
        1
    );
}

#[test]
fn a_vanished_peer_delays_others_for_three_seconds() {
    let mut rig = Rig::new(settings());
    let (ghost, other) = (rig.identity(), rig.identity());
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable());
    let mut partner = rig.link(&other, "203.0.113.6:40001", &hello());
    rig.lose(&lost);
    let mut sent = 0;
    while rig.offer("m", None) {
        sent += 1;
        rig.acknowledge(&mut partner, sent);
    }
    rig.wait(SECOND * 5 / 2);
    assert!(!rig.offer("m", None));
    rig.wait(SECOND);
    for _ in 0..3 {
        assert!(rig.offer("only for one", None));
        assert_eq!(queued(&rig), Some(&[other.id()][..]));
        sent += 1;
        rig.acknowledge(&mut partner, sent);
    }
    assert_eq!(
        rig.undelivered(),
        [(ghost.id(), Undelivered::Away); 3],
        "the final event of each comes at once"
    );
    assert!(rig.offer("for the ghost", Some(&[ghost.id()])));
    assert_eq!(queued(&rig), Some(&[][..]));
    assert_eq!(rig.undelivered().len(), 4);
}

#[test]
fn message_is_offered_again_three_seconds_after_a_loss() {
    let mut rig = Rig::new(settings());
    let (ghost, other) = (rig.identity(), rig.identity());
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable());
    let _partner = rig.link(&other, "203.0.113.6:40001", &hello());
    while rig.offer("m", Some(&[ghost.id()])) {}
    rig.lose(&lost);
    let lost_at = rig.now;
    assert!(!rig.offer("for both", None));
    let wakes = rig.engine.poll_timeout(rig.now).unwrap();
    assert!(wakes <= lost_at + 3 * SECOND);
    rig.wait(3 * SECOND);
    assert!(rig.offer("for both", None));
}

#[test]
fn with_no_peer_up_a_full_outbox_pauses_the_input() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let peer = rig.identity();
    let lost = rig.link(&peer, "203.0.113.5:40001", &unreachable());
    while rig.offer("m", None) {}
    rig.lose(&lost);
    for _ in 0..100 {
        rig.wait(SECOND);
        assert!(!rig.offer("m", None));
    }
    assert_eq!(rig.undelivered(), []);
}

#[test]
fn stay_keeps_messages_for_the_next_peer() {
    for stay in [Stay::Input, Stay::Always] {
        let mut rig = Rig::new(with_peer(Settings {
            stay,
            wait_for_peer: None,
            ..settings()
        }));
        let (before, partner) = dialled(&mut rig);
        assert!(rig.offer("in flight", None));
        rig.lose(&partner);
        assert!(!rig.offer("kept", None), "the next peer may be another");
        let (after, _) = dialled(&mut rig);
        assert_eq!(rig.undelivered(), [(before, Undelivered::Restarted)]);
        assert!(rig.offer("kept", None));
        assert_eq!(queued(&rig), Some(&[after][..]));
    }
}

#[test]
fn stay_redials_after_goodbye_but_not_after_disconnect() {
    for (leaving, redials) in [(true, true), (false, false)] {
        let mut rig = Rig::new(with_peer(settings()));
        let (_, mut partner) = dialled(&mut rig);
        let mut farewell = Payload::default();
        farewell.goodbye(leaving);
        rig.say(&mut partner, &farewell);
        assert_eq!(last_loss(&rig), Some((false, false)));
        rig.wait(60 * SECOND);
        assert_eq!(!rig.dials.is_empty(), redials);
    }
    let mut rig = Rig::new(with_peer(settings()));
    let (id, _partner) = dialled(&mut rig);
    let query = PeerQuery(id.to_string());
    rig.command(Command::Disconnect(query));
    rig.wait(60 * SECOND);
    assert_eq!(rig.dials, []);
}

#[test]
fn without_stay_a_goodbye_ends_the_redialling() {
    let mut rig = Rig::new(with_peer(Settings {
        stay: Stay::No,
        ..settings()
    }));
    let other = rig.identity();
    let _company = rig.link(&other, "198.51.100.1:40001", &hello());
    let (_, mut partner) = dialled(&mut rig);
    rig.say(&mut partner, &goodbye());
    rig.wait(20 * SECOND);
    assert_eq!(rig.dials, []);
}

#[test]
fn each_message_waits_its_own_time_for_a_peer() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let errors = |rig: &Rig| {
        let errors = rig.events.iter();
        errors
            .filter(|event| matches!(event, Event::Error { .. }))
            .count()
    };
    for refused in 1..=3 {
        let read_at = rig.now;
        assert!(!rig.offer_read_at("anybody?", read_at));
        rig.wait(29 * SECOND);
        assert!(!rig.offer_read_at("anybody?", read_at));
        rig.wait(SECOND);
        assert!(rig.offer_read_at("anybody?", read_at));
        assert_eq!(errors(&rig), refused);
    }
}

#[test]
fn a_peer_lost_a_moment_ago_is_company_for_a_minute() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let (ghost, other) = (rig.identity(), rig.identity());
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable());
    let mut partner = rig.link(&other, "203.0.113.6:40001", &hello());
    rig.lose(&lost);
    rig.wait(10 * SECOND);
    rig.say(&mut partner, &goodbye());
    rig.wait(45 * SECOND);
    assert_eq!(outcome(&rig), None);
    rig.wait(10 * SECOND);
    let outcome = outcome(&rig).expect("it has ended");
    assert_eq!(outcome.reason, ByeReason::Goodbye);
    assert!(!outcome.left_early, "it had sent nothing");
}

#[test]
fn a_peer_that_comes_in_that_minute_keeps_the_run_going() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let (ghost, other) = (rig.identity(), rig.identity());
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable());
    let mut partner = rig.link(&other, "203.0.113.6:40001", &hello());
    rig.lose(&lost);
    rig.say(&mut partner, &goodbye());
    rig.wait(10 * SECOND);
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..unreachable()
    };
    let mut back = rig.link(&ghost, "203.0.113.5:40002", &again);
    for _ in 0..10 {
        rig.wait(10 * SECOND);
        rig.say(&mut back, &Payload::default());
    }
    assert_eq!(outcome(&rig), None);
}

#[test]
fn a_last_goodbye_with_the_input_open_is_early() {
    for (sends, input_ends, early) in [(true, false, true), (false, false, false)]
        .into_iter()
        .chain([(true, true, false)])
    {
        let mut rig = Rig::new(Settings {
            stay: Stay::No,
            ..settings()
        });
        let peer = rig.identity();
        let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
        if sends {
            assert!(rig.offer("heard", None));
        }
        if input_ends {
            rig.tell(|engine, now| engine.input_finished(now, ByeReason::Eof));
        }
        rig.say(&mut partner, &goodbye());
        rig.wait(SECOND);
        let outcome = outcome(&rig).expect("it has ended");
        assert_eq!(outcome.left_early, early, "{sends} {input_ends}");
    }
}

#[test]
fn the_end_of_input_does_not_wait_forever_for_the_next_peer() {
    let mut rig = Rig::new(with_peer(Settings {
        stay: Stay::Input,
        wait_for_peer: None,
        ..settings()
    }));
    let (_, mut partner) = dialled(&mut rig);
    rig.say(&mut partner, &goodbye());
    let read_at = rig.now;
    rig.wait(1000 * SECOND);
    assert!(!rig.offer_read_at("kept", read_at));
    rig.tell(|engine, now| engine.input_finished(now, ByeReason::Eof));
    rig.wait(29 * SECOND);
    assert!(!rig.offer_read_at("kept", read_at));
    rig.wait(2 * SECOND);
    assert!(rig.offer_read_at("kept", read_at), "as an error");
    rig.wait(10 * SECOND);
    let outcome = outcome(&rig).expect("it has ended");
    assert_eq!(outcome.reason, ByeReason::Eof);
    let refused = |event: &Event| matches!(event, Event::Error { .. });
    assert_eq!(rig.events.iter().filter(|event| refused(event)).count(), 1);
}

/// While a dial is under way, the peer there connects by itself. Its address is not listed as one
/// at which nobody answers.
#[test]
fn peer_that_comes_from_a_dialled_address_is_listed_once() {
    let mut rig = Rig::new(settings());
    let addresses = |rig: &mut Rig| {
        rig.command(Command::Peers);
        let peers = rig.events.iter().rev().find_map(|event| match event {
            Event::Peers { peers, .. } => Some(peers),
            _ => None,
        });
        let peers = peers.unwrap().iter();
        let shown = peers.map(|peer| (peer.who.is_some(), peer.addr.clone()));
        shown.collect::<Vec<_>>()
    };
    rig.command(Command::Connect(Address::parse(ADDRESS).unwrap()));
    rig.next_dial();
    assert_eq!(addresses(&mut rig), [(false, Some(ADDRESS.into()))]);
    let alice = rig.identity();
    rig.link(&alice, "203.0.113.5:40000", &hello());
    assert_eq!(addresses(&mut rig), [(true, Some(ADDRESS.into()))]);
}
