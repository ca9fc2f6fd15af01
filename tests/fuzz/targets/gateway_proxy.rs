//! PROXY headers, version 1 and 2.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_gateway::fuzz::fuzz_proxy(data));
