//! Descriptors: those that the parent opened for this program, as in `3<FILE`, and those that an
//! exec leaves open.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, RawFd};

use nix::libc;

/// Takes ownership of an inherited descriptor, once; it is not inherited any further.
///
/// An inherited descriptor is one that would be inherited again: everything that this program, its
/// libraries and the standard library open is closed on exec.
///
/// # Errors
/// `EBADF` for one that is not open or not inherited.
pub(crate) fn adopt(number: RawFd) -> io::Result<File> {
    // SAFETY: this operation takes no pointer, and fails for a number that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: as above; it takes an integer.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open and was inherited, so nothing else in this process owns it; from now on it
    // is closed on exec, so that a second call is refused.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// Sets whether an exec closes this descriptor.
pub(in crate::sys) fn close_on_exec(number: RawFd, yes: bool) -> io::Result<()> {
    let flag = if yes { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: this operation takes an integer, and changes nothing in this image.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, flag) })
}

/// The result of a system call that returns -1 on failure.
pub(in crate::sys) fn checked(code: libc::c_int) -> io::Result<()> {
    if code == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
