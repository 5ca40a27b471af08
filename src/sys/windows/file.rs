//! Who owns a file, and who may use it.
//!
//! A file has a list of who may do what (its DACL), which it has from its folder unless it has one of
//! its own. Metadata does not have it: what asks about others by metadata takes the user's own
//! folders for private, as Windows makes them.
#![allow(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, SetFileSecurityW,
};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OPEN_REPARSE_POINT;

use super::native::checked;
use super::rights::{self, Rights};

/// The environment variable that names the folder of users' configurations.
pub const CONFIG_HOME: &str = "APPDATA";
/// That folder where the variable is not set, in the user's home.
pub const CONFIG_FOLDER: &str = r"AppData\Roaming";

/// All rights for the owner and nobody else, whatever the folder says.
const OWNERS_FILE: &str = "D:P(A;;FA;;;{user})";
/// The same, also for what is in it.
const OWNERS_FOLDER: &str = "D:P(A;OICI;FA;;;{user})";

/// Opens the file that has this very name: no link is followed.
///
/// # Errors
/// The system's.
pub fn open_itself(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    options.open(path)
}

/// Makes a new file, to be written, that only its owner may use.
///
/// # Errors
/// The system's.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    make_private(path)?;
    Ok(file)
}

/// Creates a folder, and those above it, that only its owner may use. An existing one is not
/// changed.
///
/// # Errors
/// The system's.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    make_folder_private(path)
}

/// From now on only its owner may use this file.
///
/// # Errors
/// The system's.
pub fn make_private(path: &Path) -> io::Result<()> {
    set(path, OWNERS_FILE)
}

/// From now on only its owner may use this folder.
///
/// # Errors
/// The system's.
pub fn make_folder_private(path: &Path) -> io::Result<()> {
    set(path, OWNERS_FOLDER)
}

fn set(path: &Path, rights: &str) -> io::Result<()> {
    let rights = Rights::of(rights)?;
    let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let which = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends with a null character, and the list lives as long as the call.
    checked(unsafe { SetFileSecurityW(path.as_ptr(), which, rights.raw()) })
}

/// Makes a symbolic link at `path`.
///
/// # Errors
/// The system's: most users may not.
pub fn link(to: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, path)
}

/// Advice for a file that only its owner should read.
pub const MAKE_PRIVATE: &str = "run icacls with its path, /inheritance:r and /grant:r %USERNAME%:F";

/// Whether everybody who has an account here may read it. False where the system does not tell.
pub fn is_readable_by_others(path: &Path, _: &Metadata) -> bool {
    rights::list_of(path).is_ok_and(|list| rights::everybody_may_read(&list))
}

/// Metadata does not tell; see the module.
pub fn is_writable_by_others(_: &Metadata) -> bool {
    false
}

/// Metadata does not tell; see the module.
pub fn is_own(_: &Metadata) -> bool {
    true
}

/// Metadata does not tell; see the module.
pub fn is_of_root(_: &Metadata) -> bool {
    false
}

/// Metadata does not tell, so that other names are reckoned with.
pub fn is_single(_: &Metadata) -> bool {
    false
}

/// Windows has none of the files that these make on Unix; the tests that need them say so.
#[cfg(test)]
pub mod test_files {
    use super::*;

    /// Whether all of these can be made here.
    pub const CAN_BE_MADE: bool = false;

    /// Does nothing.
    pub fn link(_: &str, _: &Path) {}

    /// Does nothing.
    pub fn make_pipe(_: &Path) {}

    /// Nothing that would tell.
    pub fn mode(_: &Path) -> u32 {
        0
    }

    /// Does nothing.
    pub fn set_mode(_: &Path, _: u32) {}

    /// This process may not.
    pub fn give_away(_: &Path) -> bool {
        false
    }
}
