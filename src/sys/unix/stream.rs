//! Standard input, output and error, and their replacements: reading, writing and waiting.
//!
//! Other programs may share what a descriptor leads to, so its modes are not changed: none is made
//! non-blocking, and a write takes no more than fits without waiting.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

use super::descriptor;

/// How many bytes POSIX lets a pipe take without waiting once poll reports it writable (PIPE_BUF).
const STEP: usize = 4096;
/// The most bytes per write where a write does not wait: into a file, or into a pipe that can be
/// asked to take only what fits.
const STRIDE: usize = 64 * 1024;
/// Like [`STEP`], for a terminal, which promises less.
const TERMINAL_STEP: usize = 256;
/// How many signals a wait outlasts: more may come meanwhile, but not for ever.
const INTERRUPTIONS: usize = 10;

type Shared = Arc<dyn AsFd + Send + Sync>;

/// Whether the parent can open further streams for a program, which knows them by their numbers.
pub const HAS_DESCRIPTORS: bool = true;

/// A stream that is read, by any number of threads.
#[derive(Clone)]
pub struct Input(Shared);

impl Input {
    /// Standard input.
    pub fn stdin() -> Self {
        Self(Arc::new(io::stdin()))
    }

    /// The terminal of this process, even where standard input is not it.
    ///
    /// # Errors
    /// If there is none.
    pub fn terminal() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty");
        match terminal {
            Ok(terminal) => Ok(terminal.into()),
            // In a container standard input may be a terminal that is not the controlling one.
            Err(_) if io::stdin().is_terminal() => Ok(Self::stdin()),
            Err(error) => Err(error),
        }
    }

    /// The stream that the parent opened under this number; [`Self::stdin`] for 0. It can be taken
    /// once, and is closed when its last reader is dropped.
    ///
    /// # Errors
    /// The parent opened nothing there.
    pub fn inherited(number: i32) -> io::Result<Self> {
        match number {
            0 => Ok(Self::stdin()),
            _ => descriptor::adopt(number).map(Self::from),
        }
    }

    /// Whether it is a terminal, with perhaps a person at it.
    pub fn is_terminal(&self) -> bool {
        self.0.as_fd().is_terminal()
    }

    /// Waits until a read would not wait, or would fail. False after this time, or if it was
    /// interrupted.
    pub fn wait(&self, patience: Option<Duration>) -> bool {
        wait(&self.0.as_fd(), PollFlags::POLLIN, patience)
    }

    /// Reads what is there; waits if there is nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.descriptor(), bytes)?)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<File> for Input {
    fn from(file: File) -> Self {
        Self(Arc::new(file))
    }
}

impl From<PipeReader> for Input {
    fn from(pipe: PipeReader) -> Self {
        Self(Arc::new(pipe))
    }
}

/// A stream that is written, by any number of threads.
#[derive(Clone)]
pub struct Output {
    stream: Shared,
    /// The most bytes per write.
    step: usize,
    /// Whether a pipe can be asked to take only what fits; false once the system has refused that.
    takes_what_fits: Arc<AtomicBool>,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::of(Arc::new(io::stdout()))
    }

    /// Standard error.
    pub fn stderr() -> Self {
        Self::of(Arc::new(io::stderr()))
    }

    fn of(stream: Shared) -> Self {
        let kind = |kind: SFlag| {
            let mode = fstat(stream.as_fd()).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
            mode.is_ok_and(|mode| mode & SFlag::S_IFMT == kind)
        };
        let step = match () {
            () if stream.as_fd().is_terminal() => TERMINAL_STEP,
            () if kind(SFlag::S_IFREG) => STRIDE,
            () => STEP,
        };
        let takes_what_fits = Arc::new(AtomicBool::new(kind(SFlag::S_IFIFO)));
        Self {
            stream,
            step,
            takes_what_fits,
        }
    }

    /// Waits until a write would not wait, or would fail. False after this time, or if it was
    /// interrupted.
    pub fn wait(&self, patience: Duration) -> bool {
        wait(&self.stream.as_fd(), PollFlags::POLLOUT, Some(patience))
    }

    /// Whether a write is under way, of which some may have been taken: never, since all writes are
    /// over when they return.
    pub fn is_writing(&self) -> bool {
        false
    }

    /// Waits until the last reader has closed the other end. False if it was interrupted.
    pub fn wait_for_hang_up(&self) -> bool {
        wait(&self.stream.as_fd(), PollFlags::empty(), None)
    }

    /// Writes as much as the stream takes at once. After [`Self::wait`] this does not wait, unless
    /// another program has filled the stream meanwhile.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] and [`io::ErrorKind::Interrupted`] mean that
    /// nothing was taken yet.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.takes_what_fits.load(Ordering::Relaxed) {
            let most = bytes.len().min(STRIDE);
            match write_what_fits(self.stream.as_fd(), &bytes[..most]) {
                Ok(written) => return Ok(written),
                Err(error @ (Errno::EAGAIN | Errno::EINTR | Errno::EPIPE)) => {
                    return Err(error.into());
                }
                // The system cannot do this.
                Err(_) => self.takes_what_fits.store(false, Ordering::Relaxed),
            }
        }
        let most = bytes.len().min(self.step);
        Ok(nix::unistd::write(self.stream.as_fd(), &bytes[..most])?)
    }
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        Self::of(Arc::new(file))
    }
}

impl From<PipeWriter> for Output {
    fn from(pipe: PipeWriter) -> Self {
        Self::of(Arc::new(pipe))
    }
}

/// Writes at most what fits, even if the descriptor is blocking.
#[cfg(target_os = "linux")]
fn write_what_fits(stream: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    use std::os::fd::AsRawFd;

    use nix::libc;
    // A pipe has no offset; -1 stands for that.
    const NOWHERE: libc::off_t = -1;
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel reads one piece, which outlives the call, and changes nothing of it.
    let written = unsafe {
        let number = stream.as_raw_fd();
        libc::pwritev2(number, &raw const piece, 1, NOWHERE, libc::RWF_NOWAIT)
    };
    Errno::result(written).map(isize::unsigned_abs)
}

#[cfg(not(target_os = "linux"))]
fn write_what_fits(_: BorrowedFd<'_>, _: &[u8]) -> nix::Result<usize> {
    Err(Errno::EOPNOTSUPP)
}

fn wait(stream: &BorrowedFd<'_>, what: PollFlags, patience: Option<Duration>) -> bool {
    let mut asked = [PollFd::new(*stream, what)];
    wait_for_any(&mut asked, patience)
}

/// Waits until one of them is ready, or would fail.
pub(super) fn wait_for_any(asked: &mut [PollFd<'_>], patience: Option<Duration>) -> bool {
    // Rounded up, because otherwise the last fraction of a millisecond would be a busy loop.
    let millis = |time: Duration| time.as_micros().div_ceil(1000);
    let timeout = patience.map_or(PollTimeout::NONE, |time| {
        PollTimeout::try_from(millis(time)).unwrap_or(PollTimeout::MAX)
    });
    for _ in 0..INTERRUPTIONS {
        match poll(asked, timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            // The read or write itself will report the error.
            Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;

    /// Writes all of it, and counts the writes.
    fn write_all(output: &Output, mut bytes: &[u8]) -> usize {
        let mut writes = 0;
        while !bytes.is_empty() {
            if output.wait(Duration::from_secs(60)) {
                let written = match output.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    result => result.unwrap(),
                };
                bytes = &bytes[written..];
                writes += 1;
            }
        }
        writes
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_takes_what_it_has_room_for_and_keeps_its_modes() {
        use nix::fcntl::{FcntlArg, fcntl};
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::from(writer);
        let modes = || fcntl(output.stream.as_fd(), FcntlArg::F_GETFL).unwrap();
        let before = modes();
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        let (sent, writer) = (text.clone(), output.clone());
        let writing = thread::spawn(move || write_all(&writer, &sent));
        let mut out = vec![0; text.len()];
        reader.read_exact(&mut out).unwrap();
        assert!(out == text, "nothing is lost, doubled or moved");
        writing.join().unwrap();
        assert!(output.takes_what_fits.load(Ordering::Relaxed));
        assert_eq!(modes(), before);
    }

    #[test]
    fn pipe_that_cannot_be_asked_for_room_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::from(writer);
        output.takes_what_fits.store(false, Ordering::Relaxed);
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        let sent = text.clone();
        let writing = thread::spawn(move || write_all(&output, &sent));
        let mut out = vec![0; text.len()];
        reader.read_exact(&mut out).unwrap();
        assert!(out == text, "nothing is lost, doubled or moved");
        assert!(writing.join().unwrap() >= text.len() / STEP);
    }

    #[test]
    fn waits_end_with_bytes_with_room_and_with_a_hang_up() {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let output = Output::from(writer.try_clone().unwrap());
        assert!(!input.wait(Some(Duration::ZERO)));
        assert!(output.wait(Duration::ZERO));
        io::Write::write_all(&mut writer, b"x").unwrap();
        assert!(input.wait(None));
        let mut bytes = [0; 8];
        assert_eq!(input.read(&mut bytes).unwrap(), 1);
        drop(input);
        assert!(output.wait_for_hang_up());
        let error = output.write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
