//! Tests that cannot be made here.

use std::io::Write;
use std::thread;

/// Says why a test was skipped, past the capture of a test's output.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    // Where nobody reads stderr, nobody needs to know.
    let _ = writeln!(std::io::stderr(), "{name}: skipped: {why}");
}
