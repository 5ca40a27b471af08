//! What the user at a terminal waits for: dials while nobody is here, and acknowledgements.

use std::time::Duration;

use sesame::mesh::{DialAttempt, Event, Settings};
use sesame::proto::Address;

use crate::rig::{Rig, goodbye, hello, settings};

const SECOND: Duration = Duration::from_secs(1);
const FIRST: &str = "203.0.113.5:9000";

fn at_terminal(peers: &[&str]) -> Rig {
    let mut rig = Rig::new(Settings {
        interactive: true,
        peers: peers.iter().map(|it| Address::parse(it).unwrap()).collect(),
        ..settings()
    });
    rig.pass(Duration::ZERO);
    rig
}

/// Address, attempt, error, and how many further addresses there are.
type Dial<'a> = (&'a str, u32, Option<&'a str>, usize);

/// The reported dials.
fn dials(rig: &Rig) -> Vec<Option<Dial<'_>>> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Dialing { last, others } => Some(last.as_ref().map(|last| {
            let DialAttempt {
                addr,
                attempt,
                error,
            } = last;
            (addr.as_str(), *attempt, error.as_deref(), *others)
        })),
        _ => None,
    });
    told.collect()
}

/// The reported counts of messages that are not acknowledged.
fn pending(rig: &Rig) -> Vec<Vec<usize>> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Unacknowledged(peers) => Some(peers.iter().map(|it| it.messages).collect()),
        _ => None,
    });
    told.collect()
}

#[test]
fn each_dial_is_reported_until_a_peer_answers() {
    let mut rig = at_terminal(&[FIRST]);
    assert_eq!(dials(&rig), [Some((FIRST, 1, None, 0))]);
    rig.dialled_in_vain(SECOND);
    let refused = Some("connection refused");
    let told = dials(&rig);
    assert_eq!(told[1], Some((FIRST, 1, refused, 0)));
    assert_eq!(told[2], Some((FIRST, 2, refused, 0)));
    let tries = told.len();
    let (conn, _) = rig.next_dial();
    let peer = rig.identity();
    let mut partner = rig.answer(conn, &peer, FIRST);
    rig.greet(&mut partner, &hello());
    assert_eq!(dials(&rig).last(), Some(&None));
    assert!(tries < 10, "{tries} in a second");
    // After a loss they count from 1 again.
    rig.pass(11 * SECOND);
    rig.lose(&partner);
    let (conn, _) = rig.next_dial();
    assert_eq!(dials(&rig).last(), Some(&Some((FIRST, 1, None, 0))));
    let mut partner = rig.answer(conn, &peer, FIRST);
    rig.greet(&mut partner, &hello());
    assert_eq!(dials(&rig).last(), Some(&None));
}

#[test]
fn of_several_addresses_the_last_dial_is_reported() {
    let mut rig = at_terminal(&[FIRST, "203.0.113.6:9000"]);
    let told = dials(&rig);
    assert_eq!(told.last().unwrap().unwrap().3, 1);
    rig.dialled_in_vain(30 * SECOND);
    for address in [FIRST, "203.0.113.6:9000"] {
        let mut of_it = dials(&rig)
            .into_iter()
            .flatten()
            .filter(|it| it.0 == address);
        assert!(of_it.any(|(_, attempt, error, _)| attempt > 2 && error.is_some()));
    }
}

#[test]
fn dials_are_not_reported_while_a_peer_is_here() {
    let mut rig = at_terminal(&[FIRST]);
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.7:40001", &hello());
    let before = dials(&rig).len();
    assert_eq!(dials(&rig).last(), Some(&None));
    rig.dialled_in_vain(20 * SECOND);
    assert_eq!(dials(&rig).len(), before);
    rig.say(&mut partner, &goodbye());
    let last = dials(&rig).last().copied().flatten();
    assert!(
        last.is_some_and(|last| last.0 == FIRST && last.1 > 2),
        "{last:?}"
    );
}

#[test]
fn late_acknowledgement_is_reported_after_a_second() {
    let mut rig = at_terminal(&[]);
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    assert!(rig.offer("one", None));
    rig.wait(SECOND / 2);
    assert!(rig.offer("two", None));
    assert!(pending(&rig).is_empty());
    rig.wait(SECOND / 2);
    assert_eq!(pending(&rig), [[2]]);
    rig.acknowledge(&mut partner, 1);
    rig.wait(SECOND / 2);
    assert_eq!(pending(&rig)[1..], [vec![], vec![1]]);
    rig.acknowledge(&mut partner, 2);
    assert_eq!(pending(&rig)[3..], [Vec::new()] as [Vec<usize>; 1]);
}

#[test]
fn quick_acknowledgement_is_not_reported() {
    let mut rig = at_terminal(&[]);
    let peer = rig.identity();
    let mut partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    for number in 1..=5 {
        assert!(rig.offer("quick", None));
        rig.wait(SECOND / 2);
        rig.acknowledge(&mut partner, number);
    }
    rig.live_on(&mut [&mut partner], 5 * SECOND);
    assert!(pending(&rig).is_empty());
}

#[test]
fn message_for_a_lost_peer_is_reported_until_it_is_given_up() {
    let mut rig = at_terminal(&[]);
    let peer = rig.identity();
    let partner = rig.link(&peer, "203.0.113.5:40001", &hello());
    assert!(rig.offer("are you there", None));
    rig.lose(&partner);
    rig.wait(60 * SECOND);
    assert_eq!(pending(&rig), [[1]]);
    rig.wait(1800 * SECOND);
    assert_eq!(pending(&rig), [vec![1], vec![]]);
}

#[test]
fn runs_without_a_terminal_report_no_waits() {
    let mut rig = Rig::new(Settings {
        peers: vec![Address::parse(FIRST).unwrap()],
        ..settings()
    });
    rig.dialled_in_vain(30 * SECOND);
    let peer = rig.identity();
    rig.link(&peer, "203.0.113.7:40001", &hello());
    assert!(rig.offer("one", None));
    rig.wait(10 * SECOND);
    assert!(dials(&rig).is_empty() && pending(&rig).is_empty());
}
