//! A chunk of a snapshot.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_raft::fuzz::fuzz_snapshot_chunk(data));
