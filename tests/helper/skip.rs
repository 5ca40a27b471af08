//! Tests that cannot run here.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// Names the file to which each skipped test adds a line: `scripts/test` shows them together at the
/// end.
const SUMMARY: &str = "SESAME_TESTS_SKIPPED";

/// Prints why a test was skipped, bypassing the capture of a test's output. `why` names the
/// package, or the right, that the test needs.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    // If stderr is closed, the line is not needed.
    let _ = writeln!(std::io::stderr(), "{name}: skipped: {why}");
    let Some(path) = std::env::var_os(SUMMARY) else {
        return;
    };
    let suite = module_path!().split("::").next().unwrap_or_default();
    let mut file = File::options().append(true).open(path).unwrap();
    // In one write: other tests add theirs at the same time.
    let line = format!("{}\t{suite} {name}\n", why.replace(['\t', '\n'], " "));
    file.write_all(line.as_bytes()).unwrap();
}

/// Whether a program is installed, found by asking for its version.
pub fn has(program: &str, version: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(version).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
