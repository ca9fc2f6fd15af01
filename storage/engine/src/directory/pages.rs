//! Listings, a page at a time.
//!
//! A page begins behind the text of the last row of the page before, whether or not that row still exists. It
//! has at most [`ROWS_MAX`] rows and stops early once its rows are large (a list may have ten thousand members);
//! the end of a listing is the empty page.

use std::ops::ControlFlow;

use securanet_kv::{Direction, KeyRange};
use securanet_model::{
    DomainId, DomainName,
    directory::{Account, Domain, Page},
    record,
};
use serde::de::DeserializeOwned;

use super::{accounts, addresses::AddressRow, domains};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::ReadView,
};

/// Most rows of a page.
const ROWS_MAX: u32 = 1000;
/// A page ends with the row that reaches this many octets of records.
const PAGE_OCTETS: usize = 1024 * 1024;

/// Domains, sorted by name.
pub(super) fn domains(view: &ReadView<'_>, page: &Page) -> Result<Vec<Domain>, EngineError> {
    let table = view.key(Table::DomainByName);
    let range = match &page.after {
        Some(name) => table.range().after(&view.key(Table::DomainByName).octets(canonical_domain(name).as_bytes())),
        None => table.range(),
    };
    let mut rows = Vec::new();
    view.visit_records(&range, Direction::Forward, |_, id: DomainId| {
        rows.extend(domains::by_id(view, id)?);
        Ok(more(rows.len() < limit(page)))
    })?;
    Ok(rows)
}

/// Accounts of one domain or of all, sorted by domain and local part.
pub(super) fn accounts(
    view: &ReadView<'_>,
    domain: Option<&DomainName>,
    page: &Page,
) -> Result<Vec<Account>, EngineError> {
    let mut range = behind(view, Table::Address, page);
    if let Some(domain) = domain {
        let own = view.key(Table::Address).text(domain.as_str()).range();
        range = KeyRange { start: range.start.max(own.start), end: own.end };
    }
    let mut rows = Vec::new();
    view.visit_records(&range, Direction::Forward, |_, row: AddressRow| {
        if let AddressRow::Account(id) = row {
            rows.extend(accounts::get(view, id)?);
        }
        Ok(more(rows.len() < limit(page)))
    })?;
    Ok(rows)
}

/// Aliases or lists, sorted by domain and local part.
pub(super) fn addressed<T: DeserializeOwned>(
    view: &ReadView<'_>,
    table: Table,
    page: &Page,
) -> Result<Vec<T>, EngineError> {
    let mut rows = Vec::new();
    let mut octets = 0;
    view.visit(&behind(view, table, page), Direction::Forward, |_, value| {
        octets += value.len();
        rows.push(record::decode(value)?);
        Ok(more(rows.len() < limit(page) && octets < PAGE_OCTETS))
    })?;
    Ok(rows)
}

/// The rows of a table keyed by address that come behind the page before.
fn behind(view: &ReadView<'_>, table: Table, page: &Page) -> KeyRange {
    let all = view.key(table).range();
    match &page.after {
        Some(address) => all.after(&address_key(view.key(table), address)),
        None => all,
    }
}

fn address_key(key: Key, address: &str) -> Key {
    let (local, domain) = address.rsplit_once('@').unwrap_or(("", address));
    key.text(&canonical_domain(domain)).octets(local.to_lowercase().as_bytes())
}

/// A domain's canonical name; for a text that is none, its lower-case form: it only says where to go on.
fn canonical_domain(name: &str) -> String {
    DomainName::parse(name).map_or_else(|_| name.to_lowercase(), |name| name.as_str().to_owned())
}

fn limit(page: &Page) -> usize {
    page.rows_max.clamp(1, ROWS_MAX) as usize
}

const fn more(wanted: bool) -> ControlFlow<()> {
    if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
