//! libFuzzer's entry to `mapkeep_fuzz::main_cf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::main_cf(data));
