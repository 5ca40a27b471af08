//! Checks each line of `--json` against the schema that `sesame schema` prints.
//!
//! Programs that read events must accept new fields and new types of event. A test must not, or the
//! schema would fall behind the program unnoticed. So the check is strict: the schema must describe
//! the type of an event and each of its fields. Libraries for validation do not check this where a
//! schema is open, and cost forty crates; the keywords of JSON Schema that describe events are few.
//! An unknown keyword is a fault, so that none is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// Parses a line of `--json`, or returns what is wrong with it.
pub fn event(line: &str) -> Result<Value, String> {
    let event = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let schema = schema();
    schema.closed(&event, &schema.whole["$defs"]["event"])?;
    Ok(event)
}

struct Schema {
    whole: Value,
    patterns: BTreeMap<String, Regex>,
}

/// The schema that the program prints; read once.
fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sesame"));
        let output = command.arg("schema").stdin(Stdio::null()).output().unwrap();
        let whole = serde_json::from_slice(&output.stdout).unwrap();
        let mut patterns = BTreeMap::new();
        collect_patterns(&whole, &mut patterns);
        Schema { whole, patterns }
    })
}

fn collect_patterns(part: &Value, patterns: &mut BTreeMap<String, Regex>) {
    if let Some(Value::String(pattern)) = part.get("pattern") {
        patterns.insert(pattern.clone(), Regex::new(pattern).unwrap());
    }
    let items = list(part).iter();
    let fields = part.as_object().into_iter().flat_map(Map::values);
    items
        .chain(fields)
        .for_each(|part| collect_patterns(part, patterns));
}

/// The fields of a value that a part of the schema describes.
type Described<'a> = BTreeSet<&'a str>;

impl Schema {
    /// Checks a value against a part of the schema, which must describe each of its fields.
    fn closed(&self, value: &Value, part: &Value) -> Result<(), String> {
        let described = self.hold(value, part)?;
        let mut fields = value.as_object().into_iter().flat_map(Map::keys);
        match fields.find(|field| !described.contains(field.as_str())) {
            Some(field) => Err(format!("the field {field} is not described: {value}")),
            None => Ok(()),
        }
    }

    fn hold<'a>(&'a self, value: &Value, part: &'a Value) -> Result<Described<'a>, String> {
        let words = part
            .as_object()
            .ok_or("a part of the schema is no object")?;
        let mut described = Described::new();
        for (word, says) in words {
            let fits = match word.as_str() {
                "description" | "then" => true,
                "$ref" => {
                    let at = says.as_str().and_then(|at| at.strip_prefix('#'));
                    let part = at.and_then(|at| self.whole.pointer(at));
                    described.extend(self.hold(value, part.ok_or(format!("no {says}"))?)?);
                    true
                }
                "allOf" => {
                    described.extend(self.all_of(value, list(says))?);
                    true
                }
                "if" => {
                    if self.hold(value, says).is_ok() {
                        described.extend(self.hold(value, &part["then"])?);
                    }
                    true
                }
                "anyOf" => list(says)
                    .iter()
                    .any(|part| self.closed(value, part).is_ok()),
                "type" => match says {
                    Value::Array(kinds) => kinds.iter().any(|kind| is(value, kind)),
                    kind => is(value, kind),
                },
                "const" => value == says,
                "enum" => list(says).contains(value),
                "required" => list(says).iter().all(|field| {
                    let field = field.as_str().and_then(|field| value.get(field));
                    field.is_some()
                }),
                "properties" => {
                    for (field, part) in says.as_object().into_iter().flatten() {
                        if let Some(value) = value.get(field) {
                            self.closed(value, part)?;
                        }
                        described.insert(field);
                    }
                    true
                }
                "items" => {
                    for item in list(value) {
                        self.closed(item, says)?;
                    }
                    true
                }
                "pattern" => {
                    let pattern = says.as_str().and_then(|says| self.patterns.get(says));
                    let pattern = pattern.ok_or(format!("no pattern: {says}"))?;
                    value.as_str().is_none_or(|text| pattern.is_match(text))
                }
                "minLength" => length(value).is_none_or(|length| Some(length) >= says.as_u64()),
                "maxLength" => length(value).is_none_or(|length| Some(length) <= says.as_u64()),
                "minimum" => number(value).is_none_or(|value| Some(value) >= number(says)),
                "maximum" => number(value).is_none_or(|value| Some(value) <= number(says)),
                _ => {
                    return Err(format!(
                        "the schema's word {word} is not known to the tests"
                    ));
                }
            };
            if !fits {
                return Err(format!("{word} is {says}, and this does not fit: {value}"));
            }
        }
        Ok(described)
    }

    /// If all parts are conditional, as those of events are, one must apply: then the type is
    /// known.
    fn all_of<'a>(&'a self, value: &Value, parts: &'a [Value]) -> Result<Described<'a>, String> {
        let applies = |part: &Value| {
            let condition = part.get("if");
            condition.is_none_or(|condition| self.hold(value, condition).is_ok())
        };
        if !parts.iter().any(applies) {
            return Err(format!("no part of the schema describes this: {value}"));
        }
        let mut described = Described::new();
        for part in parts {
            described.extend(self.hold(value, part)?);
        }
        Ok(described)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => number(value).is_some(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

fn number(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from))
}

fn length(value: &Value) -> Option<u64> {
    let length = value.as_str()?.chars().count();
    u64::try_from(length).ok()
}
