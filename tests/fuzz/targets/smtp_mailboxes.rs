//! The value of a From field.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_smtp::fuzz::fuzz_mailboxes(data));
