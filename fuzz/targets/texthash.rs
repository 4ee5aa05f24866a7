//! libFuzzer's entry to `mapkeep_fuzz::texthash`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::texthash(data));
