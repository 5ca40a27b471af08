//! See `tests/parsers/properties/socks.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::socks::check(input));
