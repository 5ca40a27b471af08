//! Lines of JSON: they are the same in whatever portions they come; each gives a command, which can be
//! written as a line that gives the same, or one mistake; and its `ref` is found if it has one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use sesame::front::{BadLine, Cut, Lines, parse_json, parse_line};
use sesame::mesh::{ErrorCode, Reference};

use super::choices::Choices;
use super::shown::{as_json, shown};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes options, the size of the portions, and lines.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let options = choices.byte();
    let portion = usize::from(choices.byte());
    let input = choices.rest();
    // Short limits are reached; the real one is 524,288.
    let limit = [16, 80, 400, 524_288][usize::from(options & 3)];
    let lines = cut(input, portion.max(1), limit);
    let whole = cut(input, input.len().max(1), limit);
    assert_eq!(lines, whole, "portions make no difference");
    is_as_expected(&lines, input, limit);
    for line in &lines {
        match &line.text {
            Ok(text) if text.starts_with('/') => drop(parse_line(text)),
            Ok(text) => parse(text, options & 4 != 0),
            Err(_) => is_short(line.reference.as_ref()),
        }
    }
}

/// A line, without what depends on the portions.
#[derive(Debug, PartialEq)]
struct Cutting {
    number: u64,
    text: Result<String, BadLine>,
    reference: Option<Reference>,
}

fn cut(input: &[u8], portion: usize, limit: usize) -> Vec<Cutting> {
    let mut lines = Lines::new(Cut::Newline, limit).of_json();
    let mut found = Vec::new();
    let mut take = |lines: &mut Lines| {
        while let Some(line) = lines.next_line() {
            found.push(Cutting {
                number: line.number,
                text: line.text.map(str::to_owned),
                reference: line.reference,
            });
        }
    };
    for part in input.chunks(portion) {
        lines.push(part);
        take(&mut lines);
    }
    lines.end();
    take(&mut lines);
    found
}

/// Compares lines with those of a simple cut of the whole input.
fn is_as_expected(lines: &[Cutting], input: &[u8], limit: usize) {
    if input.starts_with(b"\xff\xfe") || input.starts_with(b"\xfe\xff") {
        return assert!(lines.is_empty(), "there are no lines in UTF-16");
    }
    let input = input.strip_prefix(BOM).unwrap_or(input);
    let mut expected: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    assert_eq!(lines.len(), expected.len());
    for ((line, expected), number) in lines.iter().zip(expected).zip(1..) {
        let expected = expected.strip_suffix(b"\r").unwrap_or(expected);
        let text = match std::str::from_utf8(expected) {
            _ if expected.len() > limit => Err(BadLine::TooLong),
            Ok(text) => Ok(text),
            Err(_) => Err(BadLine::NotUtf8),
        };
        assert_eq!(line.text.as_deref().map_err(|why| *why), text);
        assert_eq!(line.number, number);
    }
}

fn parse(line: &str, explicit_ack: bool) {
    let (reference, parsed) = parse_json(line, explicit_ack);
    is_short(reference.as_ref());
    let fields = serde_json::from_str::<Fields>(line);
    if let Ok(Fields(fields)) = &fields {
        assert_eq!(reference, expected_reference(fields));
    }
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(mistake) => {
            assert!(!mistake.message.is_empty());
            assert_eq!(mistake.code == ErrorCode::BadJson, fields.is_err());
            return;
        }
    };
    assert!(fields.is_ok(), "a command is a JSON object");
    let again = as_json(&parsed, reference.as_ref()).unwrap();
    let (same_reference, same) = parse_json(&again, explicit_ack);
    assert_eq!(same_reference, reference);
    assert_eq!(shown(&same.unwrap()), shown(&parsed));
}

fn is_short(reference: Option<&Reference>) {
    match reference {
        Some(Reference::Text(text)) => assert!(text.len() <= 64),
        Some(Reference::Integer(number)) => {
            assert!(i64::try_from(*number).is_ok() || u64::try_from(*number).is_ok());
        }
        None => {}
    }
}

/// The `ref` of an object, if it has exactly one and that is right.
fn expected_reference(fields: &[(String, Value)]) -> Option<Reference> {
    let mut references = fields.iter().filter(|(key, _)| key == "ref");
    let ((_, value), None) = (references.next()?, references.next()) else {
        return None;
    };
    match value {
        Value::String(text) if text.len() <= 64 => Some(Reference::Text(text.as_str().into())),
        Value::Number(number) => {
            let signed = number.as_i64().map(i128::from);
            let number = signed.or(number.as_u64().map(i128::from));
            number.map(Reference::Integer)
        }
        _ => None,
    }
}

/// The fields of an object in their order, with repetitions.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Any)
    }
}

/// A line for each command, and each kind of mistake.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = "3f".repeat(32);
    let commands = [
        r#"{"type":"send","text":"hi","ref":"r1","to":["alice","3f9c01aa"]}"#.to_owned(),
        r#"{"text":"a\nb\u00e9\ud83d\ude00","type":"send","ref":-3}"#.to_owned(),
        format!(r#"{{"type":"ack","peer":"{id}","seq":12}}"#),
        r#"{"type":"connect","addr":"host:9000"}"#.to_owned(),
        r#"{"type":"disconnect","peer":"alice"}"#.to_owned(),
        r#"{"type":"name","name":"Zoë"}"#.to_owned(),
        r#"{"type":"ignore","peer":"alice","on":true}"#.to_owned(),
        r#"{"type":"verify","peer":"a"}"#.to_owned(),
        r#"{"type":"panic","quit":false}"#.to_owned(),
        r#"{"type":"peers","ref":18446744073709551615}"#.to_owned(),
    ];
    let mistakes = [
        r#"{"type":"send","text":"\ud800","ref":5}"#,
        r#"{"type":"quit","ref":1,"ref":1}"#,
        r#"{"r\u0065f":"x","type":[{"ref":1}],"to":null}"#,
        r#"{"type":"quit","ref":1.5e3} {"#,
        r#"["type"]"#,
        "/msg alice hi",
    ];
    let mut seeds = vec![
        [&[7, 7][..], commands.join("\n").as_bytes()].concat(),
        [&[3, 200][..], mistakes.join("\r\n").as_bytes()].concat(),
        [&[0, 3][..], BOM, mistakes.join("\n").as_bytes()].concat(),
        [&[1, 50][..], b"{\"ref\":7}\xff\n\n", commands[1].as_bytes()].concat(),
    ];
    for command in commands {
        seeds.push([&[7, 255][..], command.as_bytes()].concat());
    }
    let number_last = r#"{"text":"too long for this limit","ref":0"#;
    seeds.push([&[0, 9][..], number_last.as_bytes(), b"\r\n"].concat());
    seeds
}
