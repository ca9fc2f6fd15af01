//! Texts of strangers that a report repeats, separated by zero octets.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_report(data));
