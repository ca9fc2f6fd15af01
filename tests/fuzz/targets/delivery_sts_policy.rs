//! MTA-STS policies of other domains.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_sts_policy(data));
