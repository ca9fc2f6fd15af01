//! Emails: a message is stored once per account, in however many mailboxes it sits, and counts once in the quota.
//!
//! An email comes with its first instance and goes with its last one; its content, its blobs' reachability and
//! its thread keys come and go with it. Nothing of it ever changes in between.

use std::collections::BTreeSet;

use securanet_model::{
    BlobId, EmailId,
    account::{AccountRefusal, Changed},
    content::{NewMessage, Sealed},
};

use super::{
    change::{Change, Step},
    instances,
    records::{EmailContentOut, EmailHead, EmailOut, Used},
    threads,
};
use crate::{
    EngineError,
    keys::Table,
    reachability::{self, Owner},
};

/// A message as one account gets it.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'m> {
    pub(super) message: &'m NewMessage,
    /// The recipient's own header fields, and their octets.
    pub(super) prefix: &'m Sealed,
    pub(super) prefix_size_bytes: u64,
}

impl Incoming<'_> {
    /// Octets of prefix and message.
    pub(super) fn size_bytes(&self) -> u64 {
        self.message.size_bytes.saturating_add(self.prefix_size_bytes)
    }

    fn used(&self) -> Used {
        Used { bytes: self.size_bytes(), messages: 1 }
    }
}

/// Refuses what does not fit into the account's quota.
pub(super) fn check_quota(change: &Change<'_, '_>, incoming: &[Incoming<'_>]) -> Step<()> {
    let more = incoming.iter().fold(Used::default(), |sum, each| sum.plus(each.used()));
    if change.row.used.fits(more, change.row.quota) { Ok(()) } else { Err(AccountRefusal::OverQuota.into()) }
}

/// Stores a message that the caller then puts into a mailbox.
pub(super) fn create(change: &mut Change<'_, '_>, incoming: Incoming<'_>) -> Result<EmailId, EngineError> {
    let message = incoming.message;
    let email = change.next_email();
    let (thread, thread_keys) = threads::join(change, email, &message.thread_keys)?;
    let head = EmailHead {
        thread,
        size_bytes: incoming.size_bytes(),
        prefix_size_bytes: incoming.prefix_size_bytes,
        internal_date: message.internal_date.unwrap_or(change.stamp),
        blobs: u32::try_from(message.blobs.len()).unwrap_or(u32::MAX),
        thread_keys,
    };
    let content = EmailContentOut { prefix: incoming.prefix, recipe: &message.recipe };
    change.tx.put_record(change.keys.email(Table::EmailContent, email), &content);
    change.tx.put_record(change.keys.email(Table::Email, email), &EmailOut { head, summary: &message.summary });
    if !message.blobs.is_empty() {
        let blobs: Vec<BlobId> = message.blobs.iter().map(|blob| blob.id).collect();
        change.tx.put_record(change.keys.email(Table::EmailBlobs, email), &blobs);
        let owner = Owner::Email(change.keys.account(), email);
        blobs.iter().for_each(|blob| reachability::add(change.tx, blob, owner));
    }
    change.row.used = change.row.used.plus(incoming.used());
    change.log(Changed::EmailCreated(email));
    Ok(email)
}

/// Instances of these emails were taken out: logs it, and removes the emails that sit nowhere any more.
pub(super) fn after_taking_out(
    change: &mut Change<'_, '_>,
    emails: impl IntoIterator<Item = EmailId>,
) -> Result<(), EngineError> {
    let distinct: BTreeSet<EmailId> = emails.into_iter().collect();
    for email in distinct {
        if instances::of_email(&change.tx.view(), change.keys, email, 1)?.is_empty() {
            remove(change, email)?;
        } else {
            change.log(Changed::EmailUpdated(email));
        }
    }
    Ok(())
}

fn remove(change: &mut Change<'_, '_>, email: EmailId) -> Result<(), EngineError> {
    let key = change.keys.email(Table::Email, email);
    let head: EmailHead = change.tx.get_record(&key)?.ok_or_else(|| missing(change, email))?;
    change.tx.delete(key);
    change.tx.delete(change.keys.email(Table::EmailContent, email));
    if head.blobs > 0 {
        let key = change.keys.email(Table::EmailBlobs, email);
        let blobs: Vec<BlobId> = change.tx.get_record(&key)?.ok_or_else(|| missing(change, email))?;
        let owner = Owner::Email(change.keys.account(), email);
        blobs.iter().for_each(|blob| reachability::remove(change.tx, blob, owner));
        change.tx.delete(key);
    }
    threads::leave(change, &head.thread_keys)?;
    change.row.used = change.row.used.minus(Used { bytes: head.size_bytes, messages: 1 });
    change.log(Changed::EmailDestroyed(email));
    Ok(())
}

fn missing(change: &Change<'_, '_>, email: EmailId) -> EngineError {
    EngineError::Inconsistent(format!(
        "account {}: email {email} has instances but not all of its rows",
        change.keys.account()
    ))
}
