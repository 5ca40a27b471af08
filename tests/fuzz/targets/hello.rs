//! See `tests/parsers/properties/hello.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::hello::check(input));
