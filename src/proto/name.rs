//! Display names: what a peer may call itself, and which names look alike.

use std::collections::BTreeSet;
use std::fmt;
use std::iter;
use std::sync::Arc;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_security::confusable_detection::skeleton;
use unicode_segmentation::UnicodeSegmentation;

use super::MAX_NAME_BYTES;
use super::unseen::{MAX_MARKS, drawn, is_mark};

/// The longest display name, in characters as users see them (extended grapheme clusters).
pub(super) const MAX_CHARS: usize = 32;

/// Characters that sesame puts around names when it shows them, so a name must not contain them.
const RESERVED: [char; 8] = [':', '#', '"', '/', '(', ')', '[', ']'];
/// Those with which a name could pass for a name followed by something else.
const STRUCTURE: [char; 6] = [':', '#', '(', ')', '[', ']'];
/// Characters that look like `#` and that Unicode's confusables lack.
const SHARPS: [char; 3] = ['\u{22d5}', '\u{2317}', '\u{266f}'];
/// The first characters of notices.
const MARKS: [char; 2] = ['*', '!'];
/// The name under which the program itself speaks.
const PROGRAM: &str = "sesame";
/// A text of this many hex digits or more stands for an id.
const ID_DIGITS: usize = 8;

/// A name that keeps the rules of PROTOCOL.md, section 8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DisplayName(Arc<str>);

/// Why a text cannot be a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty, or more than 32 characters or 128 bytes.
    #[error("expected 1 to 32 characters and at most 128 bytes")]
    Length,
    /// A control, formatting, private or unassigned-looking character.
    #[error("a name cannot contain control or invisible characters")]
    Invisible,
    /// One of the characters that sesame puts around names, or one that looks like it.
    #[error("a name cannot contain : # \" / ( ) [ ] or characters that look like them")]
    Reserved,
    /// A check mark.
    #[error("a name cannot contain check marks")]
    CheckMark,
    /// A space at an end, two in a row, or one that is not U+0020.
    #[error("a name can contain only single spaces, and none at either end")]
    Space,
    /// It begins like a notice.
    #[error("a name cannot begin with * or !, or with characters that look like them")]
    Start,
    /// Too many combining marks.
    #[error("a name cannot begin with a combining mark, or contain more than 4 in a row")]
    Marks,
    /// It looks like the digits of an id.
    #[error("a name cannot consist of 8 or more hex digits only")]
    Digits,
    /// It looks like the program's own name.
    #[error("a name cannot look like 'sesame', the name of this program")]
    Program,
    /// Not normalised (only from the wire: what a user types is normalised).
    #[error("a name must be in Unicode's normal form C")]
    Form,
}

impl DisplayName {
    /// A name as a user gives it; it is normalised to NFC.
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
        // The length in bytes first, so that all that follows is bounded.
        if !(1..=MAX_NAME_BYTES).contains(&text.len()) || text.graphemes(true).count() > MAX_CHARS {
            return Err(NameError::Length);
        }
        if marks_in_a_row(text) > MAX_MARKS || text.starts_with(is_mark) {
            return Err(NameError::Marks);
        }
        if drawn(text).any(|(_, as_it_is)| !as_it_is) {
            return Err(NameError::Invisible);
        }
        if text.chars().any(is_reserved) {
            return Err(NameError::Reserved);
        }
        if text.chars().any(is_check_mark) {
            return Err(NameError::CheckMark);
        }
        let odd_space = text.chars().any(|c| c != ' ' && c.is_whitespace());
        if odd_space || text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
            return Err(NameError::Space);
        }
        if text.starts_with(begins_a_notice) {
            return Err(NameError::Start);
        }
        if text.chars().count() >= ID_DIGITS && text.chars().all(is_like_a_digit) {
            return Err(NameError::Digits);
        }
        if !text.nfc().eq(text.chars()) {
            return Err(NameError::Form);
        }
        let name = Self(text.into());
        let program: String = skeleton(PROGRAM).collect();
        if name.skeletons().contains(&program) {
            return Err(NameError::Program);
        }
        Ok(name)
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The skeletons of a name (UTS 39): two names look alike if they have one in common. One is
    /// the skeleton of the case-folded name. Folding hides that one capital looks like another
    /// (`Βob` with a Greek letter, `AIice`), so the other one is taken before folding.
    pub fn skeletons(&self) -> BTreeSet<String> {
        let as_typed: String = skeleton(&self.0).collect();
        [self.as_str(), &as_typed]
            .map(|text| skeleton(&folded(text)).collect())
            .into()
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text without differences of case. It goes through capitals, character by character, so that
/// the forms of sigma, and ß and ss, become the same.
fn folded(text: &str) -> String {
    let capitals = text.nfd().flat_map(char::to_uppercase);
    capitals.flat_map(char::to_lowercase).collect()
}

fn marks_in_a_row(text: &str) -> usize {
    let (mut most, mut here) = (0, 0);
    for c in text.chars() {
        here = if is_mark(c) { here + 1 } else { 0 };
        most = most.max(here);
    }
    most
}

/// Whether a character passes for this one of ASCII: by Unicode's confusables, or as its form of
/// another width or height.
fn looks_like(c: char, ascii: char) -> bool {
    let alike = |one: char, other: char| {
        skeleton(one.encode_utf8(&mut [0; 4])).eq(skeleton(other.encode_utf8(&mut [0; 4])))
    };
    c == ascii || !c.is_ascii() && (alike(c, ascii) || iter::once(c).nfkc().eq([ascii]))
}

fn is_reserved(c: char) -> bool {
    // Letters and marks are allowed whatever they look like: people write words with them.
    let group = c.general_category_group();
    let is_word = matches!(
        group,
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
    ) && c.general_category() != GeneralCategory::ModifierLetter;
    RESERVED.contains(&c)
        || SHARPS.contains(&c)
        || !is_word && STRUCTURE.iter().any(|reserved| looks_like(c, *reserved))
}

fn is_check_mark(c: char) -> bool {
    matches!(
        c,
        '\u{2611}'
            | '\u{2705}'
            | '\u{2713}'
            | '\u{2714}'
            | '\u{10102}'
            | '\u{1f5f8}'
            | '\u{1f5f9}'
            | '\u{1fbb1}'
    )
}

fn begins_a_notice(c: char) -> bool {
    // Asterisks and exclamation marks that Unicode's confusables lack.
    let ornament = matches!(c,
        '\u{2051}' | '\u{22c6}' | '\u{2722}'..='\u{2724}' | '\u{2731}'..='\u{2733}' | '\u{273a}'..='\u{273d}'
        | '\u{2743}' | '\u{2749}'..='\u{274b}' | '\u{2755}' | '\u{2757}' | '\u{2762}' | '\u{a673}'
        | '\u{1f7af}'..='\u{1f7bf}');
    let first = skeleton(c.encode_utf8(&mut [0; 4])).next();
    let looks = MARKS.iter().any(|mark| looks_like(c, *mark));
    ornament || looks || first.is_some_and(|first| MARKS.contains(&first))
}

/// Whether a character is a hex digit, or another script's that looks like one.
fn is_like_a_digit(c: char) -> bool {
    let digits = || ('0'..='9').chain('a'..='f').chain('A'..='F');
    c.is_ascii_hexdigit() || !c.is_ascii() && digits().any(|digit| looks_like(c, digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<NameError> {
        DisplayName::from_wire(text).err()
    }

    fn alike(one: &str, other: &str) -> bool {
        let skeletons = |text| DisplayName::from_wire(text).unwrap().skeletons();
        !skeletons(one).is_disjoint(&skeletons(other))
    }

    #[test]
    fn the_rules_hold() {
        for good in [
            "alice",
            "Zoë",
            "bob smith",
            "日本",
            "a*",
            "wow!",
            "🦀",
            "Anna ❤\u{fe0f}",
            "👨\u{200d}👩\u{200d}👧",
            "می\u{200c}خواهم",
            "ノア",
            "दुःख",
            "abcdef1",
            "Abdelaal",
            "3f9c01aag",
            "sesame seed",
            "sésame",
            "d'Arc",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        let long = "x".repeat(33);
        let wide = "\u{1f980}".repeat(33);
        for (bad, why) in [
            ("", NameError::Length),
            (long.as_str(), NameError::Length),
            (wide.as_str(), NameError::Length),
            ("a\u{1b}b", NameError::Invisible),
            ("a\u{202e}b", NameError::Invisible),
            ("a\u{2028}b", NameError::Invisible),
            ("a\nb", NameError::Invisible),
            ("a\u{200d}b", NameError::Invisible),
            ("a\u{fe0f}", NameError::Invisible),
            ("a\tb", NameError::Invisible),
            ("a:b", NameError::Reserved),
            ("a#b", NameError::Reserved),
            ("a\"b", NameError::Reserved),
            ("/a", NameError::Reserved),
            ("alice (to you)", NameError::Reserved),
            ("[decoy] alice", NameError::Reserved),
            (" a", NameError::Space),
            ("a ", NameError::Space),
            ("a  b", NameError::Space),
            ("a\u{a0}b", NameError::Space),
            ("*a", NameError::Start),
            ("! a", NameError::Start),
            ("alice ✓ verified", NameError::CheckMark),
            ("3f9c01aa", NameError::Digits),
            ("3F9C01AA24B7D08E", NameError::Digits),
            ("sesame", NameError::Program),
            ("Sesame", NameError::Program),
            ("e\u{301}", NameError::Form),
        ] {
            assert_eq!(refused(bad), Some(why), "{bad:?}");
        }
    }

    #[test]
    fn name_with_a_lookalike_of_a_reserved_sign_is_refused() {
        for sign in "꞉：∶ː﹕＃♯（）❨⁽［］".chars() {
            let name = format!("alice{sign}b");
            assert_eq!(refused(&name), Some(NameError::Reserved), "{name}");
        }
        for sign in "！ǃ‼❗＊∗٭✱".chars() {
            let name = format!("{sign} alice is here");
            assert_eq!(refused(&name), Some(NameError::Start), "{name}");
        }
        for name in ["ѕеѕаmе", "𝐬𝐞𝐬𝐚𝐦𝐞", "ＳＥＳＡＭＥ", "ЅЕЅАМЕ", "sesarne"]
        {
            assert_eq!(refused(name), Some(NameError::Program), "{name}");
        }
        for name in ["3f9с01аа24b7d08е", "３f9c01aa"] {
            assert_eq!(refused(name), Some(NameError::Digits), "{name}");
        }
        for mark in ['\u{2611}', '\u{2705}', '\u{2713}', '\u{2714}', '\u{1f5f8}'] {
            let name = format!("a{mark}");
            assert_eq!(refused(&name), Some(NameError::CheckMark), "{name}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_a_user_sees_it() {
        let family = "👨\u{200d}👩";
        assert_eq!(refused(&family.repeat(11)), None);
        let hearts = "❤\u{fe0f}".repeat(21);
        assert_eq!(refused(&hearts), None);
        assert_eq!(refused(&"❤\u{fe0f}".repeat(22)), Some(NameError::Length));
        assert_eq!(refused(&"x".repeat(32)), None);
    }

    #[test]
    fn marks_are_bounded() {
        let marked = |count| format!("x{}", "\u{323}".repeat(count));
        assert_eq!(refused(&marked(4)), None);
        assert_eq!(refused(&marked(5)), Some(NameError::Marks));
        assert_eq!(refused(&marked(25)), Some(NameError::Marks));
        assert_eq!(refused("\u{323}alice"), Some(NameError::Marks));
    }

    #[test]
    fn names_that_look_alike_share_a_skeleton() {
        for (one, other) in [
            ("alice", "аlice"),
            ("alice", "ALICE"),
            ("Alice", "AIice"),
            ("bob", "Βob"),
            ("нина", "Нина"),
            ("straße", "STRASSE"),
            ("modern", "modem"),
            ("Anna ❤", "Anna ❤\u{fe0f}"),
            ("pаypal", "paypal"),
            ("l0l", "lOl"),
        ] {
            assert!(alike(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("alice", "alicia"),
            ("bob", "rob"),
            ("zoe", "zoë"),
            ("ab", "a b"),
        ] {
            assert!(!alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn name_that_a_user_types_is_normalised() {
        assert_eq!(
            DisplayName::from_user("e\u{301}").map(|n| n.to_string()),
            Ok("é".into())
        );
    }
}
