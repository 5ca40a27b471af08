//! The program on a host, in JSON mode unless said otherwise.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::net::Net;
use crate::scenario::{Ended, Process, Run};

/// A line of JSON, and when it was read.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Instant,
    pub event: Value,
}

fn parse(line: String) -> Said {
    let at = Instant::now();
    let event = serde_json::from_str(&line)
        .unwrap_or_else(|error| json!({"type": "no JSON", "line": line, "why": error.to_string()}));
    Said { at, event }
}

/// Somebody to be started on a host.
pub struct Member {
    run: Run,
    environment: Vec<(String, String)>,
}

impl Member {
    pub fn named(name: &str) -> Self {
        Self {
            run: Run::named(name).doors(&[]),
            environment: Vec::new(),
        }
    }

    pub fn with(mut self, args: &[&str]) -> Self {
        self.run = self.run.with(args);
        self
    }

    /// Connected to what listens on that host.
    pub fn to(self, net: &Net, host: usize) -> Self {
        let addr = net.addr(host);
        self.with(&["-p", &addr])
    }

    /// With this in the environment of the program itself.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The path of a file in the member's place.
    pub fn path(&self, name: &str) -> String {
        self.run.place.path(name).display().to_string()
    }

    /// What starts it, in a mode that the arguments say; the member must live as long.
    pub fn command(&self, net: &Net, host: usize) -> Command {
        let mut command = net.on(host, "env");
        // Set by `env`, so that only the program sees it and not what starts it.
        command.args(
            self.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        self.run.dress(&mut command);
        command
            .arg(env!("CARGO_BIN_EXE_sesame"))
            .args(self.run.args());
        command
    }

    /// Starts it in JSON mode, and waits until it is ready.
    pub fn peer(self, net: &Net, host: usize) -> Peer {
        let process = self.with(&["--json"]).process(net, host, parse);
        let ready = process
            .expect("ready", |said| said.event["type"] == "ready")
            .event;
        Peer {
            process,
            host,
            ready,
        }
    }

    /// Starts it in plain mode.
    pub fn plain(self, net: &Net, host: usize) -> Process<String> {
        self.process(net, host, |line| line)
    }

    fn process<T>(self, net: &Net, host: usize, parse: fn(String) -> T) -> Process<T>
    where
        T: Clone + Debug + Send + 'static,
    {
        Process::start_command(&self.run, self.command(net, host), parse)
    }
}

/// A running member.
pub struct Peer {
    pub process: Process<Said>,
    host: usize,
    ready: Value,
}

impl Peer {
    pub fn id(&self) -> String {
        self.ready["id"].as_str().unwrap().to_owned()
    }

    /// The host on which it runs.
    pub fn host(&self) -> usize {
        self.host
    }

    /// Writes one object.
    pub fn send(&mut self, command: Value) {
        self.process.write(format!("{command}\n").as_bytes());
    }

    /// Says something to everybody.
    pub fn say(&mut self, text: &str) {
        self.send(json!({"type": "send", "text": text, "ref": text}));
    }

    /// Says all this, in one go.
    pub fn say_all(&mut self, texts: &[String]) {
        let line = |text: &String| {
            format!(
                "{}\n",
                json!({"type": "send", "text": text, "ref": reference(text)})
            )
        };
        let lines: String = texts.iter().map(line).collect();
        self.process.write(lines.as_bytes());
    }

    /// Takes the first event of this type that fits.
    pub fn expect(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Said {
        self.process
            .expect(kind, |said| said.event["type"] == kind && fits(&said.event))
    }

    /// Takes the first event of this type that came after this moment.
    pub fn expect_after(&self, moment: Instant, kind: &str) -> Said {
        let fits = |said: &Said| said.event["type"] == kind && said.at > moment;
        self.process.expect(kind, fits)
    }

    /// All events of this type so far.
    pub fn every(&self, kind: &str) -> Vec<Said> {
        let mut said = self.process.out.all();
        said.retain(|said| said.event["type"] == kind);
        said
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Quits; the exit status must be this.
    pub fn quits_with(&mut self, status: i32) -> Ended<Said> {
        self.send(json!({"type": "quit"}));
        self.process.ends_with(status)
    }

    /// Waits until this was heard from that peer.
    pub fn hears(&self, speaker: &Peer, text: &str) -> Said {
        self.expect("message", |event| {
            event["peer"] == speaker.id() && event["text"] == text
        })
    }

    /// Waits until the last of these texts has come from that peer; all of them must have, each
    /// once and in order, and nothing else.
    pub fn hears_all(&self, speaker: &Peer, texts: &[String]) {
        self.hears(speaker, texts.last().unwrap());
        let mut heard = self.every("message");
        heard.retain(|said| said.event["peer"] == speaker.id());
        let heard: Vec<_> = heard
            .iter()
            .map(|said| said.event["text"].as_str().unwrap())
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

    /// Waits until the last of these texts was acknowledged by those peers; all must have been,
    /// each with one last word.
    pub fn is_done_with(&self, texts: &[String], by: &[&Peer]) {
        let last = reference(texts.last().unwrap());
        self.expect("done", |event| event["ref"] == last);
        let by: BTreeSet<String> = by.iter().map(|peer| peer.id()).collect();
        let done = self.every("done");
        let refs: Vec<_> = done
            .iter()
            .map(|said| said.event["ref"].as_str().unwrap())
            .collect();
        let said: Vec<_> = texts.iter().map(|text| reference(text)).collect();
        assert_eq!(refs, said, "one last word each, in order");
        for Said { event, .. } in &done {
            let delivered = event["delivered"].as_array().unwrap();
            let delivered: BTreeSet<_> = delivered
                .iter()
                .map(|id| id.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(delivered, by, "{event}");
            assert_eq!(event["undelivered"], json!([]), "{event}");
        }
    }
}

/// What a text begins with, up to the first space: its `ref`.
fn reference(text: &str) -> String {
    text.split(' ').next().unwrap().to_owned()
}

/// Waits until both ends say that they are linked.
pub fn up(one: &Peer, other: &Peer) {
    one.expect("peer_up", |event| event["peer"] == other.id());
    other.expect("peer_up", |event| event["peer"] == one.id());
}

/// Alice on the first host and bob on the second, who dialled her; both with these arguments.
pub fn pair(net: &Net, args: &[&str]) -> (Peer, Peer) {
    let alice = Member::named("alice").with(args).peer(net, 0);
    let bob = Member::named("bob").with(args).to(net, 0).peer(net, 1);
    up(&alice, &bob);
    (alice, bob)
}

/// So many texts, told apart by their beginning, each as long as this in bytes.
pub fn texts(name: &str, count: usize, length: usize) -> Vec<String> {
    (1..=count)
        .map(|number| {
            let beginning = format!("{name}-{number} ");
            let rest = length.saturating_sub(beginning.len());
            beginning + &"x".repeat(rest)
        })
        .collect()
}
