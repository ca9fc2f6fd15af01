//! IMAP commands with their literals.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_imap::fuzz::fuzz_command(data));
