//! See `tests/parsers/properties/ratchet.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::ratchet::check(input));
