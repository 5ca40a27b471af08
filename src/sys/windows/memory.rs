//! Advice about memory.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem;
use std::ptr::NonNull;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::w;

type Exclude = unsafe extern "system" fn(*const c_void, u32) -> i32;

/// Keeps whole pages out of the reports that Windows makes of a crash. Windows before version 10
/// 1607 has no such call.
pub fn keep_in_process(start: NonNull<u8>, len: usize) {
    let Ok(len) = u32::try_from(len) else {
        return;
    };
    // SAFETY: the module is loaded for as long as the process lives. If it has the function, that
    // takes an address and a length (werapi.h), and reads nothing.
    unsafe {
        let kernel = GetModuleHandleW(w!("kernel32.dll"));
        let found = GetProcAddress(kernel, c"WerRegisterExcludedMemoryBlock".as_ptr().cast());
        if let Some(found) = found {
            let exclude: Exclude = mem::transmute(found);
            exclude(start.as_ptr().cast(), len);
        }
    }
}

/// Windows gives large pages to administrators only.
pub fn prefer_large_pages(_: NonNull<u8>, _: usize) {}

/// There is no limit but that of the working set, which [`harden`](super::harden::harden) raises.
pub fn lock_limit() -> Option<u64> {
    None
}
