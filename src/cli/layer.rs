//! Options by the place that gives them: the command line, or a line of a file. Nearer places replace
//! what others say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};

use super::argument_error::{one_line, similar, whole_line, word};
use super::options::{Cli, Options};
use super::parse::{self, Stop};
use super::typed::{Typed, given};

/// The options that say where the passphrase comes from.
const SOURCES: [&str; 3] = ["phrase", "phrase_fd", "phrase_file"];

/// The options that are about the file itself, which it therefore cannot have.
const ABOUT_FILES: [&str; 2] = ["config", "no_config"];

/// An option as a line of a file.
#[derive(Clone, Debug)]
pub struct OptionLine {
    id: String,
    args: Vec<OsString>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// It has a passphrase.
    Passphrase,
    /// It has a value that its option does not take, at least not now.
    Value(String),
    /// It is not an option for a file.
    Option(String),
}

impl OptionLine {
    /// Reads a line such as `--peer home.example`; the dashes may be missing, and there may be an equals
    /// sign. The value is the rest of the line, and may be in quotes. `path` is applied to a path.
    ///
    /// # Errors
    /// The fault, without the text of the line where that may be a passphrase.
    pub fn parse(line: &str, path: impl Fn(&Path) -> PathBuf) -> Result<Self, LineFault> {
        let end = line.find(|c: char| c.is_whitespace() || c == '=');
        let (option, rest) = line.split_at(end.unwrap_or(line.len()));
        let value = rest.trim_start();
        let (joined, value) = match value.strip_prefix('=') {
            Some(value) => (true, value),
            None => (false, value),
        };
        let option = match option.starts_with('-') {
            true => option.to_owned(),
            false => format!("--{option}"),
        };
        if option == "--phrase" {
            return Err(LineFault::Passphrase);
        }
        let value = unquoted(value.trim());
        let mut args = vec![OsString::from(&option)];
        if joined {
            args = vec![format!("{option}={value}").into()];
        } else if !value.is_empty() {
            args.push(value.into());
        }
        let matches = matches_of(&args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => misplaced(&option),
            ErrorKind::ValueValidation => {
                LineFault::Value(whole_line(&error).unwrap_or_else(|| one_line(&error)))
            }
            ErrorKind::UnknownArgument if !line.starts_with('-') && word(&error).is_none() => {
                // Not its words: they may be a passphrase.
                LineFault::Option(
                    match similar(&error).filter(|it| strsim::osa_distance(it, &option) <= 2) {
                        Some(option) => format!("unknown option; did you mean {option}?"),
                        None => "expected an option such as --peer, or a [section]".into(),
                    },
                )
            }
            _ if word(&error).is_some() => {
                LineFault::Option(format!("unexpected text after '{option}'"))
            }
            _ => LineFault::Option(one_line(&error)),
        })?;
        let mut ids = given(&matches).into_iter();
        let id = match (ids.next(), ids.next()) {
            (Some(id), None) if !ABOUT_FILES.contains(&id.as_str()) => id,
            _ => return Err(misplaced(&option)),
        };
        if let Ok(Some(given)) = matches.try_get_one::<PathBuf>(&id) {
            args = vec!["--phrase-file".into(), path(given).into()];
        }
        Ok(Self { id, args })
    }

    /// Says why this line cannot follow another in the same part of a file.
    ///
    /// # Errors
    /// The reason.
    pub fn follows(&self, earlier: &Self) -> Result<(), String> {
        let command = Cli::command();
        let repeats = self.id == earlier.id;
        let may_repeat = find(&command, &self.id)
            .is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append | ArgAction::Count));
        match (repeats, may_repeat) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("'{}' is given twice", shown(&command, &self.id))),
            (false, _) if exclude(&command, &earlier.id, &self.id) => Err(format!(
                "'{}' cannot be used with '{}'",
                shown(&command, &self.id),
                shown(&command, &earlier.id)
            )),
            (false, _) => Ok(()),
        }
    }
}

/// The options of all places together, the nearest first after the command line. An option that a
/// nearer place gives, or one that cannot be used with it, is not taken from the others.
///
/// # Errors
/// As [`parse::parse`]; each place by itself is known to be right.
pub fn combine(typed: &Typed, places: &[&[OptionLine]]) -> Result<Options, Stop> {
    let command = Cli::command();
    let mut ids = typed.ids.clone();
    let mut kept = Vec::new();
    for lines in places {
        let nearer = ids.clone();
        let replaced = |line: &OptionLine| {
            nearer.iter().any(|near| {
                *near == line.id
                    || exclude(&command, near, &line.id)
                    // The passphrase of a farther place is the real one.
                    || near == "decoy" && SOURCES.contains(&line.id.as_str())
            })
        };
        for line in lines.iter().filter(|line| !replaced(line)) {
            ids.push(line.id.clone());
            kept.push(line);
        }
    }
    let json = ids.iter().any(|id| id == "json");
    let mut args: Vec<_> = typed.args.iter().take(1).cloned().collect();
    for line in kept {
        // For the runs that it is for.
        if json || line.id != "ack" {
            args.extend(line.args.iter().cloned());
        }
    }
    args.extend(typed.args.iter().skip(1).cloned());
    parse::parse(args).map(|line| line.options)
}

fn matches_of(args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let program = OsString::from("sesame");
    Cli::command().try_get_matches_from(std::iter::once(&program).chain(args))
}

fn find<'a>(command: &'a Command, id: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_id() == id)
}

/// Whether clap refuses the two together.
fn exclude(command: &Command, one: &str, other: &str) -> bool {
    let names = |one: &str, other: &str| {
        find(command, one).is_some_and(|arg| {
            let others = command.get_arg_conflicts_with(arg);
            others.iter().any(|arg| arg.get_id() == other)
        })
    };
    let both_sources = SOURCES.contains(&one) && SOURCES.contains(&other);
    one != other && (both_sources || names(one, other) || names(other, one))
}

fn shown(command: &Command, id: &str) -> String {
    let long = find(command, id).and_then(Arg::get_long);
    format!("--{}", long.unwrap_or(id))
}

fn misplaced(option: &str) -> LineFault {
    LineFault::Option(format!("'{option}' has no place in a configuration file"))
}

/// Without a pair of quotes around it, which a shell would take away.
fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}
