//! The argument list that other users can see.

/// The program's name in the argument list after a panic, and of its main thread, which an exec that
/// is not by its path would leave named `exe`, or by a number.
pub(in crate::sys) const NAME: &std::ffi::CStr = c"sesame";

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use crate::sys::linux::argument_list::change;

/// The strings stay as they are.
///
/// # Errors
/// Always.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn change(_: impl FnOnce(&mut [u8]) -> Result<(), &'static str>) -> Result<(), String> {
    Err("this system does not let a program change its arguments".into())
}
