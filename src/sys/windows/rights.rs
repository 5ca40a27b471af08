//! Lists of who may do what with an object (DACLs), in Microsoft's language for them (SDDL).
#![allow(unsafe_code)]

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, PSECURITY_DESCRIPTOR, TOKEN_QUERY, TOKEN_USER,
    TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::native::checked;

/// A list, as the system keeps it.
pub(super) struct Rights(PSECURITY_DESCRIPTOR);

impl Rights {
    /// From SDDL, in which `{user}` stands for the user of this process.
    ///
    /// # Errors
    /// The system's; there is no reason known for one.
    pub(super) fn of(language: &str) -> io::Result<Self> {
        let text = language.replace("{user}", &user()?);
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut rights = Self(ptr::null_mut());
        // SAFETY: the text ends with a null character. The system makes a list, which belongs to
        // nobody else.
        checked(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut rights.0,
                ptr::null_mut(),
            )
        })?;
        Ok(rights)
    }

    /// For calls of the system, as long as this lives.
    pub(super) fn raw(&self) -> PSECURITY_DESCRIPTOR {
        self.0
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        // SAFETY: the system made it, and nothing else has it. It takes null too.
        unsafe { LocalFree(self.0) };
    }
}

/// The user of this process, in the form that SDDL has for users (a SID).
fn user() -> io::Result<String> {
    /// More than the struct and the longest SID take.
    const ROOM: usize = 32;
    let mut about = [0_u64; ROOM];
    let mut len = 0;
    let mut token = ptr::null_mut();
    let mut text = ptr::null_mut();
    // SAFETY: the new handle belongs to nobody else. The system fills at most the room there is,
    // which is aligned for the struct, and makes a text that ends with a null character, and that is
    // given back once it was read.
    unsafe {
        checked(OpenProcessToken(
            GetCurrentProcess(),
            TOKEN_QUERY,
            &raw mut token,
        ))?;
        let token = OwnedHandle::from_raw_handle(token);
        checked(GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            about.as_mut_ptr().cast(),
            size_of_val(&about) as u32,
            &raw mut len,
        ))?;
        let user = &*about.as_ptr().cast::<TOKEN_USER>();
        checked(ConvertSidToStringSidW(user.User.Sid, &raw mut text))?;
        Ok(take_text(text))
    }
}

/// Copies a text that the system made, and gives it back.
///
/// # Safety
/// It ends with a null character, and nothing else has it.
unsafe fn take_text(text: *mut u16) -> String {
    // SAFETY: as the caller promises.
    unsafe {
        let units = (0..).take_while(|at| *text.add(*at) != 0).count();
        let copy = String::from_utf16_lossy(std::slice::from_raw_parts(text, units));
        LocalFree(text.cast());
        copy
    }
}

/// Who may do what with a file, in SDDL.
///
/// # Errors
/// The system's.
pub(super) fn list_of(path: &Path) -> io::Result<String> {
    let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let mut rights = Rights(ptr::null_mut());
    let mut text = ptr::null_mut();
    // SAFETY: the path ends with a null character. The system makes a list and a text that ends with
    // a null character, which belong to nobody else.
    unsafe {
        let failed = GetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut rights.0,
        );
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed.cast_signed()));
        }
        checked(ConvertSecurityDescriptorToStringSecurityDescriptorW(
            rights.raw(),
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &raw mut text,
            ptr::null_mut(),
        ))?;
        Ok(take_text(text))
    }
}

/// Whether a list lets a group read that takes in all users of the computer: everybody, all who have
/// logged in, all who may log in, guests. A file without a list is open to everybody.
pub(super) fn everybody_may_read(list: &str) -> bool {
    const GROUPS: [&str; 6] = ["WD", "AU", "BU", "BG", "AN", "IU"];
    const READING: [&str; 4] = ["FA", "FR", "GA", "GR"];
    /// FILE_READ_DATA, GENERIC_ALL and GENERIC_READ.
    const READING_BITS: u32 = 0x1 | 0x1000_0000 | 0x8000_0000;
    if list.contains("NO_ACCESS_CONTROL") {
        return true;
    }
    list.split('(').skip(1).any(|entry| {
        let fields: Vec<_> = entry.trim_end_matches(')').split(';').collect();
        let [kind, flags, rights, _, _, group, ..] = fields[..] else {
            return false;
        };
        let reads = match rights.strip_prefix("0x") {
            Some(bits) => u32::from_str_radix(bits, 16).is_ok_and(|bits| bits & READING_BITS != 0),
            None => rights
                .as_bytes()
                .chunks(2)
                .any(|two| READING.iter().any(|it| it.as_bytes() == two)),
        };
        let for_what_is_in_it = flags.contains("IO");
        kind == "A" && !for_what_is_in_it && reads && GROUPS.contains(&group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_that_names_all_users_lets_everybody_read() {
        for open in [
            "D:(A;;FA;;;WD)",
            "D:AI(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)",
            "D:(A;;FRFX;;;AU)",
            "D:NO_ACCESS_CONTROL",
        ] {
            assert!(everybody_may_read(open), "{open}");
        }
        for closed in [
            "D:P(A;;FA;;;S-1-5-21-1-2-3-1000)(A;;FA;;;SY)(A;;FA;;;BA)",
            "D:(D;;FA;;;WD)",
            "D:(A;OICIIO;FA;;;BU)",
            "D:(A;;FW;;;WD)",
            "D:",
        ] {
            assert!(!everybody_may_read(closed), "{closed}");
        }
    }
}
