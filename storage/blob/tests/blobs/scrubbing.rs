//! The scrub finds what is damaged and what is missing, and nothing else.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Mutex};

use securanet_blob::{
    BlobError, BlobStore,
    scrub::{Fault, Finding, References, ScrubReport, scrub},
};
use securanet_kv::memory::MemoryStore;
use securanet_model::{BlobId, GroupId};

use crate::support::{Broken, MIB, at, blobs, content, damage, hasher, name, no_lease, put};

/// Groups with the blobs that each names.
#[derive(Default)]
struct Named(BTreeMap<GroupId, Vec<BlobId>>, Mutex<Vec<BlobId>>);

impl Named {
    fn new(blobs: impl IntoIterator<Item = (u32, BlobId)>) -> Self {
        let mut named = Self::default();
        blobs.into_iter().for_each(|(group, id)| named.0.entry(GroupId::new(group)).or_default().push(id));
        named.0.values_mut().for_each(|ids| ids.sort_unstable());
        named
    }
}

impl References for Named {
    fn groups(&self) -> Vec<GroupId> {
        self.0.keys().copied().collect()
    }

    fn named(&self, group: GroupId, after: Option<BlobId>, rows_max: usize) -> Result<Vec<BlobId>, BlobError> {
        let behind = self.0[&group].iter().filter(|id| after.is_none_or(|after| **id > after));
        Ok(behind.take(rows_max).copied().collect())
    }

    fn is_named(&self, group: GroupId, blob: BlobId) -> Result<bool, BlobError> {
        Ok(self.0[&group].contains(&blob) && !self.1.lock().unwrap().contains(&blob))
    }
}

fn run(store: &BlobStore, named: &Named) -> ScrubReport {
    scrub(store, named, &hasher, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_sound_store_is_clean() {
    let store = blobs(MemoryStore::new());
    let ids: Vec<_> = (0..1005).map(|seed| put(&store, &content(seed, 100), 5).0).collect();
    put(&store, &content(2000, 2 * MIB), 5);
    let report = run(&store, &Named::new(ids.iter().map(|&id| (1, id)).chain([(2, ids[0])])));
    assert!(report.is_clean() && report.complete);
    assert_eq!((report.blobs, report.hashed, report.references), (1006, 1006, 1006));
    assert_eq!(report.content_bytes, 1005 * 100 + 2 * MIB as u64);
}

#[test]
fn damage_and_absence_are_found_and_named() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let ids: Vec<_> = (0..10).map(|seed| put(&store, &content(seed, 20_000), 5).0).collect();
    let absent = name(b"absent");
    let first = *ids.iter().min().unwrap();
    damage(&kv, 2);
    let report = run(&store, &Named::new(ids.iter().map(|&id| (1, id)).chain([(1, absent), (3, absent)])));
    assert!(!report.is_clean());
    assert_eq!((report.blobs, report.hashed, report.damaged, report.missing), (10, 9, 1, 2));
    assert!(report.findings.iter().any(|found| found.blob == first && matches!(&found.fault, Fault::Damaged { .. })));
    for group in [1, 3] {
        let missing = Finding { blob: absent, fault: Fault::Missing { group: GroupId::new(group) } };
        assert!(report.findings.contains(&missing), "{:?}", report.findings);
    }
}

#[test]
fn a_damaged_header_is_damage_and_not_absence() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let (id, _) = put(&store, &content(1, 100), 5);
    damage(&kv, 1);
    let report = run(&store, &Named::new([(1, id)]));
    assert_eq!((report.damaged, report.missing), (1, 0));
}

#[test]
fn a_reference_that_went_away_meanwhile_is_no_finding() {
    let store = blobs(MemoryStore::new());
    let (id, _) = put(&store, &content(1, 100), 5);
    let named = Named::new([(1, id)]);
    store.delete(id, at(6)).unwrap();
    named.1.lock().unwrap().push(id);
    assert!(run(&store, &named).is_clean());
}

#[test]
fn unfinished_puts_are_counted() {
    let store = blobs(MemoryStore::new());
    let cut = content(1, 3 * MIB);
    store.put(name(&cut), &mut Broken(&cut[..2 * MIB]), cut.len() as u64, no_lease(5)).unwrap_err();
    let report = run(&store, &Named::default());
    assert_eq!((report.unfinished, report.blobs), (1, 0));
    assert!(report.is_clean());
}

#[test]
fn findings_are_listed_up_to_a_thousand_and_counted_beyond() {
    let store = blobs(MemoryStore::new());
    let absent = (0_u32..1500).map(|number| (1, name(&number.to_be_bytes())));
    let report = run(&store, &Named::new(absent));
    assert_eq!((report.missing, report.findings.len()), (1500, 1000));
}

#[test]
fn a_scrub_ends_when_it_is_told_to() {
    let store = blobs(MemoryStore::new());
    (0..10).for_each(|seed| _ = put(&store, &content(seed, 100), 5));
    let mut seen = 0;
    let report = scrub(&store, &Named::default(), &hasher, &mut |report| {
        seen = report.blobs;
        if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!((seen, report.blobs, report.complete), (4, 4, false));
}
