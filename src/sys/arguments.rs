//! The argument list without the phrase, and without tor's password. `main` takes them out before any
//! thread starts.

use std::env;
use std::ffi::OsString;

use zeroize::{Zeroize, Zeroizing};

pub use super::scrubbed_arguments::ScrubbedArguments;
use super::{argument_list, reexec};

/// The option whose value is hidden, from the parser too.
const OPTION: &[u8] = b"--phrase";

/// The option whose value is hidden from other processes if it begins with this, as one with a
/// password does.
const ONION: &[u8] = b"--onion";
const PASSWORD: &[u8] = b":";

/// Replaces a phrase in the arguments.
const PLACEHOLDER: &str = "hidden";

/// Takes the phrase, and a value of `--onion` with a password, out of the argument list, which `ps` shows to every user of the machine. Until
/// this has run, the phrase could be seen there, and its length still can. Call it before any
/// thread starts, and before anything parses the arguments.
pub fn scrub_phrase() -> ScrubbedArguments {
    reexec::arguments().unwrap_or_else(scrub_own)
}

/// Does the same for this very process. Where one process keeps its place and another does the
/// work, the arguments are those of the first.
pub(super) fn scrub_own() -> ScrubbedArguments {
    let (mut arguments, hidden) = separate(env::args_os());
    if !hidden.is_empty()
        && let Err(why) = scrub(&hidden, arguments.args.len())
    {
        arguments.failure = Some(match arguments.phrase {
            Some(_) => format!(
                "cannot hide the passphrase in the process list: {why}; use --phrase-fd or --phrase-file"
            ),
            None => format!(
                "cannot hide tor's password in the process list: {why}; use the configuration file"
            ),
        });
    }
    arguments
}

/// The bytes of an argument that have to be hidden.
#[derive(Debug, PartialEq, Eq)]
struct PhraseSpan {
    argument: usize,
    /// Where the value begins in the argument.
    from: usize,
    /// The length of the whole argument.
    len: usize,
}

/// Splits phrases from arguments in the forms that the parser takes: `--phrase X`, where X does not
/// begin with a hyphen unless it is one, and `--phrase=X`; nothing after `--`.
fn separate(given: impl Iterator<Item = OsString>) -> (ScrubbedArguments, Vec<PhraseSpan>) {
    let mut arguments = ScrubbedArguments {
        args: Vec::new(),
        phrase: None,
        failure: None,
    };
    let mut hidden = Vec::new();
    let mut value_next = false;
    let mut place_next = false;
    let mut options_end = false;
    for (argument, text) in given.enumerate() {
        let bytes = text.as_encoded_bytes();
        let len = bytes.len();
        let value_here =
            std::mem::take(&mut value_next) && (bytes == b"-" || !bytes.starts_with(b"-"));
        let joined = bytes
            .strip_prefix(OPTION)
            .is_some_and(|rest| rest.starts_with(b"="));
        let place = match bytes.strip_prefix(ONION) {
            Some(rest) => rest.strip_prefix(b"="),
            None => std::mem::take(&mut place_next).then_some(bytes),
        };
        if let Some(place) = place.filter(|place| place.starts_with(PASSWORD))
            && argument > 0
            && !options_end
        {
            hidden.push(PhraseSpan {
                argument,
                from: len - place.len(),
                len,
            });
        }
        if value_here {
            arguments.phrase = Some(Zeroizing::new(text.into_encoded_bytes()));
            arguments.args.push(PLACEHOLDER.into());
            hidden.push(PhraseSpan {
                argument,
                from: 0,
                len,
            });
        } else if argument > 0 && !options_end && joined {
            let from = OPTION.len() + 1;
            let mut whole = text.into_encoded_bytes();
            arguments.phrase = Some(Zeroizing::new(whole[from..].to_vec()));
            whole.zeroize();
            arguments
                .args
                .push(format!("--phrase={PLACEHOLDER}").into());
            hidden.push(PhraseSpan {
                argument,
                from,
                len,
            });
        } else {
            if argument > 0 && !options_end {
                options_end = bytes == b"--";
                value_next = bytes == OPTION;
                place_next = bytes == ONION;
            }
            arguments.args.push(text);
        }
    }
    (arguments, hidden)
}

/// Zeroes the hidden bytes in the argument strings as the kernel laid them out: in sequence, each
/// followed by a NUL. Changes nothing if they are not where they should be.
#[cfg(any(unix, test))]
fn blank(strings: &mut [u8], hidden: &[PhraseSpan], count: usize) -> Result<(), &'static str> {
    let ends: Vec<usize> = (0..strings.len()).filter(|at| strings[*at] == 0).collect();
    let span = |item: &PhraseSpan| {
        let end = *ends.get(item.argument)?;
        let start = if item.argument == 0 {
            0
        } else {
            ends[item.argument - 1] + 1
        };
        (end - start == item.len && item.from <= item.len).then_some(start + item.from..end)
    };
    let spans: Option<Vec<_>> = hidden.iter().map(span).collect();
    match spans {
        Some(spans) if ends.len() == count => {
            spans.into_iter().for_each(|span| strings[span].zeroize());
            Ok(())
        }
        _ => Err("unexpected layout of the argument list"),
    }
}

#[cfg(unix)]
fn scrub(hidden: &[PhraseSpan], count: usize) -> Result<(), String> {
    argument_list::change(|strings| blank(strings, hidden, count))
}

/// Hides the whole command line: it is one string, which each program splits for itself.
#[cfg(windows)]
fn scrub(_: &[PhraseSpan], _: usize) -> Result<(), String> {
    argument_list::wipe();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separated(args: &[&str]) -> (Vec<String>, Option<Vec<u8>>, Vec<PhraseSpan>) {
        let (arguments, hidden) = separate(args.iter().map(Into::into));
        let args = arguments
            .args
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        (args, arguments.phrase.map(|phrase| phrase.to_vec()), hidden)
    }

    fn strings(args: &[&str]) -> Vec<u8> {
        args.iter().flat_map(|arg| arg.bytes().chain([0])).collect()
    }

    #[test]
    fn both_forms_are_taken_out() {
        for (given, left) in [
            (
                &["sesame", "--phrase", "open up", "-v"][..],
                &["sesame", "--phrase", "hidden", "-v"][..],
            ),
            (
                &["sesame", "--phrase=open up", "-v"],
                &["sesame", "--phrase=hidden", "-v"],
            ),
        ] {
            let (args, phrase, hidden) = separated(given);
            assert_eq!(args, left);
            assert_eq!(phrase.as_deref(), Some(&b"open up"[..]));
            let mut memory = strings(given);
            blank(&mut memory, &hidden, given.len()).unwrap();
            assert_eq!(memory.len(), strings(given).len());
            let text = String::from_utf8(memory).unwrap();
            assert!(!text.contains("open") && !text.contains("up"));
            assert!(text.starts_with("sesame\0--phrase") && text.ends_with("\0-v\0"));
        }
    }

    #[test]
    fn odd_values_are_taken_as_the_parser_takes_them() {
        assert_eq!(separated(&["sesame", "--phrase="]).1, Some(vec![]));
        assert_eq!(separated(&["sesame", "--phrase", ""]).1, Some(vec![]));
        assert_eq!(
            separated(&["sesame", "--phrase", "-"]).1,
            Some(b"-".to_vec())
        );
        assert_eq!(
            separated(&["sesame", "--phrase=-x=y"]).1,
            Some(b"-x=y".to_vec())
        );
        assert_eq!(
            separated(&["sesame", "--phrase=--"]).1,
            Some(b"--".to_vec())
        );
        let (args, phrase, hidden) = separated(&["sesame", "--phrase", "a", "--phrase=b"]);
        assert_eq!(args, ["sesame", "--phrase", "hidden", "--phrase=hidden"]);
        assert_eq!((phrase, hidden.len()), (Some(b"b".to_vec()), 2));
    }

    #[test]
    fn place_with_a_password_is_hidden_and_parsed() {
        for given in [
            &["sesame", "--onion", ":secret@9051", "-v"][..],
            &["sesame", "--onion=:secret@9051", "-v"],
        ] {
            let (args, phrase, hidden) = separated(given);
            assert_eq!(args, given);
            assert_eq!(phrase, None);
            let mut memory = strings(given);
            blank(&mut memory, &hidden, given.len()).unwrap();
            let text = String::from_utf8(memory).unwrap();
            assert!(!text.contains("secret") && text.contains("--onion"));
            assert!(text.ends_with("\0-v\0"));
        }
        for open in [
            &["sesame", "--onion", "9051"][..],
            &["sesame", "--onion", "-v", ":x@1"],
            &["sesame", "--onion=/run/tor/control"],
            &["sesame", "--onions=:x@1"],
            &["sesame", "--", "--onion=:x@1"],
        ] {
            assert!(separated(open).2.is_empty(), "{open:?}");
        }
    }

    #[test]
    fn other_arguments_are_unchanged() {
        for args in [
            &["sesame"][..],
            &["sesame", "--phrase"],
            &["sesame", "--phrase", "--json"],
            &["sesame", "--phrase", "-v"],
            &["sesame", "--phrase", "--", "x"],
            &["sesame", "--", "--phrase", "x"],
            &["sesame", "--", "--phrase=x"],
            &["sesame", "--phrase-file", "x", "--phrases=y"],
            &["--phrase", "x"],
            &["--phrase=x"],
        ] {
            let (left, phrase, hidden) = separated(args);
            assert_eq!(left, args);
            assert_eq!((phrase, hidden.len()), (None, 0), "{args:?}");
        }
    }

    #[test]
    fn memory_that_does_not_fit_is_not_touched() {
        let (_, _, hidden) = separated(&["sesame", "--phrase", "open"]);
        for memory in [
            &["sesame", "--phrase", "longer"][..],
            &["sesame", "--phrase"],
            &["sesame", "--phrase", "open", "x"],
            &[],
        ] {
            let mut bytes = strings(memory);
            assert!(blank(&mut bytes, &hidden, 3).is_err());
            assert_eq!(bytes, strings(memory));
        }
    }
}
