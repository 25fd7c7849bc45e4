#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| perilune::tier2::text::check(input));
