//! The mailbox as this client knows it (RFC 9051 2.3.1, 5.5 and 7.5.1).
//!
//! Position `n` of the list of UIDs is sequence number `n + 1`. A message that was expunged elsewhere stays in
//! the list, with its number, until the client is told. Invariants: the list ascends strictly; `gone` is part of
//! it; every UID in it is below `uid_next`.

use std::collections::{BTreeSet, HashMap};

use securanet_gateway::model::{
    Keyword, MailboxId, MailboxName, ModSeq, SystemFlags, Uid, UidValidity,
    account::{Changes, MailboxInfo, MessageState, UidSet},
};

use super::{Account, Recents, Selection, account::STATE_ROWS_MAX, selection::uid_set};
use crate::{
    grammar::SequenceSet,
    response::{Stop, Tagged},
};

/// Own changes remembered so that they are not told twice; beyond this they are told twice, which is harmless.
const TOLD_MAX: usize = 20_000;

/// An open mailbox.
pub(crate) struct View {
    pub(crate) mailbox: MailboxId,
    pub(crate) name: MailboxName,
    pub(crate) uid_validity: UidValidity,
    /// EXAMINE.
    pub(crate) read_only: bool,
    uids: Vec<Uid>,
    uid_next: Uid,
    modseq: ModSeq,
    keywords: Vec<Keyword>,
    /// UIDs that are recent in this session, ascending ranges.
    recent: Vec<(Uid, Uid)>,
    /// Expunged, and the client was not told yet.
    gone: BTreeSet<Uid>,
    /// Mod-sequences that the client was told of already.
    told: HashMap<Uid, ModSeq>,
    stale: bool,
}

/// What a client must be told, in this order. Numbers are sequence numbers as they are then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Update {
    /// Keywords came: FLAGS and PERMANENTFLAGS again.
    pub(crate) keywords: bool,
    /// Messages came: there are this many now.
    pub(crate) exists: Option<u32>,
    /// Flags changed.
    pub(crate) changed: Vec<(u32, MessageState)>,
}

impl View {
    /// Reads a mailbox's UIDs. Answers with the view and the first sequence number without `\Seen`.
    pub(crate) async fn open(
        account: &Account,
        info: &MailboxInfo,
        read_only: bool,
    ) -> Result<(Self, Option<u32>), Stop> {
        let mut uids = Vec::with_capacity(usize::try_from(info.messages).unwrap_or(0).min(1 << 20));
        let mut first_unseen = None;
        let mut from = Uid::FIRST;
        loop {
            let states = account.states(info.id, UidSet::from_ranges([(from, Uid::new(u32::MAX))])).await?;
            let last_page = states.len() < STATE_ROWS_MAX as usize;
            for state in states.into_iter().filter(|state| state.uid < info.uid_next) {
                uids.push(state.uid);
                if first_unseen.is_none() && !state.flags.system.contains(SystemFlags::SEEN) {
                    first_unseen = Some(number(uids.len()));
                }
            }
            from = uids.last().map_or(Uid::FIRST, |last| last.next());
            if last_page || from >= info.uid_next {
                break;
            }
        }
        Ok((Self::new(info, uids, read_only), first_unseen))
    }

    fn new(info: &MailboxInfo, uids: Vec<Uid>, read_only: bool) -> Self {
        Self {
            mailbox: info.id,
            name: info.name.clone(),
            uid_validity: info.uid_validity,
            read_only,
            uids,
            uid_next: info.uid_next,
            modseq: info.highest_modseq,
            keywords: info.keywords.clone(),
            recent: Vec::new(),
            gone: BTreeSet::new(),
            told: HashMap::new(),
            stale: false,
        }
    }

    /// UIDs by sequence number, from 1 at position 0.
    pub(crate) fn uids(&self) -> &[Uid] {
        &self.uids
    }

    /// EXISTS.
    pub(crate) fn exists(&self) -> u32 {
        number(self.uids.len())
    }

    /// How far this session has seen.
    pub(crate) const fn modseq(&self) -> ModSeq {
        self.modseq
    }

    /// Keywords in use.
    pub(crate) fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// The next UID, as the client knows it.
    pub(crate) const fn uid_next(&self) -> Uid {
        self.uid_next
    }

    /// All messages of the view.
    pub(crate) fn everything(&self) -> Selection {
        Selection::new(self.uids.len().checked_sub(1).map(|last| (0, last)).into_iter().collect())
    }

    /// The sequence number of a UID.
    pub(crate) fn sequence(&self, uid: Uid) -> Option<u32> {
        self.uids.binary_search(&uid).ok().map(|position| number(position + 1))
    }

    /// Whether any of these messages was expunged elsewhere and the client does not know.
    pub(crate) fn has_gone(&self, selection: &Selection) -> bool {
        let position = |uid: &Uid| self.uids.binary_search(uid).ok();
        self.gone.iter().filter_map(position).any(|position| selection.contains(position))
    }

    /// The messages that a command names.
    ///
    /// # Errors
    /// BAD for a sequence number that the client cannot know.
    pub(crate) fn select(&self, set: &SequenceSet, uid: bool, saved: &UidSet) -> Result<Selection, Tagged> {
        if !uid && !self.uids.is_empty() && set.largest_number() > self.exists() {
            return Err(Tagged::bad(format!("There are only {} messages", self.exists())));
        }
        Ok(self.find(set, uid, saved))
    }

    /// The messages of a set; numbers that are not there are passed over.
    pub(crate) fn find(&self, set: &SequenceSet, uid: bool, saved: &UidSet) -> Selection {
        if *set == SequenceSet::Saved {
            return self.with_uids(saved);
        }
        if uid {
            let last = self.uids.last().map_or(0, |uid| uid.get());
            return self.with_uids(&uid_set(&set.resolve(last)));
        }
        let span = |(first, last): (u32, u32)| {
            let last = last.min(self.exists());
            (first <= last).then(|| (first as usize - 1, last as usize - 1))
        };
        Selection::new(set.resolve(self.exists()).into_iter().filter_map(span).collect())
    }

    /// The messages with these UIDs.
    pub(crate) fn with_uids(&self, set: &UidSet) -> Selection {
        let span = |&(first, last): &(Uid, Uid)| {
            let begin = self.uids.partition_point(|&uid| uid < first);
            let end = self.uids.partition_point(|&uid| uid <= last);
            (begin < end).then(|| (begin, end - 1))
        };
        Selection::new(set.ranges().iter().filter_map(span).collect())
    }

    /// Whether a message is recent in this session.
    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        let after = self.recent.partition_point(|range| range.0 <= uid);
        after > 0 && self.recent[after - 1].1 >= uid
    }

    /// RECENT.
    pub(crate) fn recent(&self) -> u32 {
        let count = |&(first, last): &(Uid, Uid)| {
            self.uids.partition_point(|&uid| uid <= last) - self.uids.partition_point(|&uid| uid < first)
        };
        number(self.recent.iter().map(count).sum())
    }

    /// Takes what no session was told of; a session that only reads looks and does not take.
    pub(crate) fn claim_recent(&mut self, recents: &Recents, account: &Account) {
        let Some(&last) = self.uids.last() else { return };
        let before = if self.read_only {
            recents.told(account.id(), self.mailbox)
        } else {
            recents.claim(account.id(), self.mailbox, last)
        };
        let from = before.next().max(self.recent.last().map_or(Uid::FIRST, |range| range.1.next()));
        if from <= last {
            self.recent.push((from, last));
        }
    }

    /// The store must be asked, although no change was heard of yet: this session made one.
    pub(crate) const fn expect_changes(&mut self) {
        self.stale = true;
    }

    /// Whether the store must be asked.
    pub(crate) const fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether the store must be asked; asked once.
    pub(crate) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// The client was told of this state.
    pub(crate) fn tell(&mut self, state: &MessageState) {
        if state.modseq > self.modseq && self.told.len() < TOLD_MAX {
            self.told.insert(state.uid, state.modseq);
        }
    }

    /// Takes changes in; expunged messages keep their numbers until [`Self::take_gone`].
    pub(crate) fn absorb(&mut self, changes: Changes) -> Update {
        let mut update = Update::default();
        for &(first, last) in changes.vanished.ranges() {
            let begin = self.uids.partition_point(|&uid| uid < first);
            let end = self.uids.partition_point(|&uid| uid <= last);
            self.gone.extend(&self.uids[begin..end]);
        }
        for state in changes.messages {
            if state.uid >= self.uid_next {
                self.uids.push(state.uid);
                update.exists = Some(self.exists());
            } else if self.told.get(&state.uid) != Some(&state.modseq)
                && let Some(sequence) = self.sequence(state.uid)
            {
                update.changed.push((sequence, state));
            }
        }
        update.keywords = changes.mailbox.keywords.iter().any(|new| !self.keywords.contains(new));
        self.keywords = changes.mailbox.keywords;
        self.name = changes.mailbox.name;
        self.uid_next = self.uid_next.max(changes.mailbox.uid_next);
        self.modseq = self.modseq.max(changes.mailbox.highest_modseq);
        self.told.retain(|_, modseq| *modseq > self.modseq);
        update
    }

    /// These messages were expunged, by this session or by another.
    pub(crate) fn expunge(&mut self, uids: &[Uid]) {
        self.gone.extend(uids.iter().filter(|uid| self.uids.binary_search(uid).is_ok()));
    }

    /// Takes expunged messages out; answers with their sequence numbers before that, ascending, and UIDs.
    pub(crate) fn take_gone(&mut self) -> Vec<(u32, Uid)> {
        let gone = std::mem::take(&mut self.gone);
        if gone.is_empty() {
            return Vec::new();
        }
        let numbered = gone.iter().filter_map(|&uid| Some((self.sequence(uid)?, uid))).collect();
        self.uids.retain(|uid| !gone.contains(uid));
        numbered
    }
}

/// A count of messages; UIDs are 32 bits wide, so no mailbox has more.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{EmailId, Flags};

    use super::*;
    use crate::grammar::Cursor;

    fn info(uid_next: u32, modseq: u64) -> MailboxInfo {
        MailboxInfo {
            id: MailboxId::new(1),
            name: MailboxName::inbox(),
            special_use: None,
            subscribed: true,
            uid_validity: UidValidity::new(1),
            uid_next: Uid::new(uid_next),
            highest_modseq: ModSeq::new(modseq),
            messages: 0,
            unseen: 0,
            deleted: 0,
            size_bytes: 0,
            deleted_size_bytes: 0,
            horizon: ModSeq::ZERO,
            keywords: Vec::new(),
        }
    }

    fn view(uids: &[u32]) -> View {
        View::new(&info(10, 5), uids.iter().copied().map(Uid::new).collect(), false)
    }

    fn state(uid: u32, modseq: u64) -> MessageState {
        MessageState {
            uid: Uid::new(uid),
            modseq: ModSeq::new(modseq),
            flags: Flags::default(),
            email: EmailId::new(u64::from(uid)),
        }
    }

    fn changes(messages: &[(u32, u64)], vanished: &[u32]) -> Changes {
        Changes {
            mailbox: info(20, 9),
            messages: messages.iter().map(|&(uid, modseq)| state(uid, modseq)).collect(),
            vanished: UidSet::from_uids(vanished.iter().copied().map(Uid::new)),
        }
    }

    fn positions(view: &View, set: &str, uid: bool) -> Vec<usize> {
        let set = SequenceSet::parse(&mut Cursor::new(set.as_bytes())).unwrap();
        view.find(&set, uid, &UidSet::from_uids([Uid::new(4), Uid::new(7)])).positions().collect()
    }

    #[test]
    fn rfc_9051_9_sets_name_messages_of_the_view() {
        let view = view(&[2, 4, 7]);
        assert_eq!(positions(&view, "1,3", false), [0, 2]);
        assert_eq!(positions(&view, "2:*", false), [1, 2]);
        assert_eq!(positions(&view, "3:5", true), [1]);
        assert_eq!(positions(&view, "100:*", true), [2]);
        assert_eq!(positions(&view, "$", true), [1, 2]);
        let set = SequenceSet::parse(&mut Cursor::new(b"4")).unwrap();
        assert!(view.select(&set, false, &UidSet::default()).is_err());
        assert!(view.select(&set, true, &UidSet::default()).is_ok());
    }

    #[test]
    fn rfc_9051_7_5_1_an_expunged_message_keeps_its_number_until_it_is_told() {
        let mut view = view(&[2, 4, 7]);
        let update = view.absorb(changes(&[(7, 8), (12, 9)], &[2]));
        assert_eq!(update.exists, Some(4));
        assert_eq!(update.changed.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [3]);
        assert_eq!(view.sequence(Uid::new(7)), Some(3));
        assert!(view.has_gone(&view.everything()));
        assert_eq!(view.take_gone(), [(1, Uid::new(2))]);
        assert_eq!(view.sequence(Uid::new(7)), Some(2));
        assert_eq!(view.exists(), 3);
    }

    #[test]
    fn own_changes_are_not_told_twice() {
        let mut view = view(&[2, 4]);
        view.tell(&state(4, 7));
        let update = view.absorb(changes(&[(2, 6), (4, 7)], &[]));
        assert_eq!(update.changed.len(), 1);
        let mut later = changes(&[(4, 8)], &[]);
        later.mailbox.highest_modseq = ModSeq::new(10);
        assert_eq!(view.absorb(later).changed.len(), 1);
    }
}
