//! IMAP sequence sets.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_imap::fuzz::fuzz_sequence_set(data));
