//! Address lists of a header.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_blob::fuzz::fuzz_addresses(data));
