//! A row as it travels between sites.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_raft::fuzz::fuzz_row_form(data));
