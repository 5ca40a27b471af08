//! The manual page at a terminal: formatted, and shown by the user's pager.

use std::io::{ErrorKind, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use crate::exit::Failure;
use crate::sys::reason;

/// A program that formats a page from standard input.
struct Formatter {
    program: &'static str,
    args: &'static [&'static str],
    /// It starts the pager itself.
    shows: bool,
}

/// A system that comes with `mandoc` has a `man` that reads no standard input. `mandoc` could start
/// the pager too, but leaves it the used-up pipe as its input, in which `more` looks for keys.
const FORMATTERS: [Formatter; 2] = [
    Formatter {
        program: "mandoc",
        args: &["-T", "utf8"],
        shows: false,
    },
    Formatter {
        program: "man",
        args: &["-l", "-"],
        shows: true,
    },
];

/// The user's pager, as a line for a shell.
const PAGER: &str = "eval \"exec ${MANPAGER:-${PAGER:-$(command -v less || echo more)}}\"";

/// Shows a page in roff until the user has read it. False if there is no program that formats it.
///
/// # Errors
/// The program failed.
pub(super) fn show(page: &str) -> Result<bool, Failure> {
    for Formatter {
        program,
        args,
        shows,
    } in FORMATTERS
    {
        let output = if shows {
            Stdio::inherit()
        } else {
            Stdio::piped()
        };
        let mut command = Command::new(program);
        let command = command.args(args).stdin(Stdio::piped()).stdout(output);
        let mut formatter = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result.map_err(|error| failed(program, reason(&error)))?,
        };
        let pager = match formatter.stdout.take() {
            Some(output) => {
                let mut command = Command::new("sh");
                let child = command.args(["-c", PAGER]).stdin(output).spawn();
                Some(child.map_err(|error| failed("the pager", reason(&error)))?)
            }
            None => None,
        };
        write(formatter.stdin.take(), page);
        let shown = pager.map_or(Ok(()), |pager| end("the pager", pager, |_| false));
        // Without a reader, a signal ends it: the user has read enough.
        end(program, formatter, |status| {
            !shows && status.code().is_none()
        })?;
        return shown.map(|()| true);
    }
    Ok(false)
}

fn write(input: Option<ChildStdin>, page: &str) {
    if let Some(mut input) = input {
        // A user who quits has read enough; why a program ended is in its status.
        let _ = input.write_all(page.as_bytes());
    }
}

/// Waits for the end of a program, and checks how it ended.
fn end(
    program: &str,
    mut child: Child,
    may_end_so: impl Fn(&ExitStatus) -> bool,
) -> Result<(), Failure> {
    let status = child
        .wait()
        .map_err(|error| failed(program, reason(&error)))?;
    if status.success() || may_end_so(&status) {
        return Ok(());
    }
    Err(failed(program, status.to_string()))
}

fn failed(program: &str, why: String) -> Failure {
    Failure::runtime(
        format!("cannot show the manual page: {program}: {why}"),
        "sesame man | cat prints it without a pager",
    )
}
