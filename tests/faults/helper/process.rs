//! A running process, ended with the test.

use std::fmt::Debug;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::log::Log;
use super::seen;

/// A process whose output is read all the time.
pub struct Process<T> {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Arc<Log<T>>,
    err: Arc<Log<String>>,
    _place: TempDir,
}

/// How a process ended, with all that it said.
#[derive(Debug)]
pub struct Ended<T> {
    /// The exit status; -N where signal N ended it.
    pub status: i32,
    /// The lines of stdout.
    pub out: Vec<T>,
    /// The lines of stderr.
    pub err: Vec<String>,
}

impl<T: Clone + Debug + Send + 'static> Process<T> {
    /// Starts a command, with the directory that it needs.
    pub fn start(mut command: Command, place: TempDir, parse: fn(String) -> T) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            out: Log::read(child.stdout.take().unwrap(), parse),
            err: Log::read(child.stderr.take().unwrap(), |line| line),
            child,
            _place: place,
        }
    }

    /// Writes to stdin, and leaves it open.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Writes to stdin without waiting for the program to read it, and closes it.
    pub fn write_all_and_close(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().unwrap();
        thread::spawn(move || {
            // A program that has ended reads no more.
            let _ = stdin.write_all(&bytes);
        });
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Takes the first line of stdout that fits.
    pub fn expect(&self, what: &str, fits: impl Fn(&T) -> bool) -> T {
        self.out
            .take(fits)
            .unwrap_or_else(|| self.fail(&format!("stdout: expected {what}")))
    }

    /// Takes the first line of stderr that contains this.
    pub fn told(&self, part: &str) -> String {
        self.err
            .take(|line| line.contains(part))
            .unwrap_or_else(|| self.fail(&format!("stderr: expected {part:?}")))
    }

    /// All lines of stdout so far.
    pub fn said(&self) -> Vec<T> {
        self.out.all()
    }

    /// Waits for the end of the process, and checks its exit status.
    pub fn ends_with(&mut self, expected: i32) -> Ended<T> {
        let status = seen("the end of a process", || self.child.try_wait().unwrap());
        if !self.out.ends() || !self.err.ends() {
            self.fail("its output stays open");
        }
        let signal = || -status.signal().unwrap();
        let ended = Ended {
            status: status.code().unwrap_or_else(signal),
            out: self.out.all(),
            err: self.err.all(),
        };
        if ended.status != expected {
            self.fail(&format!("ended with {}, not {expected}", ended.status));
        }
        ended
    }

    /// Fails the test, with what was said.
    fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n  stdout:\n{}  stderr:\n{}",
            self.out.tail(),
            self.err.tail()
        )
    }
}

impl<T> Drop for Process<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
