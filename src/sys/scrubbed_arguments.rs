//! Arguments without a phrase.

use std::ffi::OsString;

use zeroize::Zeroizing;

/// The arguments without the phrase.
pub struct ScrubbedArguments {
    /// All arguments, beginning with the program's name, with a placeholder as the value of each
    /// `--phrase`. For the parser; no other code may read the process's arguments.
    pub args: Vec<OsString>,
    /// The value of `--phrase`, or of the last one if there are several. Encoded as the system
    /// gives it.
    pub phrase: Option<Zeroizing<Vec<u8>>>,
    /// Why the phrase still shows in the argument list: one line for the user.
    pub failure: Option<String>,
}
