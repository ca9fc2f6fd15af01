//! Header fields with RFC 2047 words.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_imap::fuzz::fuzz_encoded_words(data));
