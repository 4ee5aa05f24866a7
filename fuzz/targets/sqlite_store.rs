//! libFuzzer's entry to `sqlite_store` of fuzz/src/stores.rs.
#![no_main]

#[path = "../src/stores.rs"]
mod stores;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stores::sqlite_store(data));
