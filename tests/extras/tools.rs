//! Commands that find the program under test as `sesame` in their PATH.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::helper::{Process, Run};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Installs the program under test below a new prefix, with `scripts/install`.
pub fn installed() -> TempDir {
    let prefix = tempfile::tempdir().unwrap();
    let output = install(&[], &[("PREFIX", prefix.path())]);
    assert!(output.status.success(), "{output:?}");
    prefix
}

/// Runs `scripts/install` for the program under test.
pub fn install(args: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(repository("scripts/install"));
    command
        .args(args)
        .env_remove("DESTDIR")
        .env_remove("PREFIX")
        .env("BINARY", env!("CARGO_BIN_EXE_sesame"))
        .envs(variables.iter().copied());
    command.output().unwrap()
}

/// PATH, with the program under test first.
pub fn path() -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_sesame")).parent().unwrap();
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = [program.to_owned()].into_iter();
    env::join_paths(folders.chain(env::split_paths(&rest))).unwrap()
}

/// A command in the environment of a run.
pub fn command(run: &Run, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    run.dress(&mut command);
    command.env("PATH", path());
    command
}

/// A program that starts others. They are all killed when it is dropped.
pub struct Family {
    pub process: Process,
}

impl Family {
    pub fn start(run: &Run, mut command: Command) -> Self {
        command.process_group(0);
        Self {
            process: Process::start(&run.place, command),
        }
    }

    /// Sends a signal to all of them, as a terminal and a service manager do.
    pub fn signal(&self, signal: Signal) {
        killpg(self.id(), signal).unwrap();
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.process.pid().try_into().unwrap())
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // All may have ended.
        let _ = killpg(self.id(), Signal::SIGKILL);
    }
}
