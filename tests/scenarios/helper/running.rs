//! A process that does not outlive the test.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Killed when dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts a command that is written to and read by hand, and whose stderr does not count.
    pub fn start(command: Command) -> Self {
        Self::start_with_stderr(command, Stdio::null())
    }

    /// The same, with a pipe for stderr too.
    pub fn start_all_piped(command: Command) -> Self {
        Self::start_with_stderr(command, Stdio::piped())
    }

    fn start_with_stderr(mut command: Command, stderr: Stdio) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        Self(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// VmRSS, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.unwrap().trim().trim_end_matches(" kB");
        size.parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
