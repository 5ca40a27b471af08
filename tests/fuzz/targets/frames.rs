//! See `tests/parsers/properties/frames.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::frames::check(input));
