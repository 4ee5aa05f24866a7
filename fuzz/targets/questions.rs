//! libFuzzer's entry to `mapkeep_fuzz::questions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::questions(data));
