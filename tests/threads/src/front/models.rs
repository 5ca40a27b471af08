//! Models of what a panic has to stop: output, and input.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::grammar::Grammar;
use super::options::FrontendOptions;
use super::unread::Unread;
use super::writer::{FREEZE_PATIENCE, Gate, WriteError, Writer};
use crate::sys::stream::{Input, Output};
use crate::virtual_time;

/// A panic shuts the gate while lines are written. Nothing is written afterwards, and whether a line
/// was cut short is known.
pub fn nothing_is_written_after_a_panic() {
    virtual_time::begin();
    let output = Output::default();
    let written = output.written.clone();
    let gate = Arc::new(Gate::new(false));
    let mut writer = Writer::new(output, Arc::clone(&gate));
    let writes = thread::spawn(move || writer.write(b"one\ntwo\n", &mut || false));
    let cut = gate.shut();
    let in_time = virtual_time::now() - virtual_time::start() < FREEZE_PATIENCE;
    let before = written.all().clone();
    let result = writes.join().unwrap();
    let after = written.all().clone();
    if in_time {
        assert_eq!(before, after, "written after the panic");
        assert_eq!(cut, !before.is_empty() && !before.ends_with(b"\n"));
    } else {
        assert!(cut, "unknown, so the cautious answer");
    }
    match result {
        Ok(()) => assert_eq!(after, b"one\ntwo\n"),
        Err(WriteError::Shut) => assert!(b"one\ntwo\n".starts_with(&after)),
        Err(_) => panic!("another error"),
    }
}

/// Input in plain mode, and a thread that reads it and returns the lines that it has parsed.
fn read(lines: &[u8]) -> (Arc<Unread>, Input, JoinHandle<Vec<u8>>) {
    virtual_time::begin();
    let input = Input::default();
    input.left.all().extend(lines);
    let unread = Arc::new(Unread::new(&FrontendOptions::default(), None));
    let (shared, source) = (Arc::clone(&unread), input.clone());
    let reads = thread::spawn(move || read_all(&shared, &source));
    (unread, input, reads)
}

/// The input thread, simplified.
fn read_all(unread: &Unread, input: &Input) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut chunk = [0; 2];
    let mut more = true;
    loop {
        while let Some(parsed) = unread.parse(&Grammar) {
            lines.extend(parsed.lines);
        }
        if unread.is_stopped() || !more {
            return lines;
        }
        more = unread.read(input, &mut chunk).unwrap();
    }
}

/// A panic from elsewhere takes the input while it is read. Each line is either parsed or handed over,
/// and nothing is read afterwards.
pub fn each_line_is_parsed_or_handed_over() {
    let (unread, input, reads) = read(b"a\nb\n");
    let taken = unread.take();
    let in_time = virtual_time::now() - virtual_time::start() < FREEZE_PATIENCE;
    let left = input.left.all().clone();
    let parsed = reads.join().unwrap();
    if in_time {
        assert_eq!(*input.left.all(), left, "read after the panic");
        assert_eq!([parsed, taken.lines, left].concat(), b"a\nb\n");
    }
}

/// The same, with a panic in the input too. What follows it is for the time afterwards.
pub fn what_follows_a_panic_is_handed_over() {
    let (unread, input, reads) = read(b"!\nb\n");
    let taken = unread.take();
    let parsed = reads.join().unwrap();
    let left = input.left.all().clone();
    assert!(
        parsed.is_empty() || parsed == b"!\n",
        "parsed behind a panic"
    );
    if virtual_time::now() - virtual_time::start() < FREEZE_PATIENCE {
        assert_eq!([parsed, taken.lines, left].concat(), b"!\nb\n");
    }
}

/// At the end of a run, the main thread looks for a panic in the input, which is still being read.
/// It is found, and its line is parsed once.
pub fn panic_is_found_at_the_end_of_a_run() {
    let (unread, input, reads) = read(b"!\nb\n");
    assert!(unread.holds_panic(&input, &Grammar));
    let parsed = reads.join().unwrap();
    assert!(
        parsed.is_empty() || parsed == b"!\n",
        "parsed behind a panic"
    );
}
