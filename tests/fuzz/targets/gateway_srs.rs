//! Rewritten senders.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_gateway::fuzz::fuzz_srs(data));
