//! How the program is started.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::Value;

use super::peer::Peer;
use super::place::Place;
use super::process::{Ended, Process};

/// The phrase of tests that need no special one.
pub const PHRASE: &str = "lantern crisp orbit maple";

/// A user without any rights. With root's rights, no file could be protected.
pub const NOBODY: u32 = 65_534;

/// A run to be started. By default: on the loopback interface, on a free port, in a place of its
/// own.
#[derive(Clone)]
pub struct Run {
    pub place: Arc<Place>,
    /// The program, after the commands that start it.
    words: Vec<String>,
    listen_options: Vec<String>,
    phrase: Option<PathBuf>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    as_nobody: bool,
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

impl Run {
    pub fn new() -> Self {
        let place = Arc::new(Place::new());
        Self {
            words: owned(&[env!("CARGO_BIN_EXE_sesame")]),
            listen_options: owned(&["--listen", "127.0.0.1", "--port", "0"]),
            phrase: Some(place.file("phrase", PHRASE.as_bytes())),
            place,
            args: Vec::new(),
            environment: Vec::new(),
            as_nobody: false,
        }
    }

    pub fn named(name: &str) -> Self {
        Self::new().with(&["--display-name", name])
    }

    /// With the name that an earlier run saved.
    pub fn saved_name(self, name: &str) -> Self {
        fs::create_dir_all(self.place.path("config/sesame/saved")).unwrap();
        self.place
            .file("config/sesame/saved/name", format!("{name}\n").as_bytes());
        self
    }

    /// With this phrase.
    pub fn phrase(mut self, phrase: &str) -> Self {
        self.phrase = Some(self.place.file("phrase", phrase.as_bytes()));
        self
    }

    /// With only the phrase that the arguments give.
    pub fn no_phrase(mut self) -> Self {
        self.phrase = None;
        self
    }

    /// With these arguments for listening.
    pub fn listening(mut self, listen_options: &[&str]) -> Self {
        self.listen_options = owned(listen_options);
        self
    }

    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(owned(args));
        self
    }

    /// With this peer as `--peer`.
    pub fn to(self, peer: &Peer) -> Self {
        self.dials(&peer.addr())
    }

    /// With this address as `--peer`.
    pub fn dials(self, addr: &str) -> Self {
        self.with(&["-p", addr])
    }

    /// With this in the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this program, and what starts it, in place of sesame's own.
    pub fn program_is(mut self, words: &[&str]) -> Self {
        self.words = owned(words);
        self
    }

    /// Started by this command, to which the program and its arguments are added. Of several such,
    /// the last starts the others.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.words.splice(..0, owned(words));
        self
    }

    /// Started by a shell, whose script ends with `"$@"` in the place of the program.
    pub fn under_shell(self, shell: &str, script: &str) -> Self {
        self.under(&[shell, "-c", script, shell])
    }

    /// As a copy of the program in its place, because another user may not be able to enter the
    /// folder of the program itself. If the test runs as root, the copy runs as nobody, who then
    /// owns the place.
    pub fn copied(mut self) -> Self {
        let program = self.program();
        fs::copy(env!("CARGO_BIN_EXE_sesame"), &program).unwrap();
        *self.words.last_mut().unwrap() = program.display().to_string();
        self.as_nobody = nix::unistd::geteuid().is_root();
        for path in ["", "config", "home", "tmp", "work", "phrase", "program"] {
            if self.as_nobody && self.place.path(path).exists() {
                chown(self.place.path(path), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        self
    }

    /// Where the copy of the program is.
    pub fn program(&self) -> PathBuf {
        self.place.path("program")
    }

    /// In the place of another run, and with its phrase.
    pub fn at(mut self, place: &Arc<Place>) -> Self {
        self.place = Arc::clone(place);
        self.phrase = self.phrase.map(|_| place.path("phrase"));
        self
    }

    /// The program, behind what starts it, and the arguments.
    pub fn words(&self) -> Vec<String> {
        [self.words.clone(), self.args()].concat()
    }

    /// The arguments.
    pub fn args(&self) -> Vec<String> {
        let mut args = self.listen_options.clone();
        if let Some(phrase) = &self.phrase {
            args.extend(["--phrase-file".into(), phrase.display().to_string()]);
        }
        args.extend(self.args.iter().cloned());
        args
    }

    /// The command, with an environment that leads only to its place.
    pub fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.dress(&mut command);
        if self.as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Gives a command the environment and directory of this run.
    pub fn dress(&self, command: &mut Command) {
        // The user of the tests may ignore signals, as a shell does for background jobs. SAFETY:
        // the call is allowed between fork and exec.
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
            .envs(self.environment.iter().cloned())
            .current_dir(self.place.path("work"));
    }

    /// Starts it in JSON mode, and waits until it is ready.
    pub fn peer(self) -> Peer {
        Peer::start(self.json())
    }

    /// Starts it in JSON mode.
    pub fn json(self) -> Process<Value> {
        let run = self.with(&["--json"]);
        Process::start(&run.place, run.command())
    }

    /// Starts it in plain mode.
    pub fn plain(self) -> Process {
        Process::start(&self.place, self.command())
    }

    /// Runs it in plain mode from this input to its end.
    pub fn pipe(self, input: &[u8]) -> Ended {
        let mut process = self.plain();
        process.write_all_and_close(input.to_vec());
        process.ends()
    }
}
