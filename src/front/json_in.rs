//! The strict parser of JSON input. Anything that is not exactly as specified is an error without
//! effect, because a mistyped `to` must not send a message to all.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::command::{self, Mistake, ParsedLine};
use super::json_ref::{MaybeReference, RefScanner};
use crate::mesh::{Command, ErrorCode, PeerQuery, Reference, Text};
use crate::proto::PeerId;

/// Parses one object. Errors carry its `ref` too, wherever that can be read.
pub fn parse(line: &str, explicit_ack: bool) -> (Option<Reference>, Result<ParsedLine, Mistake>) {
    if !line.trim_start().starts_with('{') {
        let mistake = Mistake::new(ErrorCode::BadJson, "expected a JSON object");
        return (None, Err(mistake));
    }
    match serde_json::from_str::<Fields<'_>>(line) {
        Ok(mut fields) => {
            let reference = fields.reference.take().map(|r| r.0);
            (reference, fields.ask(explicit_ack))
        }
        Err(why) => (RefScanner::scan(line.as_bytes()), Err(explain(line, &why))),
    }
}

/// Distinguishes invalid JSON from an invalid command, by a second look that only mistakes pay for.
fn explain(line: &str, why: &serde_json::Error) -> Mistake {
    match serde_json::from_str::<serde_json::Value>(line) {
        Err(why) => Mistake::new(ErrorCode::BadJson, format!("invalid JSON: {why}")),
        Ok(_) => Mistake::new(ErrorCode::BadCommand, why.to_string()),
    }
}

/// All fields that any type has. serde reports a duplicate, unknown or null field as an error.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow, rename = "type", deserialize_with = "given")]
    kind: Option<Str<'a>>,
    #[serde(rename = "ref", deserialize_with = "given")]
    reference: Option<MaybeReference>,
    #[serde(borrow, deserialize_with = "given")]
    text: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "given")]
    to: Option<Vec<Str<'a>>>,
    #[serde(borrow, deserialize_with = "given")]
    peer: Option<Str<'a>>,
    #[serde(deserialize_with = "given")]
    seq: Option<u64>,
    #[serde(borrow, deserialize_with = "given")]
    addr: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "given")]
    name: Option<Str<'a>>,
    #[serde(deserialize_with = "given")]
    on: Option<bool>,
    #[serde(deserialize_with = "given")]
    quit: Option<bool>,
}

/// A field that is present must have a value other than null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl<'a> Fields<'a> {
    fn ask(mut self, explicit_ack: bool) -> Result<ParsedLine, Mistake> {
        let kind = self
            .kind
            .take()
            .ok_or_else(|| bad("missing field 'type'"))?
            .0;
        let kind = kind.as_ref();
        let asked = match kind {
            "send" => self.send()?,
            "ack" if !explicit_ack => {
                return Err(bad("'ack' needs a run with --ack"));
            }
            "ack" => {
                let peer = self.peer(kind)?;
                let peer = PeerId::from_hex(&peer).ok_or_else(|| {
                    bad("invalid peer in 'ack': expected a full id of 64 hex digits")
                })?;
                let seq = self.seq.take().ok_or_else(|| missing(kind, "seq"))?;
                ParsedLine::Command(Command::Ack { peer, seq })
            }
            "connect" => {
                let addr = self.addr.take().ok_or_else(|| missing(kind, "addr"))?.0;
                ParsedLine::Command(Command::Connect(command::address(&addr)?))
            }
            "disconnect" => ParsedLine::Command(Command::Disconnect(self.query(kind)?)),
            "name" => {
                let name = self.name.take().ok_or_else(|| missing(kind, "name"))?.0;
                ParsedLine::Command(Command::Name(command::display_name(&name)?))
            }
            "peers" => ParsedLine::Command(Command::Peers),
            "pending" => ParsedLine::Command(Command::Pending),
            "stats" => ParsedLine::Command(Command::Stats),
            "whoami" => ParsedLine::Command(Command::Whoami),
            "verify" => ParsedLine::Command(Command::Verify(self.query(kind)?)),
            "ignore" => {
                let on = self.on.take().ok_or_else(|| missing(kind, "on"))?;
                ParsedLine::Command(Command::Ignore {
                    peer: self.query(kind)?,
                    on: Some(on),
                })
            }
            "panic" => ParsedLine::Panic {
                quit: self.quit.take(),
            },
            "quit" => ParsedLine::Command(Command::Quit),
            other => return Err(bad(format!("unknown type '{other}'"))),
        };
        match self.left() {
            None => Ok(asked),
            Some(field) => Err(bad(format!("unexpected field '{field}' in '{kind}'"))),
        }
    }

    fn send(&mut self) -> Result<ParsedLine, Mistake> {
        let text = self.text.take().ok_or_else(|| missing("send", "text"))?.0;
        let to = match self.to.take() {
            None => None,
            Some(peers) if peers.is_empty() => {
                return Err(bad(
                    "invalid field 'to': it is empty; omit it to send to everybody",
                ));
            }
            Some(peers) => Some(
                peers
                    .into_iter()
                    .map(|p| query(p.0))
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
        if text.len() > Text::MAX {
            return Err(command::too_long());
        }
        let text = match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        };
        Ok(ParsedLine::Command(Command::Send { text, to }))
    }

    fn peer(&mut self, kind: &str) -> Result<Cow<'a, str>, Mistake> {
        Ok(self.peer.take().ok_or_else(|| missing(kind, "peer"))?.0)
    }

    fn query(&mut self, kind: &str) -> Result<PeerQuery, Mistake> {
        query(self.peer(kind)?)
    }

    /// The first field that the command does not use.
    fn left(&self) -> Option<&'static str> {
        [
            ("text", self.text.is_some()),
            ("to", self.to.is_some()),
            ("peer", self.peer.is_some()),
            ("seq", self.seq.is_some()),
            ("addr", self.addr.is_some()),
            ("name", self.name.is_some()),
            ("on", self.on.is_some()),
            ("quit", self.quit.is_some()),
        ]
        .into_iter()
        .find_map(|(field, there)| there.then_some(field))
    }
}

fn query(peer: Cow<'_, str>) -> Result<PeerQuery, Mistake> {
    if peer.is_empty() {
        Err(bad("invalid peer: it is empty"))
    } else {
        Ok(PeerQuery(peer.into_owned()))
    }
}

fn bad(message: impl Into<String>) -> Mistake {
    Mistake::new(ErrorCode::BadCommand, message)
}

fn missing(kind: &str, field: &str) -> Mistake {
    bad(format!("missing field '{field}' in '{kind}'"))
}

/// A string, borrowed from the line where it has no escapes.
struct Str<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let (reference, asked) = parse(line, true);
        let asked = match asked {
            Ok(ParsedLine::Command(Command::Send { text, to })) => {
                let to = to.map(|t| t.into_iter().map(|p| p.0).collect::<Vec<_>>());
                format!("send {:?} {to:?}", text.as_str())
            }
            Ok(ParsedLine::Command(command)) => format!("{command:?}"),
            Ok(ParsedLine::Panic { quit: None }) => "panic".into(),
            Ok(ParsedLine::Panic { quit: Some(quit) }) => format!("panic {quit}"),
            Ok(other) => format!("{other:?}"),
            Err(mistake) => mistake.code.as_str().into(),
        };
        match reference {
            None => asked,
            Some(Reference::Text(text)) => format!("{asked} ref {text:?}"),
            Some(Reference::Integer(number)) => format!("{asked} ref {number}"),
        }
    }

    #[test]
    fn every_specified_line_is_read() {
        assert_eq!(
            read(r#"{"type":"send","text":"hi","ref":"r1","to":["alice"]}"#),
            r#"send "hi" Some(["alice"]) ref "r1""#
        );
        assert_eq!(
            read(r#"{"text":"a\nb\u00e9","type":"send"}"#),
            r#"send "a\nbé" None"#
        );
        assert_eq!(read(r#" {"type":"send","text":""} "#), r#"send "" None"#);
        let id = "3f".repeat(32);
        assert!(read(&format!(r#"{{"type":"ack","peer":"{id}","seq":12}}"#)).starts_with("Ack"));
        assert!(read(r#"{"type":"connect","addr":"host:9000"}"#).starts_with("Connect"));
        assert_eq!(
            read(r#"{"type":"disconnect","peer":"alice"}"#),
            r#"Disconnect(PeerQuery("alice"))"#
        );
        assert_eq!(
            read(r#"{"type":"name","name":"Alice"}"#),
            r#"Name(DisplayName("Alice"))"#
        );
        assert_eq!(read(r#"{"type":"peers","ref":-3}"#), "Peers ref -3");
        assert_eq!(read(r#"{"type":"stats"}"#), "Stats");
        assert_eq!(read(r#"{"type":"whoami"}"#), "Whoami");
        assert_eq!(
            read(r#"{"type":"verify","peer":"a"}"#),
            r#"Verify(PeerQuery("a"))"#
        );
        assert_eq!(
            read(r#"{"type":"ignore","peer":"alice","on":true}"#),
            r#"Ignore { peer: PeerQuery("alice"), on: Some(true) }"#
        );
        assert_eq!(read(r#"{"type":"panic","ref":"p"}"#), r#"panic ref "p""#);
        assert_eq!(read(r#"{"type":"panic","quit":true}"#), "panic true");
        assert_eq!(read(r#"{"type":"panic","quit":false}"#), "panic false");
        assert_eq!(read(r#"{"type":"quit"}"#), "Quit");
    }

    #[test]
    fn object_that_is_not_as_specified_is_refused() {
        for line in [
            r#"{"type":"send","text":"hi","to":[]}"#,
            r#"{"type":"send","text":"hi","to":[""]}"#,
            r#"{"type":"send","text":"hi","to":null}"#,
            r#"{"type":"send","text":"hi","to":"alice"}"#,
            r#"{"type":"send","text":"hi","too":["alice"]}"#,
            r#"{"type":"send","text":"hi","to":["a"],"to":["b"]}"#,
            r#"{"type":"send","text":"hi","text":"ho"}"#,
            r#"{"type":"send","text":1}"#,
            r#"{"type":"send"}"#,
            r#"{"type":"send","text":"hi","peer":"alice"}"#,
            r#"{"type":"sned","text":"hi"}"#,
            r#"{"text":"hi"}"#,
            r#"{}"#,
            r#"{"type":"peers","peer":"a"}"#,
            r#"{"type":"ignore","peer":"a"}"#,
            r#"{"type":"ignore","peer":"a","on":"yes"}"#,
            r#"{"type":"ack","peer":"3f9c01aa","seq":1}"#,
            r#"{"type":"quit","ref":1.5}"#,
            r#"{"type":"quit","ref":null}"#,
            r#"{"type":"quit","ref":1.0}"#,
            r#"{"type":"quit","ref":1e3}"#,
            r#"{"type":"quit","ref":-0}"#,
            r#"{"type":"quit","ref":18446744073709551616}"#,
            r#"{"type":"quit","ref":-9223372036854775809}"#,
            r#"{"type":"quit","ref":1,"ref":1}"#,
        ] {
            assert_eq!(read(line), "bad_command", "{line}");
        }
        let long = format!(r#"{{"type":"quit","ref":"{}"}}"#, "x".repeat(65));
        assert_eq!(read(&long), "bad_command");
    }

    #[test]
    fn ref_of_64_bits_comes_back_exactly() {
        for number in [
            "18446744073709551615",
            "9223372036854775808",
            "-9223372036854775808",
        ] {
            let line = format!(r#"{{"type":"quit","ref":{number}}}"#);
            assert_eq!(read(&line), format!("Quit ref {number}"));
        }
    }

    #[test]
    fn error_of_any_kind_carries_the_ref() {
        for line in [
            r#"{"type":"send","text":"\ud800","ref":5}"#,
            r#"{"type":"send","text":"\ud800\u0041","ref":5}"#,
            r#"{"ref":5,"type":"send","text":"x""#,
            r#"{"type":"send","text":"x","ref":5}}"#,
        ] {
            assert_eq!(read(line), "bad_json ref 5", "{line}");
        }
        for line in [
            r#"{"type":1,"ref":5}"#,
            r#"{"ref":5}"#,
            r#"{"type":"none","ref":5}"#,
            r#"{"type":"send","text":null,"ref":5}"#,
            r#"{"type":"send","text":"x","text":"y","ref":5}"#,
            r#"{"type":"send","text":"x","what":{"ref":6},"ref":5}"#,
        ] {
            assert_eq!(read(line), "bad_command ref 5", "{line}");
        }
    }

    #[test]
    fn line_without_an_object_is_bad_json() {
        for line in [
            "",
            "hello",
            "[]",
            r#"["send"]"#,
            "null",
            r#"{"type":"send""#,
            r#"{"type":"send","text":"hi"} x"#,
            r#"{"type":"send","text":"\ud800"}"#,
            r#"{"what":1,"type"}"#,
        ] {
            assert_eq!(read(line), "bad_json", "{line}");
        }
        let deep = format!(r#"{{"type":{}"#, "[".repeat(100_000));
        assert_eq!(read(&deep), "bad_json");
    }

    #[test]
    fn an_error_carries_the_ref_and_a_code_of_its_own() {
        assert_eq!(
            read(r#"{"type":"send","text":"hi","to":[],"ref":7}"#),
            "bad_command ref 7"
        );
        assert_eq!(
            read(r#"{"type":"send","txet":"hi","ref":"r9"}"#),
            r#"bad_command ref "r9""#
        );
        assert_eq!(
            read(r#"{"type":"connect","addr":"a b","ref":1}"#),
            "bad_address ref 1"
        );
        assert_eq!(
            read(r#"{"type":"name","name":"a:b","ref":1}"#),
            "bad_name ref 1"
        );
        let long = format!(
            r#"{{"type":"send","text":"{}","ref":1}}"#,
            "x".repeat(65_537)
        );
        assert_eq!(read(&long), "too_long ref 1");
        let fits = format!(r#"{{"type":"send","text":"{}"}}"#, "x".repeat(65_536));
        assert!(read(&fits).starts_with("send"));
        assert!(parse(r#"{"type":"ack"}"#, false).1.is_err());
    }
}
