//! How a panic treats the process itself: other processes cannot look in meanwhile, and nothing
//! stays behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::signal::Signal;
use serde_json::json;
use sesame::proto::phrase;
use sesame::secret::arena::Work;

use super::helper::{NOBODY, PHRASE, Peer, Run, skip};

/// The process to look at, for the test that plays the other process.
const TARGET: &str = "SESAME_TEST_TARGET";

fn start(run: &Run) -> (PathBuf, Peer) {
    let run = run.clone().copied();
    (run.program(), run.peer())
}

fn named(name: &str) -> Run {
    Run::named(name).with(&["--stay"])
}

/// What the other process does. It keeps trying until its standard input ends.
fn look_into(target: &str) {
    let paths: Vec<String> = (3..40)
        .map(|number| format!("/proc/{target}/fd/{number}"))
        .chain(["mem", "environ", "exe"].map(|name| format!("/proc/{target}/{name}")))
        .collect();
    println!("looking");
    std::thread::spawn(move || {
        loop {
            for path in &paths {
                if fs::File::open(path).is_ok() {
                    println!("saw {path}");
                }
            }
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn no_process_of_the_same_user_sees_anything_while_a_panic_goes_on() {
    if let Ok(target) = std::env::var(TARGET) {
        return look_into(&target);
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("two processes of another user need root");
    }
    let run = named("alice");
    let (_, mut alice) = start(&run);
    // In a folder that other users may enter.
    let test = run.place.path("test");
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    let mut other = Command::new(test)
        .args([
            "--exact",
            "image::no_process_of_the_same_user_sees_anything_while_a_panic_goes_on",
        ])
        .arg("--nocapture")
        .env(TARGET, alice.process.pid().to_string())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("looking")));
    for _ in 0..8 {
        alice.signal(Signal::SIGUSR1);
        alice.begins_anew();
    }
    let comm = fs::read_to_string(format!("/proc/{}/comm", alice.process.pid())).unwrap();
    assert_eq!(comm, "sesame\n", "it is called what it was");
    drop(other.stdin.take());
    other.wait().unwrap();
    let seen: Vec<String> = told
        .map_while(Result::ok)
        .filter(|line| line.starts_with("saw"))
        .collect();
    assert!(seen.is_empty(), "{seen:?}");
}

/// The addresses of a needle in the writable memory of a process, each with whether it is locked.
fn found(pid: u32, needle: &[u8]) -> Option<Vec<(u64, bool)>> {
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let mut places = Vec::new();
    let mut range = None;
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap();
        if let Some((start, end)) = first.split_once('-') {
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let writable = line.split(' ').nth(1).unwrap().starts_with("rw");
            range = writable.then(|| (address(start), address(end)));
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && let Some((start, end)) = range.take()
        {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            memory.seek(SeekFrom::Start(start)).unwrap();
            // Guard pages of another thread's stack, for one, cannot be read.
            if memory.read_exact(&mut bytes).is_ok() {
                let locked = flags.split(' ').any(|flag| flag == "lo");
                let hits = bytes
                    .windows(needle.len())
                    .enumerate()
                    .filter(|(_, window)| *window == needle);
                places.extend(hits.map(|(at, _)| (start + at as u64, locked)));
            }
        }
    }
    Some(places)
}

#[test]
fn phrase_key_is_in_locked_memory_only_after_a_panic_too() {
    let work = Work::new(phrase::WORK_BLOCKS).unwrap();
    let key = phrase::derive(PHRASE, false, work).unwrap();
    let mut alice = Run::named("alice").peer();
    for _ in 0..2 {
        let Some(places) = found(alice.process.pid(), key.expose()) else {
            return skip("reading another process's memory needs CAP_SYS_PTRACE");
        };
        assert!(!places.is_empty(), "the key is found at all");
        let unlocked: Vec<_> = places.iter().filter(|(_, locked)| !locked).collect();
        assert!(unlocked.is_empty(), "{places:x?}");
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        alice.settles();
    }
}

#[test]
fn panic_before_the_terminal_closes_leaves_no_name() {
    for end in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        for _ in 0..4 {
            let mut alice = Run::new().saved_name("alice").peer();
            assert_eq!(alice.place().written(), ["config/sesame/saved/name"]);
            for signal in [Signal::SIGUSR1, end, end, end] {
                alice.signal(signal);
            }
            alice.process.close_stdin();
            alice.process.ends();
            assert_eq!(alice.place().written(), Vec::<String>::new(), "{end}");
        }
    }
}

#[test]
fn a_burst_of_panics_ends_nothing() {
    let mut alice = Run::new().saved_name("alice").with(&["--stay"]).peer();
    let pid = alice.process.pid();
    for _ in 0..300 {
        alice.signal(Signal::SIGUSR1);
    }
    alice.begins_anew();
    alice.send(json!({"type": "whoami", "ref": "still here"}));
    alice.expect("whoami", |event| event["ref"] == "still here");
    assert_eq!(alice.process.pid(), pid);
    assert_eq!(alice.quit().status, 0);
}

#[test]
fn panic_works_after_the_program_was_deleted_or_replaced() {
    let run = named("alice");
    let (program, mut alice) = start(&run);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o000)).unwrap();
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    fs::remove_file(&program).unwrap();
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
    }
    assert_eq!(alice.quit().status, 0);
}

#[test]
fn a_panic_that_cannot_replace_the_program_ends_it() {
    let run = named("alice");
    // More than fits beside a stack as small as the one below.
    let much = "x".repeat(100_000);
    let mut alice = run.env("ONE", &much).env("TWO", &much).peer();
    let pid = alice.process.pid().try_into().unwrap();
    let small = libc::rlimit {
        rlim_cur: 65_536,
        rlim_max: 65_536,
    };
    // SAFETY: the kernel reads the limit, and is not asked for the one before.
    let limited = unsafe {
        let before = std::ptr::null_mut();
        libc::prlimit(pid, libc::RLIMIT_STACK, &raw const small, before)
    };
    assert_eq!(limited, 0);
    alice.send(json!({"type": "panic"}));
    let ended = alice.process.ends_with(1);
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.starts_with("sesame: cannot continue after /panic: ")),
        "{ended:?}"
    );
    assert_eq!(alice.place().written(), Vec::<String>::new());
}
