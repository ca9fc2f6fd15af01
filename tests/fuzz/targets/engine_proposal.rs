//! A proposal from the log, applied.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_engine::fuzz::fuzz_proposal(data));
