//! The command line: its options and subcommands, the texts that explain them, and reading them.

mod argument_error;
mod completions;
pub mod layer;
mod options;
mod pager;
mod parse;
pub mod side;
mod text;
mod typed;
mod value;

pub use options::{Cli, OnPanic, Options, Side};
pub use parse::{CommandLine, Stop, parse};
pub use typed::Typed;
