//! A reader that stops reading: everything waits, and no memory grows.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::helper::{Net, Running, lasting, standstill};

/// In KiB.
const LIMIT: u64 = 64 * 1024;

fn reader_stops(lines: usize, pause: Duration) {
    let Some(net) = Net::of(2) else { return };
    let run = net.run(0, "reader");
    let run = run.with(&["--cover", "off", "--stay", "--json"]);
    let mut reader = Running::start(run);
    let mut events = reader.events();
    assert_eq!(events.next().unwrap()["type"], "ready");
    let other = net.run(1, "writer").dials(&net.addr(0));
    let other = other.with(&["--cover", "off", "--literal"]);
    let mut writer = Running::start(other);
    let written = Arc::new(AtomicUsize::new(0));
    let (mut stdin, count) = (writer.stdin(), Arc::clone(&written));
    let feeding = thread::spawn(move || {
        for number in 1..=lines {
            if writeln!(stdin, "{number}").is_err() {
                return;
            }
            count.store(number, Ordering::Relaxed);
        }
    });
    // The writer's key is derived by now, and the memory for that is given back.
    events.find(|event| event["type"] == "peer_up").unwrap();
    standstill(&written, lines, Duration::from_secs(1));
    lasting(pause);
    let grown = [&reader, &writer].map(Running::resident);
    println!(
        "resident while nobody reads: {grown:?} KiB; {} lines taken",
        written.load(Ordering::Relaxed)
    );
    assert!(grown.iter().all(|size| *size < LIMIT), "{grown:?} KiB");
    for number in 1..=lines {
        let event = events.find(|event| event["type"] == "message").unwrap();
        assert_eq!(
            (&event["text"], &event["seq"]),
            (&number.to_string().into(), &number.into())
        );
        if number % 1000 == 0 && number < lines {
            let now = [&reader, &writer].map(Running::resident);
            assert!(now.iter().all(|size| *size < LIMIT), "{now:?} KiB");
        }
    }
    feeding.join().unwrap();
    assert_eq!(writer.ends().code(), Some(0));
}

/// A number from the environment, for longer runs than the usual one.
fn number(variable: &str, usual: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(usual, |value| value.parse().unwrap())
}

/// `SESAME_LINES=1000000 SESAME_PAUSE=60` lets the reader stop for a minute.
#[test]
fn a_reader_that_stops_makes_both_wait_and_neither_grow() {
    let lines = usize::try_from(number("SESAME_LINES", 150_000)).unwrap();
    reader_stops(lines, Duration::from_secs(number("SESAME_PAUSE", 0)));
}
