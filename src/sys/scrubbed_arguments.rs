//! Arguments without a phrase.

use std::ffi::OsString;

use zeroize::Zeroizing;

/// The arguments without the phrase.
pub struct ScrubbedArguments {
    /// All of them, beginning with the program's name, the value of each `--phrase` being a
    /// placeholder. For the parser; nobody else may read the process's arguments.
    pub args: Vec<OsString>,
    /// The value of `--phrase`; of the last, if there are several. Encoded as the system gives it.
    pub phrase: Option<Zeroizing<Vec<u8>>>,
    /// Why the phrase still shows in the argument list: one line for people.
    pub failure: Option<String>,
}
