//! Hosts that get another address in the middle of it.

use super::helper::{Net, pair, texts};

const NEW: &str = "10.99.0.77";

/// One of two hosts gets another address, and messages go on both ways.
fn readdressed(host: usize) {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    net.readdress(host, NEW);
    alice.say_all(&hers);
    bob.say_all(&his);
    let (moved, other) = match host {
        0 => (&alice, &bob),
        _ => (&bob, &alice),
    };
    let up = other.expect("peer_up", |event| event["peer"] == moved.id());
    let up = up.event;
    assert_eq!(
        (&up["resumed"], &up["inbound"]),
        (&true.into(), &true.into())
    );
    assert_eq!(up["addr"], format!("{NEW}:9000"));
    bob.hears_all(&alice, &hers);
    alice.hears_all(&bob, &his);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
}

#[test]
fn whoever_dialled_dials_again_from_its_new_address() {
    readdressed(1);
}

/// Who dialled knows no other address than the old one.
#[test]
fn whoever_was_dialled_dials_from_its_new_address() {
    readdressed(0);
}
