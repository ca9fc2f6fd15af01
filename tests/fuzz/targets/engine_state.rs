//! A state with foreign rows, asked and changed.
//!
//! The input is cut at its 0xff octets: key and value in turn, each key behind the space that an engine expects.

#![no_main]

use securanet_engine::Space;
use securanet_model::{GroupId, UnixMillis, record, request::Proposal};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [group, data @ ..] = data else { return };
    let space = Space { group: GroupId::new(u32::from(group & 1)), generation: 0 };
    let mut pieces = data.split(|&octet| octet == 0xff);
    let proposal = pieces.next().and_then(|piece| record::decode(piece).ok());
    let proposal = proposal.unwrap_or(Proposal { stamp: UnixMillis::new(1), requests: Vec::new() });
    let mut rows = Vec::new();
    while let (Some(key), Some(value)) = (pieces.next(), pieces.next()) {
        rows.push(([space.prefix().as_slice(), key].concat(), value.to_vec()));
    }
    securanet_engine::fuzz::fuzz_state(space, rows, &proposal);
});
