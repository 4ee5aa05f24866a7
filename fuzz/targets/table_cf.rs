//! libFuzzer's entry to `mapkeep_fuzz::table_cf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::table_cf(data));
