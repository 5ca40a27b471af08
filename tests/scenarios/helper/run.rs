//! How the program is started.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::{SigHandler, Signal, signal};

use super::peer::Peer;
use super::place::Place;
use super::process::{Ended, Process};

/// The phrase of a test that needs no other.
pub const PHRASE: &str = "lantern crisp orbit maple";

/// Who has no rights beyond its own. With root's, nothing could be kept from anybody.
pub const NOBODY: u32 = 65_534;

/// A run to be started. As long as nothing else is said: on the loopback interface, on a free port,
/// in a place of its own.
#[derive(Clone)]
pub struct Run {
    pub place: Arc<Place>,
    phrase: Option<PathBuf>,
    doors: Vec<String>,
    args: Vec<String>,
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

impl Run {
    pub fn new() -> Self {
        let place = Arc::new(Place::new());
        Self {
            phrase: Some(place.file("phrase", PHRASE.as_bytes())),
            place,
            doors: owned(&["--listen", "127.0.0.1", "--port", "0"]),
            args: Vec::new(),
        }
    }

    pub fn named(name: &str) -> Self {
        Self::new().with(&["--display-name", name])
    }

    /// With the name that an earlier run saved.
    pub fn saved_name(self, name: &str) -> Self {
        fs::create_dir_all(self.place.path("config/sesame")).unwrap();
        self.place
            .file("config/sesame/name", format!("{name}\n").as_bytes());
        self
    }

    /// With this phrase.
    pub fn phrase(mut self, phrase: &str) -> Self {
        self.phrase = Some(self.place.file("phrase", phrase.as_bytes()));
        self
    }

    /// With no phrase but what the arguments say.
    pub fn no_phrase(mut self) -> Self {
        self.phrase = None;
        self
    }

    /// With these arguments for listening.
    pub fn doors(mut self, doors: &[&str]) -> Self {
        self.doors = owned(doors);
        self
    }

    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(owned(args));
        self
    }

    /// Connected to this peer.
    pub fn to(self, peer: &Peer) -> Self {
        let addr = peer.addr();
        self.with(&["-p", &addr])
    }

    /// In the place of another run, and with its phrase.
    pub fn at(mut self, place: &Arc<Place>) -> Self {
        self.place = Arc::clone(place);
        self.phrase = self.phrase.map(|_| place.path("phrase"));
        self
    }

    /// The arguments.
    pub fn args(&self) -> Vec<String> {
        let mut args = self.doors.clone();
        if let Some(phrase) = &self.phrase {
            args.extend(["--phrase-file".into(), phrase.display().to_string()]);
        }
        args.extend(self.args.iter().cloned());
        args
    }

    /// The command, with an environment that leads nowhere but to its place.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sesame"));
        self.dress(&mut command);
        command.args(self.args());
        command
    }

    /// A copy of the program in the run's place. Another user may not be able to enter the folder of
    /// the program itself.
    pub fn copy_of_program(&self) -> PathBuf {
        let program = self.place.path("program");
        fs::copy(env!("CARGO_BIN_EXE_sesame"), &program).unwrap();
        program
    }

    /// A copy of the program in the run's place, and the command that starts it there, as nobody
    /// where the test is root.
    pub fn copied(&self) -> (PathBuf, Command) {
        let program = self.copy_of_program();
        let mut command = Command::new(&program);
        self.dress(&mut command);
        command.args(self.args());
        self.as_nobody(&mut command);
        (program, command)
    }

    /// Has a command run as nobody, to whom the place then belongs, where the test is root.
    pub fn as_nobody(&self, command: &mut Command) {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for path in ["", "config", "home", "tmp", "work", "phrase", "program"] {
            // Not each run has each of them.
            let _ = chown(self.place.path(path), Some(NOBODY), Some(NOBODY));
        }
        command.uid(NOBODY).gid(NOBODY);
    }

    /// Gives a command the environment and directory of this run.
    pub fn dress(&self, command: &mut Command) {
        // Whoever runs the tests may ignore signals, as a shell does for what runs beside it.
        // SAFETY: the call is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                for end in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
                    signal(end, SigHandler::SigDfl)?;
                }
                Ok(())
            });
        }
        command
            .env("XDG_CONFIG_HOME", self.place.path("config"))
            .env("HOME", self.place.path("home"))
            .env("TMPDIR", self.place.path("tmp"))
            .env_remove("SESAME_LOG")
            .env_remove("NO_COLOR")
            .current_dir(self.place.path("work"));
    }

    /// Starts it in JSON mode, and waits until it is ready.
    pub fn peer(self) -> Peer {
        Peer::start(self.with(&["--json"]))
    }

    /// Starts it in plain mode.
    pub fn plain(self) -> Process {
        Process::start(&self, |line| line)
    }

    /// Runs it in plain mode from this input to its end.
    pub fn pipe(self, input: &[u8]) -> Ended {
        let mut process = self.plain();
        process.write_all_and_close(input.to_vec());
        process.ends()
    }
}
