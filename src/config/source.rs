//! Where the passphrase comes from, and how it is read.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::ask;
use super::early::Early;
use crate::cli::Options;
use crate::exit::Failure;
use crate::proto::phrase::{self, LONGEST_LINE, PhraseError};
use crate::proto::text_line::TextLineError;
use crate::sys::stream::Input;
use crate::sys::waiter::{Waiter, Woken};
use crate::sys::{file, reason};

/// Where the passphrase comes from.
pub enum PhraseSource {
    /// `--phrase`.
    Given(Zeroizing<Vec<u8>>),
    /// `--phrase-fd`.
    Descriptor(i32),
    /// `--phrase-file`.
    File(PathBuf),
    /// None of them: sesame asks on the terminal.
    Ask {
        /// Whether an empty answer gets the offer of a new passphrase.
        offers: bool,
    },
}

impl PhraseSource {
    /// The source that the options name. `scrubbed` is the value of `--phrase`, which was removed
    /// from the argument list. With `offers`, a user who is asked may get a new passphrase.
    pub(super) fn of(
        options: &Options,
        scrubbed: Option<Zeroizing<Vec<u8>>>,
        offers: bool,
    ) -> Self {
        if let Some(left) = &options.phrase {
            let bytes = || Zeroizing::new(left.as_encoded_bytes().to_vec());
            Self::Given(scrubbed.unwrap_or_else(bytes))
        } else if let Some(fd) = options.phrase_fd {
            Self::Descriptor(fd)
        } else if let Some(path) = &options.phrase_file {
            Self::File(path.clone())
        } else {
            Self::Ask { offers }
        }
    }

    /// A warning about a file that others may read.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::File(path) if readable_by_others(path) => Some(format!(
                "other users can read the passphrase in '{}'; {}, and change the passphrase if they must not know it",
                path.display(),
                file::MAKE_PRIVATE
            )),
            _ => None,
        }
    }

    /// The passphrase, in Unicode's normal form C.
    ///
    /// # Errors
    /// Wrong usage if it cannot be read or is invalid; a signal, or a panic that ends the run, if
    /// that came meanwhile.
    pub(super) fn read(&self, decoy: bool, early: &Early) -> Result<Zeroizing<String>, Failure> {
        let (origin, bytes) = match self {
            Self::Given(bytes) => (" in --phrase".into(), bytes.clone()),
            Self::Descriptor(fd) => (
                format!(" from --phrase-fd {fd}"),
                from_descriptor(*fd, decoy, early)?,
            ),
            Self::File(path) => (
                format!(" in --phrase-file '{}'", path.display()),
                from_file(path, early)?,
            ),
            Self::Ask { offers } => (String::new(), ask::on_terminal(decoy, *offers, early)?),
        };
        phrase::normalise(&bytes).map_err(|error| {
            let advice = match error {
                // This error includes advice.
                PhraseError::NoLine(TextLineError::Utf16) => "",
                _ => "use 1 to 1,024 bytes of UTF-8 in one line",
            };
            Failure::usage(format!("invalid passphrase{origin}: {error}"), advice)
        })
    }
}

/// Reads only the first line, so that what follows on stdin is still input.
fn from_descriptor(fd: i32, decoy: bool, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unusable = |error: io::Error| {
        Failure::usage(
            format!(
                "cannot read the passphrase from --phrase-fd {fd}: {}",
                reason(&error)
            ),
            format!("open it for reading in the shell, as in {fd}<FILE"),
        )
    };
    let input = Input::inherited(fd).map_err(unusable)?;
    if input.is_terminal() {
        // What a user types there must not be shown here either.
        return ask::on(input, decoy, false, early);
    }
    first_line(&input, early)?.map_err(unusable)
}

fn from_file(path: &PathBuf, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unusable = |error: io::Error| {
        Failure::usage(
            format!(
                "cannot read the passphrase from --phrase-file '{}': {}",
                path.display(),
                reason(&error)
            ),
            "",
        )
    };
    let input = File::open(path).map_err(unusable)?.into();
    first_line(&input, early)?.map_err(unusable)
}

/// Byte by byte, because what comes after the line end is for another reader. A line that is too
/// long is cut one byte beyond the limit, so that [`phrase::normalise`] reports it.
fn first_line(input: &Input, early: &Early) -> Result<io::Result<Zeroizing<Vec<u8>>>, Failure> {
    let waiter = Waiter::begin();
    // Reserves everything at once, because a vector that grows leaves its earlier copy in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1));
    let mut byte = Zeroizing::new([0]);
    while line.len() <= LONGEST_LINE {
        wait(&waiter, input, early)?;
        match input.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(line))
}

/// Waits until there is input, and acts on a panic that comes meanwhile.
fn wait(waiter: &Waiter, input: &Input, early: &Early) -> Result<(), Failure> {
    loop {
        match waiter.wait(input) {
            Woken::Input => return Ok(()),
            Woken::Panic => early.go_on(&early.forget())?,
            Woken::End(signal) => return Err(Failure::signal(signal)),
            Woken::Stop | Woken::GoOn => {}
        }
    }
}

/// Pipes and the like (`<(command)`) reveal nothing by their mode.
fn readable_by_others(path: &PathBuf) -> bool {
    let meta = std::fs::metadata(path);
    meta.is_ok_and(|meta| meta.is_file() && file::is_readable_by_others(path, &meta))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;
    use crate::config::SavedName;
    use crate::sys::file::test_files;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// For tests without a panic.
    fn nothing() -> Early {
        Early::new(SavedName::locate(None, false), false, false)
    }

    fn read(content: &[u8]) -> Result<String, String> {
        let file = file(content);
        let source = PhraseSource::File(file.path().to_owned());
        source
            .read(false, &nothing())
            .map(|phrase| phrase.to_string())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn first_line_is_read_with_any_mark_and_line_end() {
        for same in [
            "open",
            "open\n",
            "open\r\n",
            "\u{feff}open\r\nmore\n",
            "open\nmore",
        ] {
            assert_eq!(read(same.as_bytes()), Ok("open".into()), "{same:?}");
        }
        assert_eq!(
            read("  two  words \n".as_bytes()),
            Ok("  two  words ".into())
        );
    }

    #[test]
    fn invalid_passphrase_is_explained() {
        assert!(read(b"").is_err_and(|e| e.contains("empty")));
        assert!(read(b"\nsecond\n").is_err_and(|e| e.contains("empty")));
        assert!(read(b"a\xff\n").is_err_and(|e| e.contains("UTF-8")));
        assert!(
            read(b"\xff\xfeo\0\r\0\n\0").is_err_and(|e| e.ends_with("Set-Content -Encoding utf8)"))
        );
        assert!(read(b"o\0p\0\r\0\n\0").is_err_and(|e| e.contains("NUL")));
        assert!(read(b"one\rtwo\r").is_err_and(|e| e.contains("carriage return")));
        assert!(read("\u{e9}".repeat(5000).as_bytes()).is_err_and(|e| e.contains("longer")));
        assert!(read(&[b'x'; 5000]).is_err_and(|e| e.contains("longer")));
        let longest = [b"\xef\xbb\xbf", &[b'x'; 1024][..], b"\r\nrest"].concat();
        assert_eq!(read(&longest).map(|p| p.len()), Ok(1024));
        let missing = PhraseSource::File("/nonexistent/phrase".into())
            .read(false, &nothing())
            .err()
            .unwrap();
        assert_eq!(missing.status.code(), 2);
        assert!(missing.to_string().contains("/nonexistent/phrase"));
    }

    #[test]
    fn input_after_the_first_line_is_not_read() {
        let mut file = file(b"open\nhello\n").into_file();
        file.seek(SeekFrom::Start(0)).unwrap();
        let input = file.try_clone().unwrap().into();
        let line = first_line(&input, &nothing()).unwrap().unwrap();
        assert_eq!(*line, b"open");
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "hello\n");
    }

    #[test]
    fn file_that_others_may_read_causes_a_warning() {
        let file = file(b"open\n");
        let source = PhraseSource::File(file.path().to_owned());
        if !test_files::CAN_BE_MADE {
            eprintln!("skipped: on this system the folder decides who reads a file");
            return;
        }
        assert_eq!(source.warning(), None);
        test_files::set_mode(file.path(), 0o640);
        assert!(source.warning().is_some_and(|w| w.contains("chmod 600")));
        assert_eq!(PhraseSource::File("/dev/null".into()).warning(), None);
    }
}
