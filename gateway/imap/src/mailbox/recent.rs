//! Who was told first of a message: `\Recent` (RFC 3501 2.3.2), kept in this process only.
//!
//! `\Recent` belongs to the first session that hears of a message. Keeping that durable would cost a commit for
//! each look at a mailbox, for a flag that IMAP4rev2 has abolished; so it is remembered here, and after a restart
//! or on another gateway messages are recent once more, which RFC 3501 asks for where one cannot know.

use std::collections::HashMap;

use parking_lot::Mutex;
use securanet_gateway::model::{AccountId, MailboxId, Uid};

/// Mailboxes remembered; when there are more, all are forgotten. 24 octets each.
const MAILBOXES_MAX: usize = 200_000;

/// The highest UID of each mailbox that some session was told of as recent.
#[derive(Debug, Default)]
pub(crate) struct Recents(Mutex<HashMap<(AccountId, MailboxId), Uid>>);

impl Recents {
    /// The highest UID told of so far; everything above it is recent.
    pub(crate) fn told(&self, account: AccountId, mailbox: MailboxId) -> Uid {
        self.0.lock().get(&(account, mailbox)).copied().unwrap_or(Uid::new(0))
    }

    /// Takes everything above what was told so far, up to `last`, for one session; answers with what was told
    /// so far.
    pub(crate) fn claim(&self, account: AccountId, mailbox: MailboxId, last: Uid) -> Uid {
        let mut told = self.0.lock();
        if told.len() >= MAILBOXES_MAX && !told.contains_key(&(account, mailbox)) {
            told.clear();
        }
        let own = told.entry((account, mailbox)).or_insert(Uid::new(0));
        let before = *own;
        *own = before.max(last);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3501_2_3_2_a_message_is_recent_in_one_session_only() {
        let recents = Recents::default();
        let (account, mailbox) = (AccountId::new(1), MailboxId::new(1));
        assert_eq!(recents.claim(account, mailbox, Uid::new(7)), Uid::new(0));
        assert_eq!(recents.claim(account, mailbox, Uid::new(7)), Uid::new(7));
        assert_eq!(recents.claim(account, mailbox, Uid::new(9)), Uid::new(7));
        assert_eq!(recents.told(account, mailbox), Uid::new(9));
        assert_eq!(recents.told(account, MailboxId::new(2)), Uid::new(0));
    }
}
