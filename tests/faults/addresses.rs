//! Hosts whose address changes during a conversation.

use serde_json::json;

use super::helper::{Net, Screen, pair, texts, up};

const NEW: &str = "10.99.0.77";

/// One of two hosts gets another address, and messages continue in both directions.
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
fn dialler_redials_from_its_new_address() {
    readdressed(1);
}

/// The peer that dialled knows only the old address.
#[test]
fn listener_dials_from_its_new_address() {
    readdressed(0);
}

#[test]
fn command_of_a_chat_leads_to_it_from_another_host() {
    let Some(net) = Net::of(2) else { return };
    let Some(alice) = Screen::start(&net.run(0, "alice")) else {
        return;
    };
    let line = alice.shows_line("* listening on port 9000: ");
    let (_, command) = line.split_once(": ").unwrap();
    assert_eq!(
        command,
        format!("others on this network type sesame -p {}", net.addr(0))
    );
    alice.shows_line("* from outside: let the router forward TCP port 9000 to 10.99.0.1; ");
    let (_, words) = command.split_once("sesame ").unwrap();
    let words: Vec<&str> = words.split(' ').collect();
    let bob = net.run(1, "bob").with(&words).peer();
    alice.shows_line("* bob is here (");
    bob.expect("peer_up", |_| true);
    // The address is the one of now, not that of the start.
    net.readdress(0, NEW);
    alice.enters("/invite");
    alice.shows_line(&format!("others on this network type sesame -p {NEW}"));
    alice.press(&["C-c"]);
    assert_eq!(alice.ends(), 0);
}

/// Each host has its own number for the interface, so a zone means nothing to the others.
#[test]
fn link_local_peers_find_each_other_by_gossip() {
    let Some(net) = Net::of(3) else { return };
    let addrs = [0, 1, 2].map(|host| net.link_local(host));
    let mut alice = net.run(0, "alice").peer();
    let peer = format!("{}%eth0", addrs[0]);
    let mut bob = net.run(1, "bob").dials(&peer).peer();
    let known = bob.expect("peer_up", |event| event["peer"] == alice.id());
    assert!(known["addr"].as_str().unwrap().starts_with("[fe80::1%"));
    alice.expect("peer_up", |event| event["peer"] == bob.id());
    let only = ["--no-listen", "--cover", "20"];
    let mut carol = net.run(2, "carol").with(&only).peer();
    carol.send(json!({"type": "connect", "addr": format!("[{peer}]:9000")}));
    up(&alice, &carol);
    up(&bob, &carol);
    // Carol dialled him, at the address in alice's gossip.
    let met = carol.every("peer_up");
    let bobs = met.iter().find(|event| event["peer"] == bob.id()).unwrap();
    assert_eq!(bobs["inbound"], false);
    assert!(bobs["addr"].as_str().unwrap().starts_with("[fe80::2%"));
    bob.say("over one wire");
    alice.hears(&bob, "over one wire");
    carol.hears(&bob, "over one wire");
    alice.quits_with(0);
}

#[test]
fn listener_at_a_link_local_address_is_reached() {
    let Some(net) = Net::of(2) else { return };
    let (hers, _) = (net.link_local(0), net.link_local(1));
    let listen = format!("{hers}%eth0");
    let alice = net.run(0, "alice").with(&["--listen", &listen]).peer();
    let bob = net.run(1, "bob").dials(&listen).peer();
    up(&alice, &bob);
    let by_ipv4 = net.run(1, "carol").dials(&net.addr(0));
    let mut by_ipv4 = by_ipv4.with(&["--timeout", "1"]).plain();
    by_ipv4.told("connection refused");
    by_ipv4.write(b"/quit\n");
    by_ipv4.ends();
}
