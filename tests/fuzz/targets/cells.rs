//! See `tests/parsers/properties/cells.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::cells::check(input));
