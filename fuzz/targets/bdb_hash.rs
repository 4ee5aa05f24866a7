//! libFuzzer's entry to `mapkeep_fuzz::bdb_hash`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::bdb_hash(data));
