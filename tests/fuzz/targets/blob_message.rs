//! A message: structure, envelope, preview, recipe, and back.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| securanet_blob::fuzz::fuzz_message(data));
