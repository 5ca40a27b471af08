//! Characters that draw nothing by themselves, or change how others are drawn, and the places where
//! they are text nevertheless (PROTOCOL.md, section 8).

use std::iter::Peekable;
use std::str::Chars;

use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{
    EmojiStatus, GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};
use unicode_script::{Script, UnicodeScript};

/// The most nonspacing marks on one character: more would paint over the lines around it.
pub(super) const MAX_MARKS: usize = 4;

/// Unicode's combining class of a virama, which joins the letters around it.
const VIRAMA: u8 = 9;

/// The scripts in which joiners change how letters look: those whose letters join, and those in
/// which a virama makes conjuncts. A test derives them from Unicode's properties.
const JOINED: [Script; 63] = [
    Script::Adlam,
    Script::Ahom,
    Script::Arabic,
    Script::Balinese,
    Script::Batak,
    Script::Bengali,
    Script::Bhaiksuki,
    Script::Brahmi,
    Script::Chakma,
    Script::Chorasmian,
    Script::Devanagari,
    Script::Dives_Akuru,
    Script::Dogra,
    Script::Grantha,
    Script::Gujarati,
    Script::Gunjala_Gondi,
    Script::Gurmukhi,
    Script::Gurung_Khema,
    Script::Hanifi_Rohingya,
    Script::Hanunoo,
    Script::Javanese,
    Script::Kaithi,
    Script::Kannada,
    Script::Kawi,
    Script::Kharoshthi,
    Script::Khmer,
    Script::Khojki,
    Script::Khudawadi,
    Script::Malayalam,
    Script::Mandaic,
    Script::Manichaean,
    Script::Masaram_Gondi,
    Script::Meetei_Mayek,
    Script::Modi,
    Script::Mongolian,
    Script::Myanmar,
    Script::Nandinagari,
    Script::Newa,
    Script::Nko,
    Script::Old_Uyghur,
    Script::Oriya,
    Script::Phags_Pa,
    Script::Psalter_Pahlavi,
    Script::Rejang,
    Script::Saurashtra,
    Script::Sharada,
    Script::Siddham,
    Script::Sinhala,
    Script::Sogdian,
    Script::Soyombo,
    Script::Sundanese,
    Script::Syloti_Nagri,
    Script::Syriac,
    Script::Tagalog,
    Script::Tai_Tham,
    Script::Takri,
    Script::Tamil,
    Script::Telugu,
    Script::Tibetan,
    Script::Tifinagh,
    Script::Tirhuta,
    Script::Tulu_Tigalari,
    Script::Zanabazar_Square,
];

/// Whether a character draws nothing by itself, or changes how others are drawn: controls,
/// bidirectional marks and overrides, joiners, fillers, blanks, tags, variation selectors, line and
/// paragraph separators, private use and non-characters. TAB counts as unseen here.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
        | '\u{13430}'..='\u{1343f}' | '\u{13441}'..='\u{13442}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// Each character of a text, and whether it may be drawn unchanged. An unseen character may be
/// drawn only if it belongs to the characters around it, and a nonspacing mark only among the first
/// `MAX_MARKS`.
pub fn drawn(text: &str) -> Drawn<'_> {
    Drawn {
        rest: text.chars().peekable(),
        before: None,
        base: None,
        marks: 0,
    }
}

/// See [`drawn`].
pub struct Drawn<'a> {
    rest: Peekable<Chars<'a>>,
    /// The character before, if it is drawn unchanged.
    before: Option<char>,
    /// The last one that is neither a mark nor a selector, joiner or skin tone, if all since then
    /// are drawn unchanged.
    base: Option<char>,
    /// Nonspacing marks since then.
    marks: usize,
}

impl Iterator for Drawn<'_> {
    type Item = (char, bool);

    fn next(&mut self) -> Option<(char, bool)> {
        let c = self.rest.next()?;
        if c.is_ascii() {
            let as_it_is = !is_unseen(c);
            self.begin(as_it_is.then_some(c));
            return Some((c, as_it_is));
        }
        if is_unseen(c) {
            let as_it_is = self.belongs(c);
            if as_it_is {
                self.before = Some(c);
            } else {
                self.begin(None);
            }
            return Some((c, as_it_is));
        }
        match c.general_category() {
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark => {
                self.marks = self.marks.saturating_add(1);
                self.before = Some(c);
                return Some((c, self.marks <= MAX_MARKS));
            }
            GeneralCategory::SpacingMark => (self.before, self.marks) = (Some(c), 0),
            _ if is_skin_tone(c) && self.base.is_some_and(is_emoji) => self.before = Some(c),
            _ => self.begin(Some(c)),
        }
        Some((c, true))
    }
}

impl Drawn<'_> {
    fn begin(&mut self, base: Option<char>) {
        (self.before, self.base, self.marks) = (base, base, 0);
    }

    /// Whether an unseen character changes how the previous one looks, or how that one and the next
    /// are joined.
    fn belongs(&mut self, c: char) -> bool {
        let Some(before) = self.before else {
            return false;
        };
        match c {
            '\u{fe0e}' | '\u{fe0f}' => before.is_emoji_char(),
            '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => has_variants(before, c),
            '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                is_letter(before) && before.script() == Script::Mongolian
            }
            '\u{200c}' | '\u{200d}' => self.joins(before, c),
            _ => false,
        }
    }

    fn joins(&mut self, before: char, joiner: char) -> bool {
        let (Some(base), false) = (self.base, is_joiner(before)) else {
            return false;
        };
        let next = self.rest.peek().copied();
        if joiner == '\u{200d}' && is_emoji(base) {
            return next.is_some_and(is_emoji);
        }
        if !is_letter(base) {
            return false;
        }
        // After a virama it determines how the previous letter ends, whatever follows (RFC 5892,
        // A.1 and A.2).
        if canonical_combining_class(before) == VIRAMA && in_one_joined_script(base, before) {
            return true;
        }
        next.is_some_and(|next| {
            (is_letter(next) || is_mark(next)) && in_one_joined_script(base, next)
        })
    }
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a selector other than those of emoji may follow this character. Unicode registers
/// sequences one by one; all belong to these kinds.
fn has_variants(c: char, selector: char) -> bool {
    match c.script() {
        Script::Han => true,
        Script::Myanmar | Script::Phags_Pa => selector == '\u{fe00}',
        _ => selector == '\u{fe00}' && c.general_category() == GeneralCategory::MathSymbol,
    }
}

fn is_letter(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter
}

/// Whether a character combines with the one before it.
pub(super) fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Digits and signs of the keyboard have the property too, but do not join.
fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char() && !is_skin_tone(c)
}

fn is_skin_tone(c: char) -> bool {
    matches!(
        c.emoji_status(),
        EmojiStatus::EmojiPresentationAndModifierAndEmojiComponent
    )
}

fn in_one_joined_script(one: char, other: char) -> bool {
    let both = one
        .script_extension()
        .intersection(other.script_extension());
    JOINED.iter().any(|script| both.contains_script(*script))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use unicode_joining_type::{JoiningType, get_joining_type};
    use unicode_security::confusable_detection::skeleton;

    use super::*;

    fn shown(text: &str) -> String {
        let mut out = String::new();
        for (c, as_it_is) in drawn(text) {
            match as_it_is {
                true => out.push(c),
                false => out.extend(c.escape_unicode()),
            }
        }
        out
    }

    #[test]
    fn default_ignorables_are_all_unseen() {
        for c in '\0'..=char::MAX {
            let ignorable = skeleton(c.encode_utf8(&mut [0; 4])).next().is_none();
            assert!(!ignorable || is_unseen(c), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn joined_scripts_follow_from_the_properties() {
        let joining = |c| {
            !matches!(
                get_joining_type(c),
                JoiningType::NonJoining | JoiningType::Transparent
            )
        };
        let found: BTreeSet<String> = ('\0'..=char::MAX)
            .filter(|c| canonical_combining_class(*c) == VIRAMA || joining(*c))
            .map(|c| c.script())
            // These two have a mark of that class and no conjuncts.
            .filter(|script| !matches!(script, Script::Thai | Script::Lao))
            .filter(|script| !matches!(script, Script::Common | Script::Inherited))
            .map(|script| script.full_name().to_owned())
            .collect();
        let listed: BTreeSet<String> = JOINED.iter().map(|s| s.full_name().to_owned()).collect();
        assert_eq!(listed, found);
        assert_eq!(JOINED.len(), listed.len());
    }

    #[test]
    fn sequences_of_emoji_are_text() {
        for text in [
            "❤\u{fe0f}",
            "☺\u{fe0e}",
            "1\u{fe0f}\u{20e3}",
            "👨\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}\u{200d}🔥",
            "👩🏽\u{200d}🚒",
            "🏳\u{fe0f}\u{200d}🌈",
            "👁\u{fe0f}\u{200d}🗨\u{fe0f}",
            "🇩🇪👍🏿",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn joiners_between_letters_that_need_them_are_text() {
        for text in [
            "می\u{200c}خواهم",
            "کشور\u{200c}ها",
            "جزء\u{200c}ها",
            "مَ\u{200d}ه",
            "ന്\u{200d} അവന്\u{200d}",
            "ರಾಜ್\u{200c}",
            "ක්\u{200d}ෂ",
            "র\u{200d}্য",
            "क्\u{200d}ष क्\u{200c}ष",
            "ក\u{200c}៊ី",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn variants_of_letters_and_signs_are_text() {
        for text in [
            "辻\u{e0100}",
            "㐂\u{fe00}",
            "∩\u{fe00}",
            "ᠠ\u{180b}",
            "က\u{fe00}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn unseen_characters_elsewhere_are_escaped() {
        for (text, escaped) in [
            ("a\u{200d}b", "a\\u{200d}b"),
            ("a\u{200c}b", "a\\u{200c}b"),
            ("\u{200d}👩", "\\u{200d}👩"),
            ("👩\u{200d}", "👩\\u{200d}"),
            ("👩\u{200d}x", "👩\\u{200d}x"),
            ("👩\u{200d}\u{200d}👩", "👩\\u{200d}\\u{200d}👩"),
            ("👩\u{200c}👩", "👩\\u{200c}👩"),
            ("1\u{200d}2", "1\\u{200d}2"),
            ("a\u{fe0f}", "a\\u{fe0f}"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}\\u{fe0f}"),
            ("a\u{e0100}", "a\\u{e0100}"),
            ("a\u{180b}", "a\\u{180b}"),
            ("م\u{200c} ن", "م\\u{200c} ن"),
            ("م\u{200c}\u{200c}ن", "م\\u{200c}\\u{200c}ن"),
            ("م\u{200c}a", "م\\u{200c}a"),
            ("م\u{200c}क", "م\\u{200c}क"),
            ("ന്\u{200d}\u{200d}ന", "ന്\u{200d}\\u{200d}ന"),
            ("ก\u{200c}ข", "ก\\u{200c}ข"),
            ("\u{200b}\u{feff}\u{2060}", "\\u{200b}\\u{feff}\\u{2060}"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("🏴\u{e0067}\u{e007f}", "🏴\\u{e0067}\\u{e007f}"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(shown(text), escaped);
        }
    }

    #[test]
    fn marks_beyond_the_limit_are_escaped() {
        let piled = format!("a{}b", "\u{301}".repeat(6));
        let four = "\u{301}".repeat(MAX_MARKS);
        assert_eq!(shown(&piled), format!("a{four}\\u{{301}}\\u{{301}}b"));
        let hidden = format!("a{four}\u{200d}{four}");
        assert_eq!(shown(&hidden).matches("\\u{301}").count(), 0);
        let thai = format!("ส{}", "\u{e47}".repeat(20));
        assert_eq!(shown(&thai).matches("\\u{e47}").count(), 16);
        // A joiner does not restart the count.
        let four = "\u{64e}".repeat(MAX_MARKS);
        let joined = format!("م{four}\u{200d}{four}");
        assert_eq!(shown(&joined).matches("\\u{64e}").count(), MAX_MARKS);
        for text in [
            "ညှို့",
            "יְרוּשָׁלַ֔͏ם".replace('\u{34f}', "").as_str(),
            "ཧཱུྃ",
            "Việt",
            "กี่",
        ] {
            assert_eq!(shown(text), *text);
        }
    }
}
