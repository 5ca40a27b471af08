//! A wall clock that jumps: it may affect only the times shown.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::helper::{Net, Peer, Run, skip, up};

/// The library that fakes the time of a program with threads.
fn library() -> Option<PathBuf> {
    let mut places = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    places.extend(
        fs::read_dir("/usr/lib")
            .ok()?
            .flatten()
            .map(|entry| entry.path()),
    );
    let mut found = places
        .into_iter()
        .map(|place| place.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}

fn year(event: &Value) -> i32 {
    event["time"].as_str().unwrap()[..4].parse().unwrap()
}

#[test]
fn jumping_clock_changes_only_the_times_shown() {
    let Some(library) = library() else {
        return skip("a clock that jumps needs the package libfaketime");
    };
    let Some(net) = Net::of(2) else { return };
    let alice = Run::named("alice");
    // While the program runs, it may only read files in its own directory.
    fs::create_dir_all(alice.place.path("config/sesame/saved")).unwrap();
    let clock = alice.place.path("config/sesame/saved/clock");
    fs::write(&clock, "+0").unwrap();
    // Set by `env`, so that only the program sees it and not the command that puts it on its host.
    let alice = alice.under(&[
        "env",
        &format!("LD_PRELOAD={}", library.display()),
        &format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DISABLE_SHM=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ]);
    let mut alice = net.put(0, alice).peer();
    let mut bob = net.run(1, "bob").dials(&net.addr(0)).peer();
    up(&alice, &bob);
    let mut talk = |text: &str| -> (i32, i32) {
        let exchange = |speaker: &mut Peer, listener: &Peer| {
            speaker.say(text);
            let heard = listener.hears(speaker, text);
            speaker.expect("delivered", |event| event["ref"] == text);
            year(&heard)
        };
        (exchange(&mut bob, &alice), exchange(&mut alice, &bob))
    };
    let (now, _) = talk("before");
    for (jump, years) in [("+3650d", 10), ("-3650d", -10), ("+0", 0)] {
        fs::write(&clock, jump).unwrap();
        let (hers, his) = talk(&format!("after-{jump}"));
        assert!(
            (now + years - 1..=now + years + 1).contains(&hers),
            "the jump {jump} is seen"
        );
        assert!((now..=now + 1).contains(&his), "her clock is not his");
    }
    for peer in [&alice, &bob] {
        assert_eq!(peer.every("peer_down").len(), 0);
        assert_eq!(peer.every("peer_up").len(), 1);
    }
}
