//! libFuzzer's entry to `mapkeep_fuzz::template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::template(data));
