//! One line of text, as files, pipes and editors of any system write it. [`read`] reads both the
//! passphrase and the saved display name, so the same rules apply to both.

use thiserror::Error;

const BOM: &[u8] = b"\xef\xbb\xbf";
/// The byte order marks of UTF-16.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why some bytes are not one line of text, to be shown after the name of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextLineError {
    /// It begins with the byte order mark of UTF-16.
    #[error("is UTF-16; save it as UTF-8 (PowerShell: Set-Content -Encoding utf8)")]
    Utf16,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It has a NUL, which no keyboard types: a sign of UTF-16 without a mark, or of another kind
    /// of file.
    #[error("contains a NUL character")]
    Nul,
    /// It has a carriage return that is not part of a line end.
    #[error("contains a carriage return inside the line")]
    CarriageReturn,
    /// It has a line end before its end, where most ways of passing a text would cut it.
    #[error("has more than one line")]
    SeveralLines,
}

/// The text of a line: without a byte order mark before it, and without the line end after it
/// (`\n`, `\r\n`, or a `\r` whose newline the reader has taken).
///
/// # Errors
/// See [`TextLineError`].
pub fn read(bytes: &[u8]) -> Result<&str, TextLineError> {
    if is_utf16(bytes) {
        return Err(TextLineError::Utf16);
    }
    let text = std::str::from_utf8(trim(bytes)).map_err(|_| TextLineError::NotUtf8)?;
    // In this order, because UTF-16 without a mark has several of these faults.
    let inside = [
        ('\0', TextLineError::Nul),
        ('\n', TextLineError::SeveralLines),
        ('\r', TextLineError::CarriageReturn),
    ];
    match inside.into_iter().find(|(c, _)| text.contains(*c)) {
        Some((_, error)) => Err(error),
        None => Ok(text),
    }
}

/// The same bytes without the parts that [`read`] drops.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether these bytes begin with the byte order mark of UTF-16.
pub fn is_utf16(bytes: &[u8]) -> bool {
    UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark))
}

/// Whether these bytes may be the beginning of a byte order mark whose rest has not come yet.
pub fn may_become_mark(bytes: &[u8]) -> bool {
    let marks = UTF16_MARKS.into_iter().chain([BOM]);
    marks
        .into_iter()
        .any(|mark| bytes.len() < mark.len() && mark.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_any_system_is_the_same() {
        for line in ["é a", "é a\n", "é a\r\n", "é a\r", "\u{feff}é a\r\n"] {
            assert_eq!(read(line.as_bytes()), Ok("é a"), "{line:?}");
        }
        for empty in ["", "\n", "\r\n", "\u{feff}"] {
            assert_eq!(read(empty.as_bytes()), Ok(""), "{empty:?}");
        }
    }

    #[test]
    fn line_that_is_not_text_is_refused() {
        use TextLineError::*;
        for (line, error) in [
            (b"\xff\xfea\0\r\0\n\0".as_slice(), Utf16),
            (b"\xfe\xff\0a\0\r\0\n", Utf16),
            (b"a\xff", NotUtf8),
            (b"a\0\r\0\n", Nul),
            (b"a\0\n", Nul),
            (b"a\rb\n", CarriageReturn),
            (b"\ra", CarriageReturn),
            (b"a\r\r\n", CarriageReturn),
            (b"a\nb", SeveralLines),
            (b"a\n\n", SeveralLines),
            (b"a\r\nb\r\n", SeveralLines),
        ] {
            assert_eq!(read(line), Err(error), "{}", line.escape_ascii());
        }
    }
}
