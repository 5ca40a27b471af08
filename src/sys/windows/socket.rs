//! Options of sockets, and what the system knows about them.
#![allow(unsafe_code)]

use std::io::{self, Read};
use std::net::TcpListener;
use std::os::windows::io::{AsRawSocket, AsSocket, FromRawSocket};
use std::ptr;
use std::time::Duration;

use socket2::{SockRef, Socket};
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::Networking::WinSock::{
    IPPROTO_TCP, POLLWRNORM, SO_EXCLUSIVEADDRUSE, SOL_SOCKET, TCP_MAXRT, WSAPOLLFD, WSAPoll,
    setsockopt,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::native::checked;

/// Windows does not tell how much of what was written it has not sent.
pub const KNOWS_UNSENT: bool = false;

/// Keeps other programs from listening on the port too. A port whose program has ended is free at
/// once.
///
/// # Errors
/// The socket's.
pub fn allow_restart(socket: &Socket) -> io::Result<()> {
    set_option(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)
}

/// Lets several programs receive what is sent to one port by multicast.
///
/// # Errors
/// The socket's.
pub fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Whether listening failed because another program has the port. If that program does not share it,
/// Windows denies the permission; no port needs one otherwise.
pub fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    matches!(error.kind(), AddrInUse | PermissionDenied)
}

/// A second handle of the same socket. (The standard library has another process in mind, and opens
/// this one by its number, which nobody may do.)
///
/// # Errors
/// The system's.
pub fn duplicate(listener: &TcpListener) -> io::Result<TcpListener> {
    let mut handle: HANDLE = ptr::null_mut();
    // SAFETY: both handles are open; the new one belongs to nobody else.
    unsafe {
        checked(DuplicateHandle(
            GetCurrentProcess(),
            raw(listener) as HANDLE,
            GetCurrentProcess(),
            &raw mut handle,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        ))?;
        Ok(TcpListener::from_raw_socket(handle as u64))
    }
}

/// Ends a TCP connection once sent data stay unacknowledged for this long, in whole seconds.
pub fn limit_unacknowledged(socket: &impl AsSocket, time: Duration) {
    let seconds = i32::try_from(time.as_secs().max(1)).unwrap_or(i32::MAX);
    let _ = set_option(socket, IPPROTO_TCP, TCP_MAXRT, seconds);
}

/// Windows has no such limit.
pub fn limit_retransmission_timeout(_: &impl AsSocket, _: Duration) {}

/// Windows has no such limit.
pub fn limit_unsent(_: &impl AsSocket, _: u32) {}

/// Whether the system takes more; see [`KNOWS_UNSENT`].
pub fn is_wholly_sent(socket: &impl AsSocket) -> bool {
    let mut asked = WSAPOLLFD {
        fd: raw(socket),
        events: POLLWRNORM,
        revents: 0,
    };
    // SAFETY: one entry, which the system fills, of a socket that is open; it does not wait.
    unsafe { WSAPoll(&raw mut asked, 1, 0) != 0 }
}

/// Writes without waiting, to a socket that does not wait, from any thread.
///
/// # Errors
/// The socket's.
pub fn write(socket: &impl AsSocket, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send(bytes)
}

/// Reads without waiting, from a socket that does not wait.
///
/// # Errors
/// The socket's.
pub fn read(socket: &impl AsSocket, bytes: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(socket)).read(bytes)
}

fn raw(socket: &impl AsSocket) -> usize {
    socket.as_socket().as_raw_socket() as usize
}

fn set_option(socket: &impl AsSocket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as i32;
    // SAFETY: the value is as long as stated, and outlives the call.
    match unsafe { setsockopt(raw(socket), level, option, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
