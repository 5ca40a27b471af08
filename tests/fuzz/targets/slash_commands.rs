//! See `tests/parsers/properties/slash_commands.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sesame_fuzz::properties::slash_commands::check(input));
