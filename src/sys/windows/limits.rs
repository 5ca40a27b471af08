//! How much of the system this process may use.

use std::io;

use windows_sys::Win32::Foundation::ERROR_TOO_MANY_OPEN_FILES;
use windows_sys::Win32::Networking::WinSock::{WSAEMFILE, WSAENOBUFS};

/// Nothing has to be raised: handles are limited by memory.
pub fn raise_descriptors() {}

/// There is no such limit.
pub fn descriptors() -> Option<u64> {
    None
}

/// Whether a call failed because the system has no more sockets, or no memory for one.
pub fn out_of_descriptors(error: &io::Error) -> bool {
    let none_left = [
        WSAEMFILE,
        WSAENOBUFS,
        ERROR_TOO_MANY_OPEN_FILES.cast_signed(),
    ];
    error
        .raw_os_error()
        .is_some_and(|code| none_left.contains(&code))
}
