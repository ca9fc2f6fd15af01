//! Delivery: one message into the accounts of this group. The hot path: everything else is done seldom.
//!
//! A small message without ancestors costs eleven rows: the account, its INBOX's counters, the domain; the email,
//! its content, its instance twice indexed; its thread key, its entry in the change log, its repeat row. The
//! recipients are independent: a refused one leaves nothing and does not hinder the others.

use securanet_model::{
    Flags, MailboxId, MailboxName, UnixMillis,
    delivery::{Deliver, DeliverTo, Delivered, QuotaRule},
};

use super::{
    change::{Change, Step, Stop},
    emails::{self, Incoming},
    instances::Mailbox,
    mailboxes::INBOX,
    names, repeats,
};
use crate::{EngineError, tx::Tx};

/// Delivers to each recipient; the outcomes are in their order.
pub(super) fn deliver(tx: &mut Tx<'_>, stamp: UnixMillis, deliver: &Deliver) -> Result<Vec<Delivered>, EngineError> {
    let mut outcomes = Vec::with_capacity(deliver.to.len());
    for to in &deliver.to {
        let savepoint = tx.savepoint();
        match deliver_to(tx, stamp, deliver, to) {
            Ok(outcome) => {
                tx.release(savepoint);
                outcomes.push(outcome);
            }
            Err(Stop::Refused(refusal)) => {
                tx.rollback(savepoint);
                outcomes.push(Delivered::Refused(refusal));
            }
            Err(Stop::Engine(error)) => return Err(error),
        }
    }
    Ok(outcomes)
}

fn deliver_to(tx: &mut Tx<'_>, stamp: UnixMillis, deliver: &Deliver, to: &DeliverTo) -> Step<Delivered> {
    let mut change = Change::open(tx, stamp, to.account)?;
    if let Some(key) = &to.repeat_key {
        if repeats::seen(&change.tx.view(), change.keys, stamp, key)? {
            repeats::count(change.tx)?;
            return Ok(Delivered::Repeat);
        }
        repeats::remember(change.tx, change.keys, stamp, key)?;
    }
    let incoming = Incoming { message: &deliver.message, prefix: &to.prefix, prefix_size_bytes: to.prefix_size_bytes };
    if deliver.quota == QuotaRule::Enforced {
        emails::check_quota(&change, &[incoming])?;
    }
    let mut mailbox = Mailbox::open(&change, folder(&change, to.folder.as_deref())?)?;
    let email = emails::create(&mut change, incoming)?;
    let uid = mailbox.place(&mut change, email, incoming.size_bytes(), Flags::default())?;
    let stored = Delivered::Stored { mailbox: mailbox.id, uid, email };
    mailbox.close(&mut change);
    change.close()?;
    Ok(stored)
}

/// The mailbox of a subaddress, in any case; INBOX where there is none or the text is no mailbox name.
fn folder(change: &Change<'_, '_>, folder: Option<&str>) -> Result<MailboxId, EngineError> {
    let Some(name) = folder.and_then(|folder| MailboxName::parse(folder).ok()) else { return Ok(INBOX) };
    Ok(names::find_without_case(&change.tx.view(), change.keys, &name)?.unwrap_or(INBOX))
}
