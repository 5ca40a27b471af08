//! What the process gives up once it has read its configuration: files that it does not need
//! (Landlock), more rights by an exec (no_new_privs), and system calls that sesame does not make
//! (seccomp). So an attacker who takes over the process finds less to attack next.
//!
//! A missing protection is not a reason to refuse to run: on an older kernel there are fewer, and
//! the report says so.

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
/// `own` are files, and folders of files, that sesame writes; `read` are those that it reads beside the
/// system's. `program` is the descriptor of the
/// program that a panic executes: no other one can be executed, and the descriptor cannot be closed
/// or replaced.
pub fn enter(own: Vec<PathBuf>, read: Vec<PathBuf>, program: Option<i32>) -> Hardening {
    let mut report = Hardening::default();
    report.note(
        "the sandbox (Landlock) blocks files that sesame does not need",
        files::restrict(&own, &read, program),
    );
    report.note(
        "the sandbox (seccomp) blocks system calls that sesame does not need",
        calls::restrict(program),
    );
    report
}
