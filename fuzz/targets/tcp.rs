//! libFuzzer's entry to `mapkeep_fuzz::tcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::tcp(data));
