//! Display names: what a peer may call itself.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// The longest display name, in characters.
pub const MAX_CHARS: usize = 32;

/// A name that keeps the rules of PROTOCOL.md, section 8: 1 to 32 characters, NFC, nothing invisible, none of
/// `: # " /`, no space at an end and not two in a row, not beginning with `*` or `!`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DisplayName(Arc<str>);

/// Why a text cannot be a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty, or more than 32 characters.
    #[error("a name has 1 to 32 characters")]
    Length,
    /// A control, formatting, private or unassigned-looking character.
    #[error("a name has no control or invisible characters")]
    Invisible,
    /// One of the characters that the display needs for itself.
    #[error("a name has none of : # \" /")]
    Reserved,
    /// A space at an end, two in a row, or one that is not U+0020.
    #[error("a name has no space at an end, and not two in a row")]
    Space,
    /// It begins like a notice.
    #[error("a name does not begin with * or !")]
    Start,
    /// Not normalised (only from the wire: what a user types is normalised).
    #[error("a name is in Unicode's normal form C")]
    Form,
}

impl DisplayName {
    /// A name as a user gives it, brought to NFC first.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn from_user(text: &str) -> Result<Self, NameError> {
        Self::from_wire(&text.nfc().collect::<String>())
    }

    /// A name as a peer sends it, which must be in NFC already.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn from_wire(text: &str) -> Result<Self, NameError> {
        if !(1..=MAX_CHARS).contains(&text.chars().count()) {
            return Err(NameError::Length);
        }
        if text.chars().any(is_unseen) {
            return Err(NameError::Invisible);
        }
        if text.contains([':', '#', '"', '/']) {
            return Err(NameError::Reserved);
        }
        let odd_space = text.chars().any(|c| c != ' ' && c.is_whitespace());
        if odd_space || text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
            return Err(NameError::Space);
        }
        if text.starts_with(['*', '!']) {
            return Err(NameError::Start);
        }
        if !text.nfc().eq(text.chars()) {
            return Err(NameError::Form);
        }
        Ok(Self(text.into()))
    }

    /// Whether it looks like what a program shows by itself: an id, or somebody's name with a
    /// remark.
    pub fn is_deceptive(&self) -> bool {
        let digits = self.0.len() >= 8 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits || self.0.ends_with(')')
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character draws nothing by itself, or changes how others are drawn: controls,
/// bidirectional marks and overrides, joiners, fillers, tags, variation selectors, line and
/// paragraph separators, private use and non-characters. TAB counts as unseen here.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_hold() {
        for good in ["alice", "Zoë", "bob smith", "日本", "a*", "🦀"] {
            assert!(DisplayName::from_wire(good).is_ok(), "{good}");
        }
        let long = "x".repeat(33);
        for (bad, why) in [
            ("", NameError::Length),
            (long.as_str(), NameError::Length),
            ("a\u{1b}b", NameError::Invisible),
            ("a\u{202e}b", NameError::Invisible),
            ("a\tb", NameError::Invisible),
            ("a:b", NameError::Reserved),
            ("a#b", NameError::Reserved),
            ("a\"b", NameError::Reserved),
            ("/a", NameError::Reserved),
            (" a", NameError::Space),
            ("a ", NameError::Space),
            ("a  b", NameError::Space),
            ("a\u{a0}b", NameError::Space),
            ("*a", NameError::Start),
            ("!a", NameError::Start),
            ("e\u{301}", NameError::Form),
        ] {
            assert_eq!(DisplayName::from_wire(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn what_a_user_types_is_normalised() {
        assert_eq!(
            DisplayName::from_user("e\u{301}").map(|n| n.to_string()),
            Ok("é".into())
        );
    }
}
