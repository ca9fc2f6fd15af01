//! Counts of TLS towards foreign domains, and who sends the reports made of them (RFC 8460).
//!
//! A report is due some hours after its day has ended, at a moment of its own between 0:05 and 4:00 UTC, so that a
//! domain does not hear of all the world at midnight (RFC 8460 4.1). Whoever takes it has ten minutes; who dies meanwhile
//! leaves it to the next one, so a report may arrive twice, with the same id. It never goes out twice otherwise.
//!
//! Invariants: a report stands in [`Table::TlsReportDue`] exactly when it has a due time; a day counts its reports.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    DomainName, UnixMillis,
    directory::{DirectoryRefusal, DirectoryReply},
    tls_report::{
        DAY_MILLIS, TLS_COMMAND_DOMAINS_MAX, TLS_DAYS_KEPT, TLS_DOMAINS_PER_DAY_MAX, TLS_TEXT_OCTETS_MAX, TlsCounts,
        TlsReport, day_of,
    },
};

use super::Outcome;
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::{ReadView, Tx},
};

/// Whoever takes a report has so long to send it.
const TAKEN_MILLIS: u64 = 10 * 60_000;
/// Reports are due from so long after midnight on: the last counts of a day come a minute late.
const FIRST_MILLIS: u64 = 5 * 60_000;
/// And until so long after it.
const LAST_MILLIS: u64 = 4 * 3_600_000;
/// Old reports that one command forgets.
const FORGOTTEN_MAX: usize = 400;
/// Endpoints of one domain that are served.
const ENDPOINTS_MAX: usize = 4;
/// Rows of one answer.
const ROWS_MAX: u32 = 1000;

/// One report.
pub(super) fn get(view: &ReadView<'_>, day: u32, domain: &DomainName) -> Result<Option<TlsReport>, EngineError> {
    view.get_record(&row(view, day, domain))
}

/// The domains of a day, sorted, after one of them.
pub(super) fn of_day(
    view: &ReadView<'_>,
    day: u32,
    after: Option<&DomainName>,
    rows_max: u32,
) -> Result<Vec<DomainName>, EngineError> {
    let mut range = view.key(Table::TlsReport).u32(day).range();
    if let Some(after) = after {
        range.start = row(view, day, after).u8(0).into();
    }
    let mut domains = Vec::new();
    view.visit(&range, Direction::Forward, |mut fields, _| {
        fields.u32()?;
        domains.push(domain_of(fields)?);
        Ok(on(domains.len(), rows_max))
    })?;
    Ok(domains)
}

/// What is due, longest due first.
pub(super) fn due(view: &ReadView<'_>, now: UnixMillis, rows_max: u32) -> Result<Vec<(u32, DomainName)>, EngineError> {
    let mut found = Vec::new();
    view.visit(&view.key(Table::TlsReportDue).range(), Direction::Forward, |mut fields, _| {
        if fields.u64()? > now.get() {
            return Ok(ControlFlow::Break(()));
        }
        found.push((fields.u32()?, domain_of(fields)?));
        Ok(on(found.len(), rows_max))
    })?;
    Ok(found)
}

fn on(found: usize, rows_max: u32) -> ControlFlow<()> {
    if found < rows_max.clamp(1, ROWS_MAX) as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Adds counts. Those of a day that is long over, of one that has not begun, or beyond a day's bound are dropped.
pub(super) fn count(tx: &mut Tx<'_>, clock: UnixMillis, all: &[TlsCounts]) -> Outcome {
    if all.len() > TLS_COMMAND_DOMAINS_MAX || !all.iter().all(TlsCounts::is_bounded) {
        return Err(DirectoryRefusal::Invalid("counts of TLS are out of bounds".to_owned()).into());
    }
    let today = day_of(clock);
    forget(tx, today)?;
    for counts in all {
        if (today.saturating_sub(1)..=today.saturating_add(1)).contains(&counts.day) {
            count_one(tx, today, counts)?;
        }
    }
    Ok(DirectoryReply::Done)
}

fn count_one(tx: &mut Tx<'_>, today: u32, counts: &TlsCounts) -> Result<(), EngineError> {
    let known = get(&tx.view(), counts.day, &counts.domain)?;
    let new = || TlsReport {
        counts: TlsCounts::new(counts.day, counts.domain.clone()),
        due: None,
        taken_by: None,
        serial: 0,
        tried: None,
        done: Vec::new(),
    };
    let mut report = match known.clone() {
        Some(report) => report,
        None => {
            let domains = domains_of(&tx.view(), counts.day)?;
            if domains >= TLS_DOMAINS_PER_DAY_MAX {
                return Ok(());
            }
            set_domains(tx, counts.day, domains + 1);
            new()
        }
    };
    report.counts.add(counts);
    // One that an operator sent before its day was over is sent again with the rest of the day.
    if known.is_none() || (report.due.is_none() && counts.day >= today) {
        report.due = Some(first_due(counts.day, &counts.domain));
    }
    put(tx, known.as_ref(), &report);
    Ok(())
}

/// Gives a report to whoever asks first.
pub(super) fn take(tx: &mut Tx<'_>, clock: UnixMillis, (day, domain): (u32, &DomainName), by: [u8; 16]) -> Outcome {
    let known = must_be(tx, day, domain)?;
    if known.due.is_none_or(|due| due > clock) {
        return Err(DirectoryRefusal::Invalid(format!("no report to {domain} is due")).into());
    }
    let due = Some(clock.plus_millis(TAKEN_MILLIS));
    let tried = known.tried.or(Some(clock));
    put(tx, Some(&known), &TlsReport { due, taken_by: Some(by), tried, ..known.clone() });
    Ok(DirectoryReply::Done)
}

/// What became of it: where it has arrived, and when the rest is tried again, if ever.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    (day, domain): (u32, &DomainName),
    by: [u8; 16],
    (done, again_after): (&[String], Option<u32>),
) -> Outcome {
    let known = must_be(tx, day, domain)?;
    if known.taken_by != Some(by) {
        return Err(DirectoryRefusal::Invalid(format!("the report to {domain} was taken by another")).into());
    }
    if done.len() > ENDPOINTS_MAX || done.iter().any(|place| place.len() > TLS_TEXT_OCTETS_MAX) {
        return Err(DirectoryRefusal::Invalid("too many or too long places".to_owned()).into());
    }
    let again = again_after.map(|seconds| clock.plus_millis(u64::from(seconds) * 1000));
    let settled = match again {
        Some(_) => TlsReport { due: again, taken_by: None, done: done.to_vec(), ..known.clone() },
        None => TlsReport {
            due: None,
            taken_by: None,
            done: Vec::new(),
            tried: None,
            serial: known.serial.saturating_add(1),
            ..known.clone()
        },
    };
    put(tx, Some(&known), &settled);
    Ok(DirectoryReply::Done)
}

/// An operator wants these sent now, whether they were sent before or not; what there is not is passed by.
pub(super) fn send_now(tx: &mut Tx<'_>, clock: UnixMillis, day: u32, domains: &[DomainName]) -> Outcome {
    if domains.len() > TLS_COMMAND_DOMAINS_MAX {
        let what = "domains at a time".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: TLS_COMMAND_DOMAINS_MAX as u64 }.into());
    }
    for domain in domains {
        let Some(known) = get(&tx.view(), day, domain)? else { continue };
        put(tx, Some(&known), &TlsReport { due: Some(clock), taken_by: None, ..known.clone() });
    }
    Ok(DirectoryReply::Done)
}

/// RFC 8460 4.1: spread over the hours after midnight, the same moment for whoever computes it.
fn first_due(day: u32, domain: &DomainName) -> UnixMillis {
    let seed = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(day);
    let hash =
        domain.as_str().bytes().fold(seed, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3));
    let spread = (hash >> 16) % (LAST_MILLIS - FIRST_MILLIS);
    UnixMillis::new((u64::from(day) + 1) * DAY_MILLIS + FIRST_MILLIS + spread)
}

fn must_be(tx: &Tx<'_>, day: u32, domain: &DomainName) -> Result<TlsReport, super::Failure> {
    let missing = || DirectoryRefusal::NotFound(format!("report of day {day} to {domain}"));
    get(&tx.view(), day, domain)?.ok_or_else(|| missing().into())
}

fn put(tx: &mut Tx<'_>, before: Option<&TlsReport>, report: &TlsReport) {
    let (day, domain) = (report.counts.day, &report.counts.domain);
    if let Some(due) = before.and_then(|before| before.due) {
        tx.delete(due_row(&tx.view(), due, day, domain));
    }
    if let Some(due) = report.due {
        tx.put(due_row(&tx.view(), due, day, domain), Vec::new());
    }
    tx.put_record(row(&tx.view(), day, domain), report);
}

fn forget(tx: &mut Tx<'_>, today: u32) -> Result<(), EngineError> {
    let mut old = Vec::new();
    let kept_from = today.saturating_sub(TLS_DAYS_KEPT);
    tx.view().visit_records::<TlsReport>(&tx.key(Table::TlsReport).range(), Direction::Forward, |_, report| {
        if report.counts.day < kept_from {
            old.push(report);
        }
        let more = old.last().is_some_and(|last| last.counts.day < kept_from) && old.len() < FORGOTTEN_MAX;
        Ok(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for report in old {
        let (day, domain) = (report.counts.day, &report.counts.domain);
        if let Some(due) = report.due {
            tx.delete(due_row(&tx.view(), due, day, domain));
        }
        tx.delete(row(&tx.view(), day, domain));
        let left = domains_of(&tx.view(), day)?.saturating_sub(1);
        set_domains(tx, day, left);
    }
    Ok(())
}

fn domains_of(view: &ReadView<'_>, day: u32) -> Result<u32, EngineError> {
    Ok(view.get_record(&view.key(Table::TlsDay).u32(day))?.unwrap_or_default())
}

fn set_domains(tx: &mut Tx<'_>, day: u32, domains: u32) {
    let key = tx.key(Table::TlsDay).u32(day);
    if domains == 0 {
        tx.delete(key);
    } else {
        tx.put_record(key, &domains);
    }
}

fn domain_of(fields: Fields<'_>) -> Result<DomainName, EngineError> {
    let text = std::str::from_utf8(fields.rest()).ok();
    let domain = text.and_then(|text| DomainName::parse(text).ok());
    domain.ok_or_else(|| EngineError::Inconsistent("a report to no domain".to_owned()))
}

fn row(view: &ReadView<'_>, day: u32, domain: &DomainName) -> Key {
    view.key(Table::TlsReport).u32(day).octets(domain.as_str().as_bytes())
}

fn due_row(view: &ReadView<'_>, due: UnixMillis, day: u32, domain: &DomainName) -> Key {
    view.key(Table::TlsReportDue).u64(due.get()).u32(day).octets(domain.as_str().as_bytes())
}
