//! libFuzzer's entry to `bdb_sweep` of fuzz/src/stores.rs.
#![no_main]

#[path = "../src/stores.rs"]
mod stores;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stores::bdb_sweep(data));
