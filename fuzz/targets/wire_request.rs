//! libFuzzer's entry to `mapkeep_fuzz::wire_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapkeep_fuzz::wire_request(data));
