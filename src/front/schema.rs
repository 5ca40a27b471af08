//! The JSON Schema of both directions of `--json`, as `sesame schema` prints it: `schema.json`,
//! draft 2020-12. Input is strict and output may grow, as USAGE.md says under 'JSON mode'.

/// The schema, a JSON text that ends with a newline.
pub fn schema() -> &'static str {
    include_str!("schema.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn read() -> Value {
        serde_json::from_str(schema()).unwrap()
    }

    #[test]
    fn each_specified_type_is_described() {
        let types = |list: &Value, at: &str| -> BTreeSet<String> {
            let types = list
                .as_array()
                .unwrap()
                .iter()
                .map(|each| each.pointer(at).unwrap().as_str().unwrap());
            types.map(ToString::to_string).collect()
        };
        let set = |text: &str| {
            text.split(' ')
                .map(ToString::to_string)
                .collect::<BTreeSet<_>>()
        };
        let schema = read();
        assert_eq!(
            types(
                &schema["$defs"]["command"]["oneOf"],
                "/properties/type/const"
            ),
            set(
                "send ack connect disconnect name peers pending stats whoami verify ignore panic quit"
            )
        );
        assert_eq!(
            types(
                &schema["$defs"]["event"]["allOf"],
                "/if/properties/type/const"
            ),
            set(
                "ready peer_up peer_name peer_down peer_gone message queued delivered done peers pending stats whoami verify \
                 auth_failed advertised panicked error bye"
            )
        );
    }

    #[test]
    fn input_schema_is_strict_and_allows_a_ref() {
        for command in read()["$defs"]["command"]["oneOf"].as_array().unwrap() {
            assert_eq!(
                command["additionalProperties"],
                Value::Bool(false),
                "{command}"
            );
            assert!(command["properties"]["ref"].is_object(), "{command}");
        }
    }

    #[test]
    fn each_reference_leads_somewhere() {
        fn check(part: &Value, whole: &Value) {
            if let Some(Value::String(at)) = part.get("$ref") {
                assert!(whole.pointer(at.trim_start_matches('#')).is_some(), "{at}");
            }
            match part {
                Value::Object(fields) => fields.values().for_each(|each| check(each, whole)),
                Value::Array(items) => items.iter().for_each(|each| check(each, whole)),
                _ => {}
            }
        }
        check(&read(), &read());
    }
}
