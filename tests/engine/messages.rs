//! Messages that wait: for room, for the end of the run, for the front end.

use std::time::Duration;

use sesame::mesh::{ByeReason, Command, Event, PeerQuery, Settings, Stay, Undelivered};
use sesame::proto::frame::{Hello, Payload};
use sesame::proto::{Address, MessageId};

use crate::rig::{Heard, Partner, Rig, goodbye, hello, message, settings};

const SECOND: Duration = Duration::from_secs(1);

/// The messages of a thousand bytes that a peer may be owed.
const WINDOW: usize = (1 << 20) / 1000;

fn thousand() -> String {
    "m".repeat(1000)
}

/// Twenty or more of these fit into a cell.
#[test]
fn short_messages_that_are_offered_together_share_cells() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    rig.sent(&mut partner);
    partner.heard.clear();
    let before = partner.cells;
    let texts: Vec<_> = (0..100).map(|number| format!("text {number}")).collect();
    assert_eq!(rig.offer_together(&texts), (100, None));
    while partner.heard.len() < texts.len() {
        rig.sent(&mut partner);
    }
    assert!(partner.cells - before <= 5, "{}", partner.cells - before);
    let heard = (1..)
        .zip(&texts)
        .map(|(number, text)| Heard::Message(number, text.clone()));
    assert_eq!(partner.heard, heard.collect::<Vec<_>>());
}

#[test]
fn message_that_finds_no_room_waits_and_keeps_those_behind_it_waiting() {
    let mut rig = Rig::new(settings());
    let peer = rig.identity();
    rig.link(&peer, "203.0.113.5:40001", &hello());
    let texts: Vec<_> = (0..2 * WINDOW)
        .map(|number| format!("{number:1000}"))
        .collect();
    let (taken, waits) = rig.offer_together(&texts);
    assert!(taken > 0 && (taken as usize) < texts.len(), "{taken}");
    assert_eq!(waits.unwrap().as_str(), texts[taken as usize]);
}

/// The message that it delayed was also for another peer, which has left: no message waits any
/// more.
#[test]
fn time_runs_for_a_full_peer_only_while_a_message_waits() {
    let mut rig = Rig::new(settings());
    let (full, other) = (rig.identity(), rig.identity());
    let mut partner = rig.link(&full, "203.0.113.5:40001", &hello());
    let mut leaver = rig.link(&other, "203.0.113.6:40001", &hello());
    while rig.offer("m", Some(&[full.id()])) {}
    let both = [full.id(), other.id()];
    assert!(!rig.offer("for both", Some(&both)));
    rig.say(&mut leaver, &goodbye());
    assert!(rig.offer("for both", Some(&both)), "as an error");
    rig.live_on(&mut [&mut partner], 90 * SECOND);
    assert_eq!(rig.undelivered(), []);
}

/// Each of many peers fills up a little later than the previous one.
#[test]
fn members_cannot_take_turns_at_holding_up_the_others() {
    let mut rig = Rig::new(Settings {
        report_each: false,
        ..settings()
    });
    let honest = rig.identity();
    let mut honest = rig.link(&honest, "203.0.113.5:40001", &hello());
    let mut lazy: Vec<_> = (0..10)
        .map(|n| {
            let identity = rig.identity();
            rig.link(&identity, &format!("198.51.100.7:{}", 50_000 + n), &hello())
        })
        .collect();
    let start = rig.now;
    let mut sent = 0;
    while sent < 4 * WINDOW as u64 {
        if rig.offer(&thousand(), None) {
            sent += 1;
        } else {
            let mut all: Vec<_> = lazy.iter_mut().chain([&mut honest]).collect();
            rig.live_on(&mut all, SECOND);
        }
        rig.acknowledge(&mut honest, sent);
        for (n, partner) in lazy.iter_mut().enumerate() {
            if sent == 10 * n as u64 {
                rig.acknowledge(partner, sent);
            }
        }
    }
    // One pause, of --give-up seconds, for all of them.
    assert!(rig.now - start < 65 * SECOND, "{:?}", rig.now - start);
}

/// A released message is on its way to the user: its sender must not get GOODBYE before the
/// acknowledgement.
#[test]
fn the_goodbye_waits_for_what_is_being_shown_but_not_for_long() {
    for is_shown in [true, false] {
        let mut rig = Rig::new(Settings {
            stay: Stay::No,
            ..settings()
        });
        rig.shows = false;
        let peer = rig.identity();
        let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
        rig.say(&mut partner, &message(1, "just said"));
        rig.tell(|engine, now| engine.end_of_input(now));
        rig.pass(SECOND / 2);
        rig.hear(&mut partner);
        assert!(!partner.heard.contains(&Heard::Goodbye));
        if is_shown {
            rig.tell(|engine, now| engine.handle_shown(now, peer.id(), 1));
        }
        rig.pass(SECOND);
        rig.hear(&mut partner);
        assert!(partner.heard.contains(&Heard::Goodbye));
        assert_eq!(partner.heard.contains(&Heard::Ack(1)), is_shown);
    }
}

/// A sole peer may take as long as it likes, but not once the input has ended.
#[test]
fn message_that_waits_at_the_end_of_input_is_still_owed() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    while rig.offer(&thousand(), None) {}
    rig.live_on(&mut [&mut partner], 100 * SECOND);
    assert!(!rig.offer(&thousand(), None));
    rig.tell(|engine, now| engine.input_finished(now, ByeReason::Eof));
    rig.live_on(&mut [&mut partner], 20 * SECOND);
    assert!(!rig.offer(&thousand(), None));
    rig.acknowledge(&mut partner, 1);
    assert!(rig.offer(&thousand(), None), "there is room now");
    assert!(!rig.offer(&thousand(), None));
    rig.live_on(&mut [&mut partner], 20 * SECOND);
    assert_eq!(rig.undelivered(), []);
    rig.live_on(&mut [&mut partner], 20 * SECOND);
    assert!(rig.offer(&thousand(), None), "as an error");
    let undelivered = rig.undelivered();
    assert_eq!(undelivered.len(), WINDOW);
    let reason = Undelivered::Timeout;
    assert!(undelivered.iter().all(|one| *one == (peer.id(), reason)));
}

/// More messages than the front end takes at once, and further ones that wait.
const CROWD: u64 = 5000;
const AT_ONCE: usize = 4096;

fn say_many(rig: &mut Rig, partner: &mut Partner) {
    let mut number = 1;
    while number <= CROWD {
        let mut frames = Payload::default();
        let mid = MessageId([9; 16]);
        while number <= CROWD && frames.message(number, &mid, false, b"m", 0).is_some() {
            number += 1;
        }
        rig.say(partner, &frames);
    }
}

/// The events so far, with consecutive messages as one.
fn told(rig: &Rig) -> Vec<String> {
    let names = rig.events.iter().map(|event| match event {
        Event::PeerUp { resumed, .. } => format!("up {resumed}"),
        Event::PeerDown { reason, .. } => format!("down {}", reason.as_str()),
        Event::Message { .. } => "message".into(),
        other => format!("{other:?}"),
    });
    let mut told: Vec<(String, usize)> = Vec::new();
    for name in names {
        match told.last_mut().filter(|(last, _)| *last == name) {
            Some((_, count)) => *count += 1,
            None => told.push((name, 1)),
        }
    }
    let said = |(name, count)| match count {
        1 => name,
        count => format!("{count} {name}"),
    };
    told.into_iter().map(said).collect()
}

/// The front end has no room for everything that arrived before the link ended.
#[test]
fn link_that_ends_is_reported_after_its_messages() {
    for reason in ["lost", "timeout", "protocol", "goodbye", "replaced"] {
        let mut rig = Rig::new(settings());
        rig.shows = false;
        let peer = rig.identity();
        let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
        say_many(&mut rig, &mut partner);
        match reason {
            "lost" => rig.lose(&partner),
            "timeout" => rig.wait(40 * SECOND),
            "protocol" => rig.greet(&mut partner, &hello()),
            "goodbye" => rig.say(&mut partner, &goodbye()),
            _ => {
                let again = Hello {
                    link_seq: 2,
                    ..hello()
                };
                let mut partner = rig.link(&peer, "203.0.113.5:40002", &again);
                rig.say(&mut partner, &message(CROWD + 1, "on the new one"));
            }
        }
        let at_once = format!("{AT_ONCE} message");
        assert_eq!(told(&rig), ["up false", &at_once], "{reason}");
        rig.tell(|engine, now| engine.handle_shown(now, peer.id(), CROWD));
        let all = format!("{CROWD} message");
        let down = format!("down {reason}");
        let mut expected = vec!["up false", &all, &down];
        if reason == "replaced" {
            expected.extend(["up true", "message"]);
        }
        assert_eq!(told(&rig), expected);
    }
}

/// The user connects it again, and disconnects it again, before its GOODBYE is reported.
#[test]
fn goodbye_of_a_disconnected_peer_is_reported_once() {
    let address = Address::parse("203.0.113.5:9000").unwrap();
    let mut rig = Rig::new(Settings {
        peers: vec![address.clone()],
        ..settings()
    });
    rig.shows = false;
    let peer = rig.identity();
    let (conn, _) = rig.next_dial();
    let mut partner = rig.answer(conn, &peer, "203.0.113.5:9000");
    rig.greet(&mut partner, &hello());
    say_many(&mut rig, &mut partner);
    rig.say(&mut partner, &goodbye());
    rig.command(Command::Connect(address));
    rig.command(Command::Disconnect(PeerQuery(peer.id().to_string())));
    rig.tell(|engine, now| engine.handle_shown(now, peer.id(), CROWD));
    assert_eq!(rig.ups_and_downs(), [1, 1]);
    assert_eq!(told(&rig).last().map(String::as_str), Some("down goodbye"));
}

/// Messages that were not released when the peer forgot them are dropped, and hold nothing up.
#[test]
fn link_of_a_peer_that_forgot_is_reported_at_once() {
    let mut rig = Rig::new(settings());
    rig.shows = false;
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    say_many(&mut rig, &mut partner);
    rig.lose(&partner);
    let forgetful = Hello {
        link_seq: 2,
        oldest_live: 2,
        session_id: 78,
        ..hello()
    };
    let mut partner = rig.link(&peer, "203.0.113.5:40002", &forgetful);
    rig.say(&mut partner, &message(1, "anew"));
    rig.tell(|engine, now| engine.handle_shown(now, peer.id(), CROWD));
    let at_once = format!("{AT_ONCE} message");
    let expected = ["up false", &at_once, "down lost", "up false", "message"];
    assert_eq!(told(&rig), expected);
}

/// Links that come and go while nothing is shown: the waiting reports stay bounded.
#[test]
fn peer_that_comes_and_goes_unshown_is_turned_away() {
    let mut rig = Rig::new(settings());
    rig.shows = false;
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    say_many(&mut rig, &mut partner);
    rig.lose(&partner);
    let mut links = 1;
    for order in 2..100 {
        rig.wait(11 * SECOND);
        let mut partner = rig.dialled_by(&peer, "203.0.113.5:40002");
        if partner.hello.is_some() {
            let again = Hello {
                link_seq: order,
                oldest_live: order,
                ..hello()
            };
            rig.greet(&mut partner, &again);
            links += 1;
        }
        rig.lose(&partner);
    }
    assert!((5..30).contains(&links), "{links}");
    rig.tell(|engine, now| engine.handle_shown(now, peer.id(), CROWD));
    assert_eq!(rig.ups_and_downs(), [links, links]);
    let mut partner = rig.dialled_by(&peer, "203.0.113.5:40003");
    rig.greet(
        &mut partner,
        &Hello {
            link_seq: 100,
            oldest_live: 100,
            ..hello()
        },
    );
    assert_eq!(rig.ups_and_downs(), [links + 1, links]);
}
