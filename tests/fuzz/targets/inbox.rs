//! See `tests/parsers/properties/inbox.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::inbox::check(input));
