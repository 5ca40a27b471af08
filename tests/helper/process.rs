//! A running process whose output is read continuously.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::Signal;

use super::log::{Item, Log};
use super::place::Place;
use super::running::Running;
use super::seen::look_for;

/// A process, with its lines as text or as events; ended with the test.
pub struct Process<T: Item = String> {
    child: Running,
    pub place: Arc<Place>,
    stdin: Option<ChildStdin>,
    /// What it writes on stdout.
    pub out: Arc<Log<T>>,
    /// What it writes on stderr.
    pub err: Arc<Log<String>>,
}

/// The end of a process, with all of its output.
#[derive(Debug)]
pub struct Ended<T = String> {
    /// The exit status as in a shell: 128+N if signal N ended it.
    pub status: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The lines of stdout.
    pub out: Vec<T>,
    /// The lines of stderr.
    pub err: Vec<String>,
}

impl<T: Item> Process<T> {
    /// Starts a command that may write in this place.
    pub fn start(place: &Arc<Place>, command: Command) -> Self {
        let mut child = Running::spawn(place, command, Stdio::piped(), Stdio::piped());
        Self {
            stdin: Some(child.stdin()),
            out: Log::read(child.stdout()),
            err: Log::read(child.stderr()),
            child,
            place: Arc::clone(place),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Writes to stdin.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Writes to stdin in the background. The test then counts stdin as closed; it is closed once
    /// all is written.
    pub fn write_all_and_close(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().expect("stdin is open");
        thread::spawn(move || {
            // A program that has ended reads no more.
            let _ = stdin.write_all(&bytes);
        });
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
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

    /// Waits for the end of the process.
    pub fn ends(&mut self) -> Ended<T> {
        let Some(status) = look_for(|| self.child.ended()) else {
            self.fail("it does not end")
        };
        if !self.out.ends() || !self.err.ends() {
            self.fail("its output stays open");
        }
        let signal = status.signal();
        let by_signal = || 128 + signal.unwrap();
        Ended {
            status: status.code().unwrap_or_else(by_signal),
            signal,
            out: self.out.all(),
            err: self.err.all(),
        }
    }

    /// Waits for the end, and checks the exit status.
    pub fn ends_with(&mut self, status: i32) -> Ended<T> {
        let ended = self.ends();
        if ended.status != status {
            self.fail(&format!("ended with {}, not {status}", ended.status));
        }
        ended
    }

    /// Fails the test, with the output so far.
    pub fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n  stdout:\n{}  stderr:\n{}",
            self.out.tail(),
            self.err.tail()
        )
    }
}

impl<T: Item> Drop for Process<T> {
    /// Output that the test did not wait for must be valid under the schema too.
    fn drop(&mut self) {
        self.child.kill();
        if !thread::panicking() {
            self.out.ends();
        }
    }
}
