//! Messages of the store service.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_wire::fuzz::fuzz_messages(data));
