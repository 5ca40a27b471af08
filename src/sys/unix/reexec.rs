//! Replaces the process image: the program executes itself, the kernel drops the whole address
//! space, and the same process id continues with only what is handed over here.
#![allow(unsafe_code)]

use std::env;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use nix::libc;
use zeroize::Zeroizing;

use super::argument_list::NAME;
use super::descriptor::{checked, close_on_exec};
use crate::sys::hardening::not_ensured;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::linux::program;
use crate::sys::scrubbed_arguments::ScrubbedArguments;

pub use crate::sys::restart::{Inherited, Reserved};

/// The most bytes that can be handed over: together with their head, as many as a pipe of an
/// unprivileged user can hold.
pub const MAX_STATE: usize = (1 << 20) - 4096;

/// The environment variable that tells the new image which descriptor holds its state.
const VARIABLE: &CStr = c"SESAME_RESUME";

/// The beginning of the state. After it come the process id, the descriptor of the program (-1 if
/// there is none), the number of kept descriptors (4 bytes each), these (4 bytes each), and the
/// state's length (8 bytes).
const MAGIC: &[u8; 16] = b"sesame resumes 2";

/// The most descriptors that can be kept: listening sockets, one per address.
const MAX_KEPT: usize = 64;

/// Descriptors 0 to 2 are standard input, output and error, which stay open.
const FIRST: RawFd = 3;

/// What a panic needs, reserved before the sandbox and before connections can use up all
/// descriptors.
struct Reserve {
    /// The program; it is never closed, and every image has it under this number.
    program: Option<RawFd>,
    /// The pipe that hands over the state.
    pipe: Option<(io::PipeReader, io::PipeWriter)>,
}

static RESERVE: Mutex<Reserve> = Mutex::new(Reserve {
    program: None,
    pipe: None,
});

/// Does nothing here: a process keeps its place because its image can be replaced.
pub fn keep_place() {}

/// The arguments for the parser; `None`: this process's own.
pub(in crate::sys) fn arguments() -> Option<ScrubbedArguments> {
    None
}

/// Reserves what a panic needs. Call it in the first image, before the sandbox; later images
/// inherit it.
pub fn reserve() -> Reserved {
    let mut reserved = Reserved::default();
    let mut note = |what: &str, error: io::Error| reserved.failed.push(not_ensured(what, &error));
    let mut reserve = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
    match io::pipe() {
        Ok(pipe) => reserve.pipe = Some(pipe),
        Err(error) => note("/panic has a pipe", error),
    }
    match program::open() {
        Ok(program) => reserve.program = program,
        Err(error) => note("/panic has a copy of the program", error),
    }
    reserved.program = reserve.program;
    reserved
}

/// Replaces the process by a new image of the same program, which finds `state` (at most
/// [`MAX_STATE`]) and `listeners` with [`take`]. Standard input and output stay, the argument list
/// is bare, the environment is kept, the handled signals stay blocked. `wipe` is called when only
/// the exec itself is left to do, or when there can be none. Any thread may call this while others
/// run; all of them end.
///
/// Does not return when it succeeds.
///
/// # Errors
/// What failed. `wipe` was called then too, and descriptors may have changed: all that is left to do
/// is to exit.
pub fn restart(state: &[u8], listeners: &[TcpListener], wipe: impl FnOnce()) -> io::Error {
    let keep: Vec<RawFd> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
    let prepared = Exec::prepare(state, &keep);
    wipe();
    match prepared {
        Ok(exec) => exec.run(),
        Err(error) => error,
    }
}

/// What the previous image handed over, if there was one. Call it first thing in `main`, after
/// [`harden`](super::harden::harden) and before anything is opened. The environment shows no trace
/// of it afterwards in any case.
pub fn take() -> Option<Inherited> {
    let number = env::var_os(OsStr::from_bytes(VARIABLE.to_bytes()))?;
    clear_variable();
    let number: RawFd = number.to_str()?.parse().ok()?;
    let hand_over = HandOver::find(number)?;
    let (state, kept, program) = hand_over.read()?;
    *RESERVE.lock().unwrap_or_else(PoisonError::into_inner) = Reserve {
        program: (program >= FIRST).then_some(program),
        pipe: io::pipe().ok(),
    };
    let listeners = kept
        .into_iter()
        .filter_map(own)
        .map(TcpListener::from)
        .collect();
    rename();
    Some(Inherited { state, listeners })
}

/// Everything that an exec needs, so that only the call itself is left to do after wiping.
struct Exec {
    /// Open until the exec, which it survives.
    _hand_over: HandOver,
    program: Option<RawFd>,
    environment: Vec<CString>,
}

impl Exec {
    fn prepare(state: &[u8], keep: &[RawFd]) -> io::Result<Self> {
        let keep: Vec<RawFd> = keep
            .iter()
            .copied()
            .filter(|number| *number >= FIRST)
            .collect();
        let mut reserve = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
        let program = reserve.program;
        let pipe = reserve.pipe.take().map_or_else(io::pipe, Ok)?;
        drop(reserve);
        let hand_over = HandOver::write(pipe, state, &keep, program)?;
        let number = hand_over.0.as_raw_fd();
        let mut environment = environment();
        environment.push(CString::new(format!(
            "{}={number}",
            VARIABLE.to_string_lossy()
        ))?);
        close_on_exec_from(FIRST, program);
        for number in keep.into_iter().chain([number]) {
            close_on_exec(number, false)?;
        }
        Ok(Self {
            _hand_over: hand_over,
            program,
            environment,
        })
    }

    fn run(self) -> io::Error {
        let arguments = [NAME.as_ptr(), ptr::null()];
        let environment: Vec<*const libc::c_char> = self
            .environment
            .iter()
            .map(|entry| entry.as_ptr())
            .chain([ptr::null()])
            .collect();
        // SAFETY: both arrays hold C strings that live as long as this value, and end with a null
        // pointer.
        unsafe { program::execute(self.program, arguments.as_ptr(), environment.as_ptr()) }
    }
}

/// On systems other than Linux, the program is the file from which it was started.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod program {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    pub(super) fn open() -> io::Result<Option<RawFd>> {
        Ok(None)
    }

    /// Executes the program. Returns only if that has failed.
    ///
    /// # Safety
    /// Both are arrays of C strings that end with a null pointer.
    pub(super) unsafe fn execute(
        _program: Option<RawFd>,
        arguments: *const *const libc::c_char,
        environment: *const *const libc::c_char,
    ) -> io::Error {
        let path = match env::current_exe() {
            Ok(path) => path.into_os_string().into_vec(),
            Err(error) => return error,
        };
        let Ok(path) = CString::new(path) else {
            return io::ErrorKind::InvalidInput.into();
        };
        // SAFETY: a C string and, by the caller's promise, two arrays of them that end with a null
        // pointer; all live until the call has failed.
        unsafe {
            libc::execve(path.as_ptr(), arguments, environment);
        }
        io::Error::last_os_error()
    }
}

/// The environment without the variable of an earlier panic.
fn environment() -> Vec<CString> {
    env::vars_os()
        .filter(|(name, _)| name.as_bytes() != VARIABLE.to_bytes())
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect()
}

/// Hands over the state: the reading end of a pipe that holds all of it. The pipe is empty once it
/// has been read, and the kernel zeroes its pages before it reuses them.
struct HandOver(File);

impl HandOver {
    /// Writes everything into the pipe, or fails: it cannot be read before the exec.
    fn write(
        (reader, writer): (io::PipeReader, io::PipeWriter),
        state: &[u8],
        keep: &[RawFd],
        program: Option<RawFd>,
    ) -> io::Result<Self> {
        if state.len() > MAX_STATE || keep.len() > MAX_KEPT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too much to hand over",
            ));
        }
        let head = header(state.len(), keep, program);
        let mut writer = File::from(OwnedFd::from(writer));
        // A pipe holds 64 KiB. If it cannot be enlarged, the write below fails.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Ok(size) = libc::c_int::try_from(head.len() + state.len()) {
            // SAFETY: this operation takes an integer.
            unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, size) };
        }
        never_wait(&writer)?;
        let written = writer
            .write_all(&head)
            .and_then(|()| writer.write_all(state));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("too much to hand over through a pipe"),
            _ => error,
        })?;
        Ok(Self(File::from(OwnedFd::from(reader))))
    }

    /// Takes a descriptor, if it may be what [`write`](Self::write) has made.
    fn find(number: RawFd) -> Option<Self> {
        if number < FIRST || !is_pipe(number) {
            return None;
        }
        let file = File::from(own(number)?);
        // The writing end is closed. If it is not, this pipe is not ours, and waiting would be of
        // no use.
        never_wait(&file).ok()?;
        Some(Self(file))
    }

    /// Reads all of it.
    fn read(&self) -> Option<Content> {
        decode(&self.0, process::id())
    }
}

/// The state, the kept descriptors, and the program's.
type Content = (Zeroizing<Vec<u8>>, Vec<RawFd>, RawFd);

fn header(len: usize, keep: &[RawFd], program: Option<RawFd>) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(process::id().to_le_bytes());
    head.extend(program.unwrap_or(-1).to_le_bytes());
    head.extend((keep.len() as u32).to_le_bytes());
    head.extend(keep.iter().flat_map(|number| number.to_le_bytes()));
    head.extend((len as u64).to_le_bytes());
    head
}

/// The state and the kept descriptors; `None` unless everything is well-formed, within the limits,
/// and was written by this very process.
fn decode(mut from: impl Read, process: u32) -> Option<Content> {
    fn next<const N: usize>(from: &mut impl Read) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
    if &next(&mut from)? != MAGIC || u32::from_le_bytes(next(&mut from)?) != process {
        return None;
    }
    let program = RawFd::from_le_bytes(next(&mut from)?);
    let count = usize::try_from(u32::from_le_bytes(next(&mut from)?)).ok()?;
    if count > MAX_KEPT {
        return None;
    }
    let mut kept = Vec::with_capacity(count);
    for _ in 0..count {
        let number = RawFd::from_le_bytes(next(&mut from)?);
        if number < FIRST || kept.contains(&number) {
            return None;
        }
        kept.push(number);
    }
    let len = usize::try_from(u64::from_le_bytes(next(&mut from)?)).ok()?;
    if len > MAX_STATE {
        return None;
    }
    let mut state = Zeroizing::new(vec![0; len]);
    from.read_exact(&mut state).ok()?;
    let at_end = matches!(from.read(&mut [0]), Ok(0));
    at_end.then_some((state, kept, program))
}

/// Takes ownership of an open descriptor, which is not inherited any further then.
fn own(number: RawFd) -> Option<OwnedFd> {
    close_on_exec(number, true).ok()?;
    // SAFETY: it is open, and as `take` runs before anything else is opened, nobody else in
    // this image owns it: it was inherited, and named to us by the image before.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

fn is_pipe(number: RawFd) -> bool {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the struct, which is read only if it did.
    unsafe {
        libc::fstat(number, status.as_mut_ptr()) == 0
            && status.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

fn never_wait(file: &File) -> io::Result<()> {
    // SAFETY: these operations take integers; the descriptor is open.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        checked(flags)?;
        checked(libc::fcntl(
            file.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ))
    }
}

/// Makes every descriptor from `first` on close at the exec, except one. Those of the standard
/// library and tokio already do; this is for those that were inherited, and for other libraries.
fn close_on_exec_from(first: RawFd, but: Option<RawFd>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let close = |first: RawFd, last: libc::c_uint| {
            // SAFETY: this call takes three integers, and with this flag closes nothing now.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    first,
                    last,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            done == 0
        };
        // The sandbox refuses a range that contains that one.
        let done = match but {
            None => close(first, libc::c_uint::MAX),
            Some(but) => {
                let before = but <= first || close(first, (but - 1) as libc::c_uint);
                before && close(but + 1, libc::c_uint::MAX)
            }
        };
        if done {
            return;
        }
    }
    let listed: Option<Vec<RawFd>> = fs::read_dir("/dev/fd").ok().map(|entries| {
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    });
    let all = listed.unwrap_or_else(|| (first..1 << 16).collect());
    for number in all.into_iter().filter(|number| *number >= first) {
        if Some(number) != but {
            // A descriptor that is not open does not matter.
            let _ = close_on_exec(number, true);
        }
    }
}

/// Removes the variable, and zeroes it in the kernel's copy, which /proc/PID/environ shows.
fn clear_variable() {
    // SAFETY: called first thing in `main`: no other thread reads the environment, and it is
    // still the block that the kernel made, where `NAME=value` and its NUL lie together,
    // writable, for as long as the process lives. Once removed, nothing points there.
    unsafe {
        let value = libc::getenv(VARIABLE.as_ptr());
        if value.is_null() {
            return;
        }
        let len = libc::strlen(value);
        env::remove_var(OsStr::from_bytes(VARIABLE.to_bytes()));
        let before = VARIABLE.to_bytes().len() + 1;
        value.sub(before).write_bytes(0, before + len);
    }
}

fn rename() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: the kernel reads a C string.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: [RawFd; 2] = [7, 9];

    fn written(state: &[u8]) -> Vec<u8> {
        [&header(state.len(), &KEEP, Some(5)), state].concat()
    }

    fn hand_over(state: &[u8], keep: &[RawFd]) -> io::Result<HandOver> {
        HandOver::write(io::pipe()?, state, keep, Some(5))
    }

    #[test]
    fn handed_over_state_is_read_once() {
        let state = [0x5a; 60_000];
        let over = hand_over(&state, &KEEP).unwrap();
        assert!(is_pipe(over.0.as_raw_fd()));
        let (read, kept, program) = over.read().unwrap();
        assert_eq!(read[..], state);
        assert_eq!((&kept[..], program), (&KEEP[..], 5));
        assert!(over.read().is_none(), "nothing is left in it");
    }

    #[test]
    fn state_beyond_the_limit_is_refused() {
        assert!(hand_over(&vec![0; MAX_STATE + 1], &[]).is_err());
        assert!(hand_over(&[], &[3; MAX_KEPT + 1]).is_err());
        if cfg!(target_os = "linux") {
            let most = hand_over(&vec![1; MAX_STATE], &[3; MAX_KEPT]);
            assert!(most.is_ok());
        }
    }

    #[test]
    fn state_of_another_process_is_refused() {
        let own = process::id();
        let good = written(b"state");
        assert_eq!(decode(&good[..], own).unwrap().0[..], *b"state");
        assert!(decode(&good[..], own + 1).is_none(), "another process's");
        for len in 0..good.len() {
            assert!(decode(&good[..len], own).is_none(), "cut short");
        }
        assert!(
            decode(&[&good[..], b"x"].concat()[..], own).is_none(),
            "more than announced"
        );
        let mut wrong = good.clone();
        wrong[0] ^= 1;
        assert!(decode(&wrong[..], own).is_none(), "not ours");
        for keep in [&[0][..], &[-1], &[5, 5], &[3; MAX_KEPT + 1]] {
            assert!(
                decode(&header(0, keep, None)[..], own).is_none(),
                "{keep:?}"
            );
        }
        assert!(
            decode(&header(MAX_STATE + 1, &[], None)[..], own).is_none(),
            "too long"
        );
    }

    #[test]
    fn foreign_descriptor_is_not_touched() {
        let file = tempfile::tempfile().unwrap();
        for number in [-1, 0, 1, 2, 60_000, file.as_raw_fd()] {
            assert!(HandOver::find(number).is_none());
        }
        assert!(file.metadata().is_ok(), "still open");
    }
}
