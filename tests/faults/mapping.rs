//! `--map`: hosts behind a router that forwards ports on request, and one outside that dials them.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::helper::{Home, OUTSIDE, Peer, up};

/// The router's address towards the world.
const ROUTER: &str = "44.1.1.2";

/// Hosts behind the router.
const ALICE: usize = 1;
const BOB: usize = 2;

/// A router that grants seconds, so that it is asked again at once.
const SHORT: [&str; 2] = ["min_lifetime=5", "max_lifetime=6"];

/// The port that a peer advertises at the router.
fn advertised(peer: &Peer) -> u16 {
    let event = peer.expect("advertised", |_| true);
    let address = event["addr"].as_str().unwrap().to_owned();
    let (host, port) = address.rsplit_once(':').unwrap();
    assert_eq!(host, ROUTER);
    port.parse().unwrap()
}

/// A router with this configuration, alice behind it, and the port that it forwards to her.
fn with_a_port(options: &[&str]) -> Option<(Home, Peer, u16)> {
    let mut home = Home::of(1)?;
    home.serve(options);
    let alice = home.mapped(ALICE, "alice").peer();
    let port = advertised(&alice);
    home.forwards(&[port]);
    Some((home, alice, port))
}

fn outside(home: &Home, port: u16) -> Peer {
    let addr = format!("{ROUTER}:{port}");
    home.net.run(OUTSIDE, "oscar").dials(&addr).peer()
}

/// Somebody outside reaches a peer by the address that it advertises, until it ends.
fn is_reached_until_it_ends(home: &Home, mut alice: Peer, by: &str) {
    alice.process.told(by);
    let port = advertised(&alice);
    home.forwards(&[port]);
    let mut oscar = outside(home, port);
    up(&alice, &oscar);
    oscar.say("from outside");
    alice.hears(&oscar, "from outside");
    alice.quit();
    home.forwards(&[]);
}

#[test]
fn router_forwards_the_port_by_pcp_until_the_end() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve(&[]);
    let alice = home.mapped(ALICE, "alice").peer();
    is_reached_until_it_ends(&home, alice, "to this computer (by PCP)");
}

#[test]
fn router_that_knows_only_upnp_forwards_the_port() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve(&["enable_natpmp=no"]);
    let alice = home.mapped(ALICE, "alice").peer();
    is_reached_until_it_ends(&home, alice, "to this computer (by UPnP)");
}

#[test]
fn router_that_knows_only_nat_pmp_is_asked_by_it() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve_nat_pmp(ROUTER);
    let mut alice = home.mapped(ALICE, "alice").peer();
    alice.process.told("to this computer (by NAT-PMP)");
    let port = advertised(&alice);
    assert_eq!(port, alice.port());
    home.logs(&format!("map 2 {port} {port} 600"));
    alice.quit();
    home.logs(&format!("map 2 {port} 0 0"));
}

#[test]
fn port_is_given_back_while_the_router_does_not_renew_it() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve_nat_pmp_once(ROUTER);
    let mut alice = home.mapped(ALICE, "alice").peer();
    let port = advertised(&alice);
    home.logs("ignored");
    alice.quit();
    home.logs(&format!("map 2 {port} 0 0"));
}

#[test]
fn router_without_a_public_address_is_not_advertised() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve_nat_pmp("100.64.1.1");
    let mut alice = home.mapped(ALICE, "alice").peer();
    alice
        .process
        .told("its own address, 100.64.1.1, is not public");
    alice.ask("stats");
    assert_eq!(alice.every("advertised"), Vec::<Value>::new());
}

#[test]
fn router_that_restarts_forwards_again() {
    let Some((mut home, alice, port)) = with_a_port(&SHORT) else {
        return;
    };
    home.restart(&SHORT);
    home.forwards(&[port]);
    up(&outside(&home, port), &alice);
}

#[test]
fn router_that_is_gone_for_longer_than_it_granted_is_asked_until_it_is_back() {
    let Some((mut home, alice, port)) = with_a_port(&SHORT) else {
        return;
    };
    home.end();
    alice.process.told("forwards no port to you");
    home.serve(&SHORT);
    alice.process.told("to this computer (by PCP)");
    home.forwards(&[port]);
}

#[test]
fn router_that_refuses_is_reported_and_the_run_goes_on() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve(&["enable_natpmp=no", "deny 0-65535 0.0.0.0/0 0-65535"]);
    let mut alice = home.mapped(ALICE, "alice").peer();
    alice.process.told("NAT-PMP: no answer; UPnP: not allowed)");
    alice.ask("stats");
    assert_eq!(home.forwarded(), Vec::<u16>::new());
    assert_eq!(alice.every("advertised"), Vec::<Value>::new());
    alice.quit();
}

#[test]
fn computer_without_a_router_says_so() {
    let Some(home) = Home::of(1) else { return };
    let mut oscar = home.mapped(OUTSIDE, "oscar").peer();
    oscar
        .process
        .told("--map: this computer has no router to ask");
    oscar.quit();
}

#[test]
fn two_behind_one_router_have_different_ports_and_are_both_reached() {
    let Some(mut home) = Home::of(2) else { return };
    home.serve(&[]);
    let same = ["--port", "9000"];
    let alice = home.mapped(ALICE, "alice").with(&same).peer();
    let first = advertised(&alice);
    assert_eq!(first, 9000);
    let bob = home.mapped(BOB, "bob").with(&same).peer();
    let second = advertised(&bob);
    assert_ne!(second, first, "somebody else has it");
    let mut both = [first, second];
    both.sort_unstable();
    home.forwards(&both);
    let oscar = outside(&home, first);
    up(&oscar, &alice);
    let oscar = outside(&home, second);
    up(&oscar, &bob);
}

#[test]
fn two_behind_one_router_have_different_ports_by_upnp_too() {
    let Some(mut home) = Home::of(2) else { return };
    home.serve(&["enable_natpmp=no"]);
    let same = ["--port", "9000"];
    let alice = home.mapped(ALICE, "alice").with(&same).peer();
    assert_eq!(advertised(&alice), 9000);
    let bob = home.mapped(BOB, "bob").with(&same).peer();
    let second = advertised(&bob);
    assert_ne!(second, 9000, "somebody else has it");
    let oscar = outside(&home, second);
    up(&oscar, &bob);
}

fn panic_keeps_the_port(options: &[&str]) {
    let Some((home, mut alice, port)) = with_a_port(options) else {
        return;
    };
    alice.signal(Signal::SIGUSR1);
    alice.begins_anew();
    assert_eq!(advertised(&alice), port);
    home.forwards(&[port]);
    up(&outside(&home, port), &alice);
    alice.quit();
    home.forwards(&[]);
}

#[test]
fn panic_that_goes_on_keeps_the_port_by_pcp() {
    panic_keeps_the_port(&[]);
}

#[test]
fn panic_that_goes_on_keeps_the_port_by_upnp() {
    panic_keeps_the_port(&["enable_natpmp=no"]);
}

#[test]
fn panic_that_ends_the_run_gives_the_port_back() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve(&[]);
    let run = home.mapped(ALICE, "alice").with(&["--on-panic", "quit"]);
    let alice = run.peer();
    let port = advertised(&alice);
    home.forwards(&[port]);
    alice.signal(Signal::SIGUSR1);
    home.forwards(&[]);
}

#[test]
fn address_of_the_users_own_choice_stays() {
    let Some(mut home) = Home::of(1) else { return };
    home.serve(&[]);
    let own = ["--advertise", "home.example:9000"];
    let mut alice = home.mapped(ALICE, "alice").with(&own).peer();
    alice.process.told("to this computer (by PCP)");
    alice.ask("stats");
    assert_eq!(alice.every("advertised"), Vec::<Value>::new());
    assert_eq!(alice.ready()["advertise"], "home.example:9000");
}
