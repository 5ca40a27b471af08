//! See `tests/parsers/properties/json_lines.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::json_lines::check(input));
