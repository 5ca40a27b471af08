//! Hosts that get another address in the middle of it.

use super::helper::{Net, pair, texts};

const NEW: &str = "10.99.0.77";

#[test]
fn whoever_dialled_dials_again_from_its_new_address() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    net.readdress(1, NEW);
    alice.say_all(&hers);
    bob.say_all(&his);
    let up = alice
        .expect("peer_up", |event| event["peer"] == bob.id())
        .event;
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
fn whoever_was_dialled_dials_from_its_new_address() {
    let Some(net) = Net::of(2) else { return };
    let (mut alice, mut bob) = pair(&net, &["--inactivity-timeout", "3"]);
    let (hers, his) = (texts("a", 20, 10), texts("b", 20, 10));
    net.readdress(0, NEW);
    alice.say_all(&hers);
    bob.say_all(&his);
    // Bob knows no other address than the old one; alice has seen his.
    let up = bob
        .expect("peer_up", |event| event["peer"] == alice.id())
        .event;
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
