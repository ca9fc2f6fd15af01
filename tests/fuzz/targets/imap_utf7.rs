//! Mailbox names in modified UTF-7.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_imap::fuzz::fuzz_utf7(data));
