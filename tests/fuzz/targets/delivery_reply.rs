//! Replies of other servers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_reply(data));
