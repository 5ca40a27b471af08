//! The manual page at a terminal: formatted, and shown by the user's pager.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use crate::exit::Failure;
use crate::sys::reason;

/// The programs that format a page from standard input, and show it by `MANPAGER`, `PAGER` or a pager
/// of their own. A system that comes with `mandoc` has a `man` that reads no standard input.
const FORMATTERS: [(&str, &[&str]); 2] = [("mandoc", &["-a"]), ("man", &["-l", "-"])];

/// Shows a page in roff until the user has read it. False if there is no program that formats it.
///
/// # Errors
/// The program failed.
pub(super) fn show(page: &str) -> Result<bool, Failure> {
    for (program, args) in FORMATTERS {
        let failed = |why: String| {
            Failure::runtime(
                format!("cannot show the manual page: {program}: {why}"),
                "sesame man | cat prints it without a pager",
            )
        };
        let mut command = Command::new(program);
        let mut child = match command.args(args).stdin(Stdio::piped()).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result.map_err(|error| failed(reason(&error)))?,
        };
        if let Some(mut input) = child.stdin.take() {
            // A user who quits has read enough; why a program ended is in its status.
            let _ = input.write_all(page.as_bytes());
        }
        let status = child.wait().map_err(|error| failed(reason(&error)))?;
        return match status.success() {
            true => Ok(true),
            false => Err(failed(status.to_string())),
        };
    }
    Ok(false)
}
