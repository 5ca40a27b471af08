//! All text from strangers that a terminal will show passes here.

use std::borrow::Cow;
use std::fmt::Write;

use crate::proto::is_unseen;

/// One line of text with everything made visible that draws nothing or redraws something else:
/// control characters other than TAB, escape sequences, bidirectional overrides and invisibles
/// become `\u{1b}`. A line feed counts as a control character: what has several lines is split
/// before.
pub(super) fn clean(line: &str) -> Cow<'_, str> {
    if line.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')) || !line.chars().any(is_hidden) {
        return Cow::Borrowed(line);
    }
    let mut seen = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if is_hidden(c) {
            // Writing to a String cannot fail.
            let _ = write!(seen, "{}", c.escape_unicode());
        } else {
            seen.push(c);
        }
    }
    Cow::Owned(seen)
}

fn is_hidden(c: char) -> bool {
    c != '\t' && is_unseen(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_draws_on_the_terminal() {
        assert_eq!(clean("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(clean("a\rb\nc\u{7}"), "a\\u{d}b\\u{a}c\\u{7}");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("abc\u{202e}cba"), "abc\\u{202e}cba");
        assert_eq!(clean("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["", "hello\tworld", "Grüße, 日本 🦀"] {
            assert!(matches!(clean(text), Cow::Borrowed(t) if t == text));
        }
    }
}
