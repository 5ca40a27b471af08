//! The private Tor network, and what runs in it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::helper::{Place, Process, Run, has, seen, skip};

/// The address of a member that does not use Tor.
pub const OUTSIDE: &str = "11.99.0.1";

/// The network; gone when dropped.
pub struct Lab {
    process: Process,
    folder: PathBuf,
}

/// A client of the network, with a control port.
#[derive(Clone, Copy)]
pub enum Client {
    /// With a control socket and a cookie.
    One,
    /// With a port and a password.
    Two,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }
}

impl Lab {
    /// Makes the network, and waits until it can be used; `None`, and a line about it, if it cannot
    /// be made here.
    pub fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("a private Tor network needs root, for a network namespace");
            return None;
        }
        let tools = [
            ("tor", "--version", "tor"),
            ("nsenter", "--version", "util-linux"),
            ("ip", "-V", "iproute2"),
        ];
        for (tool, version, package) in tools {
            if !has(tool, version) {
                skip(&format!(
                    "a private Tor network needs the package {package}"
                ));
                return None;
            }
        }
        let place = Arc::new(Place::new());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tor-lab");
        let mut command = Command::new(script);
        command.env("TMPDIR", place.path("tmp"));
        let process: Process = Process::start(&place, command);
        let ready = process.expect("ready", |line| line.starts_with("ready "));
        let folder = ready.strip_prefix("ready ").unwrap().into();
        Some(Self { process, folder })
    }

    /// The namespace of the network.
    pub fn space(&self) -> Space {
        let path = format!("/proc/{}/ns/net", self.process.pid());
        Space(File::open(path).unwrap())
    }

    /// A command that runs in the network.
    pub fn inside(&self) -> Vec<String> {
        let space = format!("--net=/proc/{}/ns/net", self.process.pid());
        vec!["nsenter".into(), space, "--".into()]
    }

    /// A run in the network, with this name.
    pub fn run(&self, name: &str) -> Run {
        let inside = self.inside();
        let words: Vec<_> = inside.iter().map(String::as_str).collect();
        Run::named(name).listening(&["--port", "0"]).under(&words)
    }

    /// The value of `--onion` for a client.
    pub fn control(&self, client: Client) -> String {
        match client {
            Client::One => self.folder.join("one/control").display().to_string(),
            Client::Two => ":lab@127.0.0.1:9152".into(),
        }
    }

    /// A file of the network.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Restarts a client, and waits until the old process has ended.
    pub fn restart(&self, client: Client) {
        let order = self.folder.join(client.name()).join("restart");
        fs::write(&order, "").unwrap();
        seen("the end of the old tor", || (!order.exists()).then_some(()));
    }

    /// Whether somebody listens at this port in the network.
    pub fn listens(&self, port: u16) -> bool {
        let words = self.inside();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["ss", "-Hlnt"]);
        let output = command.stderr(Stdio::null()).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        listed
            .lines()
            .any(|line| line.contains(&format!(":{port} ")))
    }
}

/// A network namespace.
pub struct Space(File);

impl Space {
    /// Moves this thread, and those that it starts, into it.
    pub fn enter(&self) {
        // SAFETY: the call changes nothing but this thread's network.
        let done = unsafe { nix::libc::setns(self.0.as_raw_fd(), nix::libc::CLONE_NEWNET) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}
