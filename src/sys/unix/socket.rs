//! Options of sockets, and what the kernel knows about them.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc::{self, c_int};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Socket};

/// Whether the kernel can tell how much written data is unsent: see [`limit_unsent`] and
/// [`is_wholly_sent`].
pub const KNOWS_UNSENT: bool = NOTSENT_LOWAT.is_some();

/// TCP_NOTSENT_LOWAT: `linux/tcp.h`, and `netinet/tcp.h` of macOS, which the libc crate does not
/// have.
const NOTSENT_LOWAT: Option<c_int> = if cfg!(any(target_os = "linux", target_os = "android")) {
    Some(25)
} else if cfg!(target_vendor = "apple") {
    Some(0x201)
} else {
    None
};

/// TCP_RTO_MAX_MS of `linux/tcp.h`, since Linux 6.15, which the libc crate does not have yet.
const RTO_MAX_MS: c_int = 44;

/// Lets a restarted program listen on its previous port, which the kernel otherwise reserves for a
/// while. It never lets another program take a port that is in use.
///
/// # Errors
/// The socket's.
pub fn allow_restart(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Lets several programs receive what is sent to one port by multicast.
///
/// # Errors
/// The socket's.
pub fn share_port(socket: &Socket) -> io::Result<()> {
    // The systems other than Linux ask for the second option too.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)
}

/// Whether listening failed because another program has the port.
pub fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// A second handle of the same socket.
///
/// # Errors
/// The system's, when it has no descriptor left.
pub fn duplicate(listener: &TcpListener) -> io::Result<TcpListener> {
    listener.try_clone()
}

/// Ends a TCP connection once sent data stay unacknowledged for this long. Linux only.
pub fn limit_unacknowledged(socket: &impl AsFd, time: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(time));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, time);
}

/// Makes a TCP socket retransmit unacknowledged data at least this often, instead of doubling the
/// wait each time. From one second up. Linux only, since 6.15.
pub fn limit_retransmission_timeout(socket: &impl AsFd, most: Duration) {
    if cfg!(target_os = "linux") {
        let millis = c_int::try_from(most.as_millis()).unwrap_or(c_int::MAX);
        let _ = set_tcp_option(socket.as_fd(), RTO_MAX_MS, millis);
    }
}

/// Limits how many unsent bytes the kernel queues.
pub fn limit_unsent(socket: &impl AsFd, bytes: u32) {
    if let Some(option) = NOTSENT_LOWAT {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        let _ = set_tcp_option(socket.as_fd(), option, bytes);
    }
}

/// Whether everything written has been sent, if [`limit_unsent`] was set to 1: then a socket is
/// writable only when nothing unsent is left (tcp(7)). If the kernel cannot tell, whether it
/// accepts more.
pub fn is_wholly_sent(socket: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    // An error counts as writable: the next write will report it.
    !matches!(poll(&mut asked, PollTimeout::ZERO), Ok(0))
}

/// Writes without waiting to a non-blocking socket, from any thread.
///
/// # Errors
/// The socket's. No signal comes if the other end is gone.
pub fn write(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
    // The standard library ignores the signal from the start.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.send(bytes)
}

/// Reads without waiting from a non-blocking socket.
///
/// # Errors
/// The socket's.
pub fn read(socket: &impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(socket, bytes)?)
}

fn set_tcp_option(socket: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads the value, which outlives the call, and its size is that of an int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(Into::into)
}
