//! See `tests/parsers/properties/names.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::names::check(input));
