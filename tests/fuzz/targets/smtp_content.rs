//! Message data after DATA or BDAT; two octets choose setting, framing and how it is split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_smtp::fuzz::fuzz_content(data));
