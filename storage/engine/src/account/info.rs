//! A mailbox with its counters, as STATUS, LIST and SELECT show it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use securanet_kv::Direction;
use securanet_model::{Keyword, MailboxId, MailboxName, account::MailboxInfo};
use serde::de::DeserializeOwned;

use super::{
    keywords, names,
    records::{MailboxCounters, MailboxRow},
    tables::AccountKeys,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// One mailbox; `None` when there is none. Four reads, whatever it holds.
pub(super) fn of(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
) -> Result<Option<MailboxInfo>, EngineError> {
    let Some(row) = view.get_record::<MailboxRow>(&keys.mailbox(Table::Mailbox, mailbox))? else { return Ok(None) };
    let counters =
        view.get_record(&keys.mailbox(Table::MailboxCounters, mailbox))?.ok_or_else(|| no_counters(keys, mailbox))?;
    let subscribed = view.contains(&keys.subscription(&row.name))?;
    Ok(Some(info(mailbox, row, counters, keywords::listed(view, keys, mailbox)?, subscribed)))
}

/// All mailboxes, sorted by name. Four walks side by side instead of four reads for each mailbox.
pub(super) fn all(view: &ReadView<'_>, keys: AccountKeys) -> Result<Vec<MailboxInfo>, EngineError> {
    let mut counters: BTreeMap<MailboxId, MailboxCounters> = by_mailbox(view, keys, Table::MailboxCounters)?;
    let mut keywords: BTreeMap<MailboxId, Vec<Keyword>> = by_mailbox(view, keys, Table::MailboxKeywords)?;
    let subscribed: BTreeSet<MailboxName> = subscriptions(view, keys)?.into_iter().collect();
    let mut infos = Vec::new();
    for (mailbox, row) in by_mailbox::<MailboxRow>(view, keys, Table::Mailbox)? {
        let counters = counters.remove(&mailbox).ok_or_else(|| no_counters(keys, mailbox))?;
        let keywords = keywords.remove(&mailbox).unwrap_or_default();
        let is_subscribed = subscribed.contains(&row.name);
        infos.push(info(mailbox, row, counters, keywords, is_subscribed));
    }
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

/// Subscribed names that have no mailbox, sorted.
pub(super) fn dangling_subscriptions(view: &ReadView<'_>, keys: AccountKeys) -> Result<Vec<MailboxName>, EngineError> {
    let mut dangling = Vec::new();
    for name in subscriptions(view, keys)? {
        if names::find(view, keys, &name)?.is_none() {
            dangling.push(name);
        }
    }
    Ok(dangling)
}

/// Subscribed names, sorted.
fn subscriptions(view: &ReadView<'_>, keys: AccountKeys) -> Result<Vec<MailboxName>, EngineError> {
    let mut found = Vec::new();
    view.visit(&keys.table(Table::Subscription).range(), Direction::Forward, |mut fields, _| {
        fields.u64()?;
        found.push(names::text(fields.rest())?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn by_mailbox<T: DeserializeOwned>(
    view: &ReadView<'_>,
    keys: AccountKeys,
    table: Table,
) -> Result<BTreeMap<MailboxId, T>, EngineError> {
    let mut found = BTreeMap::new();
    view.visit_records(&keys.table(table).range(), Direction::Forward, |mut fields, row| {
        fields.u64()?;
        found.insert(MailboxId::new(fields.u32()?), row);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn info(
    id: MailboxId,
    row: MailboxRow,
    counters: MailboxCounters,
    keywords: Vec<Keyword>,
    subscribed: bool,
) -> MailboxInfo {
    MailboxInfo {
        id,
        name: row.name,
        special_use: row.special_use,
        subscribed,
        uid_validity: row.uid_validity,
        uid_next: counters.uid_next,
        highest_modseq: counters.highest_modseq,
        messages: counters.messages,
        unseen: counters.unseen,
        deleted: counters.deleted,
        size_bytes: counters.size_bytes,
        deleted_size_bytes: counters.deleted_size_bytes,
        horizon: counters.horizon,
        keywords,
    }
}

fn no_counters(keys: AccountKeys, mailbox: MailboxId) -> EngineError {
    EngineError::Inconsistent(format!("account {}: mailbox {mailbox} has no counters", keys.account()))
}
