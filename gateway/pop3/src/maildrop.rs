//! A maildrop as one session sees it: its messages as they were when it was opened, numbered, some marked.
//!
//! Numbers never change during a session (RFC 1939 5), whatever comes into the INBOX meanwhile.
//!
//! A unique id is the EMAILID (RFC 8474) that IMAP shows for the message. An INBOX can hold the same email
//! twice (IMAP COPY); then all but the first have their UID behind it, since unique ids must differ within a
//! maildrop. If the first of them is deleted, the next one has its id from the next session on: a client that
//! has seen that id has seen that very message.

use std::collections::HashSet;

use securanet_gateway::model::{AccountId, EmailId, Uid, account::UidSet};

use crate::command::MessageNumber;

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its UID in the INBOX.
    pub uid: Uid,
    /// Which message it is.
    pub email: EmailId,
    /// Its octets.
    pub size_bytes: u64,
    /// The same email stands before it in this maildrop.
    again: bool,
    deleted: bool,
}

/// The messages of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maildrop {
    account: AccountId,
    entries: Vec<Entry>,
}

/// Why there is no such message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoMessage {
    /// The number is too high.
    #[error("no such message")]
    Unknown,
    /// It is marked as deleted.
    #[error("the message is deleted")]
    Deleted,
}

impl Maildrop {
    /// A maildrop with these messages (UID, email, octets), ascending by UID.
    #[must_use]
    pub fn new(account: AccountId, messages: impl IntoIterator<Item = (Uid, EmailId, u64)>) -> Self {
        let mut seen = HashSet::new();
        let entry = |(uid, email, size_bytes)| {
            let again = !seen.insert(email);
            Entry { uid, email, size_bytes, again, deleted: false }
        };
        Self { account, entries: messages.into_iter().map(entry).collect() }
    }

    /// A message that is not marked.
    ///
    /// # Errors
    /// [`NoMessage`]
    pub fn get(&self, number: MessageNumber) -> Result<&Entry, NoMessage> {
        let entry = index(number).and_then(|index| self.entries.get(index)).ok_or(NoMessage::Unknown)?;
        if entry.deleted { Err(NoMessage::Deleted) } else { Ok(entry) }
    }

    /// Marks a message.
    ///
    /// # Errors
    /// [`NoMessage`]
    pub fn delete(&mut self, number: MessageNumber) -> Result<(), NoMessage> {
        self.get(number)?;
        if let Some(entry) = index(number).and_then(|index| self.entries.get_mut(index)) {
            entry.deleted = true;
        }
        Ok(())
    }

    /// Takes all marks away.
    pub fn reset(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.deleted = false);
    }

    /// Messages that are not marked, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MessageNumber, &Entry)> {
        let numbers = (1..=u32::MAX).filter_map(MessageNumber::new);
        numbers.zip(&self.entries).filter(|(_, entry)| !entry.deleted)
    }

    /// Number and octets of the messages that are not marked (RFC 1939 5, STAT).
    #[must_use]
    pub fn stat(&self) -> (usize, u64) {
        self.iter().fold((0, 0), |(messages, octets), (_, entry)| (messages + 1, octets + entry.size_bytes))
    }

    /// The unique id of a message: 1 to 70 printable characters (RFC 1939 7).
    #[must_use]
    pub fn unique_id(&self, entry: &Entry) -> String {
        let id = format!("M{:x}-{:x}", self.account.get(), entry.email.get());
        if entry.again { format!("{id}-{}", entry.uid) } else { id }
    }

    /// What QUIT deletes.
    #[must_use]
    pub fn marked(&self) -> UidSet {
        UidSet::from_uids(self.entries.iter().filter(|entry| entry.deleted).map(|entry| entry.uid))
    }
}

fn index(number: MessageNumber) -> Option<usize> {
    usize::try_from(number.get()).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn maildrop() -> Maildrop {
        let messages = [(4, 10, 100), (7, 11, 200), (9, 10, 100)];
        let typed = messages.map(|(uid, email, size)| (Uid::new(uid), EmailId::new(email), size));
        Maildrop::new(AccountId::new(255), typed)
    }

    #[test]
    fn marks_hide_messages_without_renumbering_until_reset() {
        let mut maildrop = maildrop();
        assert_eq!(maildrop.stat(), (3, 400));
        maildrop.delete(number(2)).unwrap();
        assert_eq!(maildrop.stat(), (2, 200));
        assert_eq!(maildrop.get(number(2)), Err(NoMessage::Deleted));
        assert_eq!(maildrop.delete(number(2)), Err(NoMessage::Deleted));
        assert_eq!(maildrop.get(number(4)), Err(NoMessage::Unknown));
        let left: Vec<u32> = maildrop.iter().map(|(number, _)| number.get()).collect();
        assert_eq!(left, [1, 3]);
        assert_eq!(maildrop.marked(), UidSet::from_uids([Uid::new(7)]));
        maildrop.reset();
        assert_eq!(maildrop.stat(), (3, 400));
        assert!(maildrop.marked().is_empty());
    }

    #[test]
    fn unique_ids_are_the_email_ids_and_differ_for_copies() {
        let maildrop = maildrop();
        let ids: Vec<String> = maildrop.iter().map(|(_, entry)| maildrop.unique_id(entry)).collect();
        assert_eq!(ids, ["Mff-a", "Mff-b", "Mff-a-9"]);
    }
}
