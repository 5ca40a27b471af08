//! See `tests/parsers/properties/tor_control.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::tor_control::check(input));
