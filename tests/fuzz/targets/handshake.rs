//! See `tests/parsers/properties/handshake.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::handshake::check(input));
