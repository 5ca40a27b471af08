//! Handles, and calls that the Windows API has no other name for.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_PIPE_LOCAL_INFORMATION, FilePipeLocalInformation, NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType};
use windows_sys::Win32::System::Console::{FlushConsoleInputBuffer, GetConsoleMode};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::Pipes::PeekNamedPipe;

/// What a handle leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A console: characters, and events.
    Console,
    /// A pipe, or a socket.
    Pipe,
    /// A file or a device, on which nobody waits.
    File,
}

/// What this handle leads to.
pub(super) fn kind(handle: BorrowedHandle<'_>) -> Kind {
    let mut mode = 0;
    // SAFETY: the handle is open, and the system fills the number.
    unsafe {
        if GetConsoleMode(raw(handle), &raw mut mode) != 0 {
            return Kind::Console;
        }
        match GetFileType(raw(handle)) {
            FILE_TYPE_PIPE => Kind::Pipe,
            _ => Kind::File,
        }
    }
}

/// The number of a handle.
pub(super) fn raw(handle: BorrowedHandle<'_>) -> HANDLE {
    handle.as_raw_handle()
}

/// What a call says that gives 0 where it fails.
pub(super) fn checked(result: i32) -> io::Result<()> {
    match result {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Throws away the events that wait at a console.
pub(super) fn flush_console(console: BorrowedHandle<'_>) {
    // SAFETY: the handle is open. It fails where this is no console.
    unsafe { FlushConsoleInputBuffer(raw(console)) };
}

/// How many bytes can be read from a pipe without waiting.
///
/// # Errors
/// [`io::ErrorKind::BrokenPipe`] once nobody can write any more and nothing is left.
pub(super) fn bytes_in_pipe(pipe: BorrowedHandle<'_>) -> io::Result<usize> {
    let mut there = 0;
    // SAFETY: the handle is open; nothing is copied, and the system fills one number.
    checked(unsafe {
        PeekNamedPipe(
            raw(pipe),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &raw mut there,
            ptr::null_mut(),
        )
    })?;
    Ok(there as usize)
}

/// Whether nobody holds the other end of a pipe any more; false where the system cannot tell.
pub(super) fn is_hung_up(pipe: BorrowedHandle<'_>) -> bool {
    /// FILE_PIPE_CLOSING_STATE of ntifs.h.
    const CLOSING: u32 = 4;
    let mut status = IO_STATUS_BLOCK::default();
    let mut about = FILE_PIPE_LOCAL_INFORMATION::default();
    // SAFETY: the handle is open, and the system fills both structs, of which it knows the size.
    let result = unsafe {
        NtQueryInformationFile(
            raw(pipe),
            &raw mut status,
            (&raw mut about).cast(),
            size_of::<FILE_PIPE_LOCAL_INFORMATION>() as u32,
            FilePipeLocalInformation,
        )
    };
    result == 0 && about.NamedPipeState == CLOSING
}
