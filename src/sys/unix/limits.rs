//! How much of the system this process may use.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Raises this process's limit of descriptors as far as possible without a privilege. The soft
/// limit is low for programs that use select(2), which sesame does not use for connections.
pub fn raise_descriptors() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If the limit stays the same, there are fewer places for strangers.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// This process's limit of descriptors, if there is one.
#[allow(clippy::unnecessary_cast, reason = "a limit is signed on FreeBSD")]
pub fn descriptors() -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    (limit != RLIM_INFINITY).then_some(limit as u64)
}

/// Whether a call failed because no descriptor is left, for this process or for the whole system.
pub fn out_of_descriptors(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
    is(Errno::EMFILE) || is(Errno::ENFILE)
}
