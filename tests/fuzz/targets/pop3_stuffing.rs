//! A message as RETR sends it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_pop3::fuzz::fuzz_stuffing(data));
