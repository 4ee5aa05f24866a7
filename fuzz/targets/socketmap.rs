//! libFuzzer's entry to `mapkeep_fuzz::socketmap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::socketmap(data));
