//! Writing that neither waits with a lock held nor outlives a panic.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::termios::isatty;

use super::clock;

/// A descriptor that several threads use.
pub(super) type Fd = Arc<dyn AsFd + Send + Sync>;

/// What POSIX lets a pipe take without waiting once it says that it takes something (PIPE_BUF).
const STEP: usize = 4096;
/// How much is written at once where nothing waits: into a file, or a pipe that can be asked to take
/// what it has room for.
const STRIDE: usize = 64 * 1024;
/// The same as [`STEP`] for a terminal, which promises less.
const TERMINAL_STEP: usize = 256;
/// How often a writer that waits looks up.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a blocked reader holds up the end of a run that must end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How long a panic waits for a write, or a read, that is under way.
pub(super) const FREEZE_PATIENCE: Duration = Duration::from_millis(20);
/// How long a reader of stderr holds up messages, once.
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// Through which each write goes, and which a panic shuts.
pub(super) struct Gate {
    shut: AtomicBool,
    line_open: Mutex<bool>,
}

impl Gate {
    /// Open. `line_open` tells that the last line on stdout lacks its end.
    pub fn new(line_open: bool) -> Self {
        Self {
            shut: AtomicBool::new(false),
            line_open: Mutex::new(line_open),
        }
    }

    /// Whether a panic has shut it.
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Lets nothing more through, and tells whether a line on stdout was cut short.
    pub fn shut(&self) -> bool {
        self.shut.store(true, Ordering::SeqCst);
        let deadline = clock::now() + FREEZE_PATIENCE;
        loop {
            match self.line_open.try_lock() {
                Ok(open) => return *open,
                Err(TryLockError::Poisoned(open)) => return *open.into_inner(),
                // A write that waits although the descriptor had room: it ends in mid-line, for
                // only what is larger than that room can wait.
                Err(TryLockError::WouldBlock) if clock::now() >= deadline => return true,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Why a write did not happen, or not wholly.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A panic has shut the gate.
    Shut,
    /// Nobody reads any more.
    Closed,
    /// The run is over and the reader does not read.
    GivenUp,
    /// The system says no: a full disk, for instance.
    Failed(io::Error),
}

/// How a descriptor takes bytes without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteMode {
    /// So many at most, once it says that it takes something.
    Steps(usize),
    /// A pipe: as many as it has room for, where the system knows how to ask for that.
    Room,
}

impl WriteMode {
    fn of(fd: &Fd) -> Self {
        if isatty(fd) {
            return Self::Steps(TERMINAL_STEP);
        }
        match fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Self::Steps(STRIDE),
            Ok(FileType::Fifo) => Self::Room,
            _ => Self::Steps(STEP),
        }
    }
}

/// Writes to stdout.
pub(super) struct Writer {
    fd: Fd,
    gate: Arc<Gate>,
    way: WriteMode,
}

impl Writer {
    /// A writer to `fd` through `gate`.
    pub fn new(fd: Fd, gate: Arc<Gate>) -> Self {
        let way = WriteMode::of(&fd);
        Self { fd, gate, way }
    }

    /// Writes all of it. While the reader does not read, `is_over` is asked now and then whether
    /// the run must end, and if so, the wait ends soon.
    ///
    /// # Errors
    /// Why not all of it was written.
    pub fn write(
        &mut self,
        mut bytes: &[u8],
        is_over: &mut dyn FnMut() -> bool,
    ) -> Result<(), WriteError> {
        let mut patience: Option<Instant> = None;
        while !bytes.is_empty() {
            let ready = wait_writable(&self.fd, LOOK_UP);
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
        // Looked at again under the lock: after `Gate::shut` has returned, nothing is written.
        if self.gate.is_shut() {
            return Err(WriteError::Shut);
        }
        match self.put(bytes) {
            Ok(written) => {
                if let Some(last) = bytes[..written].last() {
                    *line_open = *last != b'\n';
                }
                Ok(written)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(WriteError::Closed),
            Err(errno) => Err(WriteError::Failed(errno.into())),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> rustix::io::Result<usize> {
        if self.way == WriteMode::Room {
            match write_what_fits(&self.fd, &bytes[..bytes.len().min(STRIDE)]) {
                Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
                result @ (Ok(_) | Err(Errno::PIPE)) => return result,
                // A system that does not know how.
                Err(_) => self.way = WriteMode::Steps(STEP),
            }
        }
        let WriteMode::Steps(step) = self.way else {
            return Ok(0);
        };
        rustix::io::write(&self.fd, &bytes[..bytes.len().min(step)])
    }
}

/// Writes at most as much as there is room for, whether or not the descriptor itself may wait.
#[cfg(target_os = "linux")]
fn write_what_fits(fd: &Fd, bytes: &[u8]) -> rustix::io::Result<usize> {
    use rustix::io::ReadWriteFlags;
    // A pipe has no offset, which is said by all ones.
    let nowhere = u64::MAX;
    let bytes = [io::IoSlice::new(bytes)];
    rustix::io::pwritev2(fd, &bytes, nowhere, ReadWriteFlags::NOWAIT)
}

#[cfg(not(target_os = "linux"))]
fn write_what_fits(_: &Fd, _: &[u8]) -> rustix::io::Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Writes to stderr. What cannot be written is dropped: a parent that never reads our diagnostics
/// must not stop the messages.
pub(super) struct Diagnostics {
    fd: Fd,
    stuck: bool,
}

impl Diagnostics {
    /// To `fd`.
    pub fn new(fd: Fd) -> Self {
        Self { fd, stuck: false }
    }

    /// Writes as much as is taken.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let patience = if self.stuck {
                Duration::ZERO
            } else {
                STDERR_PATIENCE
            };
            self.stuck = !wait_writable(&self.fd, patience);
            if self.stuck {
                return;
            }
            match rustix::io::write(&self.fd, &bytes[..bytes.len().min(STEP)]) {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

/// Writes as much as is taken within some time, past every gate: for the last words of a process.
pub(super) fn write_within(fd: &dyn AsFd, mut bytes: &[u8], patience: Duration) {
    let deadline = clock::now() + patience;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(clock::now());
        if !wait_writable(fd, left) && left.is_zero() {
            return;
        }
        match rustix::io::write(fd, &bytes[..bytes.len().min(STEP)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Waits until a write would not wait, or would fail.
pub(super) fn wait_writable(fd: &dyn AsFd, patience: Duration) -> bool {
    wait(fd, PollFlags::OUT, Some(patience))
}

/// Waits until a read would not wait, or would fail.
pub(super) fn wait_readable(fd: &dyn AsFd) -> bool {
    wait(fd, PollFlags::IN, None)
}

/// The same, up to a time.
pub(super) fn wait_readable_within(fd: &dyn AsFd, patience: Duration) -> bool {
    wait(fd, PollFlags::IN, Some(patience))
}

/// Waits until nobody holds the other end of `fd` any more.
pub(super) fn wait_hang_up(fd: &dyn AsFd) -> bool {
    wait(fd, PollFlags::empty(), None)
}

fn wait(fd: &dyn AsFd, flags: PollFlags, patience: Option<Duration>) -> bool {
    let timeout = patience.and_then(|p| Timespec::try_from(p).ok());
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => false,
        // The read or write itself will tell what is wrong.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (io::PipeReader, Fd) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Arc::new(writer))
    }

    #[test]
    fn a_panic_does_not_wait_for_a_reader() {
        let (mut reader, fd) = pipe();
        let gate = Arc::new(Gate::new(false));
        let full = Arc::clone(&fd);
        let mut writer = Writer::new(fd, Arc::clone(&gate));
        let blocked = thread::spawn(move || {
            writer
                .write(&[b'x'; 1 << 20], &mut || false)
                .map_err(|e| matches!(e, WriteError::Shut))
        });
        // Until the pipe is full, and he waits.
        while wait_writable(&full, Duration::ZERO) {
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
    #[cfg(target_os = "linux")]
    fn a_pipe_takes_what_it_has_room_for_and_keeps_its_modes() {
        let (mut reader, fd) = pipe();
        let flags = rustix::fs::fcntl_getfl(&fd).unwrap();
        let mut writer = Writer::new(Arc::clone(&fd), Arc::new(Gate::new(false)));
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        let sent = text.clone();
        let writing = thread::spawn(move || {
            writer.write(&sent, &mut || false).unwrap();
            writer.way
        });
        let mut out = vec![0; text.len()];
        reader.read_exact(&mut out).unwrap();
        assert!(out == text, "nothing is lost, doubled or moved");
        assert_eq!(writing.join().unwrap(), WriteMode::Room);
        assert_eq!(rustix::fs::fcntl_getfl(&fd).unwrap(), flags);
    }

    #[test]
    fn whole_lines_leave_no_line_open() {
        let (_reader, fd) = pipe();
        let gate = Arc::new(Gate::new(true));
        let mut writer = Writer::new(fd, Arc::clone(&gate));
        writer.write(b"one\ntwo\n", &mut || false).unwrap();
        assert!(!gate.shut());
    }

    #[test]
    fn a_closed_reader_is_told_from_a_failure() {
        let (reader, fd) = pipe();
        drop(reader);
        let mut writer = Writer::new(fd, Arc::new(Gate::new(false)));
        assert!(matches!(
            writer.write(b"x", &mut || false),
            Err(WriteError::Closed)
        ));
    }

    #[test]
    fn at_the_end_of_a_run_a_reader_is_not_waited_for_without_end() {
        let (_reader, fd) = pipe();
        let mut writer = Writer::new(fd, Arc::new(Gate::new(false)));
        let result = writer.write(&[b'x'; 1 << 20], &mut || true);
        assert!(matches!(result, Err(WriteError::GivenUp)));
    }
}
