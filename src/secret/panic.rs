//! Replacing the process image: the program executes itself, the kernel drops the whole address
//! space, and the same process id goes on with nothing but what is handed over here.
#![allow(unsafe_code)]

#[cfg(unix)]
pub use unix::{adopt, replace, take};

/// The most bytes that can be handed over.
pub const MAX_STATE: usize = 4 << 20;

#[cfg(not(unix))]
pub use elsewhere::{replace, take};

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use zeroize::Zeroizing;

    /// Wipes the memory of keys. There is no exec here: all that is left to do is to exit.
    pub fn replace(_state: &[u8], _keep: &[i32]) -> io::Error {
        super::super::arena::wipe_all();
        io::Error::from(io::ErrorKind::Unsupported)
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
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::process;
    use std::ptr;
    use std::sync::{Mutex, PoisonError};

    use zeroize::Zeroizing;

    use super::MAX_STATE;
    use crate::secret::arena;

    /// The environment variable that tells the new image which descriptor holds its state.
    const VARIABLE: &CStr = c"SESAME_RESUME";

    /// The program's name in the new argument list, and of its main thread, which an exec that is not
    /// by its path would leave named `exe`, or by a number.
    const NAME: &CStr = c"sesame";

    /// What the state begins with. It is followed by the process id, the number of kept
    /// descriptors (4 bytes each), these (4 bytes each), and the state's length (8 bytes).
    const MAGIC: &[u8; 16] = b"sesame resumes 1";

    /// The most descriptors that can be kept: listening sockets, one an address.
    const MAX_KEPT: usize = 64;

    /// Descriptors 0 to 2 are standard input and output, which stay as they are.
    const FIRST: RawFd = 3;

    /// What the old image kept open for this one, until it is adopted.
    static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

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
        let mut hand_over = HandOver::find(number)?;
        let (state, kept) = hand_over.read()?;
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
        hand_over: HandOver,
        program: Program,
        environment: Vec<CString>,
    }

    /// What is executed.
    enum Program {
        /// A copy that nobody can read.
        Copy(File),
        /// What stands at this path.
        At(CString),
    }

    impl Exec {
        fn prepare(state: &[u8], keep: &[RawFd]) -> io::Result<Self> {
            let keep: Vec<RawFd> = keep
                .iter()
                .copied()
                .filter(|number| *number >= FIRST)
                .collect();
            let program = Program::find()?;
            let hand_over = HandOver::write(state, &keep)?;
            let number = hand_over.file().as_raw_fd();
            let mut environment = environment();
            environment.push(CString::new(format!(
                "{}={number}",
                VARIABLE.to_string_lossy()
            ))?);
            close_on_exec_from(FIRST);
            for number in keep.into_iter().chain([number]) {
                close_on_exec(number, false)?;
            }
            Ok(Self {
                hand_over,
                program,
                environment,
            })
        }

        fn run(mut self) -> io::Error {
            let arguments = [NAME.as_ptr(), ptr::null()];
            let environment: Vec<*const libc::c_char> = self
                .environment
                .iter()
                .map(|entry| entry.as_ptr())
                .chain([ptr::null()])
                .collect();
            let error = self
                .program
                .execute(arguments.as_ptr(), environment.as_ptr());
            self.hand_over.erase();
            error
        }
    }

    impl Program {
        /// The running program. On Linux by its inode, which holds also when the file has been
        /// replaced or deleted since; elsewhere what stands where it was started.
        ///
        /// On Linux it is executed from a copy that its owner may execute and not read: such an
        /// image is not dumpable from its first instant on (execve(2), and `would_dump` in the
        /// kernel). Of any other one, other processes of the same user could look at descriptors
        /// and memory, and take the state, until it has come to [`harden`](crate::secret::harden::harden).
        fn find() -> io::Result<Self> {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            {
                const SELF: &str = "/proc/self/exe";
                // After the first panic the program is such a copy. Where none can be made, an
                // image that can be looked at for a moment is better than none; it will say so.
                if !memory::is_copy(SELF)
                    && let Ok(copy) = memory::copy(SELF)
                {
                    return Ok(Self::Copy(copy));
                }
                Ok(Self::At(CString::new(SELF)?))
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            {
                use std::os::unix::ffi::OsStringExt;
                let path = env::current_exe()?.into_os_string();
                Ok(Self::At(CString::new(path.into_vec())?))
            }
        }

        /// Returns only when it has failed. Both are arrays of C strings that end with a null
        /// pointer.
        fn execute(
            &self,
            arguments: *const *const libc::c_char,
            environment: *const *const libc::c_char,
        ) -> io::Error {
            match self {
                // SAFETY: a C string and, by the only caller, two arrays of them that end with a
                // null pointer; all live until the call has failed.
                Self::At(path) => unsafe {
                    libc::execve(path.as_ptr(), arguments, environment);
                },
                #[cfg(any(target_os = "linux", target_os = "android"))]
                // SAFETY: as above; the descriptor is open, and the empty path names it.
                Self::Copy(copy) => unsafe {
                    libc::syscall(
                        libc::SYS_execveat,
                        copy.as_raw_fd(),
                        c"".as_ptr(),
                        arguments,
                        environment,
                        libc::AT_EMPTY_PATH,
                    );
                },
                #[cfg(not(any(target_os = "linux", target_os = "android")))]
                Self::Copy(_) => return io::Error::from(io::ErrorKind::Unsupported),
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

    /// What carries the state over: nameless, and in memory only.
    enum HandOver {
        /// A file in memory. It can be overwritten once it has been read.
        Memory(File),
        /// The reading end of a pipe that holds it all.
        Pipe(File),
    }

    impl HandOver {
        fn write(state: &[u8], keep: &[RawFd]) -> io::Result<Self> {
            if state.len() > MAX_STATE || keep.len() > MAX_KEPT {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "too much to hand over",
                ));
            }
            let head = header(state.len(), keep);
            match memory::create() {
                Ok(file) => {
                    let mut held = Self::Memory(file);
                    let written = held
                        .file()
                        .write_all(&head)
                        .and_then(|()| held.file().write_all(state));
                    if let Err(error) = written.and_then(|()| memory::seal(held.file())) {
                        held.erase();
                        return Err(error);
                    }
                    Ok(held)
                }
                Err(_) => Self::pipe(&head, state),
            }
        }

        /// A pipe that holds all of it, or an error: nobody reads it before the exec.
        fn pipe(head: &[u8], state: &[u8]) -> io::Result<Self> {
            let (reader, writer) = io::pipe()?;
            let mut writer = File::from(OwnedFd::from(writer));
            // A pipe holds 64 KiB; where this is not possible, the writing below finds out.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            if let Ok(size) = libc::c_int::try_from(head.len() + state.len()) {
                // SAFETY: this operation takes an integer.
                unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, size) };
            }
            never_wait(&writer)?;
            let written = writer
                .write_all(head)
                .and_then(|()| writer.write_all(state));
            written.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::other("too much to hand over through a pipe")
                }
                _ => error,
            })?;
            Ok(Self::Pipe(File::from(OwnedFd::from(reader))))
        }

        /// Takes hold of a descriptor, if it is what [`write`](Self::write) makes.
        fn find(number: RawFd) -> Option<Self> {
            if number < FIRST {
                return None;
            }
            let pipe = is_pipe(number);
            if !pipe && !memory::is_sealed(number) {
                return None;
            }
            let file = File::from(own(number)?);
            if !pipe {
                return Some(Self::Memory(file));
            }
            // The writing end is closed; should it not be, this is not ours, and waiting is no use.
            never_wait(&file).ok()?;
            Some(Self::Pipe(file))
        }

        fn file(&self) -> &File {
            match self {
                Self::Memory(file) | Self::Pipe(file) => file,
            }
        }

        /// Reads all of it, and erases it whether it was valid or not.
        fn read(&mut self) -> Option<(Zeroizing<Vec<u8>>, Vec<RawFd>)> {
            if let Self::Memory(file) = self {
                // The position is where the writing ended.
                io::Seek::rewind(file).ok()?;
            }
            let content = decode(self.file(), process::id());
            self.erase();
            content
        }

        /// Overwrites what can be overwritten. A pipe is empty once read, and the kernel zeroes
        /// its pages before anybody else gets them.
        fn erase(&mut self) {
            if let Self::Memory(file) = self {
                memory::erase(file);
            }
        }
    }

    fn header(len: usize, keep: &[RawFd]) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend(process::id().to_le_bytes());
        head.extend((keep.len() as u32).to_le_bytes());
        head.extend(keep.iter().flat_map(|number| number.to_le_bytes()));
        head.extend((len as u64).to_le_bytes());
        head
    }

    /// The state and the kept descriptors; `None` unless all is well-formed, within the limits,
    /// and was written by this very process.
    fn decode(mut from: impl Read, process: u32) -> Option<(Zeroizing<Vec<u8>>, Vec<RawFd>)> {
        fn next<const N: usize>(from: &mut impl Read) -> Option<[u8; N]> {
            let mut bytes = [0; N];
            from.read_exact(&mut bytes).ok()?;
            Some(bytes)
        }
        if &next(&mut from)? != MAGIC || u32::from_le_bytes(next(&mut from)?) != process {
            return None;
        }
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
        at_end.then_some((state, kept))
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

    /// Lets no descriptor from `first` on survive the exec. What the standard library and tokio
    /// open is so from the start; this is for those that were inherited, and for other libraries.
    fn close_on_exec_from(first: RawFd) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // SAFETY: this call takes three integers, and with this flag closes nothing now.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    first,
                    libc::c_uint::MAX,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            if done == 0 {
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
            // One that is not open is no matter.
            let _ = close_on_exec(number, true);
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
        use std::fs::{self, File, Permissions};
        use std::io;
        use std::os::fd::{AsRawFd, FromRawFd, RawFd};
        use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

        use super::NAME;

        /// Its size is final. Writing stays allowed, for erasing.
        const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

        /// What the copy of a program may be used for: by its owner as by all others, to be
        /// executed. Who owns it could change that, but has no way to it: the descriptor and
        /// /proc/PID/exe are behind the process that is not dumpable.
        const EXECUTE_ALONE: u32 = 0o111;

        pub(super) fn create() -> io::Result<File> {
            file(libc::MFD_ALLOW_SEALING, libc::MFD_NOEXEC_SEAL)
        }

        /// A copy of a program that can be executed and not read.
        pub(super) fn copy(program: &str) -> io::Result<File> {
            let mut from = File::open(program)?;
            let mut copy = file(0, libc::MFD_EXEC)?;
            io::copy(&mut from, &mut copy)?;
            copy.set_permissions(Permissions::from_mode(EXECUTE_ALONE))?;
            Ok(copy)
        }

        pub(super) fn is_copy(program: &str) -> bool {
            fs::metadata(program).is_ok_and(|metadata| metadata.mode() & 0o7777 == EXECUTE_ALONE)
        }

        /// Kernels from 6.3 on may insist on being told whether a file is to be executed, older
        /// ones do not know that flag.
        fn file(flags: libc::c_uint, executing: libc::c_uint) -> io::Result<File> {
            let flags = flags | libc::MFD_CLOEXEC;
            let number = match try_create(flags | executing) {
                -1 => try_create(flags),
                number => number,
            };
            super::checked(number)?;
            // SAFETY: just opened, and owned by nobody else.
            Ok(unsafe { File::from_raw_fd(number) })
        }

        fn try_create(flags: libc::c_uint) -> RawFd {
            // SAFETY: the kernel reads a C string.
            unsafe { libc::memfd_create(NAME.as_ptr(), flags) }
        }

        pub(super) fn seal(file: &File) -> io::Result<()> {
            // SAFETY: this operation takes an integer.
            super::checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })
        }

        pub(super) fn is_sealed(number: RawFd) -> bool {
            // SAFETY: this operation takes nothing.
            let seals = unsafe { libc::fcntl(number, libc::F_GET_SEALS) };
            seals != -1 && seals & SEALS == SEALS
        }

        pub(super) fn erase(file: &File) {
            let zeros = [0; 4096];
            let mut rest = file.metadata().map_or(0, |metadata| metadata.len());
            let mut at = 0;
            while rest > 0 {
                let part = rest.min(4096);
                // The size is sealed, so a write past the end cannot be; `part` is at most 4096.
                if file.write_all_at(&zeros[..part as usize], at).is_err() {
                    return;
                }
                at += part;
                rest -= part;
            }
        }
    }

    /// Elsewhere the pipe does it.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    mod memory {
        use std::fs::File;
        use std::io;
        use std::os::fd::RawFd;

        pub(super) fn create() -> io::Result<File> {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }

        pub(super) fn seal(_file: &File) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn is_sealed(_number: RawFd) -> bool {
            false
        }

        pub(super) fn erase(_file: &File) {}
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const KEEP: [RawFd; 2] = [7, 9];

        fn written(state: &[u8]) -> Vec<u8> {
            [&header(state.len(), &KEEP), state].concat()
        }

        #[test]
        fn what_is_handed_over_is_read_back_and_erased() {
            let state = [0x5a; 100_000];
            let mut hand_over = HandOver::write(&state, &KEEP).unwrap();
            assert!(matches!(hand_over, HandOver::Memory(_)) == cfg!(target_os = "linux"));
            let (read, kept) = hand_over.read().unwrap();
            assert_eq!(read[..], state);
            assert_eq!(kept, KEEP);
            if let HandOver::Memory(file) = &mut hand_over {
                assert!(memory::is_sealed(file.as_raw_fd()));
                io::Seek::rewind(file).unwrap();
                let mut rest = Vec::new();
                file.read_to_end(&mut rest).unwrap();
                assert!(rest.len() > state.len() && rest.iter().all(|byte| *byte == 0));
            }
        }

        #[test]
        fn a_pipe_does_it_too_for_what_fits() {
            let state = [0x5a; 60_000];
            let mut hand_over = HandOver::pipe(&header(state.len(), &KEEP), &state).unwrap();
            assert!(is_pipe(hand_over.file().as_raw_fd()));
            assert_eq!(hand_over.read().unwrap().0[..], state);

            let large = vec![0x5a; MAX_STATE];
            assert!(HandOver::pipe(&header(large.len(), &KEEP), &large).is_err());
        }

        #[test]
        fn too_much_is_refused() {
            assert!(HandOver::write(&vec![0; MAX_STATE + 1], &[]).is_err());
            assert!(HandOver::write(&[], &[3; MAX_KEPT + 1]).is_err());
            assert!(
                HandOver::write(&vec![1; MAX_STATE], &[])
                    .unwrap()
                    .read()
                    .is_some()
            );
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
                assert!(decode(&header(0, keep)[..], own).is_none(), "{keep:?}");
            }
            assert!(
                decode(&header(MAX_STATE + 1, &[])[..], own).is_none(),
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
