//! The command line that other processes of the user can see.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::slice;

use windows_sys::Win32::System::Environment::{GetCommandLineA, GetCommandLineW};
use zeroize::{DefaultIsZeroes, Zeroize};

unsafe extern "C" {
    /// The arguments, as the C runtime has split them.
    fn __p___argv() -> *mut *mut *mut c_char;
}

/// Wipes the command line and the copies of it that this process has: the other encoding, and the
/// arguments of the C runtime. Call it before any thread starts.
pub(crate) fn wipe() {
    // SAFETY: both command lines end with a null character, and are writable memory of this process
    // that lives as long as it does. The arguments of the C runtime are such lines too, in an array
    // that a null pointer ends. No other thread runs, and the standard library has read the command
    // line.
    unsafe {
        wipe_line(GetCommandLineW().cast_mut());
        wipe_line(GetCommandLineA().cast_mut());
        let arguments = __p___argv();
        if arguments.is_null() || (*arguments).is_null() {
            return;
        }
        let mut argument = *arguments;
        while !(*argument).is_null() {
            wipe_line((*argument).cast::<u8>());
            argument = argument.add(1);
        }
    }
}

/// Wipes up to the null character.
///
/// # Safety
/// There is one, and all before it is writable memory that nothing else uses meanwhile.
unsafe fn wipe_line<T: DefaultIsZeroes + PartialEq>(start: *mut T) {
    // SAFETY: as the caller promises.
    unsafe {
        let len = (0..)
            .take_while(|at| *start.add(*at) != T::default())
            .count();
        slice::from_raw_parts_mut(start, len).zeroize();
    }
}
