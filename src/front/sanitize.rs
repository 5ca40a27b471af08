//! All text from strangers that a terminal will show passes through here.

use std::borrow::Cow;
use std::fmt::Write;

use crate::proto::drawn;

/// Whether a text has nothing but visible ASCII, blanks and tabs, as most lines do. It looks at many
/// bytes together.
pub(super) fn is_plain(text: &str) -> bool {
    let all = |bytes: &[u8]| {
        let plain = |so_far: bool, b: &u8| so_far & matches!(b, b' '..=b'~' | b'\t');
        bytes.iter().fold(true, plain)
    };
    let (blocks, rest) = text.as_bytes().as_chunks::<32>();
    blocks.iter().all(|block| all(block)) && all(rest)
}

/// One line of text, in which everything that draws nothing or redraws something else is made
/// visible as `\u{1b}`: control characters other than TAB, escape sequences, bidirectional
/// overrides, invisible characters that do not belong to the characters around them, and too many
/// marks on one character. A line feed counts as a control character: the caller splits lines
/// first.
pub(super) fn clean(line: &str) -> Cow<'_, str> {
    if is_plain(line) || drawn(line).all(|(c, as_it_is)| as_it_is || c == '\t') {
        return Cow::Borrowed(line);
    }
    let mut seen = String::with_capacity(line.len() + 16);
    for (c, as_it_is) in drawn(line) {
        if as_it_is || c == '\t' {
            seen.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(seen, "{}", c.escape_unicode());
        }
    }
    Cow::Owned(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_escape_sequences_draws_nothing() {
        assert_eq!(clean("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(clean("a\rb\nc\u{7}"), "a\\u{d}b\\u{a}c\\u{7}");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("abc\u{202e}cba"), "abc\\u{202e}cba");
        assert_eq!(clean("\u{e0041}"), "\\u{e0041}");
        assert_eq!(clean("a\u{200b}b\u{200d}"), "a\\u{200b}b\\u{200d}");
    }

    #[test]
    fn plain_text_is_unchanged() {
        for text in [
            "",
            "hello\tworld",
            "Grüße, 日本 🦀",
            "❤\u{fe0f} 👨\u{200d}👩 می\u{200c}خواهم",
        ] {
            assert!(matches!(clean(text), Cow::Borrowed(t) if t == text));
        }
    }

    #[test]
    fn one_odd_byte_is_found_wherever_it_is() {
        for length in [1, 31, 32, 33, 70] {
            assert!(is_plain(&"~".repeat(length)));
            for place in 0..length {
                let mut text = vec![b' '; length];
                text[place] = b'\n';
                assert!(!is_plain(str::from_utf8(&text).unwrap()));
            }
        }
    }

    #[test]
    fn marks_beyond_the_limit_are_made_visible() {
        let piled = format!("a{}", "\u{335}".repeat(30));
        assert_eq!(clean(&piled).matches("\\u{335}").count(), 26);
    }
}
