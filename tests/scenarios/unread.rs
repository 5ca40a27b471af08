//! A program that nobody reads: it waits, does not grow, and can be ended.

use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::helper::{Run, seen, standstill};

/// In KiB.
const LIMIT: u64 = 64 * 1024;

/// A process that does not outlive the test.
struct Running(Child);

impl Running {
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let size = line.unwrap().split_whitespace().nth(1);
        size.unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn unread_answers_take_no_memory_and_a_signal_ends_the_run() {
    const LINES: usize = 200_000;
    let alice = Run::named("alice")
        .with(&["--cover", "off", "--stay"])
        .peer();
    let run = Run::named("bob").to(&alice);
    let run = run.with(&["--cover", "off", "--stay", "--json"]);
    let mut command = run.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut bob = Running(command.spawn().unwrap());
    let mut stdin = bob.0.stdin.take().unwrap();
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
    let last = standstill(&written, LINES, Duration::from_secs(2));
    let resident = bob.resident();
    println!("resident while nobody reads: {resident} KiB; {last} lines taken");
    assert!(resident < LIMIT, "{resident} KiB after {last} lines");
    kill(
        Pid::from_raw(bob.0.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let status = seen("the end of a process", || bob.0.try_wait().unwrap());
    assert!(status.code().is_some(), "{status}");
    feeding.join().unwrap();
}
