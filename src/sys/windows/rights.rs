//! Lists of who may do what with an object (DACLs), in Microsoft's language for them (SDDL).
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, PSECURITY_DESCRIPTOR, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::native::checked;

/// A list, as the system keeps it.
pub struct Rights(PSECURITY_DESCRIPTOR);

impl Rights {
    /// From SDDL, in which `{user}` stands for the user of this process.
    ///
    /// # Errors
    /// The system's; there is no reason known for one.
    pub fn of(language: &str) -> io::Result<Self> {
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
    pub fn raw(&self) -> PSECURITY_DESCRIPTOR {
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
        let units = (0..).take_while(|at| *text.add(*at) != 0).count();
        let user = String::from_utf16_lossy(std::slice::from_raw_parts(text, units));
        LocalFree(text.cast());
        Ok(user)
    }
}
