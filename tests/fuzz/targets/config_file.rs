//! See `tests/parsers/properties/config_file.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::config_file::check(input));
