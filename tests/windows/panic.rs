//! A panic gives the process that the user started another worker, and leaves nothing of the old one.

use std::collections::BTreeSet;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::helper::memory::{Memory, Stopped};
use crate::helper::needle::{Needle, Planted, chance, needles, unlikely_ip};
use crate::helper::{Findings, findings};
use crate::scenario::{Run, up};
use crate::wine::{windows, windows_named, worker};

#[test]
fn panics_keep_process_and_port_and_bring_new_ids() {
    let mut bob = windows_named("bob").with(&["--stay"]).peer();
    let mut alice = Run::named("alice").to(&bob).with(&["--stay"]).peer();
    up(&alice, &bob);
    let (place, pid, listens) = (bob.place(), bob.process.pid(), bob.listens());
    let mut ids = BTreeSet::from([bob.id()]);
    let mut workers = BTreeSet::from([worker(&place)]);
    for number in 0..8 {
        let begin = Instant::now();
        bob.send(json!({"type": "panic", "ref": number}));
        bob.begins_anew();
        println!("panic {number}: {:?}", begin.elapsed());
        assert!(ids.insert(bob.id()), "the id is new");
        assert_eq!(bob.ask("whoami")["id"], bob.id());
        assert_eq!(bob.listens(), listens);
        assert!(workers.insert(worker(&place)), "the worker is new");
        assert_eq!(bob.process.pid(), pid);
        // To alice, who redials, somebody new answers at the old port.
        alice.expect("peer_up", |event| event["peer"] == bob.id());
        alice.say(&format!("again {number}"));
        bob.expect("message", |event| {
            event["text"] == format!("again {number}")
        });
    }
    bob.quits_with(0);
}

#[test]
fn panic_that_is_to_quit_ends_with_0() {
    let mut bob = windows_named("bob").with(&["--stay"]).peer();
    bob.send(json!({"type": "panic", "quit": true}));
    let ended = bob.process.ends_with(0);
    assert_eq!(ended.out.last().unwrap()["reason"], "panic");
}

#[test]
fn worker_that_is_killed_is_no_panic() {
    let mut bob = windows_named("bob").with(&["--stay"]).peer();
    let worker = worker(&bob.place());
    kill(Pid::from_raw(worker.try_into().unwrap()), Signal::SIGKILL).unwrap();
    // The status is the worker's, which wine makes 0 where Linux has killed it.
    let ended = bob.process.ends();
    let ready = ended.out.iter().filter(|event| event["type"] == "ready");
    assert_eq!(ready.count(), 1);
}

#[test]
fn worker_ends_with_its_keeper() {
    let mut bob = windows_named("bob").with(&["--stay"]).peer();
    let place = bob.place();
    worker(&place);
    bob.signal(Signal::SIGKILL);
    bob.process.ends();
    crate::scenario::seen("the end of the worker", || {
        crate::wine::workers(&place).is_empty().then_some(())
    });
}

#[test]
fn nothing_is_left_after_a_panic() {
    let mut findings = Findings::default();
    let given = format!("phrase {} {}", chance(12), chance(12));
    let [mine, bobs] = ["a", "b"].map(|first| format!("{first}{}", chance(14)));
    let bob = Run::named(&bobs).phrase(&given);
    let bob = bob.listening(&["--listen", &unlikely_ip(), "--port", "0"]);
    let bob = bob.with(&["--cover", "off", "--stay"]).peer();
    let run = windows().phrase(&given);
    let mut alice = run.with(&["--cover", "off", "--stay"]).peer();
    // Not by its arguments: wine keeps those of a process that was started from Linux.
    alice.send(json!({"type": "name", "name": mine}));
    alice.send(json!({"type": "connect", "addr": bob.addr()}));
    up(&alice, &bob);
    let (place, keeper, old) = (alice.place(), alice.process.pid(), worker(&alice.place()));
    let (Some(of_keeper), Some(memory)) = (Memory::of(keeper), Memory::of(old)) else {
        return;
    };
    let key = findings::key(&given, false);
    let phrase = [Needle::text("the phrase", &given)];
    findings.none("the phrase after the start", &memory.remains(&phrase));
    findings.none("the phrase in the keeper", &of_keeper.remains(&phrase));
    findings.only_locked("the key after the start", &memory, &key);

    // Messages that are owed. One of them is the phrase, which is so found where it must be.
    let owed = Planted::several("a message owed, ", 100);
    let stopped = Stopped::new(bob.process.pid());
    for text in owed.iter().map(|one| &one.text).chain([&given]) {
        alice.send(json!({"type": "send", "text": text}));
    }
    for _ in 0..=owed.len() {
        alice.expect("queued", |_| true);
    }
    let mut there = needles(&owed);
    there.extend(phrase);
    there.extend([
        Needle::text("its own name", &mine),
        Needle::text("bob's name", &bobs),
        Needle::id("its own id", &alice.id()),
        Needle::id("bob's id", &bob.id()),
        Needle::address("bob's address", &bob.addr()),
    ]);
    memory.holds(&there);

    let mark = format!("the mark {}", chance(12));
    alice.send(json!({"type": "panic", "ref": mark}));
    alice.begins_anew();
    let new = worker(&place);
    assert_ne!(new, old);
    assert_eq!(alice.process.pid(), keeper);
    let memory = Memory::of(new).unwrap();
    findings.none("after the panic", &memory.search(&there));
    there.push(Needle::text("the mark of the command", &mark));
    findings.none("the mark, once answered", &memory.remains(&there));
    findings.only_locked("the key after the panic", &memory, &key);
    there.push(key);
    findings.none("in the keeper", &of_keeper.remains(&there));
    drop(stopped);
}
