//! What clap says about a mistake, as one line for the user.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::options::command_named;
use super::value;

/// The message about a wrong value, if it makes a whole line.
pub(super) fn whole_line(error: &clap::Error) -> Option<String> {
    let line = std::error::Error::source(error)?.to_string();
    line.starts_with("invalid ").then_some(line)
}

/// The word that belongs to no option, if the error is about one.
pub(super) fn word(error: &clap::Error) -> Option<&str> {
    let name = match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            context(error, ContextKind::InvalidSubcommand)
        }
        ErrorKind::UnknownArgument => context(error, ContextKind::InvalidArg),
        _ => None,
    };
    name.filter(|word| !word.starts_with('-'))
}

/// The option that is like the unknown one.
pub(super) fn similar(error: &clap::Error) -> Option<&str> {
    context(error, ContextKind::SuggestedArg)
}

/// What the user may have meant by such a word.
pub(super) fn meant_by(word: &str, error: &clap::Error) -> String {
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names.first().map(String::as_str),
        _ => None,
    };
    if word.starts_with('@') {
        return format!("put it first, as in: sesame {word} [OPTIONS];");
    }
    let command = command_named(OsStr::new(word)).or(similar);
    match (command, value::peer(word).is_ok()) {
        (Some(name), true) if name != word => {
            format!("did you mean 'sesame {name}' or '-p {word}'?")
        }
        (Some(name), _) => format!("did you mean 'sesame {name}'?"),
        (None, true) => format!("did you mean '-p {word}'?"),
        (None, false) => {
            "messages come from standard input, as in: echo TEXT | sesame -p HOST;".into()
        }
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(name) => Some(name),
        _ => None,
    }
}

/// clap's message, without `error:` before it and without the usage and help hints after it.
pub(super) fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    let lines = text[..end.unwrap_or(text.len())]
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ")
}
