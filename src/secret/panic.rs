//! Replacing the process image: the program executes itself, the kernel drops the whole address
//! space, and the same process id goes on with nothing but what is handed over here.
#![allow(unsafe_code)]

#[cfg(unix)]
pub use unix::{adopt, replace, reserve, take};

/// The most bytes that can be handed over: with what stands before them, as many as a pipe of a user
/// without rights can hold.
pub const MAX_STATE: usize = (1 << 20) - 4096;

/// What is kept for the time when it can not be got any more.
#[derive(Debug, Default)]
pub struct Reserved {
    /// The descriptor of the program that a panic executes, open for as long as the process lives.
    pub program: Option<i32>,
    /// What is missing, one line each.
    pub failed: Vec<String>,
}

#[cfg(not(unix))]
pub use elsewhere::{replace, reserve, take};

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use zeroize::Zeroizing;

    /// Wipes the memory of keys. There is no exec here: all that is left to do is to exit.
    pub fn replace(_state: &[u8], _keep: &[i32]) -> io::Error {
        super::super::arena::wipe_all();
        io::Error::from(io::ErrorKind::Unsupported)
    }

    /// Nothing is needed here.
    pub fn reserve() -> super::Reserved {
        super::Reserved::default()
    }

    /// Nothing is ever handed over here.
    pub fn take() -> Option<Zeroizing<Vec<u8>>> {
        None
    }
}

#[cfg(unix)]
mod unix {
    use std::env;
    use std::ffi::{CStr, CString, OsStr};
    use std::fs::{self, File};
    use std::io::{self, Read, Write};
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::process;
    use std::ptr;
    use std::sync::{Mutex, PoisonError};

    use zeroize::Zeroizing;

    use super::{MAX_STATE, Reserved};
    use crate::secret::arena;

    /// The environment variable that tells the new image which descriptor holds its state.
    const VARIABLE: &CStr = c"SESAME_RESUME";

    /// The program's name in the new argument list, and of its main thread, which an exec that is not
    /// by its path would leave named `exe`, or by a number.
    const NAME: &CStr = c"sesame";

    /// What the state begins with. It is followed by the process id, the descriptor of the program
    /// (-1 if there is none), the number of kept descriptors (4 bytes each), these (4 bytes each), and
    /// the state's length (8 bytes).
    const MAGIC: &[u8; 16] = b"sesame resumes 2";

    /// The most descriptors that can be kept: listening sockets, one an address.
    const MAX_KEPT: usize = 64;

    /// Descriptors 0 to 2 are standard input and output, which stay as they are.
    const FIRST: RawFd = 3;

    /// What the old image kept open for this one, until it is adopted.
    static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

    /// What a panic needs, got before the sandbox and before anybody can use up all descriptors.
    struct Reserve {
        /// The program; it is never closed, and every image has it under this number.
        program: Option<RawFd>,
        /// The pipe that carries the state over.
        pipe: Option<(io::PipeReader, io::PipeWriter)>,
    }

    static RESERVE: Mutex<Reserve> = Mutex::new(Reserve {
        program: None,
        pipe: None,
    });

    /// Gets what a panic needs. Call it in the first image, before the sandbox; the images after it
    /// inherit it.
    pub fn reserve() -> Reserved {
        let mut reserved = Reserved::default();
        let mut note = |what: &str, error: io::Error| {
            reserved
                .failed
                .push(format!("cannot ensure that {what}: {error}"));
        };
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
    /// [`MAX_STATE`]) with [`take`] and, under the same numbers, standard input and output and the
    /// descriptors `keep`, for [`adopt`]. The argument list is bare, the environment is kept, the
    /// handled signals stay blocked. Any thread may call it while others run; all of them end.
    ///
    /// Does not return when it succeeds.
    ///
    /// # Errors
    /// What failed. The keys are gone then too, and descriptors may have changed: all that is left
    /// to do is to exit.
    pub fn replace(state: &[u8], keep: &[RawFd]) -> io::Error {
        let prepared = Exec::prepare(state, keep);
        arena::wipe_all();
        match prepared {
            Ok(exec) => exec.run(),
            Err(error) => error,
        }
    }

    /// The state that the image before this one handed over, if there was one. Call it first thing
    /// in `main`, after [`harden`](crate::secret::harden::harden) and before anything is opened. In any case the
    /// environment shows no trace of it afterwards.
    pub fn take() -> Option<Zeroizing<Vec<u8>>> {
        let number = env::var_os(OsStr::from_bytes(VARIABLE.to_bytes()))?;
        clear_variable();
        let number: RawFd = number.to_str()?.parse().ok()?;
        let hand_over = HandOver::find(number)?;
        let (state, kept, program) = hand_over.read()?;
        *RESERVE.lock().unwrap_or_else(PoisonError::into_inner) = Reserve {
            program: (program >= FIRST).then_some(program),
            pipe: io::pipe().ok(),
        };
        *KEPT.lock().unwrap_or_else(PoisonError::into_inner) =
            kept.into_iter().filter_map(own).collect();
        rename();
        Some(state)
    }

    /// A descriptor that the image before this one kept, once; it is not inherited any further.
    /// `None` for any other.
    pub fn adopt(number: RawFd) -> Option<OwnedFd> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept
            .iter()
            .position(|descriptor| descriptor.as_raw_fd() == number)?;
        Some(kept.swap_remove(at))
    }

    /// All that an exec needs, so that after wiping nothing but the call is left to do.
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
            program::execute(self.program, arguments.as_ptr(), environment.as_ptr())
        }
    }

    /// The running program. On Linux it is held open from the start, so it does not matter whether the
    /// file is replaced or deleted; elsewhere it is what stands where it was started.
    ///
    /// On Linux it is a copy that its owner may execute and not read: such an image is not dumpable
    /// from its first instant on (execve(2), and `would_dump` in the kernel). Of any other one, other
    /// processes of the same user could look at descriptors and memory, and take the state, until it
    /// has come to [`harden`](crate::secret::harden::harden).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod program {
        use super::*;

        const SELF: &str = "/proc/self/exe";

        pub(super) fn open() -> io::Result<Option<RawFd>> {
            use rustix::fs::{Mode, OFlags};
            // Where no copy can be made, an image that can be looked at for a moment is better than
            // none; it will say so.
            let program = memory::copy(SELF).map(OwnedFd::from).or_else(|_| {
                rustix::fs::open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .map_err(io::Error::from)
            })?;
            // Every image is to have it.
            close_on_exec(program.as_raw_fd(), false)?;
            Ok(Some(program.into_raw_fd()))
        }

        /// Returns only when it has failed. Both are arrays of C strings that end with a null
        /// pointer.
        pub(super) fn execute(
            program: Option<RawFd>,
            arguments: *const *const libc::c_char,
            environment: *const *const libc::c_char,
        ) -> io::Error {
            let Some(program) = program else {
                return io::Error::other("no copy of the program");
            };
            // SAFETY: C strings and, by the only caller, two arrays of them that end with a null
            // pointer; all live until the call has failed. The empty path names the descriptor.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    program,
                    c"".as_ptr(),
                    arguments,
                    environment,
                    libc::AT_EMPTY_PATH,
                );
            }
            io::Error::last_os_error()
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    mod program {
        use std::os::unix::ffi::OsStringExt;

        use super::*;

        pub(super) fn open() -> io::Result<Option<RawFd>> {
            Ok(None)
        }

        pub(super) fn execute(
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
            // SAFETY: a C string and, by the only caller, two arrays of them that end with a null
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

    /// What carries the state over: the reading end of a pipe that holds it all. It is empty once it
    /// has been read, and the kernel zeroes its pages before anybody else gets them.
    struct HandOver(File);

    impl HandOver {
        /// All of it is in the pipe, or it is an error: nobody reads it before the exec.
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
            // A pipe holds 64 KiB; where this is not possible, the writing below finds out.
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
                io::ErrorKind::WouldBlock => {
                    io::Error::other("too much to hand over through a pipe")
                }
                _ => error,
            })?;
            Ok(Self(File::from(OwnedFd::from(reader))))
        }

        /// Takes hold of a descriptor, if it can be what [`write`](Self::write) makes.
        fn find(number: RawFd) -> Option<Self> {
            if number < FIRST || !is_pipe(number) {
                return None;
            }
            let file = File::from(own(number)?);
            // The writing end is closed; should it not be, this is not ours, and waiting is no use.
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

    /// The state and the kept descriptors; `None` unless all is well-formed, within the limits,
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

    /// Takes ownership of an open descriptor, which is then not inherited any further.
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

    fn close_on_exec(number: RawFd, yes: bool) -> io::Result<()> {
        let flag = if yes { libc::FD_CLOEXEC } else { 0 };
        // SAFETY: this operation takes an integer, and changes nothing in this image.
        checked(unsafe { libc::fcntl(number, libc::F_SETFD, flag) })
    }

    /// Lets no descriptor from `first` on survive the exec but one. What the standard library and
    /// tokio open is so from the start; this is for those that were inherited, and for other libraries.
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
            // The sandbox refuses a range with that one in it.
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
                // One that is not open is no matter.
                let _ = close_on_exec(number, true);
            }
        }
    }

    fn checked(code: libc::c_int) -> io::Result<()> {
        if code == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Removes the variable, and zeroes it where the kernel put it, which /proc/PID/environ shows.
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

    /// Files without a name, in memory.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod memory {
        use std::fs::{File, Permissions};
        use std::io;
        use std::os::fd::{AsRawFd, FromRawFd, RawFd};
        use std::os::unix::fs::PermissionsExt;

        use rustix::process::{Resource, getrlimit};

        use super::NAME;

        /// What it holds is final.
        const SEALS: libc::c_int =
            libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

        /// What the copy of a program may be used for: by its owner as by all others, to be
        /// executed. Who owns it could change that, but has no way to it: the descriptor and
        /// /proc/PID/exe are behind the process that is not dumpable.
        const EXECUTE_ALONE: u32 = 0o111;

        /// A copy of a program that can be executed, and neither read nor written.
        pub(super) fn copy(program: &str) -> io::Result<File> {
            let mut from = File::open(program)?;
            // The kernel would end this process where a limit on the size of files is passed.
            let limit = getrlimit(Resource::Fsize).current;
            if limit
                .is_some_and(|limit| limit < from.metadata().map_or(u64::MAX, |meta| meta.len()))
            {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            // Kernels from 6.3 on may insist on being told whether a file is to be executed, older
            // ones do not know that flag.
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            let number = match create(flags | libc::MFD_EXEC) {
                -1 => create(flags),
                number => number,
            };
            super::checked(number)?;
            // SAFETY: just opened, and owned by nobody else.
            let mut copy = unsafe { File::from_raw_fd(number) };
            io::copy(&mut from, &mut copy)?;
            copy.set_permissions(Permissions::from_mode(EXECUTE_ALONE))?;
            // SAFETY: this operation takes an integer.
            super::checked(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })?;
            Ok(copy)
        }

        fn create(flags: libc::c_uint) -> RawFd {
            // SAFETY: the kernel reads a C string.
            unsafe { libc::memfd_create(NAME.as_ptr(), flags) }
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
        fn what_is_handed_over_is_read_back_once() {
            let state = [0x5a; 60_000];
            let over = hand_over(&state, &KEEP).unwrap();
            assert!(is_pipe(over.0.as_raw_fd()));
            let (read, kept, program) = over.read().unwrap();
            assert_eq!(read[..], state);
            assert_eq!((&kept[..], program), (&KEEP[..], 5));
            assert!(over.read().is_none(), "nothing is left in it");
        }

        #[test]
        fn too_much_is_refused() {
            assert!(hand_over(&vec![0; MAX_STATE + 1], &[]).is_err());
            assert!(hand_over(&[], &[3; MAX_KEPT + 1]).is_err());
            if cfg!(target_os = "linux") {
                let most = hand_over(&vec![1; MAX_STATE], &[3; MAX_KEPT]);
                assert!(most.is_ok());
            }
        }

        #[test]
        fn anything_but_the_own_state_is_nothing() {
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
        fn a_descriptor_that_is_not_ours_is_left_alone() {
            let file = tempfile::tempfile().unwrap();
            for number in [-1, 0, 1, 2, 60_000, file.as_raw_fd()] {
                assert!(HandOver::find(number).is_none());
            }
            assert!(file.metadata().is_ok(), "still open");
            assert!(adopt(file.as_raw_fd()).is_none());
        }
    }
}
