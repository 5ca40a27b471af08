//! Where the passphrase comes from, and how it is read.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::ask;
use super::early::Early;
use super::wait::Waiter;
use crate::cli::Options;
use crate::exit::Failure;
use crate::proto::phrase::{self, LONGEST_LINE, PhraseError};
use crate::proto::text_line::TextLineError;

/// Where the passphrase comes from.
pub enum PhraseSource {
    /// `--phrase`.
    Given(Zeroizing<Vec<u8>>),
    /// `--phrase-fd`.
    Descriptor(i32),
    /// `--phrase-file`.
    File(PathBuf),
    /// None of them: somebody is asked.
    Ask,
}

impl PhraseSource {
    /// The one that the options name. `scrubbed` is what `--phrase` held before it was taken out of
    /// the argument list.
    pub(super) fn of(options: &Options, scrubbed: Option<Zeroizing<Vec<u8>>>) -> Self {
        if let Some(left) = &options.phrase {
            let bytes = || Zeroizing::new(left.as_encoded_bytes().to_vec());
            Self::Given(scrubbed.unwrap_or_else(bytes))
        } else if let Some(fd) = options.phrase_fd {
            Self::Descriptor(fd)
        } else if let Some(path) = &options.phrase_file {
            Self::File(path.clone())
        } else {
            Self::Ask
        }
    }

    /// What the user should know about a file: that it isn't theirs alone.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::File(path) if readable_by_others(path) => Some(format!(
                "other users can read the passphrase in '{}'; run chmod 600 on it, and change the passphrase if they must not know it",
                path.display()
            )),
            _ => None,
        }
    }

    /// The passphrase, in Unicode's normal form C.
    ///
    /// # Errors
    /// Wrong usage where it cannot be read or cannot be meant; the signal, or the panic that is the
    /// end, that came meanwhile.
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
            Self::Ask => (String::new(), ask::on_terminal(decoy, early)?),
        };
        phrase::normalise(&bytes).map_err(|error| {
            let advice = match error {
                // It says itself what to do.
                PhraseError::NoLine(TextLineError::Utf16) => "",
                _ => "use 1 to 1,024 bytes of UTF-8 in one line",
            };
            Failure::usage(format!("invalid passphrase{origin}: {error}"), advice)
        })
    }
}

/// Reads the first line and nothing beyond it, so that what follows on stdin is still input.
fn from_descriptor(fd: i32, decoy: bool, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unusable = |error: io::Error| {
        Failure::usage(
            format!("cannot read the passphrase from --phrase-fd {fd}: {error}"),
            format!("open it for reading in the shell, as in {fd}<FILE"),
        )
    };
    let input = adopt(fd).map_err(unusable)?;
    if input.is_terminal() {
        // Whoever types it there does not want it seen any more than elsewhere.
        return ask::on(&input, decoy, early);
    }
    first_line(&input, early)?.map_err(unusable)
}

fn from_file(path: &PathBuf, early: &Early) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unusable = |error: io::Error| {
        Failure::usage(
            format!(
                "cannot read the passphrase from --phrase-file '{}': {error}",
                path.display()
            ),
            "",
        )
    };
    let input = File::open(path).map_err(unusable)?;
    first_line(&input, early)?.map_err(unusable)
}

/// Byte by byte: what lies behind the line end belongs to somebody else. A line that is too long is
/// cut one byte beyond, where [`phrase::normalise`] calls it so.
fn first_line(mut input: &File, early: &Early) -> Result<io::Result<Zeroizing<Vec<u8>>>, Failure> {
    let waiter = Waiter::new();
    // Room for all of it at once: a vector that grows leaves its earlier self behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1));
    let mut byte = Zeroizing::new([0]);
    while line.len() <= LONGEST_LINE {
        waiter.wait_for(input, early)?;
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

/// The descriptor as a file. It is closed after the reading, but for stdin, of which a duplicate with
/// the same position is read.
#[cfg(unix)]
fn adopt(fd: i32) -> io::Result<File> {
    use std::os::fd::AsFd;
    match fd {
        0 => Ok(io::stdin().as_fd().try_clone_to_owned()?.into()),
        _ => crate::sys::descriptor::adopt(fd),
    }
}

#[cfg(not(unix))]
fn adopt(_: i32) -> io::Result<File> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system has no file descriptors",
    ))
}

/// Pipes and the like (`<(command)`) say nothing by their mode.
#[cfg(unix)]
fn readable_by_others(path: &PathBuf) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_: &PathBuf) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::config::SavedName;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// For runs that nobody asks for a panic.
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
    fn the_first_line_counts_in_whatever_dress() {
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
    fn what_cannot_be_a_passphrase_is_named() {
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
    fn nothing_after_the_line_is_consumed() {
        let mut file = file(b"open\nhello\n").into_file();
        file.seek(SeekFrom::Start(0)).unwrap();
        let line = first_line(&file, &nothing()).unwrap().unwrap();
        assert_eq!(*line, b"open");
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "hello\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_warned_of() {
        use std::os::unix::fs::PermissionsExt;
        let file = file(b"open\n");
        let source = PhraseSource::File(file.path().to_owned());
        assert_eq!(source.warning(), None);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(source.warning().is_some_and(|w| w.contains("chmod 600")));
        assert_eq!(PhraseSource::File("/dev/null".into()).warning(), None);
    }
}
