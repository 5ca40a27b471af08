//! Reads an argument list.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use super::argument_error::{meant_by, one_line, whole_line, word};
use super::options::{Cli, Options, Side, command_named};
use super::text;
use super::typed::Typed;
use crate::exit::Failure;

/// What the user typed.
pub struct CommandLine {
    /// A command that prints something and ends, in place of a run.
    pub command: Option<Side>,
    /// The options of a run.
    pub options: Options,
    /// The section of the configuration file that the run names.
    pub section: Option<String>,
    /// The same options, as they were typed.
    pub typed: Typed,
}

/// The reasons not to start a run.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `--version`: print this on stdout and exit with status 0.
    Print(String),
    /// Wrong usage.
    Failure(Failure),
}

/// Reads an argument list, the program's name first.
///
/// # Errors
/// [`Stop::Print`] if the user asked for a text only, otherwise the mistake in one line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine, Stop> {
    let mut args: Vec<_> = args.into_iter().collect();
    let section = take_section(&mut args)?;
    let phrase_given = args
        .iter()
        .any(|arg| arg.as_encoded_bytes().starts_with(b"--phrase"));
    let command = args.get(1).and_then(|word| command_named(word));
    if let (Some(section), Some(command)) = (&section, command) {
        return Err(Stop::Failure(Failure::usage(
            format!("'@{section}' cannot be used with '{command}'"),
            format!("see sesame {command} --help"),
        )));
    }
    let matched = Cli::command().try_get_matches_from(&args);
    let parsed = matched.and_then(|matches| {
        let Cli { command, options } = Cli::from_arg_matches(&matches)?;
        Ok(CommandLine {
            command,
            options,
            section,
            typed: Typed::of(&args, &matches),
        })
    });
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => Stop::Print(text::help_of(&error)),
        ErrorKind::DisplayVersion => Stop::Print(error.to_string()),
        // The word may be part of the passphrase, which must not end up in a log.
        _ if phrase_given && word(&error).is_some() => Stop::Failure(Failure::usage(
            "unexpected argument beside --phrase",
            "put a passphrase of several words in quotes; see sesame --help",
        )),
        ErrorKind::ValueValidation if whole_line(&error).is_some() => Stop::Failure(
            Failure::usage(whole_line(&error).unwrap_or_default(), "see sesame --help"),
        ),
        _ => Stop::Failure(match (command, word(&error)) {
            (Some(command), _) => {
                Failure::usage(one_line(&error), format!("see sesame {command} --help"))
            }
            (None, Some(word)) => Failure::usage(
                format!("unexpected argument '{word}'"),
                format!("{} see sesame --help", meant_by(word, &error)),
            ),
            (None, None) => Failure::usage(one_line(&error), "see sesame --help"),
        }),
    })
}

/// Takes `@work` out of an argument list, where it is the first argument.
fn take_section(args: &mut Vec<OsString>) -> Result<Option<String>, Stop> {
    let first = args.get(1).map(|word| word.as_encoded_bytes());
    if !first.is_some_and(|word| word.starts_with(b"@")) {
        return Ok(None);
    }
    let name = args.remove(1).into_string();
    let name = name
        .ok()
        .and_then(|word| Some(word.strip_prefix('@')?.to_owned()));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Ok(Some(name)),
        None => Err(Stop::Failure(Failure::usage(
            "expected the name of a section behind '@'",
            "write @work for the options under [work] in the configuration file",
        ))),
    }
}
