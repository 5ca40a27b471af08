//! What `main` does first of all, before any thread: nothing of this process goes into a core dump
//! or to a debugger, and no signal comes before its handler.

use std::io;

use nix::sys::resource::{Resource, setrlimit};

use super::signals;
use crate::sys::hardening::Hardening;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::linux;

/// Forbids core dumps and debuggers, and blocks the signals that the program handles: from here on
/// one that comes waits in the kernel until [`signals::wait`] takes it, across an exec too. Call it
/// first of all, in each process image: an exec undoes a part of it.
///
/// Nothing that fails here is a reason not to run; the report says it.
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

/// Whether stdout was closed when this process image began. The standard library opens `/dev/null`
/// in its place before `main`, so that writing there succeeds, and nobody reads it.
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
