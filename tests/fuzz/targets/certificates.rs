//! See `tests/parsers/properties/certificates.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::certificates::check(input));
