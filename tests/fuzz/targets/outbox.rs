//! See `tests/parsers/properties/outbox.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::outbox::check(input));
