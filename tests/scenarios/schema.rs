//! The events that tests read are checked against the schema that the program prints.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::helper::{Process, Run, Running, schema};

const BYE: &str = r#"{"type":"bye","reason":"quit","status":0}"#;

#[test]
fn event_that_the_schema_describes_is_read() {
    assert_eq!(schema::event(BYE).unwrap()["status"], 0);
}

/// One event of each type, as the unit tests of the JSON view write them.
#[test]
fn events_of_the_view_hold_to_the_schema() {
    let events = include_str!("../../src/front/events.jsonl").lines();
    for event in events {
        assert_eq!(schema::event(event).err(), None);
    }
}

#[test]
fn event_off_the_schema_is_refused_with_the_reason() {
    for (line, why) in [
        ("bye", "expected value"),
        ("[]", "required is"),
        (r#"{"reason":"quit","status":0}"#, "required is"),
        (r#"{"type":"surprise"}"#, "no part of the schema"),
        (r#"{"type":"bye","status":0}"#, "required is"),
        (
            r#"{"type":"bye","reason":"quit","status":0,"more":1}"#,
            "the field more is not described",
        ),
        (
            r#"{"type":"bye","reason":"quit","status":"0"}"#,
            r#"type is "integer""#,
        ),
        (
            r#"{"type":"bye","reason":"quit","status":0.5}"#,
            r#"type is "integer""#,
        ),
        (
            r#"{"type":"bye","reason":"quit","status":-1}"#,
            "minimum is 0",
        ),
        (
            r#"{"type":"bye","reason":"quit","status":256}"#,
            "maximum is 255",
        ),
        (r#"{"type":"bye","reason":"why not","status":0}"#, "enum is"),
        (
            r#"{"type":"pending","peers":[{"peer":null}]}"#,
            r#"type is "string""#,
        ),
        (r#"{"type":"peers","peers":{}}"#, r#"type is "array""#),
        (r#"{"type":"peers","peers":[],"ref":[]}"#, "anyOf is"),
        (r#"{"type":"panicked","id":"3f9c01aa"}"#, "pattern is"),
    ] {
        let told = schema::event(line).unwrap_err();
        assert!(told.contains(why), "{line}: {told}");
    }
}

/// A process that writes this line as an event.
fn writes(line: &str) -> Run {
    Run::new().under_shell("sh", &format!("echo '{line}'"))
}

#[test]
fn event_off_the_schema_fails_the_test_that_reads_it() {
    for (line, fails) in [(BYE, false), (r#"{"type":"bye"}"#, true)] {
        let failed = |test: &dyn Fn(Process<serde_json::Value>)| {
            let test = || test(writes(line).json());
            catch_unwind(AssertUnwindSafe(test)).is_err()
        };
        let found = [
            failed(&|process| {
                process.out.take(|_| false);
            }),
            failed(&|mut process| {
                process.ends();
            }),
            failed(&|process| {
                process.out.ends();
                process.out.all();
            }),
            // The test reads no event.
            failed(&|process| {
                process.err.ends();
            }),
            failed(&|_| {
                let run = writes(line);
                Running::start(run).events().for_each(drop);
            }),
        ];
        assert_eq!(found, [fails; 5], "{line}");
    }
}
