//! What is used: by an account (its quota), by the accounts of a domain, by the group.
//!
//! A domain's row is written with each change of one of its accounts, so the sums are exact in the group; a
//! domain that has accounts in several groups is summed up above. The group's totals are the sum over its
//! domains: one row less in every delivery, for a query that only `status` asks.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    DomainId,
    account::QuotaUsage,
    directory::Quota,
    request::{DomainUsage, Totals},
};

use super::records::{AccountRow, DomainUsageRow, GroupRow, Used};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// An account's usage and quota.
pub(super) fn of_account(row: &AccountRow) -> QuotaUsage {
    QuotaUsage { bytes: row.used.bytes, messages: row.used.messages, quota: row.quota }
}

/// Changes what the account may hold. What it holds already stays, even above the new quota.
pub(super) fn set_quota(tx: &mut Tx<'_>, key: Key, mut row: AccountRow, quota: Quota) {
    row.quota = quota;
    tx.put_record(key, &row);
}

/// An account of the domain used `before` and uses `after`.
pub(super) fn shift(tx: &mut Tx<'_>, domain: DomainId, before: Used, after: Used) -> Result<(), EngineError> {
    if before == after {
        return Ok(());
    }
    change(tx, domain, |row| row.used = row.used.minus(before).plus(after))
}

/// An account of the domain came.
pub(super) fn account_came(tx: &mut Tx<'_>, domain: DomainId) -> Result<(), EngineError> {
    change(tx, domain, |row| row.accounts += 1)
}

/// An account of the domain went, with what it used.
pub(super) fn account_went(tx: &mut Tx<'_>, domain: DomainId, used: Used) -> Result<(), EngineError> {
    shift(tx, domain, used, Used::default())?;
    change(tx, domain, |row| row.accounts = row.accounts.saturating_sub(1))
}

fn change(tx: &mut Tx<'_>, domain: DomainId, change: impl FnOnce(&mut DomainUsageRow)) -> Result<(), EngineError> {
    let key = tx.key(Table::DomainUsage).u32(domain.get());
    let mut row: DomainUsageRow = tx.get_record(&key)?.unwrap_or_default();
    change(&mut row);
    if row == DomainUsageRow::default() {
        tx.delete(key);
    } else {
        tx.put_record(key, &row);
    }
    Ok(())
}

/// What this group's accounts use, by domain, ascending.
pub(super) fn by_domain(view: &ReadView<'_>) -> Result<Vec<DomainUsage>, EngineError> {
    let mut domains = Vec::new();
    each_domain(view, |domain, row| {
        domains.push(DomainUsage { domain, bytes: row.used.bytes, messages: row.used.messages });
    })?;
    Ok(domains)
}

/// The sums over the group.
pub(super) fn totals(view: &ReadView<'_>) -> Result<Totals, EngineError> {
    let group: GroupRow = view.get_record(&view.key(Table::AccountsGroup))?.unwrap_or_default();
    let mut totals = Totals { repeats_suppressed: group.repeats_suppressed, ..Totals::default() };
    each_domain(view, |_, row| {
        totals.accounts += row.accounts;
        totals.messages += row.used.messages;
        totals.bytes = totals.bytes.saturating_add(row.used.bytes);
    })?;
    Ok(totals)
}

fn each_domain(view: &ReadView<'_>, mut each: impl FnMut(DomainId, DomainUsageRow)) -> Result<(), EngineError> {
    view.visit_records(&view.key(Table::DomainUsage).range(), Direction::Forward, |mut fields, row| {
        each(DomainId::new(fields.u32()?), row);
        Ok(ControlFlow::Continue(()))
    })
}
