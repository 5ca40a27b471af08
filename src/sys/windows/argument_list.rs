//! The command line that other processes of the user can see.
#![allow(unsafe_code)]

use std::slice;

use windows_sys::Win32::System::Environment::GetCommandLineW;
use zeroize::Zeroize;

/// Wipes the command line, as this process keeps it. Call it before any thread starts.
pub fn wipe() {
    // SAFETY: the command line ends with a null character, and is writable memory of this process
    // that lives as long as it does. No other thread runs, and the standard library has read it.
    unsafe {
        let start = GetCommandLineW().cast_mut();
        let len = (0..).take_while(|at| *start.add(*at) != 0).count();
        slice::from_raw_parts_mut(start, len).zeroize();
    }
}
