//! Standard input, output and error, and their replacements: reading, writing and waiting.
//!
//! A pipe cannot be waited for together with anything else, nor written without the risk of a wait.
//! So a wait for input checks repeatedly whether there is some, and output to a pipe or a console
//! is handed to a thread, for which the writer waits only as long as it wants to.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED};
use zeroize::{Zeroize, Zeroizing};

use super::native::{self, Kind};
use super::polling::poll;
use super::{console_input, console_output};

/// How often it is looked whether a pipe has something, at first and at last.
const LOOK_UP: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(8)];
/// How often it is looked whether the reader of a pipe has gone.
const LOOK_FOR_HANG_UP: Duration = Duration::from_millis(50);
/// How much is written at once.
const STRIDE: usize = 64 * 1024;
/// How long a write waits for its thread before it says that nothing was taken yet.
const PATIENCE: Duration = Duration::from_millis(10);

type Shared = Arc<dyn AsHandle + Send + Sync>;

/// Whether a program can be given further streams, which it knows by their numbers.
pub const HAS_DESCRIPTORS: bool = false;

/// A stream that is read, by any number of threads.
#[derive(Clone)]
pub struct Input {
    stream: Shared,
    kind: Kind,
    /// For what may have to be waited for, and does not tell whether it does.
    reader: Option<Arc<SlowReader>>,
}

impl Input {
    /// Standard input.
    pub fn stdin() -> Self {
        // One for all streams: what a thread has read ahead is for the next reader.
        static STDIN: OnceLock<Input> = OnceLock::new();
        STDIN
            .get_or_init(|| Self::of(Arc::new(io::stdin())))
            .clone()
    }

    /// The console of this process, even where standard input is not it.
    ///
    /// # Errors
    /// If there is none.
    pub fn terminal() -> io::Result<Self> {
        let console = File::options().read(true).write(true).open("CONIN$")?;
        Ok(Self::of(Arc::new(console)))
    }

    /// [`Self::stdin`] for 0; see [`HAS_DESCRIPTORS`].
    ///
    /// # Errors
    /// For every other number.
    pub fn inherited(number: i32) -> io::Result<Self> {
        match number {
            0 => Ok(Self::stdin()),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn of(stream: Shared) -> Self {
        let kind = native::kind(stream.as_handle());
        let slow =
            kind == Kind::Pipe && native::bytes_in_pipe(stream.as_handle()).is_err_and(is_unknown);
        Self {
            reader: slow.then(Arc::default),
            stream,
            kind,
        }
    }

    /// Whether a person may be at the other end.
    pub fn is_terminal(&self) -> bool {
        self.kind == Kind::Console
    }

    /// Waits until a read would not wait, or would fail. False once the patience is over.
    pub fn wait(&self, patience: Option<Duration>) -> bool {
        if let Some(reader) = &self.reader {
            return reader.wait(&self.stream, patience);
        }
        match self.kind {
            Kind::Console => console_input::wait(self.handle(), patience),
            Kind::Pipe => poll(patience, LOOK_UP, || {
                native::bytes_in_pipe(self.stream.as_handle()).map_or(true, |there| there > 0)
            }),
            Kind::File => true,
        }
    }

    /// Reads what is there; waits if there is nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.kind == Kind::Console {
            return console_input::read(self.handle(), bytes);
        }
        match &self.reader {
            Some(reader) => reader.read(&self.stream, bytes),
            None => read_now(&self.stream, bytes),
        }
    }

    pub(super) fn handle(&self) -> BorrowedHandle<'_> {
        self.stream.as_handle()
    }
}

impl From<File> for Input {
    fn from(file: File) -> Self {
        Self::of(Arc::new(file))
    }
}

impl From<PipeReader> for Input {
    fn from(pipe: PipeReader) -> Self {
        Self::of(Arc::new(OwnedHandle::from(pipe)))
    }
}

/// A stream that is written, by any number of threads.
#[derive(Clone)]
pub struct Output {
    stream: Shared,
    kind: Kind,
    /// For what may have to be waited for.
    writer: Option<Arc<WriterHandle>>,
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

    pub(super) fn of(stream: Shared) -> Self {
        let kind = native::kind(stream.as_handle());
        let writer = (kind != Kind::File).then(Arc::default);
        Self {
            stream,
            kind,
            writer,
        }
    }

    /// Waits until nothing is being written. False once the patience is over.
    pub fn wait(&self, patience: Duration) -> bool {
        self.writer
            .as_ref()
            .is_none_or(|writer| writer.0.wait(patience))
    }

    /// Whether a write is under way, of which some may have been taken.
    pub fn is_writing(&self) -> bool {
        self.writer
            .as_ref()
            .is_some_and(|writer| writer.0.lock().busy)
    }

    /// Waits until nobody holds the other end of a pipe any more. A console and a file never hang
    /// up.
    pub fn wait_for_hang_up(&self) -> bool {
        while self.kind != Kind::Pipe {
            thread::park();
        }
        poll(None, [LOOK_FOR_HANG_UP; 2], || {
            native::is_hung_up(self.stream.as_handle())
        })
    }

    /// Writes as much as the stream takes at once.
    ///
    /// # Errors
    /// The system's. [`ErrorKind::WouldBlock`] means that the write is under way: a further call with
    /// the same bytes tells what has become of it.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(STRIDE)];
        match &self.writer {
            Some(writer) => writer.0.write(&self.stream, self.kind, bytes),
            None => write_now(&self.stream, self.kind, bytes),
        }
    }
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        Self::of(Arc::new(file))
    }
}

impl From<PipeWriter> for Output {
    fn from(pipe: PipeWriter) -> Self {
        Self::of(Arc::new(OwnedHandle::from(pipe)))
    }
}

/// Whether an error of a pipe says nothing about whether there is something to be read.
fn is_unknown(error: io::Error) -> bool {
    error.kind() != ErrorKind::BrokenPipe
}

fn read_now(stream: &Shared, bytes: &mut [u8]) -> io::Result<usize> {
    match with_file(stream.as_handle(), |mut file| file.read(bytes)) {
        // The writers of a pipe have gone.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        result => result,
    }
}

fn write_now(stream: &Shared, kind: Kind, bytes: &[u8]) -> io::Result<usize> {
    if kind == Kind::Console {
        return console_output::write(stream.as_handle(), bytes);
    }
    with_file(stream.as_handle(), |mut file| file.write(bytes)).map_err(|error| {
        /// What a pipe says that nobody reads any more, besides ERROR_BROKEN_PIPE.
        const GONE: [u32; 2] = [ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED];
        match error.raw_os_error() {
            Some(code) if GONE.contains(&code.cast_unsigned()) => ErrorKind::BrokenPipe.into(),
            _ => error,
        }
    })
}

/// One read at a time, by a thread of its own: for a socket, which is a pipe to all who ask and has no
/// answer to how much is in it, and for what stands in for a pipe in wine. What it has read when a
/// panic comes, and nobody has taken, is lost.
#[derive(Default)]
struct SlowReader {
    reading: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Default)]
struct Reading {
    /// The thread runs.
    started: bool,
    /// It reads, or is about to.
    busy: bool,
    /// What was read, and how much of it was taken; nothing at the end.
    result: Option<io::Result<Zeroizing<Vec<u8>>>>,
    taken: usize,
}

impl SlowReader {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(self: &Arc<Self>, stream: &Shared, patience: Option<Duration>) -> bool {
        self.wait_locked(stream, patience).result.is_some()
    }

    fn read(self: &Arc<Self>, stream: &Shared, bytes: &mut [u8]) -> io::Result<usize> {
        let mut reading = self.wait_locked(stream, None);
        let taken = reading.taken;
        match reading.result.take() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Err(error)) => Err(error),
            Some(Ok(read)) => {
                let left = &read[taken..];
                let len = left.len().min(bytes.len());
                bytes[..len].copy_from_slice(&left[..len]);
                // The end stays the end.
                if len < left.len() || read.is_empty() {
                    reading.taken += len;
                    reading.result = Some(Ok(read));
                }
                Ok(len)
            }
        }
    }

    fn wait_locked(
        self: &Arc<Self>,
        stream: &Shared,
        patience: Option<Duration>,
    ) -> MutexGuard<'_, Reading> {
        let mut reading = self.lock();
        if reading.result.is_none() && !reading.busy {
            if let Err(error) = self.begin(&mut reading, stream) {
                reading.result = Some(Err(error));
            }
        }
        let is_busy = |reading: &mut Reading| reading.busy;
        match patience {
            None => self
                .changed
                .wait_while(reading, is_busy)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(reading, patience, is_busy);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn begin(self: &Arc<Self>, reading: &mut Reading, stream: &Shared) -> io::Result<()> {
        if !reading.started {
            let (reader, stream) = (Arc::clone(self), Arc::clone(stream));
            let run = move || reader.run(&stream);
            thread::Builder::new().name("reader".into()).spawn(run)?;
            reading.started = true;
        }
        reading.busy = true;
        reading.taken = 0;
        self.changed.notify_all();
        Ok(())
    }

    fn run(&self, stream: &Shared) {
        let mut chunk = Zeroizing::new(vec![0; STRIDE]);
        loop {
            let reading = self.lock();
            drop(self.changed.wait_while(reading, |reading| !reading.busy));
            let result = read_now(stream, &mut chunk).map(|len| {
                let read = Zeroizing::new(chunk[..len].to_vec());
                chunk[..len].zeroize();
                read
            });
            let mut reading = self.lock();
            reading.result = Some(result);
            reading.busy = false;
            drop(reading);
            self.changed.notify_all();
        }
    }
}

/// All that write to one stream share it. The thread ends, and closes the stream, after the last.
#[derive(Default)]
struct WriterHandle(Arc<SlowWriter>);

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

/// One write at a time, by a thread of its own.
#[derive(Default)]
struct SlowWriter {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// The thread runs.
    started: bool,
    /// What is being written, or was.
    bytes: Vec<u8>,
    /// What it has to write, and whether it does.
    waits: bool,
    busy: bool,
    /// Nobody is left to write.
    is_over: bool,
    /// What became of it, until somebody asks.
    result: Option<io::Result<usize>>,
}

impl SlowWriter {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, patience: Duration) -> bool {
        let work = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(work, patience, |work| work.busy);
        let (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !work.busy
    }

    fn write(self: &Arc<Self>, stream: &Shared, kind: Kind, bytes: &[u8]) -> io::Result<usize> {
        let mut work = self.lock();
        // Somebody else's, who did not wait for it.
        let is_another = |work: &Work| !bytes.starts_with(&work.bytes);
        if work.busy && is_another(&work) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !work.busy && (work.result.is_none() || is_another(&work)) {
            self.begin(&mut work, stream, kind, bytes)?;
        }
        let waited = self
            .changed
            .wait_timeout_while(work, PATIENCE, |work| work.busy);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match work.result.take() {
            Some(result) => {
                work.bytes.zeroize();
                result
            }
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn begin(
        self: &Arc<Self>,
        work: &mut Work,
        stream: &Shared,
        kind: Kind,
        bytes: &[u8],
    ) -> io::Result<()> {
        if !work.started {
            let (writer, stream) = (Arc::clone(self), Arc::clone(stream));
            let run = move || writer.run(&stream, kind);
            thread::Builder::new().name("writer".into()).spawn(run)?;
            work.started = true;
        }
        work.bytes.zeroize();
        work.bytes.extend_from_slice(bytes);
        work.result = None;
        work.waits = true;
        work.busy = true;
        self.changed.notify_all();
        Ok(())
    }

    fn run(&self, stream: &Shared, kind: Kind) {
        loop {
            let work = self.lock();
            let is_idle = |work: &mut Work| !work.waits && !work.is_over;
            let waited = self.changed.wait_while(work, is_idle);
            let mut work = waited.unwrap_or_else(PoisonError::into_inner);
            if !work.waits {
                return;
            }
            work.waits = false;
            let bytes = Zeroizing::new(work.bytes.clone());
            drop(work);
            let result = write_now(stream, kind, &bytes);
            let mut work = self.lock();
            work.result = Some(result);
            work.busy = false;
            drop(work);
            self.changed.notify_all();
        }
    }
}

/// Reads or writes through a handle that stays open.
fn with_file<T>(handle: BorrowedHandle<'_>, run: impl FnOnce(&File) -> T) -> T {
    use std::mem::ManuallyDrop;
    use std::os::windows::io::FromRawHandle;
    // SAFETY: the handle is open while it is borrowed, and is not closed here.
    let file = ManuallyDrop::new(unsafe { File::from_raw_handle(native::raw(handle)) });
    run(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes all of it.
    fn write_all(output: &Output, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(output.wait(Duration::from_secs(60)));
            match output.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => bytes = &bytes[result.unwrap()..],
            }
        }
    }

    #[test]
    fn slow_reader_of_a_pipe_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::from(writer);
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        let sent = text.clone();
        let writing = thread::spawn(move || write_all(&output, &sent));
        let mut out = vec![0; text.len()];
        reader.read_exact(&mut out).unwrap();
        assert!(out == text, "nothing is lost, doubled or moved");
        writing.join().unwrap();
    }

    #[test]
    fn waits_end_with_bytes_with_room_and_with_a_hang_up() {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let output = Output::from(writer.try_clone().unwrap());
        assert!(!input.wait(Some(Duration::ZERO)));
        assert!(output.wait(Duration::ZERO));
        writer.write_all(b"x").unwrap();
        assert!(input.wait(None));
        let mut bytes = [0; 8];
        assert_eq!(input.read(&mut bytes).unwrap(), 1);
        drop(input);
        assert!(output.wait_for_hang_up());
        output.wait(Duration::from_secs(60));
        let error = loop {
            match output.write(b"x") {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => break result.unwrap_err(),
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn write_that_nobody_reads_is_under_way() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::from(writer);
        let much = vec![b'x'; STRIDE];
        while output.write(&much).is_ok() {}
        assert!(output.is_writing());
        assert!(!output.wait(Duration::ZERO));
        // Something else has to wait.
        let error = output.write(b"other").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let reading = thread::spawn(move || {
            let mut bytes = vec![0; STRIDE];
            while reader.read(&mut bytes).is_ok_and(|len| len > 0) {}
        });
        assert!(output.wait(Duration::from_secs(60)));
        assert!(!output.is_writing());
        drop(output);
        drop(reading);
    }

    #[test]
    fn end_of_a_pipe_stays_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        writer.write_all(b"last").unwrap();
        drop(writer);
        let mut bytes = [0; 8];
        assert!(input.wait(None));
        assert_eq!(input.read(&mut bytes).unwrap(), 4);
        for _ in 0..2 {
            assert!(input.wait(None));
            assert_eq!(input.read(&mut bytes).unwrap(), 0);
        }
    }
}
