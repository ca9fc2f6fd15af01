//! Bodies that may be kept decoded.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_blob::fuzz::fuzz_base64(data));
