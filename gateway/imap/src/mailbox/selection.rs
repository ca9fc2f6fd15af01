//! Messages that a command names, as spans of a view.
//!
//! Spans and not lists: `1:*` of a large mailbox is one pair of numbers, here and in the question to the store.
//! A span of the view becomes a range of UIDs; UIDs inside it that the view does not have were expunged before
//! this client came, so the store does not have them either.

use securanet_gateway::model::{Uid, account::UidSet};

/// Ranges of UIDs that one question to the store may have, so that it stays small.
const RANGES_MAX: usize = 2000;

/// Spans of positions in a view (from 0, both ends inclusive), sorted and disjoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selection {
    spans: Vec<(usize, usize)>,
}

impl Selection {
    /// Spans in any order become sorted and disjoint.
    pub(crate) fn new(mut spans: Vec<(usize, usize)>) -> Self {
        spans.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(spans.len());
        for (first, last) in spans {
            match merged.last_mut() {
                Some(previous) if first <= previous.1 + 1 => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { spans: merged }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many messages.
    pub(crate) fn count(&self) -> usize {
        self.spans.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether a position is in it.
    pub(crate) fn contains(&self, position: usize) -> bool {
        let after = self.spans.partition_point(|span| span.0 <= position);
        after > 0 && self.spans[after - 1].1 >= position
    }

    /// The positions, ascending.
    #[cfg(test)]
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.spans.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The UIDs of all of them as one set.
    pub(crate) fn uid_set(&self, uids: &[Uid]) -> UidSet {
        UidSet::from_ranges(self.spans.iter().map(|&(first, last)| (uids[first], uids[last])))
    }

    /// The UIDs of all of them as sets of at most `messages_max` messages each, ascending.
    pub(crate) fn pages(&self, uids: &[Uid], messages_max: usize) -> Vec<UidSet> {
        let mut pages = Vec::new();
        let mut page: Vec<(Uid, Uid)> = Vec::new();
        let mut room = messages_max;
        for &(mut first, last) in &self.spans {
            while first <= last {
                let end = last.min(first + room - 1);
                page.push((uids[first], uids[end]));
                room -= end - first + 1;
                first = end + 1;
                if room == 0 || page.len() == RANGES_MAX {
                    pages.push(UidSet::from_ranges(page.drain(..)));
                    room = messages_max;
                }
            }
        }
        if !page.is_empty() {
            pages.push(UidSet::from_ranges(page));
        }
        pages
    }
}

/// Ranges of numbers as a set of UIDs.
pub(crate) fn uid_set(ranges: &[(u32, u32)]) -> UidSet {
    UidSet::from_ranges(ranges.iter().map(|&(first, last)| (Uid::new(first), Uid::new(last))))
}

/// What both sets have.
pub(crate) fn intersection(one: &UidSet, other: &UidSet) -> UidSet {
    let (mut one, mut other) = (one.ranges().iter().peekable(), other.ranges().iter().peekable());
    let mut both = Vec::new();
    while let (Some(&&(a, b)), Some(&&(c, d))) = (one.peek(), other.peek()) {
        if a.max(c) <= b.min(d) {
            both.push((a.max(c), b.min(d)));
        }
        if b < d {
            one.next()
        } else {
            other.next()
        };
    }
    UidSet::from_ranges(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_full_ascending_and_leave_nothing_out() {
        let uids: Vec<Uid> = [2, 4, 5, 9, 10, 11, 20].map(Uid::new).to_vec();
        let selection = Selection::new(vec![(4, 6), (0, 1), (2, 2)]);
        assert_eq!(selection.count(), 6);
        let pages: Vec<_> = selection.pages(&uids, 4).iter().map(|page| page.ranges().to_vec()).collect();
        let uid = Uid::new;
        assert_eq!(pages, [vec![(uid(2), uid(5)), (uid(10), uid(10))], vec![(uid(11), uid(20))]]);
        assert_eq!(selection.positions().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
        assert!(selection.contains(2) && !selection.contains(3));
        assert!(Selection::default().pages(&uids, 4).is_empty());
    }

    #[test]
    fn an_intersection_has_what_both_have() {
        let (one, other) = (uid_set(&[(1, 5), (8, 9), (12, 20)]), uid_set(&[(4, 8), (13, 14), (20, 30)]));
        assert_eq!(intersection(&one, &other), uid_set(&[(4, 5), (8, 8), (13, 14), (20, 20)]));
        assert_eq!(intersection(&one, &UidSet::all()), one);
        assert!(intersection(&one, &UidSet::default()).is_empty());
    }
}
