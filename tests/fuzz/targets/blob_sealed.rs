//! Sealed content and recipes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_blob::fuzz::fuzz_sealed(data));
