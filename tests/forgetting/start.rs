//! Once a run has begun, its phrase is nowhere, and what was computed from it is only in the arena.

use crate::helper::memory::Memory;
use crate::helper::needle::{Needle, chance};
use crate::helper::{Findings, findings, look, seen};
use crate::scenario::{Run, Screen};

/// In KiB; Argon2 by itself takes 65,536.
const RESIDENT: u64 = 40 * 1024;

/// Two halves, each unlikely enough.
fn halves() -> [String; 2] {
    [chance(14), chance(14)].map(|half| format!("{half} "))
}

fn phrase(halves: &[String; 2]) -> Vec<Needle> {
    let half =
        |number: usize| Needle::text(format!("half {number} of the phrase"), &halves[number]);
    vec![half(0), half(1)]
}

fn is_nowhere(pid: u32, given: &[String; 2], decoy: bool) {
    let Some(memory) = Memory::of(pid) else {
        return;
    };
    let mut findings = Findings::default();
    findings.none("the phrase", &memory.remains(&phrase(given)));
    let key = findings::key(&given.concat(), decoy);
    findings.only_locked("the key", &memory, &key);
    let locked = look::locked_kib(pid);
    findings.check("no memory is locked", locked > 0);
    let resident = look::resident_kib(pid);
    findings.check(format!("{resident} KiB in RAM"), resident < RESIDENT);
}

#[test]
fn a_phrase_from_a_file_is_nowhere() {
    for decoy in [false, true] {
        let given = halves();
        let decoys: &[&str] = if decoy { &["--decoy"] } else { &[] };
        let alice = Run::new().phrase(&given.concat()).with(decoys).peer();
        is_nowhere(alice.process.pid(), &given, decoy);
    }
}

#[test]
fn a_phrase_from_the_argument_list_is_nowhere() {
    for joined in [false, true] {
        let given = halves();
        let args = match joined {
            true => vec![format!("--phrase={}", given.concat())],
            false => vec!["--phrase".into(), given.concat()],
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let alice = Run::new().no_phrase().with(&args).peer();
        is_nowhere(alice.process.pid(), &given, false);
    }
}

#[test]
fn a_phrase_from_a_descriptor_is_nowhere() {
    let given = halves();
    let run = Run::new().no_phrase();
    let mut alice = run.with(&["--phrase-fd", "0"]).json();
    let Some(memory) = Memory::of(alice.pid()) else {
        return;
    };
    // The program waits for the second half, with the first in its own memory: the search finds it
    // there.
    alice.write(given[0].as_bytes());
    memory.holds(&phrase(&given)[..1]);
    alice.write(format!("{}\n", given[1]).as_bytes());
    alice.expect("ready", |event| event["type"] == "ready");
    is_nowhere(alice.pid(), &given, false);
}

#[test]
fn a_phrase_that_was_typed_is_nowhere() {
    let given = halves();
    let Some(alice) = Screen::start(&Run::new().no_phrase()) else {
        return;
    };
    seen("a question", || {
        let lines = alice.lines();
        let asks = |line: &String| line.to_lowercase().contains("phrase");
        lines.iter().any(asks).then_some(())
    });
    alice.enters(&given.concat());
    alice.shows_typed(">");
    is_nowhere(alice.pid(), &given, false);
}

/// The halves of the phrase that the screen offers, if it is not this one.
fn offered(alice: &Screen, before: &str) -> [String; 2] {
    let offer = |line: &String| {
        let words: Vec<&str> = line.strip_prefix("  ")?.split(' ').collect();
        Some([words.get(..3)?.join(" ") + " ", words.get(3..)?.join(" ")])
    };
    seen("an offer", || {
        let lines = alice.lines();
        let last = lines.iter().rev().find_map(offer)?;
        (last.concat() != before).then_some(last)
    })
}

#[test]
fn a_new_phrase_that_was_offered_is_nowhere() {
    let Some(alice) = Screen::start(&Run::new().no_phrase()) else {
        return;
    };
    alice.shows_typed("Passphrase:");
    alice.press(&["Enter"]);
    let first = offered(&alice, "");
    alice.shows_typed("Passphrase:");
    let Some(memory) = Memory::of(alice.pid()) else {
        return;
    };
    // While it is offered, the search finds it. The search stops the process, and a stop takes the
    // offer away.
    memory.holds(&phrase(&first));
    alice.press(&["Enter"]);
    let second = offered(&alice, &first.concat());
    alice.press(&["Enter"]);
    alice.shows_typed(">");
    let mut findings = Findings::default();
    findings.none("the first offer", &memory.remains(&phrase(&first)));
    is_nowhere(alice.pid(), &second, false);
}
