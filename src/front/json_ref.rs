//! Finds the `ref` of a line that is not a valid command, so that its error can still carry it.
//!
//! The line may be invalid JSON, contain half a surrogate pair, not be UTF-8 or be far too long,
//! and its `ref` may come after all of that. The scanner therefore only looks for `"ref":` directly
//! inside the outermost object, keeps at most one string, and takes the line in parts of any size.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::mesh::Reference;

/// The most bytes of a `ref`.
const MAX_REF: usize = 64;

/// The most bytes of a string that are kept: a `ref` of 64 bytes, each written as an escape of six.
const LONGEST: usize = 6 * MAX_REF + 2;

/// A `ref` as in JSON.
pub(super) struct MaybeReference(pub Reference);

impl<'de> Deserialize<'de> for MaybeReference {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a ref (a string of up to 64 bytes, or a 64-bit integer, signed or unsigned)",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reference, E> {
                if text.len() > MAX_REF {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(Reference::Text(text.into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Reference, E> {
                Ok(Reference::Integer(number.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Reference, E> {
                Ok(Reference::Integer(number.into()))
            }
        }
        from.deserialize_any(Any).map(MaybeReference)
    }
}

/// Parses a `ref` from JSON.
fn reference(json: &[u8]) -> Option<Reference> {
    let reference = serde_json::from_slice::<MaybeReference>(json);
    reference.ok().map(|reference| reference.0)
}

/// The position of the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the object: only white space so far.
    Before,
    /// Where a key may begin: after the opening brace or a comma.
    Key,
    /// After a key, before its colon.
    Colon,
    /// After the colon, where a value may begin.
    Value,
    /// After a value or after an error: until the next comma.
    Other,
    /// The object has ended, or there is none.
    Done,
}

/// Reads a line in parts and finds its `ref`.
#[derive(Debug)]
pub(super) struct RefScanner {
    place: Place,
    /// How many brackets are open inside the object.
    depth: u64,
    in_string: bool,
    /// The next byte of the string is escaped.
    escaped: bool,
    /// The string or number that is being read, if it may matter.
    token: Option<Vec<u8>>,
    /// Whether the last key was `ref`.
    after_ref: bool,
    /// A `ref` whose value may still turn out to continue.
    pending: Option<Reference>,
    found: Option<Reference>,
    /// How often `ref` was found. If there are two, the line has no valid one.
    times: u32,
}

impl RefScanner {
    /// At the beginning of a line.
    pub(super) fn new() -> Self {
        Self {
            place: Place::Before,
            depth: 0,
            in_string: false,
            escaped: false,
            token: None,
            after_ref: false,
            pending: None,
            found: None,
            times: 0,
        }
    }

    /// The `ref` of a whole line.
    pub(super) fn scan(line: &[u8]) -> Option<Reference> {
        let mut scanner = Self::new();
        scanner.push(line);
        scanner.finish()
    }

    /// The next part of the line.
    pub(super) fn push(&mut self, part: &[u8]) {
        for byte in part {
            match (self.place, byte) {
                (Place::Done, _) => return,
                (Place::Before, b' ' | b'\t' | b'\r' | b'\n') => {}
                (Place::Before, b'{') => self.place = Place::Key,
                (Place::Before, _) => self.place = Place::Done,
                _ => self.byte(*byte),
            }
        }
    }

    /// The `ref` of the line, which has ended.
    pub(super) fn finish(mut self) -> Option<Reference> {
        // A string is complete by now; a number may have been cut short and is then in `token`.
        self.settle();
        self.found.filter(|_| self.times == 1)
    }

    fn byte(&mut self, byte: u8) {
        if self.in_string {
            self.in_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.end_of_number();
                let matters = self.depth == 0
                    && (self.place == Place::Key || self.place == Place::Value && self.after_ref);
                if !matters {
                    self.pending = None;
                }
                self.in_string = true;
                self.token = matters.then(|| vec![byte]);
            }
            b'{' | b'[' => {
                self.end_of_number();
                self.pending = None;
                self.depth = self.depth.saturating_add(1);
                self.elsewhere();
            }
            b'}' | b']' => {
                self.end_of_number();
                match self.depth.checked_sub(1) {
                    Some(depth) => self.depth = depth,
                    None => {
                        self.settle();
                        self.place = Place::Done;
                    }
                }
            }
            b',' if self.depth == 0 => {
                self.end_of_number();
                self.settle();
                self.after_ref = false;
                self.place = Place::Key;
            }
            b':' if self.depth == 0 => {
                self.end_of_number();
                self.pending = None;
                if self.place == Place::Colon {
                    self.place = Place::Value;
                    self.times = self.times.saturating_add(self.after_ref.into());
                } else {
                    self.elsewhere();
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => self.end_of_number(),
            _ if self.depth > 0 => {}
            _ => self.bare(byte),
        }
    }

    /// Handles a byte inside a string.
    fn in_string(&mut self, byte: u8) {
        if let Some(token) = &mut self.token {
            token.push(byte);
            if token.len() > LONGEST {
                self.token = None;
            }
        }
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.end_of_string(),
            _ => {}
        }
    }

    fn end_of_string(&mut self) {
        self.in_string = false;
        let token = self.token.take();
        if self.depth > 0 {
            return;
        }
        match self.place {
            Place::Key => {
                self.after_ref = token.is_some_and(|key| is_ref(&key));
                self.place = Place::Colon;
            }
            Place::Value if self.after_ref => self.value(token.as_deref()),
            _ => self.elsewhere(),
        }
    }

    /// Handles a byte outside strings that is neither a bracket nor a separator.
    fn bare(&mut self, byte: u8) {
        match self.place {
            Place::Value if self.after_ref => {
                let token = self.token.get_or_insert_default();
                if token.len() < LONGEST {
                    token.push(byte);
                }
            }
            _ => {
                self.pending = None;
                self.elsewhere();
            }
        }
    }

    fn end_of_number(&mut self) {
        if let Some(token) = self.token.take() {
            self.value(Some(&token));
        }
    }

    /// Handles a value of `ref`, complete unless more follows.
    fn value(&mut self, token: Option<&[u8]>) {
        self.pending = token.and_then(reference);
        self.elsewhere();
    }

    /// Anything else is neither a key nor the value of `ref`.
    fn elsewhere(&mut self) {
        self.after_ref = false;
        self.place = Place::Other;
    }

    /// Only white space followed the value, so it was complete.
    fn settle(&mut self) {
        if let Some(reference) = self.pending.take() {
            self.found = Some(reference);
        }
    }
}

fn is_ref(key: &[u8]) -> bool {
    serde_json::from_slice::<String>(key).is_ok_and(|key| key == "ref")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Reference> {
        Some(Reference::Text(text.into()))
    }

    fn scan(line: &[u8]) -> Option<Reference> {
        let mut bytewise = RefScanner::new();
        for byte in line {
            bytewise.push(&[*byte]);
        }
        let found = RefScanner::scan(line);
        assert_eq!(bytewise.finish(), found, "{}", line.escape_ascii());
        found
    }

    #[test]
    fn ref_behind_any_fault_is_found() {
        for line in [
            br#"{"type":"send","text":"\ud800","ref":"r1"}"#.as_slice(),
            br#" {"ref":"r1","type":"send","text":"\ud800"}"#,
            b"{\"text\":\"\xff\",\"ref\":\"r1\"}",
            b"{\"text\":\"a\tb\\q\",\"ref\" : \"r1\" }",
            br#"{"type":"send","text":"x","ref":"r1""#,
            br#"{"type":"send","text":"x","ref":"r1",}"#,
            br#"{"type":"send" "text":'x',"ref":"r1"}"#,
            br#"{"to":[{"ref":"no"},"]}"],"x":{"a":[1,{"ref":2}]},"ref":"r1"}"#,
            br#"{"text":"say \"ref\":5, \\","ref":"r1"} {"ref":"r2"}"#,
            br#"{"\u0072ef":"\u00721"}"#,
            br#"{"text":NaN,"ref":"r1"}"#,
            br#"{"a":tru,"b":,"ref":"r1","c":}"#,
        ] {
            assert_eq!(scan(line), text("r1"), "{}", line.escape_ascii());
        }
        for (number, value) in [
            ("18446744073709551615", u64::MAX.into()),
            ("-9223372036854775808", i64::MIN.into()),
            ("0", 0),
        ] {
            let line = format!(r#"{{"text":"\ud800","ref":{number} }}"#);
            let expected = Some(Reference::Integer(value));
            assert_eq!(scan(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn invalid_ref_is_not_reported() {
        let long = format!(r#"{{"x":\,"ref":"{}"}}"#, "x".repeat(65));
        let longer = format!(r#"{{"x":\,"ref":"{}"}}"#, "x".repeat(1000));
        for line in [
            b"".as_slice(),
            b"ref",
            b"\"ref\":1",
            br#"["ref",1]"#,
            br#"[{"ref":1}]"#,
            br#"{"text":"ref","ref"}"#,
            br#"{"ref":"a","ref":"a"}"#,
            br#"{"ref":[],"ref":"a"}"#,
            br#","ref":"a"}"#,
            br#"{"ref":1.0}"#,
            br#"{"ref":1e3}"#,
            br#"{"ref":-0}"#,
            br#"{"ref":01}"#,
            br#"{"ref":1 2}"#,
            br#"{"ref":"a" "b"}"#,
            br#"{"ref":"a":"b"}"#,
            br#"{"ref":"a"b}"#,
            br#"{"ref":1"b"}"#,
            br#"{"ref":"a"[]}"#,
            br#"{"ref":18446744073709551616}"#,
            br#"{"ref":-9223372036854775809}"#,
            br#"{"ref":null}"#,
            br#"{"ref":["a"]}"#,
            br#"{"ref":"\ud800"}"#,
            br#"{"ref":"a"#,
            br#"{"ref":12"#,
            b"{\"ref\":\"\xff\"}",
            br#"{"type":"ref":"a"}"#,
            br#"{"a":{"ref":"a"}}"#,
            br#"{}{"ref":"a"}"#,
            long.as_bytes(),
            longer.as_bytes(),
        ] {
            assert_eq!(scan(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn longest_ref_in_escapes_is_found() {
        let line = format!(r#"{{"text":\,"ref":"{}"}}"#, r"\u0072".repeat(64));
        assert_eq!(scan(line.as_bytes()), text(&"r".repeat(64)));
    }

    #[test]
    fn line_without_end_takes_no_memory() {
        let mut scanner = RefScanner::new();
        scanner.push(b"{\"ref\":");
        for _ in 0..1000 {
            scanner.push(&[b'1'; 1000]);
        }
        assert!(scanner.token.as_ref().is_some_and(|t| t.len() <= LONGEST));
        assert_eq!(scanner.finish(), None);
    }
}
