//! A program whose output is not read: it waits, does not grow, and can be ended.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::helper::{Run, Running, standstill};

/// In KiB.
const LIMIT: u64 = 64 * 1024;

#[test]
#[cfg(target_os = "linux")]
fn unread_answers_take_no_memory_and_a_signal_ends_the_run() {
    const LINES: usize = 200_000;
    let alice = Run::named("alice")
        .with(&["--cover", "off", "--stay"])
        .peer();
    let run = Run::named("bob").to(&alice);
    let run = run.with(&["--cover", "off", "--stay", "--json"]);
    let mut bob = Running::start(run);
    let mut stdin = bob.stdin();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let feeding = thread::spawn(move || {
        for number in 1..=LINES {
            let line =
                format!("{{\"type\":\"send\",\"text\":\"{number:040}\",\"ref\":{number}}}\n");
            if stdin.write_all(line.as_bytes()).is_err() {
                return;
            }
            count.store(number, Ordering::Relaxed);
        }
    });
    // Bob's key is derived by now, and the memory which that takes is given back.
    alice.expect("peer_up", |_| true);
    let last = standstill(&written, LINES, Duration::from_secs(2));
    let resident = bob.resident();
    println!("resident while nobody reads: {resident} KiB; {last} lines taken");
    assert!(resident < LIMIT, "{resident} KiB after {last} lines");
    bob.signal(Signal::SIGTERM);
    let status = bob.ends();
    assert!(status.code().is_some(), "{status}");
    feeding.join().unwrap();
}
