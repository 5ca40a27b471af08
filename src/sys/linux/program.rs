//! The running program, as a panic executes it. It is held open from the start, so that the file
//! may be replaced or deleted meanwhile.
//!
//! It is a copy that its owner may execute and not read: such an image is not dumpable from its
//! first instant on (execve(2), and `would_dump` in the kernel). From any other image, other
//! processes of the same user could read descriptors and memory, and take the state, until it has
//! reached [`harden`](crate::sys::harden::harden).
#![allow(unsafe_code)]

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::{OFlag, open as open_at};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;

use crate::sys::unix::argument_list::NAME;
use crate::sys::unix::descriptor::{checked, close_on_exec};

const SELF: &str = "/proc/self/exe";

pub(crate) fn open() -> io::Result<Option<RawFd>> {
    // If no copy can be made, an image that others can read for a moment is better than none; it
    // reports that.
    let program = copy(SELF).map(OwnedFd::from).or_else(|_| {
        open_at(SELF, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(io::Error::from)
    })?;
    // Every later image needs it.
    close_on_exec(program.as_raw_fd(), false)?;
    Ok(Some(program.into_raw_fd()))
}

/// Executes the program. Returns only if that has failed.
///
/// # Safety
/// Both are arrays of C strings that end with a null pointer.
pub(crate) unsafe fn execute(
    program: Option<RawFd>,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> io::Error {
    let Some(program) = program else {
        return io::Error::other("no copy of the program");
    };
    // SAFETY: a C string and, by the caller's promise, two arrays of them that end with a null
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

/// Its content is final.
const SEALS: libc::c_int =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// What the copy of a program may be used for: everyone, its owner included, may only execute it.
/// The owner could change that, but cannot reach it: the descriptor and /proc/PID/exe belong to the
/// process that is not dumpable.
const EXECUTE_ALONE: u32 = 0o111;

/// A copy of a program that can be executed, and neither read nor written.
fn copy(program: &str) -> io::Result<File> {
    let mut from = File::open(program)?;
    // If the file grew beyond a limit on the size of files, the kernel would end this process.
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if limit < from.metadata().map_or(u64::MAX, |meta| meta.len()) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // Kernels from 6.3 on may demand to know whether a file is to be executed; older ones do not
    // know that flag.
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let number = match create(flags | libc::MFD_EXEC) {
        -1 => create(flags),
        number => number,
    };
    checked(number)?;
    // SAFETY: it was just opened, and has no other owner.
    let mut copy = unsafe { File::from_raw_fd(number) };
    io::copy(&mut from, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(EXECUTE_ALONE))?;
    // SAFETY: this operation takes an integer.
    checked(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })?;
    Ok(copy)
}

fn create(flags: libc::c_uint) -> RawFd {
    // SAFETY: the kernel reads a C string.
    unsafe { libc::memfd_create(NAME.as_ptr(), flags) }
}
