//! Keeps debuggers out, and checks what can only be checked before `main`.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::prctl;

/// Makes the process not dumpable: no core dump, and no reading or tracing without CAP_SYS_PTRACE
/// (ptrace(2)).
pub(crate) fn forbid_debuggers() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}

/// Whether other processes of this user may read this one. Root's processes may in any case.
pub(crate) fn is_dumpable() -> bool {
    // Only 1 means that. The `nix` crate takes 2 for the same (PR_GET_DUMPABLE). SAFETY: the call
    // takes no pointer.
    let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 };
    dumpable && !nix::unistd::geteuid().is_root()
}

/// Whether stdout was closed before `main`.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn look() {
    // SAFETY: this operation takes no pointer, and fails for a number that is not open.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_CLOSED.store(flags < 0, Ordering::Relaxed);
}

// SAFETY: the section is a list of pointers to functions that the C library calls once each, when
// it is ready itself and before `main` (gABI, "Initialization and Termination Functions"). This
// one has the C calling convention, in which arguments may be left unread; it does not unwind,
// and uses nothing that the standard library's runtime sets up.
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISER: extern "C" fn() = look;
