//! An SMTP or LMTP command line.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_smtp::fuzz::fuzz_command(data));
