//! Who owns a file, and who may use it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// The environment variable that names the folder of users' configurations.
pub const CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// That folder where the variable is not set, in the user's home.
pub const CONFIG_FOLDER: &str = ".config";

const OWNERS_FILE: u32 = 0o600;
const OWNERS_FOLDER: u32 = 0o700;
const READABLE_BY_OTHERS: u32 = 0o044;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Opens the file at this very path: it follows no link, and does not wait, which a pipe in its
/// place would demand.
///
/// # Errors
/// The system's.
pub fn open_itself(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options.open(path)
}

/// Creates a file for writing that only its owner may use.
///
/// # Errors
/// The system's.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(OWNERS_FILE);
    options.open(path)
}

/// Creates a folder, and those above it, that only its owner may use. An existing one is not
/// changed.
///
/// # Errors
/// The system's.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(OWNERS_FOLDER)
        .create(path)
}

/// From now on only its owner may use this file.
///
/// # Errors
/// The system's.
pub fn make_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(OWNERS_FILE))
}

/// From now on only its owner may use this folder.
///
/// # Errors
/// The system's.
pub fn make_folder_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(OWNERS_FOLDER))
}

/// Makes a symbolic link at `path`.
///
/// # Errors
/// The system's.
pub fn link(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

/// Advice for a file that only its owner should read.
pub const MAKE_PRIVATE: &str = "run chmod 600 on it";

/// Whether users other than its owner may read it.
pub fn is_readable_by_others(_: &Path, meta: &Metadata) -> bool {
    meta.mode() & READABLE_BY_OTHERS != 0
}

/// Whether users other than its owner may change it.
pub fn is_writable_by_others(meta: &Metadata) -> bool {
    meta.mode() & WRITABLE_BY_OTHERS != 0
}

/// Whether it belongs to the user of this process.
pub fn is_own(meta: &Metadata) -> bool {
    meta.uid() == geteuid().as_raw()
}

/// Whether it belongs to the administrator, who could control this process anyway.
pub fn is_of_root(meta: &Metadata) -> bool {
    meta.uid() == 0
}

/// Whether the file has only one name.
pub fn is_single(meta: &Metadata) -> bool {
    meta.nlink() == 1
}

/// What tests do to files, in the place of other users and programs.
#[cfg(test)]
pub mod test_files {
    use super::*;

    /// Whether all of these can be made here.
    pub const CAN_BE_MADE: bool = true;

    /// Makes a symbolic link at `path`.
    pub fn link(to: &str, path: &Path) {
        super::link(to.as_ref(), path).unwrap();
    }

    /// Makes a named pipe.
    pub fn make_pipe(path: &Path) {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    /// The permission bits.
    pub fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// Sets the permission bits.
    pub fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Gives the file to another user; of a link, the link itself. False if this process may not.
    pub fn give_away(path: &Path) -> bool {
        geteuid().is_root() && std::os::unix::fs::lchown(path, Some(65_534), None).is_ok()
    }
}
