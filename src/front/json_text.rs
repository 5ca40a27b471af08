//! Writes JSON: compact, and safe to view on a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::proto::is_unseen;

/// Appends one object as a line.
pub(super) fn push_line(out: &mut Vec<u8>, object: &impl Serialize) {
    let mut serializer = Serializer::with_formatter(&mut *out, Visible);
    // Writing to a vector cannot fail, and all keys of events are strings.
    let _ = object.serialize(&mut serializer);
    out.push(b'\n');
}

/// Writes characters as escapes if they draw nothing on a terminal or redraw something else. The
/// value stays the same.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        let (mut written, mut at) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if matches!(byte, b' '..=b'~') {
                at += 1;
                continue;
            }
            // Not plain ASCII; `at` is always the beginning of a character.
            let Some(c) = fragment[at..].chars().next() else {
                break;
            };
            let next = at + c.len_utf8();
            if is_unseen(c) {
                out.write_all(&bytes[written..at])?;
                write_units(out, c)?;
                written = next;
            }
            at = next;
        }
        out.write_all(&bytes[written..])
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => write_units(out, '\u{8}'),
            CharEscape::FormFeed => write_units(out, '\u{c}'),
            usual => CompactFormatter.write_char_escape(out, usual),
        }
    }
}

/// Writes a character as its UTF-16 units.
fn write_units<W: ?Sized + Write>(out: &mut W, c: char) -> io::Result<()> {
    for unit in c.encode_utf16(&mut [0; 2]) {
        write!(out, "\\u{unit:04x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        push_line(&mut out, &text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn string_with_invisible_characters_is_escaped() {
        let text = "a\u{7f}\u{9b}\u{202e}\u{e0041}\u{1b}[2Jé\u{8}\u{c}\n\r\t\"\\/";
        let escaped =
            r#""a\u007f\u009b\u202e\udb40\udc41\u001b[2Jé\u0008\u000c\n\r\t\"\\/""#.to_owned();
        assert_eq!(written(text), escaped + "\n");
    }

    #[test]
    fn string_of_any_characters_keeps_its_value() {
        let text: String = (0..0x3000_u32)
            .chain(0xd7f0..0xd800)
            .chain(0xe000..0xe010)
            .chain(0xfe00..0x1_0010)
            .chain(0x1_d170..0x1_d180)
            .chain(0x1_f980..0x1_f990)
            .chain(0xe_0000..0xe_0080)
            .filter_map(char::from_u32)
            .collect();
        let line = written(&text);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        assert!(!line.trim_end().chars().any(is_unseen));
    }
}
