//! See `tests/parsers/properties/handover.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::handover::check(input));
