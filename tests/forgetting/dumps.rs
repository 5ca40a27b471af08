//! Core dumps, which gdb makes although the program forbids them: none contains the arena.

use std::path::PathBuf;

use serde_json::json;

use crate::helper::core::{self, Core, Exiting, REGISTERS};
use crate::helper::memory::{Memory, Stopped, missing};
use crate::helper::needle::{Needle, Planted, chance, needles, unlikely_ip};
use crate::helper::{Findings, findings};
use crate::scenario::{Peer, Run, up};

/// Two members that are linked, with names and addresses of their own; the second dialled the
/// first.
fn pair(phrase: &str) -> (Peer, Peer, Vec<Needle>) {
    let names = [chance(15), chance(15)];
    let run = |name: &str| {
        let ip = unlikely_ip();
        let run = Run::named(name).phrase(phrase);
        run.listening(&["--listen", &ip, "--port", "0"])
            .with(&["--cover", "off", "--stay"])
    };
    let bob = run(&names[1]).peer();
    let alice = run(&names[0]).to(&bob).peer();
    up(&alice, &bob);
    let known = vec![
        Needle::text("her own name", &names[0]),
        Needle::text("bob's name", &names[1]),
        Needle::id("her own id", &alice.id()),
        Needle::id("bob's id", &bob.id()),
        Needle::address("bob's address", &bob.addr()),
    ];
    (alice, bob, known)
}

fn core_file(alice: &Peer) -> PathBuf {
    alice.place().path("core")
}

#[test]
fn a_core_of_a_running_process_has_messages_but_no_key() {
    let given = format!("phrase {}", chance(16));
    let (mut alice, bob, known) = pair(&given);
    let pid = alice.process.pid();
    let Some(memory) = Memory::of(pid) else {
        return;
    };
    let stopped = Stopped::new(bob.process.pid());
    let owed = Planted::several("a message owed, ", 20);
    for one in &owed {
        alice.say(&one.text);
        alice.expect("queued", |_| true);
    }
    let key = findings::key(&given, false);
    let mut findings = Findings::default();
    findings.only_locked("the key", &memory, &key);
    let Some(dump) = core::dump(pid, &core_file(&alice)) else {
        return;
    };
    let there = [needles(&owed), known].concat();
    let found = dump.search(&there);
    assert_eq!(missing(&there, &found), Vec::<String>::new());
    let phrase = Needle::text("the phrase", &given);
    findings.none("the core", &dump.search(&[key, phrase]));
    drop(stopped);
}

/// What to search for in a core of alice at her exit, after messages in both directions.
struct AtExit {
    core: Core,
    secrets: [Needle; 2],
    texts: Vec<Needle>,
}

fn at_exit() -> Option<AtExit> {
    let given = format!("phrase {}", chance(16));
    let (mut alice, mut bob, _) = pair(&given);
    let environment = Needle::text(
        "the environment",
        &alice.place().path("").display().to_string(),
    );
    let exiting = Exiting::watch(alice.process.pid(), &core_file(&alice))?;
    let said = Planted::several("a message out, ", 20);
    let heard = Planted::several("a message in, ", 20);
    for (one, other) in said.iter().zip(&heard) {
        alice.say(&one.text);
        bob.say(&other.text);
        bob.hears(&alice, &one.text);
        alice.hears(&bob, &other.text);
    }
    for peer in [&alice, &bob] {
        for _ in 0..20 {
            peer.expect("done", |_| true);
        }
    }
    alice.send(json!({"type": "quit"}));
    let core = exiting.core()?;
    assert!(
        !core.search(&[environment]).is_empty(),
        "the detector finds what is always there"
    );
    let secrets = [
        Needle::text("the phrase", &given),
        findings::key(&given, false),
    ];
    let texts = [needles(&said), needles(&heard)].concat();
    Some(AtExit {
        core,
        secrets,
        texts,
    })
}

#[test]
fn a_core_at_exit_has_no_key_and_no_message() {
    let Some(it) = at_exit() else {
        return;
    };
    let mut findings = Findings::default();
    findings.none("the core at exit", &it.core.search(&it.secrets));
    let mut found = it.core.search(&it.texts);
    // The vector registers of a thread keep what it copied last until they are used again. They are
    // in a core, and not in the memory.
    found.retain(|one| one.owner() != REGISTERS);
    findings.none("the core at exit", &found);
}
