//! The commands that print something and end.

use std::io::{self, IsTerminal, Write};

use zeroize::Zeroizing;

use super::options::Side;
use super::{completions, pager, text};
use crate::exit::Failure;
use crate::front;
use crate::passphrase;
use crate::sys::reason;

/// Runs the command.
///
/// # Errors
/// Stdout could not be written. A closed pipe is not an error.
pub fn run(side: &Side) -> Result<(), Failure> {
    match side {
        Side::Phrase { words } => phrase(*words),
        Side::Completions { shell } => print(completions::script(*shell).as_bytes()),
        Side::Man => {
            let page = text::man().map_err(unprinted)?;
            match io::stdout().is_terminal() && pager::show(&page)? {
                true => Ok(()),
                false => print(page.as_bytes()),
            }
        }
        Side::Schema => print(front::schema().as_bytes()),
        Side::Help { command } => print(text::help(command.as_deref()).as_bytes()),
        Side::Version => print(text::version().as_bytes()),
    }
}

/// Prints on stdout.
///
/// # Errors
/// As [`run`].
pub fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // `sesame man | head`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(unprinted),
    }
}

/// Only the phrase goes to stdout, so that a file made from it holds nothing else.
fn phrase(count: usize) -> Result<(), Failure> {
    let (phrase, bits) = passphrase::random(count)?;
    let mut line = Zeroizing::new(Vec::with_capacity(phrase.len() + 1));
    line.extend_from_slice(phrase.as_bytes());
    line.push(b'\n');
    print(&line)?;
    let advice = match passphrase::is_strong(count) {
        true => "",
        false => ": an attacker can guess it in time; use six words",
    };
    let plural = if count == 1 { "" } else { "s" };
    // The phrase was printed. A failure to print its strength changes nothing.
    let _ = writeln!(
        io::stderr(),
        "sesame: {count} word{plural}, {bits:.0} bits{advice}"
    );
    Ok(())
}

fn unprinted(error: io::Error) -> Failure {
    Failure::runtime(format!("cannot write to stdout: {}", reason(&error)), "")
}
