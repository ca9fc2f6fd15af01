//! Which blobs unpurged log entries name: they must not be collected, whatever the state says, because replaying
//! the entry would bring their names back.

use std::collections::{BTreeMap, HashMap};

use openraft::{EntryPayload, entry::RaftEntry};
use parking_lot::Mutex;
use securanet_model::{BlobId, GroupId};

use crate::types::Entry;

/// A multiset of blobs, by entry. As large as the number of blobs in unpurged entries, which purging bounds.
#[derive(Default)]
pub(crate) struct Pins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: HashMap<BlobId, u32>,
    entries: BTreeMap<(GroupId, u64), Vec<BlobId>>,
}

impl State {
    fn remove(&mut self, blobs: &[BlobId]) {
        for blob in blobs {
            if let Some(count) = self.counts.get_mut(blob) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(blob);
                }
            }
        }
    }

    fn remove_range(&mut self, from: (GroupId, u64), to: (GroupId, u64)) {
        let mut middle = self.entries.split_off(&from);
        let mut behind = middle.split_off(&to);
        self.entries.append(&mut behind);
        middle.values().for_each(|blobs| self.remove(blobs));
    }
}

impl Pins {
    /// Whether an unpurged entry names the blob.
    #[must_use]
    pub(crate) fn contains(&self, blob: &BlobId) -> bool {
        self.state.lock().counts.contains_key(blob)
    }

    pub(crate) fn entry_appended(&self, group: GroupId, entry: &Entry) {
        let EntryPayload::Normal(proposed) = &entry.payload else { return };
        if proposed.blobs().is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for blob in proposed.blobs() {
            *state.counts.entry(*blob).or_default() += 1;
        }
        if let Some(before) = state.entries.insert((group, entry.index()), proposed.blobs().to_vec()) {
            state.remove(&before);
        }
    }

    /// Entries up to `index` are gone.
    pub(crate) fn purged(&self, group: GroupId, index: u64) {
        self.state.lock().remove_range((group, 0), (group, index.saturating_add(1)));
    }

    /// Entries from `index` on are gone.
    pub(crate) fn truncated(&self, group: GroupId, index: u64) {
        let after = GroupId::new(group.get().saturating_add(1));
        self.state.lock().remove_range((group, index), (after, 0));
    }
}
