//! After a panic nothing is left.

use crate::helper::memory::{Memory, Stopped};
use crate::helper::needle::{Needle, Planted, chance, needles, unlikely_ip};
use crate::helper::{Findings, findings, look, runs};
use crate::scenario::{Run, up};
use crate::target::{Front, Target};

/// One run. Every other run is a decoy session, and every third panic is by signal.
fn story(front: Front, number: usize) {
    let decoy = number % 2 == 1;
    let mut findings = Findings::default();
    let given = format!("phrase {} {}", chance(12), chance(12));
    let [mine, bobs, carols] = ["a", "b", "c"].map(|first| format!("{first}{}", chance(14)));
    let decoys: &[&str] = if decoy { &["--decoy"] } else { &[] };
    let member = |name: &str| {
        let ip = unlikely_ip();
        let run = Run::named(name).phrase(&given);
        let run = run.listening(&["--listen", &ip, "--port", "0"]);
        run.with(&["--cover", "off", "--stay"]).with(decoys)
    };
    let mut bob = member(&bobs).peer();
    // A peer on this computer that dialled both would not gossip one to the other.
    let mut carol = member(&carols).to(&bob).peer();
    let run = Run::named(&mine).phrase(&given).with(decoys);
    let run = run.with(&["--cover", "off", "--stay"]).to(&bob).to(&carol);
    let Some(alice) = Target::start(run, front) else {
        return;
    };
    let pid = alice.pid();
    let Some(memory) = Memory::of(pid) else {
        return;
    };
    let met = bob.expect("peer_up", |event| event["name"] == mine.as_str());
    carol.expect("peer_up", |event| event["name"] == mine.as_str());
    alice.meets(&bobs);
    alice.meets(&carols);
    up(&bob, &carol);
    let own_id = met["peer"].as_str().unwrap().to_owned();
    let key = findings::key(&given, decoy);
    let phrase = [Needle::text("the phrase", &given)];
    let locked = look::locked_kib(pid);
    findings.check("no memory is locked", locked > 0);
    findings.none("the phrase after the start", &memory.remains(&phrase));
    findings.only_locked("the key after the start", &memory, &key);

    // Messages in: each is found where it waits, and nowhere once it has been shown.
    let from_bob = Planted::several("a message of bob's, ", 100);
    let from_carol = Planted::several("a message of carol's, ", 100);
    let stopped = Stopped::new(pid);
    for (peer, planted) in [(&mut bob, &from_bob), (&mut carol, &from_carol)] {
        for one in planted {
            peer.say(&one.text);
        }
        for _ in planted {
            peer.expect("queued", |_| true);
        }
        Memory::of(peer.process.pid())
            .unwrap()
            .holds(&needles(planted));
    }
    drop(stopped);
    for peer in [&bob, &carol] {
        for _ in 0..100 {
            let done = peer.expect("done", |_| true);
            assert_eq!(done["undelivered"], serde_json::json!([]), "{done}");
        }
    }
    let received = [needles(&from_bob), needles(&from_carol)].concat();
    findings.none("messages in, once acknowledged", &memory.remains(&received));

    // Messages out: each is found where it waits for the others, and nowhere once it has arrived.
    let said = Planted::several("a message out, ", 200);
    let stopped = [&bob, &carol].map(|peer| Stopped::new(peer.process.pid()));
    alice.says(&said);
    let sent = needles(&said);
    memory.holds(&sent);
    drop(stopped);
    for peer in [&bob, &carol] {
        for one in &said {
            peer.expect("message", |event| event["text"] == one.text.as_str());
        }
    }
    match &alice {
        Target::Json(alice) => {
            for _ in &said {
                alice.borrow().expect("done", |_| true);
            }
        }
        Target::Plain(_) => {}
        // Until then they can be recalled.
        Target::Chat(screen) => {
            screen.enters("/clear");
            screen.shows("a clear screen", |lines| lines.len() <= 1);
            // The editor's own buffer keeps the last piece of input, see `typed`; this empties it.
            screen.types("x");
            screen.press(&["C-c"]);
        }
    }
    findings.none("messages out, once acknowledged", &memory.remains(&sent));

    // At the panic there are unacknowledged messages, and peers.
    let owed = Planted::several("a message owed, ", 100);
    let stopped = [&bob, &carol].map(|peer| Stopped::new(peer.process.pid()));
    alice.says(&owed);
    let mut there = needles(&owed);
    there.extend([
        Needle::text("her own name", &mine),
        Needle::text("bob's name", &bobs),
        Needle::text("carol's name", &carols),
        Needle::id("her own id", &own_id),
        Needle::id("bob's id", &bob.id()),
        Needle::id("carol's id", &carol.id()),
        Needle::address("bob's address", &bob.addr()),
        Needle::address("carol's address", &carol.addr()),
    ]);
    if let Target::Chat(screen) = &alice {
        let half = format!("half a line {}", chance(16));
        screen.types(&half);
        screen.shows_typed(&format!("{}> {half}", if decoy { "[decoy] " } else { "" }));
        there.push(Needle::text("a line half typed", &half));
    }
    memory.holds(&there);
    let before = look::arguments(pid);
    assert!(before.contains(&bob.addr()), "{before:?}");
    let mark = format!("the mark {}", chance(12));
    match number % 3 {
        2 => alice.panics_by_signal(),
        _ => alice.panics(&mark),
    }
    assert_eq!(alice.pid(), pid);
    let memory = Memory::of(pid).unwrap();
    there.extend(sent);
    there.extend(received);
    there.extend(phrase);
    findings.none("after the panic", &memory.search(&there));
    // The `ref` was handed over to be answered. The answer has been read, and the `ref` may be
    // about to be dropped.
    let mark = [Needle::text("the mark of the command", &mark)];
    findings.none("the mark, once answered", &memory.remains(&mark));
    findings.only_locked("the key after the panic", &memory, &key);
    let bare = look::arguments(pid);
    findings.check(format!("arguments: {bare:?}"), bare == "sesame\0");
    let now = look::locked_kib(pid);
    findings.check(format!("locked: {locked}, then {now} KiB"), locked == now);
    drop(stopped);
}

#[test]
fn nothing_is_left_after_a_panic_in_json() {
    (0..runs()).for_each(|number| story(Front::Json, number));
}

#[test]
fn nothing_is_left_after_a_panic_in_plain_mode() {
    (1..=runs()).for_each(|number| story(Front::Plain, number));
}

#[test]
fn nothing_is_left_after_a_panic_in_chat() {
    (0..runs()).for_each(|number| story(Front::Chat, number));
}
