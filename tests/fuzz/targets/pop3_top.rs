//! A message as TOP cuts it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_pop3::fuzz::fuzz_top(data));
