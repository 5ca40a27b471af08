//! The commands that print something and end.

use std::io::{self, Write};

use getrandom::SysRng;
use rand_core::{TryRng, UnwrapErr};
use zeroize::Zeroizing;

use super::{Side, completions, text};
use crate::exit::Failure;
use crate::front;
use crate::proto::words;

/// So many words are out of reach for guessing at the pace that a listener allows (SECURITY.md,
/// "The passphrase").
const STRONG_WORDS: usize = 5;

/// Does what was asked for.
///
/// # Errors
/// That stdout could not be written; that nobody reads it any more is none.
pub fn run(side: &Side) -> Result<(), Failure> {
    match side {
        Side::Phrase { words } => phrase(*words),
        Side::Completions { shell } => print(completions::script(*shell).as_bytes()),
        Side::Man => print(text::man().map_err(unprinted)?.as_bytes()),
        Side::Schema => print(front::schema().as_bytes()),
    }
}

/// Prints on stdout.
///
/// # Errors
/// As [`run`].
pub fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // `sesame man | head`: whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(unprinted),
    }
}

/// The phrase alone goes to stdout, so that a file made of it holds nothing else.
fn phrase(count: usize) -> Result<(), Failure> {
    SysRng.try_next_u32().map_err(|error| {
        Failure::runtime(format!("the system gives no random numbers: {error}"), "")
    })?;
    let (phrase, bits) = words::random_phrase(count, &mut UnwrapErr(SysRng));
    let mut line = Zeroizing::new(Vec::with_capacity(phrase.len() + 1));
    line.extend_from_slice(phrase.as_bytes());
    line.push(b'\n');
    print(&line)?;
    let advice = if count < STRONG_WORDS {
        ": can be guessed in time; take six words"
    } else {
        ""
    };
    let plural = if count == 1 { "" } else { "s" };
    // The phrase is out; whether this can be read too makes no difference.
    let _ = writeln!(
        io::stderr(),
        "sesame: {count} word{plural}, {bits:.0} bits{advice}"
    );
    Ok(())
}

fn unprinted(error: io::Error) -> Failure {
    Failure::runtime(format!("stdout cannot be written: {error}"), "")
}
