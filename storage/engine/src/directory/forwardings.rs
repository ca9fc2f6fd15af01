//! Forwarding: where an account's mail is sent on to, and whether the account keeps a copy.
//!
//! The addresses may be ours or outside. Those that are named are referred to ([`references`]), outside ones too: a
//! domain may become ours later, and then an address of it may come, be checked for loops, and go. A forwarding that
//! loses its last address ends: the account keeps its mail again.

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address,
    directory::{Account, DirectoryRefusal, DirectoryReply, Forwarding, Page},
    limits::FORWARDING_TARGETS_MAX,
};

use super::{
    Outcome, accounts, addresses, check,
    references::{self, Referrer},
};
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::{ReadView, Tx},
};

/// Most rows of a page.
const ROWS_MAX: u32 = 1000;

pub(super) fn get(view: &ReadView<'_>, account: AccountId) -> Result<Option<Forwarding>, EngineError> {
    view.get_record(&key(view, account))
}

/// Accounts whose mail is sent on, by their number, behind the page's last one.
pub(super) fn page(view: &ReadView<'_>, page: &Page) -> Result<Vec<(Account, Forwarding)>, EngineError> {
    let all = view.key(Table::Forwarding).range();
    let range = match page.after.as_deref().and_then(|after| after.parse::<u64>().ok()) {
        Some(after) => all.after(&key(view, AccountId::new(after))),
        None => all,
    };
    let rows_max = page.rows_max.clamp(1, ROWS_MAX) as usize;
    let mut rows = Vec::new();
    view.visit_records(&range, Direction::Forward, |mut fields: Fields<'_>, forwarding: Forwarding| {
        let id = AccountId::new(fields.u64()?);
        let account = accounts::get(view, id)?;
        let account =
            account.ok_or_else(|| EngineError::Inconsistent(format!("account {id} forwards but is no more")))?;
        rows.push((account, forwarding));
        Ok(if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}

/// Sends an account's mail on, or no more. Addresses named twice count once.
pub(super) fn set(tx: &mut Tx<'_>, id: AccountId, wanted: Option<&Forwarding>) -> Outcome {
    let account = accounts::must_exist(tx, id)?;
    forget(tx, id)?;
    let Some(wanted) = wanted else { return Ok(DirectoryReply::Done) };
    let mut seen = BTreeSet::new();
    let to: Vec<Address> = wanted.to.iter().filter(|to| seen.insert(to.canonical())).cloned().collect();
    if to.is_empty() {
        return Err(DirectoryRefusal::Invalid("a forwarding names at least one address".to_owned()).into());
    }
    if to.len() > FORWARDING_TARGETS_MAX {
        let what = "addresses that one account forwards to".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: FORWARDING_TARGETS_MAX as u64 }.into());
    }
    for target in &to {
        addresses::must_lead_on(&tx.view(), target)?;
        references::add(tx, target, &Referrer::Forwarding(id));
    }
    store(tx, id, &Forwarding { to, keep: wanted.keep });
    check::after_change(&tx.view(), &account.address)?;
    Ok(DirectoryReply::Done)
}

/// Takes an address away that is gone.
pub(super) fn lose(tx: &mut Tx<'_>, id: AccountId, target: &Address) -> Result<(), EngineError> {
    let Some(mut forwarding) = get(&tx.view(), id)? else { return Ok(()) };
    forwarding.to.retain(|other| other != target);
    references::remove(tx, target, &Referrer::Forwarding(id));
    if forwarding.to.is_empty() {
        let key = key(&tx.view(), id);
        tx.delete(key);
    } else {
        store(tx, id, &forwarding);
    }
    Ok(())
}

/// Removes an account's forwarding, if it has one.
pub(super) fn forget(tx: &mut Tx<'_>, id: AccountId) -> Result<(), EngineError> {
    let Some(forwarding) = get(&tx.view(), id)? else { return Ok(()) };
    for target in &forwarding.to {
        references::remove(tx, target, &Referrer::Forwarding(id));
    }
    let key = key(&tx.view(), id);
    tx.delete(key);
    Ok(())
}

fn store(tx: &mut Tx<'_>, id: AccountId, forwarding: &Forwarding) {
    let key = key(&tx.view(), id);
    tx.put_record(key, forwarding);
}

fn key(view: &ReadView<'_>, id: AccountId) -> Key {
    view.key(Table::Forwarding).u64(id.get())
}
