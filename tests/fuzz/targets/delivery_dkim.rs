//! Header fields and bodies that are signed; an octet chooses how they are split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_dkim(data));
