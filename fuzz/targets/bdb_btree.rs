//! libFuzzer's entry to `mapkeep_fuzz::bdb_btree`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::bdb_btree(data));
