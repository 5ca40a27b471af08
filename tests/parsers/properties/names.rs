//! Display names: what is accepted keeps the rules of PROTOCOL.md, section 8, is accepted again as
//! it was, and means the same in a frame.

use std::str;

use sesame::proto::frame::{Frame, Payload, decode};
use sesame::proto::{DisplayName, drawn, is_unseen};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Takes a name.
pub fn check(bytes: &[u8]) {
    in_a_frame(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    assert!(drawn(text).map(|(c, _)| c).eq(text.chars()));
    let typed = DisplayName::from_user(text);
    let normal: String = text.nfc().collect();
    let sent = DisplayName::from_wire(text);
    assert_eq!(typed, DisplayName::from_wire(&normal));
    if normal == text {
        assert_eq!(typed, sent);
    } else {
        assert!(sent.is_err());
    }
    let Ok(name) = typed else {
        return;
    };
    let shown = name.as_str();
    assert_eq!(shown, normal);
    assert_eq!(DisplayName::from_user(shown).as_ref(), Ok(&name));
    assert_eq!(name.to_string(), shown);
    keeps_rules(shown);
    assert!(name.skeletons().iter().all(|skeleton| skeleton != "sesame"));
    assert!(!name.skeletons().is_empty());
}

fn keeps_rules(name: &str) {
    assert!((1..=128).contains(&name.len()));
    assert!((1..=32).contains(&name.graphemes(true).count()));
    assert!(!name.contains([':', '#', '"', '/', '(', ')', '[', ']']));
    assert!(!name.contains(char::is_control));
    assert!(!name.starts_with(['*', '!', ' ']) && !name.ends_with(' '));
    assert!(!name.contains("  "));
    assert!(name.chars().all(|c| c == ' ' || !c.is_whitespace()));
    let is_id = name.len() >= 8 && name.chars().all(|c| c.is_ascii_hexdigit());
    assert!(!is_id && !name.eq_ignore_ascii_case("sesame"));
    // A character that draws nothing stands only where it belongs to others.
    assert!(!name.starts_with(is_unseen));
    assert!(drawn(name).all(|(_, is_drawn)| is_drawn));
}

fn in_a_frame(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(900)];
    let mut frame = vec![6];
    frame.extend((bytes.len() as u16).to_be_bytes());
    frame.extend(bytes);
    let name = match decode(&mut &frame[..]) {
        Ok(Some(Frame::Name(name))) => name,
        other => return assert!(bytes.len() > 128, "{other:?}"),
    };
    let text = str::from_utf8(bytes).ok();
    let expected = text.and_then(|text| DisplayName::from_wire(text).ok());
    assert_eq!(name, expected);
    let mut payload = Payload::default();
    assert!(payload.name(name.as_ref()));
    let again = decode(&mut payload.as_slice());
    assert_eq!(again, Ok(Some(Frame::Name(name))));
}

/// Names of several scripts, and one for each rule.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "Alice",
        "Zoë",
        "Zoe\u{308}",
        "بهار می\u{200c}خواهم",
        "क्\u{200d}ष",
        "👩🏽\u{200d}🚒 x",
        "辻\u{e0100}",
        "a#b",
        "＃x",
        "*x",
        "∗x",
        "✓ok",
        "a  b",
        "a\u{a0}b",
        "\u{301}a",
        "a\u{301}\u{302}\u{303}\u{304}\u{305}",
        "deadbeef",
        "ｄｅａｄｂｅｅｆ",
        "ѕеѕаmе",
        "a\u{202e}b",
        "12345678901234567890123456789012",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
