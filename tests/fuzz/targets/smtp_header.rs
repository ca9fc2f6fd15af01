//! A submitted message; the first octet chooses how it is split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_smtp::fuzz::fuzz_header(data));
