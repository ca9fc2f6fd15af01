//! A message; two octets choose what the next host takes and how it is split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_outgoing(data));
