//! Links that are about to come up, and what both ends remember of each other.

use sesame::proto::frame::{Hello, Listening};

use crate::rig::{Rig, hello, message, settings};

/// More than the engine remembers of those who never greeted.
const CROWD: usize = 1100;

/// Many come by that never greet, and what each was told is kept for a while. That of one with a
/// connection is kept as long as this is open: its HELLO may be on the way.
#[test]
fn whoever_has_several_connections_is_told_one_memory_on_all_of_them() {
    let mut rig = Rig::new(settings());
    let mut crowd: Vec<_> = (0..CROWD).map(|_| rig.identity()).collect();
    // Neither the order of ids nor that of coming makes a difference.
    crowd.sort_by_key(|identity| identity.id());
    let peer = crowd.remove(0);
    let mut first = rig.knock(&peer, "203.0.113.5:40001");
    for passer in &crowd {
        let partner = rig.knock(passer, "198.51.100.7:50000");
        rig.lose(&partner);
    }
    let mut second = rig.knock(&peer, "203.0.113.5:40002");
    let told = |hello: &Option<Hello>| hello.as_ref().unwrap().memory;
    let memory = told(&first.hello);
    assert_eq!(told(&second.hello), memory);
    // By the book: what is said on the first stays the peer's first message.
    let greeting = Hello {
        listening: Listening::No,
        ..hello()
    };
    rig.greet(&mut first, &greeting);
    rig.say(&mut first, &message(1, "first"));
    let again = Hello {
        order: 2,
        ..greeting.clone()
    };
    rig.greet(&mut second, &again);
    rig.lose(&first);
    rig.lose(&second);
    let mut third = rig.knock(&peer, "203.0.113.5:40003");
    assert_eq!(told(&third.hello), memory);
    let heard = third.hello.as_ref().map(|hello| hello.heard);
    assert_eq!(heard, Some(1));
    let last = Hello {
        order: 3,
        live: 3,
        heard_memory: memory,
        ..greeting
    };
    rig.greet(&mut third, &last);
    rig.say(&mut third, &message(2, "second"));
    assert_eq!(rig.shown(), ["first", "second"]);
}
