//! TXT records that ask for TLS reports of other domains.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_delivery::fuzz::fuzz_tls_report_record(data));
