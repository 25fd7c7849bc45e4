#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| perilune_fuzz::targets::program(input));
