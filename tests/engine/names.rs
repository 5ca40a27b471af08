//! Names that another peer takes over, and the warnings before a message goes to that peer.

use std::time::Duration;

use sesame::mesh::{Event, PeerQuery, Settings};
use sesame::proto::frame::{Hello, Listening, Payload};
use sesame::proto::{DisplayName, PeerId};

use crate::rig::{Heard, Rig, goodbye, hello, settings};

/// How long a vanished peer is awaited.
const AWAY: Duration = Duration::from_secs(60);

fn named(name: &str) -> Hello {
    Hello {
        name: DisplayName::from_wire(name).ok(),
        ..hello()
    }
}

fn at_terminal() -> Rig {
    Rig::new(Settings {
        interactive: true,
        ..settings()
    })
}

/// How the last peer that came up is shown, and the peer that it must not be taken for.
fn last_up(rig: &Rig) -> (String, Option<PeerId>) {
    let mut events = rig.events.iter().rev();
    let up = events.find_map(|event| match event {
        Event::PeerUp {
            who, instead_of, ..
        } => Some((who.shown.clone(), instead_of.as_ref().map(|it| it.id))),
        _ => None,
    });
    up.unwrap()
}

/// The names that the editor could complete, as last reported.
fn addressees(rig: &Rig) -> Vec<String> {
    let mut events = rig.events.iter().rev();
    let all = events.find_map(|event| match event {
        Event::Addressees(all) => Some(all.iter().map(|it| it.shown.clone()).collect()),
        _ => None,
    });
    all.unwrap_or_default()
}

fn errors(rig: &mut Rig) -> Vec<String> {
    let errors = rig.events.iter().filter_map(|event| match event {
        Event::Error { message, .. } => Some(message.clone()),
        _ => None,
    });
    let errors = errors.collect();
    rig.events.clear();
    errors
}

#[test]
fn name_of_a_departed_peer_is_free_again() {
    let mut rig = Rig::new(settings());
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    assert_eq!(last_up(&rig), ("bob".into(), None));
    rig.say(&mut bob, &goodbye());
    rig.link(&second, "203.0.113.5:40002", &named("bob"));
    assert_eq!(last_up(&rig), ("bob".into(), Some(first.id())));
}

/// A name that comes too soon after another is reported later, unless the peer has left meanwhile.
#[test]
fn unreported_name_of_a_departed_peer_is_free() {
    let mut rig = Rig::new(settings());
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    let mut names = Payload::default();
    for name in ["carol", "dave"] {
        names.name(DisplayName::from_wire(name).ok().as_ref());
    }
    rig.say(&mut bob, &names);
    rig.say(&mut bob, &goodbye());
    rig.wait(Duration::from_secs(5));
    assert!(matches!(rig.events.last(), Some(Event::PeerDown { .. })));
    rig.link(&second, "203.0.113.5:40002", &named("dave"));
    assert_eq!(last_up(&rig), ("dave".into(), None));
}

#[test]
fn name_of_a_disconnected_peer_is_not_free() {
    let mut rig = Rig::new(settings());
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    let mut disconnect = Payload::default();
    disconnect.goodbye(false);
    rig.say(&mut bob, &disconnect);
    rig.link(&second, "203.0.113.5:40002", &named("bob"));
    let digits = second.id().hex_prefix(8);
    assert_eq!(last_up(&rig), (format!("bob#{digits}"), None));
}

#[test]
fn lost_peer_comes_back_under_its_name() {
    let mut rig = Rig::new(settings());
    let first = rig.identity();
    let bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.lose(&bob);
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..named("bob")
    };
    rig.link(&first, "203.0.113.5:40002", &again);
    assert_eq!(last_up(&rig), ("bob".into(), None));
}

#[test]
fn name_that_looks_like_a_departed_peers_is_reported() {
    let mut rig = Rig::new(settings());
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.say(&mut bob, &goodbye());
    // A Greek letter.
    rig.link(&second, "203.0.113.5:40002", &named("Βob"));
    assert_eq!(last_up(&rig), ("Βob".into(), Some(first.id())));
}

#[test]
fn first_message_to_a_name_taken_over_is_not_sent() {
    let mut rig = at_terminal();
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.say(&mut bob, &goodbye());
    let mut bob = rig.link(&second, "203.0.113.5:40002", &named("bob"));
    let asks = |errors: &[String]| {
        let both = [second.id().hex_prefix(16), first.id().hex_prefix(8)];
        errors.len() == 1 && both.iter().all(|id| errors[0].contains(id))
    };
    for text in ["hi", "another line"] {
        rig.offer_to(text, "bob");
        assert!(asks(&errors(&mut rig)), "{text}");
    }
    rig.offer_to("another line", "bob");
    rig.offer_to("and one more", "bob");
    assert!(errors(&mut rig).is_empty());
    rig.hear(&mut bob);
    let sent = |number, text: &str| Heard::Message(number, text.into());
    let heard = bob
        .heard
        .iter()
        .filter(|it| matches!(it, Heard::Message(..)));
    let heard: Vec<_> = heard.collect();
    assert_eq!(heard, [&sent(1, "another line"), &sent(2, "and one more")]);
}

#[test]
fn line_held_for_one_bearer_is_held_for_the_next_too() {
    let mut rig = at_terminal();
    let bearers = [rig.identity(), rig.identity(), rig.identity()];
    for (number, bearer) in bearers.iter().enumerate() {
        let addr = format!("203.0.113.5:4000{number}");
        let mut bob = rig.link(bearer, &addr, &named("bob"));
        if number > 0 {
            rig.offer_to("hi", "bob");
            let errors = errors(&mut rig);
            let id = bearer.id().hex_prefix(16);
            assert!(errors.len() == 1 && errors[0].contains(&id), "{errors:?}");
        }
        rig.say(&mut bob, &goodbye());
    }
}

#[test]
fn message_to_an_id_is_sent_although_its_name_was_taken_over() {
    let mut rig = at_terminal();
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.say(&mut bob, &goodbye());
    let mut bob = rig.link(&second, "203.0.113.5:40002", &named("bob"));
    let digits = second.id().hex_prefix(8);
    rig.offer_to("one", &digits);
    rig.offer_to("two", &format!("bob#{digits}"));
    assert!(errors(&mut rig).is_empty());
    rig.hear(&mut bob);
    let messages = bob
        .heard
        .iter()
        .filter(|it| matches!(it, Heard::Message(..)));
    assert_eq!(messages.count(), 2);
}

#[test]
fn program_need_not_confirm_a_name_taken_over() {
    let mut rig = Rig::new(settings());
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.say(&mut bob, &goodbye());
    rig.link(&second, "203.0.113.5:40002", &named("bob"));
    rig.offer_to("hi", "bob");
    assert!(errors(&mut rig).is_empty());
}

#[test]
fn remaining_peer_of_two_with_a_name_is_doubtful() {
    let mut rig = at_terminal();
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    rig.link(&second, "203.0.113.6:40002", &named("bob"));
    rig.offer_to("hi", "bob");
    assert_eq!(errors(&mut rig).len(), 1, "ambiguous");
    rig.say(&mut bob, &goodbye());
    rig.offer_to("hi", "bob");
    let errors = errors(&mut rig);
    assert!(errors[0].contains(&first.id().hex_prefix(8)), "{errors:?}");
    rig.offer_to("hi", "bob");
    assert!(self::errors(&mut rig).is_empty());
}

#[test]
fn editor_gets_only_names_that_can_be_used() {
    let mut rig = at_terminal();
    let (first, second) = (rig.identity(), rig.identity());
    let mut bob = rig.link(&first, "203.0.113.5:40001", &named("bob"));
    assert_eq!(addressees(&rig), ["bob"]);
    rig.link(&second, "203.0.113.6:40002", &named("bob"));
    let all = addressees(&rig);
    let forms = [&first, &second].map(|it| format!("bob#{}", it.id().hex_prefix(8)));
    assert!(
        all.len() == 2 && forms.iter().all(|form| all.contains(form)),
        "{all:?}"
    );
    rig.say(&mut bob, &goodbye());
    assert_eq!(addressees(&rig), ["bob"]);
    let query = PeerQuery("bob".into());
    rig.tell(|engine, now| {
        let command = sesame::mesh::Command::Disconnect(query);
        let request = sesame::mesh::Request {
            tag: sesame::mesh::Tag::default(),
            read_at: now,
            command,
        };
        let _ = engine.offer(now, request);
    });
    assert!(addressees(&rig).is_empty());
}

#[test]
fn name_of_a_peer_given_up_is_free_again() {
    let mut rig = Rig::new(Settings {
        away: AWAY,
        ..settings()
    });
    let (first, second) = (rig.identity(), rig.identity());
    let hidden = Hello {
        listening: Listening::No,
        ..named("bob")
    };
    let bob = rig.link(&first, "203.0.113.5:40001", &hidden);
    rig.lose(&bob);
    rig.wait(2 * AWAY);
    rig.link(&second, "203.0.113.5:40002", &named("bob"));
    assert_eq!(last_up(&rig), ("bob".into(), Some(first.id())));
    // The first peer is back after all: now there are two.
    let again = Hello {
        link_seq: 2,
        oldest_live: 2,
        ..hidden
    };
    rig.link(&first, "203.0.113.5:40003", &again);
    let digits = first.id().hex_prefix(8);
    assert_eq!(last_up(&rig), (format!("bob#{digits}"), None));
}

/// No program that keeps the rules sends such a name, so one of the same length stands for it until
/// the frame is made.
#[test]
fn hostile_names_count_as_none() {
    let mut rig = Rig::new(settings());
    let hostile = [
        "sesame",
        "ѕеѕаmе",
        "! not delivered",
        "ǃ not delivered",
        "* alice is here",
        "∗ alice is here",
        "  alice",
        "alice\n* bob is here",
        "alice\r* bob is here",
        "alice\u{2028}* bob is here",
        "alice\u{85}",
        "\u{1b}[2Jalice",
        "\u{202e}ecila",
        "alice\u{200b}",
        "alice: hi",
        "alice꞉ hi",
        "alice (to you)",
        "alice#3f9c01aa",
        "alice ✓ verified",
        "3f9c01aa24b7d08e",
        "x\u{323}\u{323}\u{323}\u{323}\u{323}\u{323}",
    ];
    for (number, name) in hostile.into_iter().enumerate() {
        let stand_in = "x".repeat(name.len());
        let mut frames = Payload::default();
        frames.hello(&named(&stand_in));
        let bytes = frames.as_slice();
        let at = bytes.len() - stand_in.len();
        assert_eq!(&bytes[at..], stand_in.as_bytes(), "the name comes last");
        let mut bytes = bytes.to_vec();
        bytes.truncate(at);
        bytes.extend_from_slice(name.as_bytes());
        let peer = rig.identity();
        let mut partner = rig.dialled_by(&peer, &format!("203.0.{number}.5:40001"));
        rig.say_bytes(&mut partner, &bytes);
        assert_eq!(last_up(&rig), (peer.id().hex_prefix(16), None), "{name}");
    }
}
