//! Messages that wait: for room, for the end, for somebody to take them over.

use std::time::Duration;

use sesame::mesh::{ByeReason, Settings, Stay, Undelivered};
use sesame::proto::frame::Payload;

use crate::rig::{Heard, Partner, Rig, goodbye, hello, message, settings};

const SECOND: Duration = Duration::from_secs(1);

/// What one may owe, in messages of a thousand bytes.
const WINDOW: usize = (1 << 20) / 1000;

fn thousand() -> String {
    "m".repeat(1000)
}

fn acknowledge(rig: &mut Rig, partner: &mut Partner, number: u64) {
    let mut frames = Payload::default();
    frames.ack(number);
    rig.say(partner, &frames);
}

/// The message that it held up was for somebody else too, who has left: nobody waits any more.
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

/// Each of many fills up a little later than the one before.
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
        acknowledge(&mut rig, &mut honest, sent);
        for (n, partner) in lazy.iter_mut().enumerate() {
            if sent == 10 * n as u64 {
                acknowledge(&mut rig, partner, sent);
            }
        }
    }
    // One pause, of --give-up seconds, for all of them.
    assert!(rig.now - start < 65 * SECOND, "{:?}", rig.now - start);
}

/// What was let out is on its way to the user: who said it shall not be told goodbye before it is
/// acknowledged.
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

/// A sole peer may take as long as it likes, but not when nothing more will come.
#[test]
fn what_waits_for_room_at_the_end_of_input_is_owed_like_the_rest() {
    let mut rig = Rig::new(Settings {
        stay: Stay::No,
        ..settings()
    });
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    while rig.offer(&thousand(), None) {}
    rig.live_on(&mut [&mut partner], 100 * SECOND);
    assert!(!rig.offer(&thousand(), None));
    rig.tell(|engine, now| engine.last_call(now, ByeReason::Eof));
    rig.live_on(&mut [&mut partner], 20 * SECOND);
    assert!(!rig.offer(&thousand(), None));
    acknowledge(&mut rig, &mut partner, 1);
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
