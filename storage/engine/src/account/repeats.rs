//! A sender's repeat of a message that is here already: we died, or the link did, between commit and 250.
//!
//! The row says when the message was delivered; within [`SUPPRESSION_MILLIS`] of that a second copy is not
//! stored but counted. Rows stand by day of delivery and whole days are collected with one range, so a
//! delivery writes one row and never deletes any. The price is that a look-up asks four days.

use securanet_model::{KeyedHash, UnixMillis, limits::SUPPRESSION_MILLIS};

use super::{records::GroupRow, tables::AccountKeys};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

const DAY_MILLIS: u64 = 24 * 3600 * 1000;
/// Days before today in which a delivery may lie that is still in the window.
const DAYS_BACK: u32 = SUPPRESSION_MILLIS.div_ceil(DAY_MILLIS) as u32;

fn day(stamp: UnixMillis) -> u32 {
    u32::try_from(stamp.get() / DAY_MILLIS).unwrap_or(u32::MAX)
}

/// Whether the message was delivered to the account within the window before `stamp`.
pub(super) fn seen(
    view: &ReadView<'_>,
    keys: AccountKeys,
    stamp: UnixMillis,
    key: &KeyedHash,
) -> Result<bool, EngineError> {
    let today = day(stamp);
    for day in today.saturating_sub(DAYS_BACK)..=today {
        let delivered: Option<UnixMillis> = view.get_record(&keys.repeat(day, key))?;
        if delivered.is_some_and(|delivered| stamp.millis_since(delivered) < SUPPRESSION_MILLIS) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A repeat was not stored.
pub(super) fn count(tx: &mut Tx<'_>) -> Result<(), EngineError> {
    let mut group = group(tx)?;
    group.repeats_suppressed += 1;
    put_group(tx, &group);
    Ok(())
}

/// The message was delivered now.
pub(super) fn remember(
    tx: &mut Tx<'_>,
    keys: AccountKeys,
    stamp: UnixMillis,
    key: &KeyedHash,
) -> Result<(), EngineError> {
    collect(tx, stamp)?;
    tx.put_record(keys.repeat(day(stamp), key), &stamp);
    Ok(())
}

/// The account is gone: so are its rows.
pub(super) fn forget(tx: &mut Tx<'_>, keys: AccountKeys, stamp: UnixMillis) -> Result<(), EngineError> {
    for day in collect(tx, stamp)?..=day(stamp) {
        tx.delete_range(keys.repeats(day).range());
    }
    Ok(())
}

/// Once a day, removes the days that no look-up asks any more. Answers the first day that is left.
fn collect(tx: &mut Tx<'_>, stamp: UnixMillis) -> Result<u32, EngineError> {
    let first = day(stamp).saturating_sub(DAYS_BACK);
    let mut group = group(tx)?;
    if group.repeats_from_day < first {
        let range = of_day(tx, group.repeats_from_day).to(of_day(tx, first));
        tx.delete_range(range);
        group.repeats_from_day = first;
        put_group(tx, &group);
    }
    Ok(first)
}

fn of_day(tx: &Tx<'_>, day: u32) -> Key {
    tx.key(Table::Repeat).u32(day)
}

fn group(tx: &Tx<'_>) -> Result<GroupRow, EngineError> {
    Ok(tx.get_record(&tx.key(Table::AccountsGroup))?.unwrap_or_default())
}

fn put_group(tx: &mut Tx<'_>, group: &GroupRow) {
    tx.put_record(tx.key(Table::AccountsGroup), group);
}
