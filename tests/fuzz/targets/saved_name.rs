//! See `tests/parsers/properties/saved_name.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::saved_name::check(input));
