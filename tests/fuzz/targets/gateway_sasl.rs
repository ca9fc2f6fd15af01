//! SASL responses of PLAIN and LOGIN.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_gateway::fuzz::fuzz_sasl(data));
