//! A process that does not outlive the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::log::Item;
use super::place::Place;
use super::run::Run;
use super::seen::seen;

/// A process with pipes that the test reads and writes itself, or does not read at all. Killed when
/// dropped.
pub struct Running {
    child: Child,
    pub place: Arc<Place>,
}

impl Running {
    /// Starts a run whose stderr is ignored.
    pub fn start(run: Run) -> Self {
        Self::start_with(run, Stdio::piped(), Stdio::null())
    }

    /// Starts a run with a pipe for stderr too.
    pub fn start_all_piped(run: Run) -> Self {
        Self::start_with(run, Stdio::piped(), Stdio::piped())
    }

    /// Starts a run that writes to these.
    pub fn start_with(run: Run, stdout: Stdio, stderr: Stdio) -> Self {
        Self::spawn(&run.place, run.command(), stdout, stderr)
    }

    /// Starts a command, and keeps the place in which it may write until it has ended.
    pub fn spawn(place: &Arc<Place>, mut command: Command, stdout: Stdio, stderr: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        Self {
            child: command.spawn().unwrap(),
            place: Arc::clone(place),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// The events that it writes, read as they are asked for.
    pub fn events(&mut self) -> impl Iterator<Item = Value> + use<> {
        let lines = BufReader::new(self.stdout()).lines();
        lines.map(|line| {
            let line = line.unwrap();
            let (event, fault) = Value::read(&line);
            assert_eq!(fault, None, "in {line}");
            event
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end of the process.
    pub fn ends(&mut self) -> ExitStatus {
        seen("the end of a process", || self.ended())
    }

    /// Kills it, if it still runs.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// VmRSS, in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.unwrap().trim().trim_end_matches(" kB");
        size.parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
