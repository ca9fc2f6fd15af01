//! Messages between replicas.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_wire::replication::fuzz::fuzz_replication(data));
