//! Which options an argument list gives.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory};

use super::options::Cli;

/// What the command line gives.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    pub(super) args: Vec<OsString>,
    pub(super) ids: Vec<String>,
}

impl Typed {
    /// Of this argument list, the program's name first, which clap has taken for these matches.
    pub(super) fn of(args: &[OsString], matches: &ArgMatches) -> Self {
        Self {
            args: args.to_vec(),
            ids: given(matches),
        }
    }

    /// Whether it gives this option, by clap's name for it.
    pub fn has(&self, id: &str) -> bool {
        self.ids.iter().any(|given| given == id)
    }
}

/// The options that stand in an argument list.
pub(super) fn given(matches: &ArgMatches) -> Vec<String> {
    let command = Cli::command();
    let is_given =
        |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let given = command.get_arguments().filter(is_given);
    given.map(|arg| arg.get_id().to_string()).collect()
}
