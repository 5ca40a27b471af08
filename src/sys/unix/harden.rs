//! The first thing that `main` does, before any thread: it keeps everything in this process out of
//! core dumps and away from debuggers, and blocks signals before they have handlers.

use std::io;

use nix::sys::resource::{Resource, setrlimit};

use super::signals;
use crate::sys::hardening::Hardening;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::linux;

/// Forbids core dumps and debuggers, and blocks the signals that the program handles: from here on
/// they wait in the kernel until [`signals::wait`] takes them, across an exec too. Call it first in
/// each process image, since an exec undoes part of it.
///
/// A failure here is not a reason to refuse to run; the report mentions it.
pub fn harden() -> Hardening {
    let mut report = Hardening::default();
    report.note("core dumps are off", forbid_core_dumps());
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        report.was_open = linux::harden::is_dumpable();
        report.note(
            "other processes of this user cannot read the memory",
            linux::harden::forbid_debuggers(),
        );
    }
    report.note("signals wait until sesame handles them", signals::block());
    report
}

/// Whether stdout was closed when this process image began. The standard library then opens
/// `/dev/null` in its place before `main`, so that writing would succeed, unread.
///
/// Known on Linux and Android; false elsewhere.
pub fn stdout_was_closed() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return linux::harden::stdout_was_closed();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    false
}

fn forbid_core_dumps() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
