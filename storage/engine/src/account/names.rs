//! Mailbox names: which mailbox a name means, and which lie below it.
//!
//! Names differ by case, but for INBOX. The rows are sorted by the name in lower case first, so that a
//! subaddress finds its folder in any case with one seek, whoever sends however much to whatever tag. Only ASCII
//! letters are folded: tables of Unicode differ between releases, and replicas of two releases must agree.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{MailboxId, MailboxName};

use super::tables::AccountKeys;
use crate::{
    EngineError,
    keys::Fields,
    tx::{ReadView, Tx},
};

/// The mailbox of this name.
pub(super) fn find(
    view: &ReadView<'_>,
    keys: AccountKeys,
    name: &MailboxName,
) -> Result<Option<MailboxId>, EngineError> {
    view.get_record(&keys.name(name))
}

/// The mailbox of this name in any case; the name itself wins, then the first one in octet order.
pub(super) fn find_without_case(
    view: &ReadView<'_>,
    keys: AccountKeys,
    name: &MailboxName,
) -> Result<Option<MailboxId>, EngineError> {
    let mut found = find(view, keys, name)?;
    if found.is_none() {
        view.visit_records(&keys.names_without_case(name).range(), Direction::Forward, |_, mailbox| {
            found = Some(mailbox);
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(found)
}

/// The mailboxes below a name, at any depth.
pub(super) fn below(
    view: &ReadView<'_>,
    keys: AccountKeys,
    name: &MailboxName,
) -> Result<Vec<(MailboxName, MailboxId)>, EngineError> {
    let mut found = Vec::new();
    view.visit_records(&keys.names_below(name).range(), Direction::Forward, |fields, mailbox| {
        let below = parse(fields)?;
        if below.is_below(name) {
            found.push((below, mailbox));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// From now on the name means this mailbox.
pub(super) fn add(tx: &mut Tx<'_>, keys: AccountKeys, name: &MailboxName, mailbox: MailboxId) {
    tx.put_record(keys.name(name), &mailbox);
}

/// From now on the name means nothing.
pub(super) fn remove(tx: &mut Tx<'_>, keys: AccountKeys, name: &MailboxName) {
    tx.delete(keys.name(name));
}

fn parse(mut fields: Fields<'_>) -> Result<MailboxName, EngineError> {
    let (_account, _folded) = (fields.u64()?, fields.text()?);
    text(fields.rest())
}

/// A name as a key's last field.
pub(super) fn text(octets: &[u8]) -> Result<MailboxName, EngineError> {
    std::str::from_utf8(octets)
        .ok()
        .and_then(|name| MailboxName::parse(name).ok())
        .ok_or_else(|| EngineError::Inconsistent(format!("a key holds no mailbox name: {octets:02x?}")))
}
