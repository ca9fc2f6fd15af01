//! What nodes say when they come into a cluster.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_wire::fuzz::fuzz_enrolment(data));
