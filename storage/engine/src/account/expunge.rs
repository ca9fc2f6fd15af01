//! EXPUNGE and UID EXPUNGE (RFC 9051 6.4.3, 6.4.9) and what POP3's QUIT deletes (RFC 1939 6).

use std::ops::ControlFlow;

use securanet_model::{
    MailboxId, Uid,
    account::{AccountReply, UidSet},
};

use super::{
    change::{Change, Step},
    emails,
    instances::{self, Mailbox},
    records::Instance,
};
use crate::EngineError;

/// Expunges messages of `uids`: those with `\Deleted`, or all.
pub(super) fn expunge(
    change: &mut Change<'_, '_>,
    mailbox: MailboxId,
    uids: &UidSet,
    deleted_only: bool,
) -> Step<AccountReply> {
    let mut mailbox = Mailbox::open(change, mailbox)?;
    let gone = if deleted_only {
        with_deleted(change, &mailbox, uids)?
    } else {
        instances::all(&change.tx.view(), change.keys, mailbox.id, uids)?
    };
    if !gone.is_empty() {
        mailbox.take_out(change, &gone)?;
        mailbox.close(change);
        emails::after_taking_out(change, gone.iter().map(|(_, instance)| instance.email))?;
    }
    Ok(AccountReply::Expunged(gone.into_iter().map(|(uid, _)| uid).collect()))
}

/// The messages with `\Deleted`. The counter says how many there are: the walk ends with the last one.
fn with_deleted(
    change: &Change<'_, '_>,
    mailbox: &Mailbox,
    uids: &UidSet,
) -> Result<Vec<(Uid, Instance)>, EngineError> {
    let mut found = Vec::new();
    if mailbox.counters.deleted == 0 {
        return Ok(found);
    }
    instances::visit(&change.tx.view(), change.keys, mailbox.id, uids, |uid, instance| {
        if instance.is_deleted() {
            found.push((uid, instance));
        }
        let last = found.len() as u64 == mailbox.counters.deleted;
        Ok(if last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}
