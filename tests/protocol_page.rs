//! Compares the lists in PROTOCOL.md with the code, so that neither changes without the other. The
//! example at the end of the page has a test of its own, `worked_example.rs`.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used)]

use sesame::proto::{VERSION, cpace, is_unseen, kdf};

/// The page without its example.
fn rules() -> &'static str {
    let page = include_str!("../src/proto/PROTOCOL.md");
    page.split_once("\n## 15 ").unwrap().0
}

#[test]
fn every_label_stands_on_the_page() {
    let labels = [
        kdf::EXPORTER,
        kdf::CHANNEL,
        kdf::PEER_ID,
        kdf::COMMIT_DIALLER,
        kdf::COMMIT_LISTENER,
        kdf::CONFIRM_DIALLER,
        kdf::CONFIRM_LISTENER,
        kdf::TRANSCRIPT,
        kdf::ROOT,
        kdf::WORDS,
        kdf::RATCHET,
        kdf::CHAIN,
        kdf::EPOCH,
        kdf::EPOCH_ROOT,
        cpace::DSI,
        cpace::DSI_ISK,
    ];
    for label in labels {
        let quoted = format!("\"{}\"", String::from_utf8_lossy(label));
        assert!(rules().contains(&quoted), "{quoted} is missing");
    }
}

#[test]
fn every_version_on_the_page_is_the_codes() {
    let places = [
        ("# The sesame protocol, version ", '\n'),
        ("| Ya | u16(", ')'),
        ("| Yb | u16(", ')'),
        ("lv_cat(\"sesame-v1\", u16(", ')'),
        ("another version than ", ';'),
        ("u16 version (", ')'),
    ];
    for (before, end) in places {
        let mut after = rules().split(before).skip(1);
        let number = after.next().and_then(|rest| rest.split(end).next());
        assert_eq!(number, Some(&*VERSION.to_string()), "{before}");
    }
}

/// Characters as the page lists them: `U+00AD, 200B–200F`.
fn ranges(list: &str) -> Vec<std::ops::RangeInclusive<u32>> {
    let code = |digits: &str| u32::from_str_radix(digits.trim_start_matches("U+"), 16).unwrap();
    let both = |range: &'_ str| {
        let (first, last) = range.split_once('–').unwrap_or((range, range));
        code(first)..=code(last)
    };
    list.split(',').map(str::trim).map(both).collect()
}

#[test]
fn the_page_names_exactly_the_characters_that_names_cannot_have() {
    let (_, list) = rules().split_once("- It has none of U+0000").unwrap();
    let (list, _) = list.split_once(". These draw").unwrap();
    let unseen = ranges(&format!("0000{list}"));
    for c in '\0'..=char::MAX {
        let named = unseen.iter().any(|range| range.contains(&c.into()));
        assert_eq!(named, is_unseen(c), "{c:?}, U+{:04X}", u32::from(c));
    }
    let (_, spaces) = rules().split_once("not two in a row: none of ").unwrap();
    let (spaces, _) = spaces.split_once('.').unwrap();
    let spaces = ranges(spaces);
    for c in ('\0'..=char::MAX).filter(|c| *c != ' ' && !is_unseen(*c)) {
        let named = spaces.iter().any(|range| range.contains(&c.into()));
        assert_eq!(named, c.is_whitespace(), "{c:?}, U+{:04X}", u32::from(c));
    }
}
