//! The contents of a file: as processes see them, and as they would be after a power cut.
//!
//! A write lies among the pending changes until a sync of this file that began after it has ended. Resizes are metadata
//! and stay in order: what came after a resize that is lost is lost with it.

use std::collections::VecDeque;

use super::{Loss, Lost};
use crate::random::Random;

/// A file's octets.
#[derive(Default)]
pub(super) struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: VecDeque<Change>,
    /// How many changes there were ever: the last pending one has this number.
    made: u64,
    pending_bytes: u64,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Zero { offset: usize, length: usize },
    Resize(usize),
}

impl Change {
    fn bytes(&self) -> u64 {
        if let Self::Write { bytes, .. } = self { bytes.len() as u64 } else { 0 }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(to, *offset, bytes),
            Self::Zero { offset, length } => {
                let end = to.len().min(offset + length);
                let start = (*offset).min(end);
                to[start..end].fill(0);
            }
            Self::Resize(length) => to.resize(*length, 0),
        }
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.now.len()
    }

    pub(super) fn read(&self, offset: usize, length: usize) -> &[u8] {
        let start = offset.min(self.now.len());
        let end = self.now.len().min(start.saturating_add(length));
        &self.now[start..end]
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.made += 1;
        self.pending_bytes += change.bytes();
        self.pending.push_back(change);
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn zero(&mut self, offset: usize, length: usize) {
        self.change(Change::Zero { offset, length });
    }

    pub(super) fn resize(&mut self, length: usize) {
        self.change(Change::Resize(length));
    }

    /// Octets written and not synced.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Where a sync begins.
    pub(super) fn mark(&self) -> u64 {
        self.made
    }

    /// A sync has ended: everything up to its mark is durable.
    pub(super) fn settle(&mut self, mark: u64) {
        while self.made - (self.pending.len() as u64) < mark {
            let Some(change) = self.pending.pop_front() else { return };
            self.pending_bytes -= change.bytes();
            change.apply(&mut self.durable);
        }
    }

    /// The power is gone: only what is durable stays, and of the rest what luck has written back, torn between sectors.
    pub(super) fn cut(&mut self, loss: Loss, random: &mut Random, lost: &mut Lost) {
        self.pending_bytes = 0;
        let mut in_order = true;
        for change in std::mem::take(&mut self.pending) {
            let Change::Write { offset, bytes } = change else {
                in_order &= loss.keeps(random);
                if in_order {
                    change.apply(&mut self.durable);
                }
                continue;
            };
            let mut from = 0;
            while from < bytes.len() {
                let in_sector = (offset + from) % loss.tear_bytes;
                let to = bytes.len().min(from + loss.tear_bytes - in_sector);
                let stays = in_order && loss.keeps(random);
                *(if stays { &mut lost.bytes_kept } else { &mut lost.bytes_dropped }) += (to - from) as u64;
                if stays {
                    put(&mut self.durable, offset + from, &bytes[from..to]);
                }
                from = to;
            }
        }
        self.now.clone_from(&self.durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_while_a_sync_runs_is_not_durable_with_it() {
        let mut file = Contents::default();
        file.write(0, b"before");
        let mark = file.mark();
        file.write(0, b"during");
        file.settle(mark);
        file.cut(Loss::ALL, &mut Random::new(1), &mut Lost::default());
        assert_eq!(file.read(0, 10), b"before");
    }

    #[test]
    fn what_followed_a_lost_truncation_is_lost_with_it() {
        for seed in 0..50 {
            let mut file = Contents::default();
            file.write(0, b"a long text");
            file.settle(file.mark());
            file.resize(0);
            file.write(0, b"short");
            file.cut(Loss { kept_percent: 50, tear_bytes: 512 }, &mut Random::new(seed), &mut Lost::default());
            assert!([&b"a long text"[..], b"short", b""].contains(&file.read(0, 20)), "{seed}");
        }
    }
}
