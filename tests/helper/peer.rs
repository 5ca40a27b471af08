//! A run in JSON mode: a member of a mesh with all of its events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::place::Place;
use super::process::{Ended, Process};
use super::run::Run;

/// A running member.
pub struct Peer {
    pub process: Process<Value>,
    ready: Value,
}

impl Peer {
    /// Waits until it is ready.
    pub fn start(process: Process<Value>) -> Self {
        let ready = process.expect("ready", |event| event["type"] == "ready");
        Self { process, ready }
    }

    /// Where it may write.
    pub fn place(&self) -> Arc<Place> {
        Arc::clone(&self.process.place)
    }

    /// Every address that it listens on.
    pub fn listens(&self) -> Vec<String> {
        let listen = self.ready["listen"].as_array().unwrap();
        listen
            .iter()
            .map(|addr| addr.as_str().unwrap().to_owned())
            .collect()
    }

    /// The first address that it listens on.
    pub fn addr(&self) -> String {
        self.listens().remove(0)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub fn id(&self) -> String {
        self.ready["id"].as_str().unwrap().to_owned()
    }

    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Writes one object.
    pub fn send(&mut self, command: Value) {
        self.process.write(format!("{command}\n").as_bytes());
    }

    /// Sends a text to all. A short text is its own `ref`.
    pub fn say(&mut self, text: &str) {
        let mut command = json!({"type": "send", "text": text});
        if text.len() <= 64 {
            command["ref"] = json!(text);
        }
        self.send(command);
    }

    /// Sends all these texts at once. The beginning of each text, up to the first space, is its
    /// `ref`.
    pub fn say_all(&mut self, texts: &[String]) {
        let line = |text: &String| {
            let command = json!({"type": "send", "text": text, "ref": reference(text)});
            format!("{command}\n")
        };
        let lines: String = texts.iter().map(line).collect();
        self.process.write(lines.as_bytes());
    }

    /// Takes the first event of this type that fits.
    pub fn expect(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.process
            .expect(kind, |event| event["type"] == kind && fits(event))
    }

    /// The same, of the events that were read after this moment, with the moment of the event.
    pub fn expect_after(&self, moment: Instant, kind: &str) -> (Instant, Value) {
        let fits = |at, event: &Value| event["type"] == kind && at > moment;
        let found = self.process.out.take_dated(fits);
        found.unwrap_or_else(|| self.process.fail(&format!("stdout: expected {kind}")))
    }

    /// The answer to a question, which must carry its `ref`.
    pub fn ask(&mut self, kind: &str) -> Value {
        self.send(json!({"type": kind, "ref": format!("ask {kind}")}));
        self.expect(kind, |event| event["ref"] == format!("ask {kind}"))
    }

    /// The entry of another peer in the answer to `peers`.
    pub fn entry_of(&mut self, other: &Self) -> Value {
        let answer = self.ask("peers");
        let all = answer["peers"].as_array().unwrap();
        let entry = all.iter().find(|entry| entry["peer"] == other.id());
        entry.unwrap().clone()
    }

    /// The six words that this one shows for its link with another.
    pub fn words_with(&mut self, other: &Self) -> Value {
        self.send(json!({"type": "verify", "peer": other.id()}));
        self.expect("verify", |event| event["peer"] == other.id())["sas"].clone()
    }

    /// The error for a wrong command.
    pub fn refused(&mut self, line: &str) -> Value {
        self.process.write(format!("{line}\n").as_bytes());
        self.expect("error", |_| true)
    }

    /// All events of this type so far.
    pub fn every(&self, kind: &str) -> Vec<Value> {
        let mut events = self.process.out.all();
        events.retain(|event| event["type"] == kind);
        events
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn quit(&mut self) -> Ended<Value> {
        self.send(json!({"type": "quit"}));
        self.process.ends()
    }

    /// Quits; the exit status must be this.
    pub fn quits_with(&mut self, status: i32) -> Ended<Value> {
        self.send(json!({"type": "quit"}));
        self.process.ends_with(status)
    }

    /// Waits until this message has come from that peer.
    pub fn hears(&self, speaker: &Self, text: &str) -> Value {
        self.expect("message", |event| {
            event["peer"] == speaker.id() && event["text"] == text
        })
    }

    /// Waits until the last of these texts has come from that peer. All of them must have come,
    /// each once and in order, and no other.
    pub fn hears_all(&self, speaker: &Self, texts: &[String]) {
        self.hears(speaker, texts.last().unwrap());
        let mut heard = self.every("message");
        heard.retain(|event| event["peer"] == speaker.id());
        let heard: Vec<_> = heard
            .iter()
            .map(|event| event["text"].as_str().unwrap())
            .collect();
        if heard != texts {
            let at = heard
                .iter()
                .zip(texts)
                .position(|(heard, text)| heard != text);
            panic!(
                "{} heard, {} said; the first that differs: {at:?}",
                heard.len(),
                texts.len()
            );
        }
    }

    /// Waits until the last of these texts was acknowledged by those peers. All of them must have
    /// been, each with one final event.
    pub fn is_done_with(&self, texts: &[String], by: &[&Self]) {
        let last = reference(texts.last().unwrap());
        self.expect("done", |event| event["ref"] == last);
        let by: BTreeSet<String> = by.iter().map(|peer| peer.id()).collect();
        let done = self.every("done");
        let refs: Vec<_> = done
            .iter()
            .map(|event| event["ref"].as_str().unwrap())
            .collect();
        let said: Vec<_> = texts.iter().map(|text| reference(text)).collect();
        assert_eq!(refs, said, "one last word each, in order");
        for event in &done {
            let delivered = event["delivered"].as_array().unwrap();
            let delivered: BTreeSet<_> = delivered
                .iter()
                .map(|id| id.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(delivered, by, "{event}");
            assert_eq!(event["undelivered"], json!([]), "{event}");
        }
    }

    /// The new identity after a panic.
    pub fn begins_anew(&mut self) {
        self.expect("panicked", |_| true);
        self.ready = self.expect("ready", |_| true);
    }

    /// Waits until all earlier input has been handled.
    pub fn settles(&mut self) {
        self.ask("whoami");
    }
}

fn reference(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

/// Waits until both ends report their link.
pub fn up(one: &Peer, other: &Peer) {
    one.expect("peer_up", |event| event["peer"] == other.id());
    other.expect("peer_up", |event| event["peer"] == one.id());
}

/// Two members that are linked; the second dialled the first.
pub fn pair() -> (Peer, Peer) {
    let alice = Run::named("alice").peer();
    let bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    (alice, bob)
}

/// Members with these names, all linked to each other. Each was started with the address of the
/// first only.
pub fn mesh(names: &[&str]) -> Vec<Peer> {
    let first = Run::named(names[0]).peer();
    let mut all = vec![first];
    for name in &names[1..] {
        all.push(Run::named(name).to(&all[0]).peer());
    }
    for (number, one) in all.iter().enumerate() {
        for other in &all[..number] {
            up(one, other);
        }
    }
    all
}
