//! Entries for fuzzing what is read from disk or from peers: must not panic, and what decodes encodes again.

use bytes::Bytes;
use securanet_model::record;

use crate::{
    format,
    network::{Opener, ROOM_BYTES, close},
    state::snapshot::Chunk,
};

/// A row of the log.
///
/// # Panics
/// When a decoded row does not survive a round trip: a bug.
pub fn fuzz_log_row(data: &[u8]) {
    let Ok(entry) = format::decode_entry(data) else { return };
    let again = format::decode_entry(&format::encode_entry(&entry));
    assert_eq!(again.as_ref(), Ok(&entry));
    if let openraft::EntryPayload::Normal(proposed) = &entry.payload {
        // Decoding a foreign proposal may fail, not panic.
        drop(proposed.proposal());
    }
}

/// A chunk of a snapshot.
///
/// # Panics
/// When a decoded chunk does not survive a round trip: a bug.
pub fn fuzz_snapshot_chunk(data: &[u8]) {
    let Ok(chunk) = Chunk::decode(data) else { return };
    let again = Chunk::decode(&record::encode(&chunk));
    assert_eq!(again.as_ref(), Ok(&chunk));
}

/// A row as it travels between sites.
///
/// # Panics
/// When a row that is opened does not come back as it was: a bug.
pub fn fuzz_row_form(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    // What another node sends may be refused, not panic.
    drop(close(&data, |_| Some(data.clone())));
    let form = Opener::default().open(&data, &mut ROOM_BYTES.clone());
    assert_eq!(close(&form, |_| None).as_ref(), Ok(&data));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{EntryPayload, Membership, entry::RaftEntry};
    use securanet_model::{BlobId, TenantId, UnixMillis, request::Proposal};

    use super::*;
    use crate::{
        format::{LogIdRow, MembershipRow},
        state::snapshot::ChunkRow,
        types::{Entry, LogId, Member, Membership as StoredMembership, Proposed},
    };

    fn log_id(index: u64) -> LogId {
        LogId::new(openraft::impls::leader_id_adv::LeaderId { term: 3, node_id: 2 }, index)
    }

    fn members() -> Membership<u64, Member> {
        let nodes: BTreeMap<u64, Member> = (1..=3).map(|id| (id, Member { node: format!("node-{id}") })).collect();
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], nodes).unwrap()
    }

    fn entries() -> [Entry; 3] {
        let record = Bytes::from(record::encode(&Proposal { stamp: UnixMillis::new(5), requests: Vec::new() }));
        let blob = BlobId { tenant: TenantId::new(1), hash: [9; 32] };
        [
            Entry::new(log_id(0), EntryPayload::Blank),
            Entry::new(log_id(1), EntryPayload::Normal(Proposed::from_record(record, vec![blob]))),
            Entry::new(log_id(2), EntryPayload::Membership(members())),
        ]
    }

    fn chunks() -> [Vec<u8>; 3] {
        let membership = MembershipRow::from(&StoredMembership::new(Some(log_id(2)), members()));
        let row = |table: u8| ChunkRow { key: vec![table, 1], value: vec![2; 20] };
        [
            Chunk::Begin { applied: LogIdRow::from(log_id(7)), membership },
            Chunk::Rows(vec![row(1), row(2), row(0x7f)]),
            Chunk::End { rows: 3 },
        ]
        .map(|chunk| record::encode(&chunk))
    }

    fn feed_mutations(seeds: &[Vec<u8>], target: fn(&[u8])) {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % end.max(1) as u64) as usize
        };
        for seed in seeds {
            target(seed);
            for _ in 0..3000 {
                let mut data = seed.clone();
                for _ in 0..=random(4) {
                    let at = random(data.len());
                    match random(4) {
                        0 => data.truncate(at),
                        1 => data.insert(at.min(data.len()), random(256) as u8),
                        _ if data.is_empty() => {}
                        _ => data[at] = random(256) as u8,
                    }
                }
                target(&data);
            }
        }
    }

    #[test]
    fn log_rows_survive_round_trips_and_mutations() {
        for entry in entries() {
            assert_eq!(format::decode_entry(&format::encode_entry(&entry)).unwrap(), entry);
        }
        feed_mutations(&entries().map(|entry| format::encode_entry(&entry)), fuzz_log_row);
    }

    #[test]
    fn snapshot_chunks_survive_mutations() {
        feed_mutations(&chunks(), fuzz_snapshot_chunk);
    }

    #[test]
    fn rows_that_are_opened_and_forms_survive_mutations() {
        let sealed = |text: &str| securanet_blob::frame::compress(text.repeat(30).as_bytes()).unwrap();
        let row = Bytes::from([&b"row "[..], &sealed("text "), b" and ", &sealed("another one. "), b" end"].concat());
        let form = Opener::default().open(&row, &mut ROOM_BYTES.clone());
        assert!(form.len() > 500, "it is opened");
        feed_mutations(&[row.to_vec(), form.to_vec()], fuzz_row_form);
    }

    /// What data directories hold today, every later release must read: these bytes never change.
    #[test]
    fn the_format_is_frozen() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let rows = entries().map(|entry| hex(&format::encode_entry(&entry)));
        let blob = format!("01{}", "09".repeat(32));
        assert_eq!(rows[0], "0103020000");
        assert_eq!(rows[1], format!("010302010101{blob}03010500"));
        let nodes = "01066e6f64652d3102066e6f64652d3203066e6f64652d33";
        assert_eq!(rows[2], format!("01030202020202010202020303{nodes}"));
        let chunks = chunks().map(|chunk| hex(&chunk));
        assert_eq!(chunks[0], format!("01000302070103020202020102020203{}", format_args!("03{nodes}")));
        assert_eq!(chunks[2], "010203");
    }
}
