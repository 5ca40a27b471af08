//! What is written to a console, as characters.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::BorrowedHandle;

use windows_sys::Win32::System::Console::WriteConsoleW;
use zeroize::Zeroizing;

use super::native::{checked, raw};

/// The most that is written at once, in bytes.
const STRIDE: usize = 8192;

/// Writes to a console, whatever its code page is: as many whole characters as it takes at once.
///
/// # Errors
/// The system's.
pub(super) fn write(console: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<usize> {
    let bytes = &bytes[..bytes.len().min(STRIDE)];
    let (text, len) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, bytes.len()),
        Err(error) if error.valid_up_to() > 0 => {
            let len = error.valid_up_to();
            (std::str::from_utf8(&bytes[..len]).unwrap_or_default(), len)
        }
        Err(error) => ("\u{fffd}", error.error_len().unwrap_or(bytes.len())),
    };
    let units: Zeroizing<Vec<u16>> = Zeroizing::new(text.encode_utf16().collect());
    let mut at = 0;
    while at < units.len() {
        let mut written = 0;
        // SAFETY: the system reads as many units as there are left.
        checked(unsafe {
            WriteConsoleW(
                raw(console),
                units[at..].as_ptr().cast(),
                (units.len() - at) as u32,
                &raw mut written,
                std::ptr::null(),
            )
        })?;
        at += (written as usize).max(1);
    }
    Ok(len)
}
