//! A row of the log.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_raft::fuzz::fuzz_log_row(data));
