//! Signals, commands and keys that come close together: neither the end nor the panic is lost.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::unistd::getpid;
use serde_json::{Value, json};

use super::helper::{Ended, Peer, Process, Run, Screen, up};

const ENDS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT];

fn alice() -> Run {
    Run::new().saved_name("alice").with(&["--stay"])
}

/// A panic and an end were requested: the run ends by the signal, and no name is left.
fn ended_without_a_name(peer: &mut Peer, end: Signal) -> Ended<Value> {
    let ended = peer.process.ends();
    assert_eq!(ended.signal, Some(end as i32), "{ended:?}");
    assert_eq!(peer.place().written(), Vec::<String>::new(), "{ended:?}");
    ended
}

/// Lets this much time pass without giving up the processor: less than a sleep takes.
fn pass(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// How many distances are tried in each order, 50 microseconds apart.
fn distances() -> u32 {
    let tries = std::env::var("SESAME_TEST_DISTANCES").ok();
    tries.map_or(12, |tries| tries.parse().unwrap())
}

fn at_any_distance(first: fn(Signal) -> Signal, second: fn(Signal) -> Signal) {
    for step in 0..distances() {
        let end = ENDS[step as usize % ENDS.len()];
        let mut peer = alice().peer();
        peer.signal(first(end));
        pass(Duration::from_micros(50) * step);
        peer.signal(second(end));
        ended_without_a_name(&mut peer, end);
    }
}

#[test]
fn a_panic_and_then_an_end_at_any_distance_is_both() {
    at_any_distance(|_| Signal::SIGUSR1, |end| end);
}

#[test]
fn an_end_and_then_a_panic_at_any_distance_is_both() {
    // If the process was gone before, the name is as it was.
    for step in 0..distances() {
        let end = ENDS[step as usize % ENDS.len()];
        let mut peer = alice().peer();
        peer.signal(end);
        pass(Duration::from_micros(10) * step);
        peer.signal(Signal::SIGUSR1);
        let ended = peer.process.ends();
        assert_eq!(ended.signal, Some(end as i32), "{ended:?}");
    }
}

#[test]
fn signals_that_wait_while_it_is_stopped_are_all_taken() {
    for end in ENDS {
        for order in [[Signal::SIGUSR1, end], [end, Signal::SIGUSR1]] {
            let mut peer = alice().peer();
            peer.signal(Signal::SIGSTOP);
            order.iter().for_each(|one| peer.signal(*one));
            peer.signal(Signal::SIGCONT);
            ended_without_a_name(&mut peer, end);
        }
    }
}

/// Starts a run with these signals pending before its first instruction.
fn start_with_pending(pending: &'static [Signal]) -> Process<Value> {
    let run = alice().with(&["--json"]);
    let mut command = run.command();
    // SAFETY: all of these calls are allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let set: SigSet = pending.iter().copied().collect();
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
            pending.iter().try_for_each(|one| kill(getpid(), *one))?;
            Ok(())
        });
    }
    Process::start(&run.place, command)
}

#[test]
fn signals_that_came_before_the_start_are_all_taken() {
    let mut process = start_with_pending(&[Signal::SIGTERM, Signal::SIGUSR1]);
    let ended = process.ends();
    assert_eq!(ended.signal, Some(Signal::SIGTERM as i32), "{ended:?}");
    assert_eq!(process.place.written(), Vec::<String>::new());
    let mut process = start_with_pending(&[Signal::SIGUSR1]);
    process.expect("panicked", |event| event["type"] == "panicked");
    process.write(b"/quit\n");
    process.ends_with(0);
}

#[test]
fn an_end_is_not_lost_between_two_panics() {
    for step in 0..distances() {
        let mut peer = alice().peer();
        peer.send(json!({"type": "panic"}));
        pass(Duration::from_micros(100) * step);
        peer.signal(Signal::SIGTERM);
        peer.signal(Signal::SIGUSR1);
        ended_without_a_name(&mut peer, Signal::SIGTERM);
    }
}

#[test]
fn a_panic_behind_a_quit_is_both() {
    for panic in ["/panic\n", "{\"type\":\"panic\",\"quit\":false}\n"] {
        let mut peer = alice().peer();
        peer.process.write(format!("/quit\n{panic}").as_bytes());
        let ended = peer.process.ends_with(0);
        assert_eq!(ended.out.last().unwrap()["type"], "bye", "{ended:?}");
        assert_eq!(peer.place().written(), Vec::<String>::new());
    }
    for step in 0..distances() {
        let mut peer = alice().peer();
        peer.process.write(b"/panic quit\n");
        pass(Duration::from_micros(50) * step);
        peer.signal(Signal::SIGUSR1);
        peer.process.ends_with(0);
        let mut peer = alice().peer();
        peer.signal(Signal::SIGUSR1);
        pass(Duration::from_micros(50) * step);
        peer.process.write(b"/panic quit\n");
        peer.process.ends_with(0);
        assert_eq!(peer.place().written(), Vec::<String>::new());
    }
}

#[test]
fn a_panic_while_a_quit_waits_ends_at_once_and_counts() {
    let deaf = Run::named("deaf").with(&["--ack", "--stay"]).peer();
    for end in ["/quit\n", "signal"] {
        let mut peer = alice().to(&deaf).with(&["--timeout", "600"]).peer();
        up(&deaf, &peer);
        peer.say("owed");
        deaf.hears(&peer, "owed");
        match end {
            "signal" => peer.signal(Signal::SIGTERM),
            line => peer.process.write(line.as_bytes()),
        }
        peer.settles();
        peer.signal(Signal::SIGUSR1);
        let ended = peer.process.ends_with(3);
        // A signal ends the new image.
        let reason = if end == "signal" { end } else { "panic" };
        let bye = json!({"type": "bye", "reason": reason, "status": 3});
        assert_eq!(ended.out.last(), Some(&bye), "{ended:?}");
        assert_eq!(peer.place().written(), Vec::<String>::new());
        deaf.expect("peer_down", |event| event["reason"] == "lost");
    }
}

#[test]
fn a_panic_with_quit_ends_the_run_and_is_its_last_word() {
    let (mut by_line, mut by_field, mut by_option) = (
        alice().peer(),
        alice().peer(),
        alice().with(&["--on-panic", "quit"]).peer(),
    );
    by_line.process.write(b"/panic quit\nnot read any more\n");
    by_field.send(json!({"type": "panic", "quit": true, "ref": "p"}));
    by_option.signal(Signal::SIGUSR1);
    for peer in [&mut by_line, &mut by_field, &mut by_option] {
        let ended = peer.process.ends_with(0);
        let bye = json!({"type": "bye", "reason": "panic", "status": 0});
        assert_eq!(ended.out.last(), Some(&bye), "{ended:?}");
        let panicked = ended.out.iter().any(|event| event["type"] == "panicked");
        assert!(!panicked, "{ended:?}");
        assert_eq!(peer.place().written(), Vec::<String>::new());
    }
}

#[test]
fn on_panic_is_kept_and_a_command_may_say_otherwise() {
    let mut peer = alice().with(&["--on-panic", "quit"]).peer();
    for _ in 0..2 {
        peer.send(json!({"type": "panic", "quit": false}));
        peer.begins_anew();
    }
    peer.process.write(b"/panic\n");
    peer.process.ends_with(0);
}

#[test]
fn a_panic_with_quit_counts_what_it_erased() {
    let deaf = Run::named("deaf").with(&["--ack", "--stay"]).peer();
    let mut bob = Run::named("bob").to(&deaf).plain();
    deaf.expect("peer_up", |_| true);
    bob.write(b"owed\n");
    deaf.expect("message", |_| true);
    bob.write(b"/panic quit\n");
    let ended = bob.ends_with(3);
    assert!(ended.err.iter().all(|line| !line.contains("owed")));
}

#[test]
fn signal_ignored_at_the_start_stays_ignored() {
    for ignored in ENDS {
        let run = alice().with(&["--json"]);
        let mut command: Command = run.command();
        // SAFETY: the call is allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                signal(ignored, SigHandler::SigIgn)?;
                Ok(())
            });
        }
        let mut peer = Peer::start(Process::start(&run.place, command));
        for _ in 0..2 {
            for _ in 0..3 {
                peer.signal(ignored);
                peer.settles();
            }
            peer.signal(Signal::SIGUSR1);
            peer.begins_anew();
        }
        let end = ENDS.into_iter().find(|end| *end != ignored).unwrap();
        peer.signal(ignored);
        peer.signal(end);
        assert_eq!(peer.process.ends().signal, Some(end as i32));
    }
}

#[test]
fn ignored_signal_does_not_end_the_wait_for_a_passphrase() {
    let run = Run::new().no_phrase().with(&["--phrase-fd", "0"]);
    let mut process = waiting_for_phrase(run.under(&["nohup"]));
    process.signal(Signal::SIGHUP);
    process.write(b"lantern crisp orbit maple\n");
    process.told("listening on");
    process.signal(Signal::SIGHUP);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ends().signal, Some(Signal::SIGTERM as i32));
}

#[test]
fn keys_behind_a_panic_that_ends_do_not_reach_the_shell() {
    let Some(screen) = Screen::start(&Run::new().saved_name("alice").with(&["--on-panic", "quit"]))
    else {
        return;
    };
    screen.shows_line("listening on");
    screen.types("half a line");
    screen.shows_typed("> half a line");
    let behind = ["F12", "t", "o", "u", "c", "h", "Space", "x", "Enter"];
    screen.press(&behind);
    assert_eq!(screen.ends(), 0);
    assert_eq!(screen.with_scrollback().join("\n").trim(), "");
    assert_eq!(screen.place.written(), Vec::<String>::new());
}

/// A run that has a saved name, and no passphrase.
fn named_without_phrase(options: &[&str]) -> Run {
    Run::new().no_phrase().with(options).saved_name("alice")
}

fn nothing_is_written(place: &super::helper::Place) {
    super::helper::seen("that the saved name is gone", || {
        place.written().is_empty().then_some(())
    });
}

#[test]
fn panic_at_the_prompt_deletes_the_name_at_once() {
    for keys in ["wrong\x1b[24~", "wrong\x18\x10", ""] {
        let Some(screen) = Screen::start(&named_without_phrase(&[])) else {
            return;
        };
        screen.shows_typed("Passphrase:");
        if keys.is_empty() {
            let pid = nix::unistd::Pid::from_raw(screen.pid().try_into().unwrap());
            kill(pid, Signal::SIGUSR1).unwrap();
        } else {
            screen.presses_at_once(keys);
        }
        nothing_is_written(&screen.place);
        screen.shows_typed("Passphrase:");
        screen.enters(super::helper::PHRASE);
        screen.shows_line("sesame has forgotten everything");
        screen.shows_typed(">");
        assert!(!screen.with_scrollback().join("\n").contains("alice"));
        screen.press(&["C-d"]);
        assert_eq!(screen.ends(), 0);
    }
}

#[test]
fn panic_at_the_prompt_with_quit_ends_the_run() {
    let Some(screen) = Screen::start(&named_without_phrase(&["--on-panic", "quit"])) else {
        return;
    };
    screen.shows_typed("Passphrase:");
    screen.presses_at_once("wrong\x1b[24~touch x\r");
    assert_eq!(screen.ends(), 0);
    assert_eq!(screen.with_scrollback().join("\n").trim(), "");
    assert_eq!(screen.place.written(), Vec::<String>::new());
}

/// Starts a run that waits for its passphrase on stdin.
fn waiting_for_phrase(run: Run) -> Process {
    let process = run.plain();
    super::helper::seen("a run that waits for its passphrase", || {
        let path = format!("/proc/{}/fd", process.pid());
        let mut open = std::fs::read_dir(path).unwrap().flatten();
        let is_signalfd = |link: std::path::PathBuf| link.to_string_lossy().contains("signalfd");
        open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(is_signalfd))
            .then_some(())
    });
    process
}

#[test]
fn panic_before_the_phrase_forgets_the_peers() {
    let alice = alice().peer();
    let options = ["--display-name", "bob", "--phrase-fd", "0"];
    let run = named_without_phrase(&options).to(&alice);
    let mut bob = waiting_for_phrase(run);
    bob.signal(Signal::SIGUSR1);
    nothing_is_written(&bob.place);
    bob.write(format!("{}\n", super::helper::PHRASE).as_bytes());
    bob.told("sesame has forgotten everything");
    bob.write(b"/quit\n");
    bob.ends_with(0);
    assert_eq!(bob.place.written(), Vec::<String>::new());
    assert!(alice.every("peer_up").is_empty());
}

#[test]
fn panic_before_the_phrase_and_an_end_are_both() {
    for end in ENDS {
        let run = named_without_phrase(&["--phrase-fd", "0"]);
        let mut process = waiting_for_phrase(run);
        process.signal(Signal::SIGSTOP);
        process.signal(Signal::SIGUSR1);
        process.signal(end);
        process.signal(Signal::SIGCONT);
        assert_eq!(process.ends().signal, Some(end as i32));
        assert_eq!(process.place.written(), Vec::<String>::new());
    }
}

#[test]
fn panic_before_a_start_that_fails_deletes_the_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = named_without_phrase(&["--phrase-fd", "0"]);
    let run = run.listening(&["--listen", "127.0.0.1", "--port", &port]);
    let mut process = waiting_for_phrase(run);
    process.signal(Signal::SIGSTOP);
    process.write(b"lantern crisp orbit maple\n");
    process.signal(Signal::SIGUSR1);
    process.signal(Signal::SIGCONT);
    process.ends_with(1);
    assert_eq!(process.place.written(), Vec::<String>::new());
}
