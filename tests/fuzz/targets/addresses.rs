//! See `tests/parsers/properties/addresses.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::addresses::check(input));
