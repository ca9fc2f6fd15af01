//! Rows of the blob store.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_blob::fuzz::fuzz_stored(data));
