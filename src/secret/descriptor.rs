//! What no safe library does with a descriptor: owning one that whoever started the program opened
//! for it, as in `3<FILE`, and an option of sockets that is new.
#![allow(unsafe_code)]
#![cfg(unix)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::time::Duration;

/// Takes ownership of an inherited descriptor, once; it is not inherited any further.
///
/// An inherited descriptor is known by that it would be inherited again: all that this program, its
/// libraries and the standard library open is closed on exec.
///
/// # Errors
/// `EBADF` for one that is not open or not inherited.
pub fn adopt(number: RawFd) -> io::Result<File> {
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

/// `TCP_RTO_MAX_MS` of `linux/tcp.h`, since Linux 6.15; `libc` does not have it yet.
#[cfg(target_os = "linux")]
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// Has a TCP socket send again at least so often what the other end has not acknowledged, instead
/// of waiting twice as long each time. From one second up.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.15, `Unsupported` on other systems.
pub fn limit_retransmission_timeout(socket: BorrowedFd<'_>, most: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let millis = libc::c_int::try_from(most.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the option is an int, which outlives the call, and its size is that of an int.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                TCP_RTO_MAX_MS,
                (&raw const millis).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, most);
        Err(io::ErrorKind::Unsupported.into())
    }
}
