//! Which peers would get what a user types at a terminal.

use std::time::Duration;

use sesame::mesh::{Command, Event, Settings, Stay};
use sesame::proto::Address;
use sesame::proto::frame::{Hello, Listening};

use crate::rig::{Rig, goodbye, hello, settings};

fn at_terminal(stay: Stay) -> Rig {
    Rig::new(Settings {
        interactive: true,
        stay,
        ..settings()
    })
}

/// The reported audiences: whether a message would have a recipient, and whether all peers have
/// left.
fn told(rig: &Rig) -> Vec<(bool, bool)> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Audience { anybody, left } => Some((*anybody, *left)),
        _ => None,
    });
    told.collect()
}

fn given_back(rig: &Rig) -> Vec<&str> {
    let texts = rig.events.iter().filter_map(|event| match event {
        Event::Unsent { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn last_goodbye_is_reported_and_an_interactive_run_goes_on() {
    let mut rig = at_terminal(Stay::No);
    let identity = rig.identity();
    let mut partner = rig.link(&identity, "203.0.113.5:40001", &hello());
    rig.say(&mut partner, &goodbye());
    assert_eq!(told(&rig), [(true, false), (false, true)]);
    rig.wait(Duration::from_secs(600));
    assert!(!rig.engine.is_over());
    let other = rig.identity();
    rig.link(&other, "203.0.113.6:40001", &hello());
    assert_eq!(told(&rig)[2..], [(true, false)]);
}

#[test]
fn last_goodbye_with_stay_does_not_end_anything() {
    let mut rig = at_terminal(Stay::Always);
    let identity = rig.identity();
    let mut partner = rig.link(&identity, "203.0.113.5:40001", &hello());
    rig.say(&mut partner, &goodbye());
    assert_eq!(told(&rig), [(true, false), (false, false)]);
}

#[test]
fn message_without_a_recipient_is_given_back_at_once() {
    let mut rig = at_terminal(Stay::Always);
    assert!(rig.offer("first", None));
    let identity = rig.identity();
    let mut partner = rig.link(&identity, "203.0.113.5:40001", &hello());
    assert!(rig.offer("taken", None));
    rig.say(&mut partner, &goodbye());
    assert!(rig.offer("late", None));
    assert_eq!(given_back(&rig), ["first", "late"]);
}

#[test]
fn lost_peer_still_is_an_audience() {
    let mut rig = at_terminal(Stay::No);
    let identity = rig.identity();
    let partner = rig.link(&identity, "203.0.113.5:40001", &hello());
    rig.lose(&partner);
    assert_eq!(told(&rig), [(true, false)]);
    assert!(rig.offer("kept for it", None));
    assert!(given_back(&rig).is_empty());
}

/// The user names an address while a vanished peer is still awaited: its minute ends, and no
/// deadline remains.
#[test]
fn minute_that_ends_while_an_address_is_tried_is_over() {
    let mut rig = at_terminal(Stay::No);
    let (ghost, other) = (rig.identity(), rig.identity());
    let unreachable = Hello {
        listening: Listening::No,
        ..hello()
    };
    let lost = rig.link(&ghost, "203.0.113.5:40001", &unreachable);
    let mut partner = rig.link(&other, "203.0.113.6:40001", &hello());
    rig.lose(&lost);
    rig.say(&mut partner, &goodbye());
    rig.command(Command::Connect(
        Address::parse("198.51.100.9:9000").unwrap(),
    ));
    rig.pass(Duration::from_secs(61));
    let next = rig.engine.poll_timeout(rig.now);
    assert!(
        next.is_none_or(|at| at > rig.now),
        "it asks again and again"
    );
    assert_eq!(told(&rig), [(true, false)]);
}
