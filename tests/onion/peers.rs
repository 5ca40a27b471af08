//! Three peers, two of them onion-only, from their first link to the end of tor.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::delay::Delay;
use crate::helper::{Peer, Run, up};
use crate::lab::{Client, Lab, OUTSIDE};

fn onion(peer: &Peer) -> String {
    if let Some(address) = peer.ready()["advertise"].as_str() {
        return address.to_owned();
    }
    // After a panic, a run does not wait for a slow tor.
    let event = peer.expect("advertised", |_| true);
    event["addr"].as_str().unwrap().to_owned()
}

fn refused(run: Run) -> String {
    let ended = run.pipe(b"");
    let error = ended.err.join("\n");
    assert_eq!(ended.status, 1, "{error}");
    error
}

fn texts(name: &str) -> Vec<String> {
    (1..=100)
        .map(|number| format!("{name}-{number} text"))
        .collect()
}

#[test]
fn onion_only_peers_meet_on_a_real_tor() {
    let Some(lab) = Lab::new() else { return };
    let one = |name: &str| lab.run(name).with(&["--onion", &lab.control(Client::One)]);
    let two = |name: &str| lab.run(name).with(&["--onion", &lab.control(Client::Two)]);

    // What a user may get wrong.
    let error = refused(lab.run("x").with(&["--onion", "127.0.0.1:9152"]));
    assert!(error.contains("tor wants a password"), "{error}");
    let error = refused(lab.run("x").with(&["--onion", ":other@127.0.0.1:9152"]));
    assert!(error.contains("tor refused the password"), "{error}");
    let error = refused(lab.run("x").with(&["--onion", "127.0.0.1:9150"]));
    assert!(
        error.contains("cannot use tor at 127.0.0.1:9150"),
        "{error}"
    );
    let (cookie, aside) = (lab.file("one/cookie"), lab.file("one/aside"));
    fs::rename(&cookie, &aside).unwrap();
    fs::write(&cookie, [7; 32]).unwrap();
    let error = refused(one("x"));
    assert!(error.contains("does not know tor's cookie"), "{error}");
    fs::write(&cookie, [7; 31]).unwrap();
    let error = refused(one("x"));
    assert!(error.contains("does not have 32 bytes"), "{error}");
    fs::rename(&aside, &cookie).unwrap();

    // Links, and messages both ways.
    let carol = lab.run("carol").listening(&["--listen", OUTSIDE]).peer();
    let mut alice = one("alice").with(&["--stay", "-p", OUTSIDE]).peer();
    let mut bob = two("bob")
        .with(&["--stay", "-p", OUTSIDE, "-p", &onion(&alice)])
        .peer();
    let started = Instant::now();
    up(&alice, &bob);
    let took = started.elapsed();
    println!(
        "an onion-only pair: link {:.1} s after ready",
        took.as_secs_f64()
    );
    up(&alice, &carol);
    up(&bob, &carol);
    bob.say("through tor");
    alice.hears(&bob, "through tor");
    carol.hears(&bob, "through tor");
    alice.say("and back");
    bob.hears(&alice, "and back");

    // A panic, after which the old service is gone.
    let before = onion(&alice);
    alice.send(json!({"type": "panic"}));
    bob.expect("peer_down", |event| event["peer"] == alice.id());
    alice.begins_anew();
    let after = onion(&alice);
    assert_ne!(before, after);
    bob.send(json!({"type": "connect", "addr": after}));
    up(&alice, &bob);
    alice.say("under a new name");
    bob.hears(&alice, "under a new name");

    // Tor restarts under a run.
    lab.restart(Client::One);
    alice.process.told("tor has ended the onion service");
    let event = alice.expect("advertised", |_| true);
    let third = event["addr"].as_str().unwrap();
    assert_ne!(third, after);
    let dave = two("dave").with(&["-p", third]).peer();
    up(&alice, &dave);

    // Without a place, tor's usual port is found, unless there is a tor outside of the network.
    if !Path::new("/run/tor/control").exists() {
        let mut erin = lab.run("erin").with(&["--onion"]).peer();
        assert!(onion(&erin).ends_with(".onion:9000"));
        erin.quits_with(0);
    }

    // At the end the service is withdrawn, and tor keeps running. (What the panic erased counts as
    // undelivered.)
    let status = alice.quit().status;
    assert!([0, 3].contains(&status), "{status}");
    assert!(lab.listens(9150));
    bob.quit();

    for time in delays() {
        all_messages_arrive_under_delay(&lab, time);
    }
}

/// Names, in milliseconds, the delays to measure in place of the usual one.
const DELAYS: &str = "SESAME_ONION_DELAYS";

fn delays() -> Vec<Duration> {
    let delays = std::env::var(DELAYS).unwrap_or_else(|_| "300".into());
    let millis = delays.split(',').map(|millis| millis.parse().unwrap());
    millis.map(Duration::from_millis).collect()
}

/// An onion-only pair with this delay added in each direction.
fn all_messages_arrive_under_delay(lab: &Lab, time: Duration) {
    let delay = Delay::of(lab, time);
    let control = |value: &str| ["--onion".to_owned(), value.to_owned()];
    let with = |run: Run, args: &[String]| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        run.with(&args)
    };
    let mut alice = with(lab.run("alice"), &control(delay.control())).peer();
    let mut bob = with(lab.run("bob"), &control(&lab.control(Client::Two)))
        .dials(&onion(&alice))
        .peer();
    let started = Instant::now();
    up(&alice, &bob);
    let linked = started.elapsed();
    let (hers, his) = (texts("alice"), texts("bob"));
    let started = Instant::now();
    alice.say_all(&hers);
    bob.say_all(&his);
    alice.hears_all(&bob, &his);
    bob.hears_all(&alice, &hers);
    alice.is_done_with(&hers, &[&bob]);
    bob.is_done_with(&his, &[&alice]);
    println!(
        "{} ms added each way: link {:.1} s after ready, then 100 messages each way in {:.1} s",
        time.as_millis(),
        linked.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    alice.quits_with(0);
    // His last peer has said goodbye.
    bob.process.ends();
}
