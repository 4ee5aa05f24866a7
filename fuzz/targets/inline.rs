//! libFuzzer's entry to `mapkeep_fuzz::inline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::inline(data));
