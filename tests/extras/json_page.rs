//! The manual page sesame-json(5), and the schema from which it comes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::helper::{has, skip};
use crate::tools::repository;

fn schema() -> Vec<u8> {
    let mut sesame = Command::new(env!("CARGO_BIN_EXE_sesame"));
    let output = sesame.arg("schema").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// What a command makes of this input.
fn filtered(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn page() -> String {
    fs::read_to_string(repository("man/sesame-json.5")).unwrap()
}

#[test]
fn committed_page_is_current() {
    if !has("jq", "--version") {
        skip("the check of sesame-json(5) needs jq");
        return;
    }
    let made = Command::new(repository("scripts/generate.d/json-page"));
    let output = filtered(made, &schema());
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout).unwrap() == page(),
        "man/sesame-json.5 is stale: run scripts/generate and commit what it writes"
    );
}

/// Each name of a field, and each value of an enum, that the schema has.
fn collect(part: &Value, words: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == "properties" {
                    words.extend(inner.as_object().unwrap().keys().cloned());
                }
                if ["enum", "const"].contains(&name.as_str()) {
                    let values = inner.as_array().cloned().unwrap_or(vec![inner.clone()]);
                    words.extend(
                        values
                            .iter()
                            .map(|value| value.as_str().unwrap().to_owned()),
                    );
                }
                collect(inner, words);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        _ => {}
    }
}

#[test]
fn page_has_each_field_and_value_of_the_schema() {
    let mut words = BTreeSet::new();
    collect(&serde_json::from_slice(&schema()).unwrap(), &mut words);
    assert!(words.len() > 80, "{words:?}");
    let page = page();
    let shown: BTreeSet<_> = page
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        // "\fBname\fR" is cut into "fBname" and "fR".
        .map(|word| word.strip_prefix("fB").unwrap_or(word))
        .collect();
    for word in words {
        assert!(shown.contains(word.as_str()), "{word} is not in the page");
    }
}

#[test]
fn page_has_nothing_that_mandoc_warns_of() {
    if !has("mandoc", "/dev/null") {
        skip("the check of sesame-json(5) needs mandoc");
        return;
    }
    let mut mandoc = Command::new("mandoc");
    mandoc.args(["-T", "lint", "-W", "style"]);
    let output = mandoc
        .arg(repository("man/sesame-json.5"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn schema_is_json_schema_2020_12() {
    let script = "
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(sys.stdin)
assert schema['$schema'] == Draft202012Validator.META_SCHEMA['$id'], schema['$schema']
Draft202012Validator.check_schema(schema)
def fits(kind, line):
    whole = {'$ref': '#/$defs/' + kind, '$defs': schema['$defs']}
    return Draft202012Validator(whole).is_valid(line)
assert fits('command', {'type': 'send', 'text': 'hi', 'ref': 1})
assert not fits('command', {'type': 'send', 'text': 'hi', 'tp': ['alice']})
assert fits('event', {'type': 'bye', 'reason': 'quit', 'status': 0, 'new': 1})
assert not fits('event', {'type': 'bye', 'reason': 'quit'})
";
    let mut probe = Command::new("python3");
    let probe = probe.args(["-c", "from jsonschema import Draft202012Validator"]);
    if !probe
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
    {
        skip(
            "the check of the schema needs python3 with jsonschema 4, of the package python3-jsonschema",
        );
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-c", script]);
    let output = filtered(python, &schema());
    assert!(output.status.success(), "{output:?}");
}
