//! libFuzzer's entry to `mapkeep_fuzz::pcre`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::pcre(data));
