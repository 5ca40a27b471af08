//! A run in JSON mode: a member of a mesh whose every word can be looked at.

use std::process::Command;
use std::sync::Arc;

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

fn parse(line: String) -> Value {
    serde_json::from_str(&line)
        .unwrap_or_else(|error| json!({"type": "no JSON", "line": line, "why": error.to_string()}))
}

impl Peer {
    pub fn start(run: Run) -> Self {
        let command = run.command();
        Self::start_command(&run, command)
    }

    /// Starts a command in the place of a run.
    pub fn start_command(run: &Run, command: Command) -> Self {
        let process = Process::start_command(run, command, parse);
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

    /// Says something to everybody. A short text is its own `ref`.
    pub fn say(&mut self, text: &str) {
        let mut command = json!({"type": "send", "text": text});
        if text.len() <= 64 {
            command["ref"] = json!(text);
        }
        self.send(command);
    }

    /// Takes the first event of this type that fits.
    pub fn expect(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.process
            .expect(kind, |event| event["type"] == kind && fits(event))
    }

    /// The answer to a question, which must carry its `ref`.
    pub fn ask(&mut self, kind: &str) -> Value {
        self.send(json!({"type": kind, "ref": format!("ask {kind}")}));
        self.expect(kind, |event| event["ref"] == format!("ask {kind}"))
    }

    /// The answer to a command that is wrong.
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

    /// The new identity after a panic.
    pub fn begins_anew(&mut self) {
        self.expect("panicked", |_| true);
        self.ready = self.expect("ready", |_| true);
    }

    /// Waits until everything that was read before has been dealt with.
    pub fn settles(&mut self) {
        self.ask("whoami");
    }
}

/// Waits until both ends say that they are linked.
pub fn up(one: &Peer, other: &Peer) {
    one.expect("peer_up", |event| event["peer"] == other.id());
    other.expect("peer_up", |event| event["peer"] == one.id());
}

/// Waits until a message comes in.
pub fn hears(listener: &Peer, speaker: &Peer, text: &str) -> Value {
    listener.expect("message", |event| {
        event["peer"] == speaker.id() && event["text"] == text
    })
}

/// Two members that are linked; the second dialled the first.
pub fn pair() -> (Peer, Peer) {
    let alice = Run::named("alice").peer();
    let bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    (alice, bob)
}

/// So many members of which each but the first knows the first alone, all linked to each other.
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
