//! The argument list that other users can see.

/// The program's name after a panic, in the argument list and for its main thread. Without it, an
/// exec that is not by path leaves the thread named `exe`, or by a number.
pub(in crate::sys) const NAME: &std::ffi::CStr = c"sesame";

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use crate::sys::linux::argument_list::change;

/// Changes nothing.
///
/// # Errors
/// Always.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn change(_: impl FnOnce(&mut [u8]) -> Result<(), &'static str>) -> Result<(), String> {
    Err("this system does not let a program change its arguments".into())
}
