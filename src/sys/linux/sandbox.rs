//! What the process gives up once it has read what it was started with: files that it does not
//! need (Landlock), more rights by an exec (no_new_privs), and system calls that nothing here
//! makes (seccomp). What breaks into it finds less to break into next.
//!
//! Nothing of it is a reason not to run: an older kernel gives less of it, which the report says.

use std::path::PathBuf;

use crate::sys::hardening::Hardening;

mod calls;
mod files;
#[cfg(test)]
mod tests;

/// Restricts this thread and those that it starts from now on, for good, across an exec too. Call
/// it before any thread starts, and never in an image that a panic started: that has inherited
/// everything, and the kernel has no room for a further layer after some sixteen.
///
/// `own` are files, and folders of files, that are written. `program` is the descriptor of what a
/// panic executes: nothing else is executed, and the descriptor stays what it is.
pub fn enter(own: Vec<PathBuf>, program: Option<i32>) -> Hardening {
    let mut report = Hardening::default();
    report.note(
        "the sandbox (Landlock) blocks files that sesame does not need",
        files::restrict(&own, program),
    );
    report.note(
        "the sandbox (seccomp) blocks system calls that sesame does not need",
        calls::restrict(program),
    );
    report
}
