//! Writing that neither waits with a lock held nor outlives a panic.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use crate::sys::stream::Output;

/// How often a waiting writer checks for the end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a blocked reader delays the end of a run.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How long a panic waits for a write or a read under way.
pub(super) const FREEZE_PATIENCE: Duration = Duration::from_millis(20);
/// How long a reader of stderr delays messages, once.
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// Each write passes through this, and a panic shuts it.
pub(super) struct Gate {
    shut: AtomicBool,
    line_open: Mutex<bool>,
}

impl Gate {
    /// Open. `line_open`: the last line on stdout has no end yet.
    pub(super) fn new(line_open: bool) -> Self {
        Self {
            shut: AtomicBool::new(false),
            line_open: Mutex::new(line_open),
        }
    }

    /// Whether a panic has shut it.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Lets no more writes through, and returns whether a line on stdout was cut short.
    pub(super) fn shut(&self) -> bool {
        self.shut.store(true, Ordering::SeqCst);
        let deadline = clock::now() + FREEZE_PATIENCE;
        loop {
            match self.line_open.try_lock() {
                Ok(open) => return *open,
                Err(TryLockError::Poisoned(open)) => return *open.into_inner(),
                // A write that waits although the descriptor had room ends in mid-line, because
                // only a write larger than that room can wait.
                Err(TryLockError::WouldBlock) if clock::now() >= deadline => return true,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Why a write was not made, or not completely.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A panic has shut the gate.
    Shut,
    /// The reader has closed the other end.
    Closed,
    /// The run is over and the reader does not read.
    GivenUp,
    /// The system refused: a full disk, for instance.
    Failed(io::Error),
}

/// Writes to stdout.
pub(super) struct Writer {
    output: Output,
    gate: Arc<Gate>,
}

impl Writer {
    /// Writes to `output` through `gate`.
    pub(super) fn new(output: Output, gate: Arc<Gate>) -> Self {
        Self { output, gate }
    }

    /// Writes all of it. If the reader does not read, asks `is_over` repeatedly whether the run
    /// must end, and if so, stops waiting soon.
    ///
    /// # Errors
    /// Why not all of it was written.
    pub(super) fn write(
        &mut self,
        mut bytes: &[u8],
        is_over: &mut dyn FnMut() -> bool,
    ) -> Result<(), WriteError> {
        let mut patience: Option<Instant> = None;
        while !bytes.is_empty() {
            let ready = self.output.wait(LOOK_UP);
            if self.gate.is_shut() {
                return Err(WriteError::Shut);
            }
            if !ready {
                if is_over() {
                    let now = clock::now();
                    if now >= *patience.get_or_insert(now + LAST_PATIENCE) {
                        return Err(WriteError::GivenUp);
                    }
                }
                continue;
            }
            let written = self.step(bytes)?;
            bytes = &bytes[written..];
            patience = None;
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        let gate = Arc::clone(&self.gate);
        let mut line_open = gate
            .line_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Checked again under the lock: after `Gate::shut` has returned, nothing is written.
        if self.gate.is_shut() {
            return Err(WriteError::Shut);
        }
        match self.output.write(bytes) {
            Ok(written) => {
                if let Some(last) = bytes[..written].last() {
                    *line_open = *last != b'\n';
                }
                Ok(written)
            }
            Err(error) if may_be_tried_again(&error) => {
                // A panic now cuts what is under way.
                *line_open |= self.output.is_writing();
                Ok(0)
            }
            Err(error) => match error.kind() {
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Err(WriteError::Closed),
                _ => Err(WriteError::Failed(error)),
            },
        }
    }
}

/// Writes to stderr. What cannot be written is dropped: a parent that never reads our diagnostics
/// must not stop the messages.
pub(super) struct Diagnostics {
    output: Output,
    stuck: bool,
}

impl Diagnostics {
    /// Writes to `output`.
    pub(super) fn new(output: Output) -> Self {
        let stuck = false;
        Self { output, stuck }
    }

    /// Writes as much as the reader takes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let patience = if self.stuck {
                Duration::ZERO
            } else {
                STDERR_PATIENCE
            };
            self.stuck = !self.output.wait(patience);
            if self.stuck {
                return;
            }
            match self.output.write(bytes) {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                Err(error) if may_be_tried_again(&error) => {}
                _ => return,
            }
        }
    }
}

/// Writes as much as the reader takes within some time, past the gate: for the last output of a
/// process.
pub(super) fn write_within(output: &Output, mut bytes: &[u8], patience: Duration) {
    let deadline = clock::now() + patience;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(clock::now());
        if !output.wait(left) && left.is_zero() {
            return;
        }
        match output.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if may_be_tried_again(&error) => {}
            Err(_) => return,
        }
    }
}

/// Whether no byte was read or written yet.
pub(super) fn may_be_tried_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (io::PipeReader, Output) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, writer.into())
    }

    #[test]
    fn a_panic_does_not_wait_for_a_reader() {
        let (mut reader, output) = pipe();
        let gate = Arc::new(Gate::new(false));
        let full = output.clone();
        let mut writer = Writer::new(output, Arc::clone(&gate));
        let blocked = thread::spawn(move || {
            writer
                .write(&[b'x'; 1 << 20], &mut || false)
                .map_err(|e| matches!(e, WriteError::Shut))
        });
        // Until the pipe is full, and the writer waits.
        while full.wait(Duration::ZERO) {
            thread::yield_now();
        }
        drop(full);
        assert!(gate.shut(), "the line was cut short");
        assert_eq!(blocked.join().unwrap(), Err(true));
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert!(out.len() < 1 << 20);
    }

    #[test]
    fn whole_lines_leave_no_line_open() {
        let (_reader, output) = pipe();
        let gate = Arc::new(Gate::new(true));
        let mut writer = Writer::new(output, Arc::clone(&gate));
        writer.write(b"one\ntwo\n", &mut || false).unwrap();
        assert!(!gate.shut());
    }

    #[test]
    fn a_closed_reader_is_told_from_a_failure() {
        let (reader, output) = pipe();
        drop(reader);
        let mut writer = Writer::new(output, Arc::new(Gate::new(false)));
        assert!(matches!(
            writer.write(b"x", &mut || false),
            Err(WriteError::Closed)
        ));
    }

    #[test]
    fn at_the_end_of_a_run_a_reader_is_not_waited_for_without_end() {
        let (_reader, output) = pipe();
        let mut writer = Writer::new(output, Arc::new(Gate::new(false)));
        let result = writer.write(&[b'x'; 1 << 20], &mut || true);
        assert!(matches!(result, Err(WriteError::GivenUp)));
    }
}
