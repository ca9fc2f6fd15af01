//! Items as people see them: one, a listing, those of a Message-ID, and the content of an open one.
//!
//! A listing looks at no more than [`LOOK_ROWS_MAX`] rows, attempts included, and then says where to go on, so that a
//! filter that nothing matches costs no more than one that everything does.

use securanet_kv::Direction;
use securanet_model::{
    content::NewMessage,
    limits::RECIPIENTS_MAX,
    outbound::{Filter, ItemView, OutboundAnswer, Place, RecipientView},
    record,
};

use super::{
    ROWS_MAX,
    attempts::history,
    rows::{Item, Keys, Recipient},
};
use crate::{
    EngineError,
    keys::{Fields, Table},
    tx::ReadView,
};

/// Rows that one page looks at; the item that reaches it is still shown whole.
const LOOK_ROWS_MAX: usize = 10_000;
/// Items of one Message-ID: a mailing list's message comes back once for each list.
const MESSAGE_ID_ITEMS_MAX: usize = 100;

/// One item with its recipients.
pub(super) fn item(view: &ReadView<'_>, number: u64) -> Result<Option<ItemView>, EngineError> {
    let Some(mut shown) = envelope(view, number)? else { return Ok(None) };
    for (position, row) in recipients(view, number)? {
        shown.recipients.push(recipient_view(view, Place { item: number, position }, row)?);
    }
    Ok(Some(shown))
}

/// One item without its recipients.
pub(super) fn envelope(view: &ReadView<'_>, number: u64) -> Result<Option<ItemView>, EngineError> {
    let item: Option<Item> = view.get_record(&Keys(view.space()).item(Table::OutboundItem, number))?;
    Ok(item.map(|item| ItemView {
        item: number,
        queued: item.queued,
        sender: item.sender,
        options: item.options,
        origin: item.origin,
        message_id: item.message_id,
        trace_id: item.trace_id,
        size_bytes: item.size_bytes,
        recipients: Vec::new(),
    }))
}

/// Items that a filter means, newest first, and where to go on.
pub(super) fn items(
    view: &ReadView<'_>,
    filter: &Filter,
    before: Option<u64>,
    rows_max: u32,
) -> Result<OutboundAnswer, EngineError> {
    let keys = Keys(view.space());
    let rows_max = rows_max.clamp(1, ROWS_MAX) as usize;
    let table = if filter.ended { Table::OutboundItem } else { Table::OutboundItemState };
    let range = keys.item(table, 0).to(keys.item(table, before.unwrap_or(u64::MAX)));
    let numbers = view.scan(&range, Direction::Backward, LOOK_ROWS_MAX)?;
    let (mut found, mut looked, mut last) = (Vec::new(), 0, None);
    for (key, _) in &numbers {
        if found.len() == rows_max || looked >= LOOK_ROWS_MAX {
            break;
        }
        let number = Fields::of(key)?.u64()?;
        last = Some(number);
        looked += 1;
        if let Some(shown) = matching(view, number, filter, &mut looked)? {
            found.push(shown);
        }
    }
    let first = numbers.last().map(|(key, _)| Fields::of(key)?.u64()).transpose()?;
    let is_end = numbers.len() < LOOK_ROWS_MAX && first == last;
    Ok(OutboundAnswer::Items(found, last.filter(|_| !is_end)))
}

/// The item, if the filter means it.
fn matching(
    view: &ReadView<'_>,
    number: u64,
    filter: &Filter,
    looked: &mut usize,
) -> Result<Option<ItemView>, EngineError> {
    let Some(mut shown) = envelope(view, number)? else { return Ok(None) };
    if filter.sender.as_ref().is_some_and(|sender| *sender != shown.sender) {
        return Ok(None);
    }
    let rows = recipients(view, number)?;
    *looked += rows.len();
    let is_meant = |row: &Recipient| {
        filter.destination.as_ref().is_none_or(|destination| *destination == row.to.destination)
            && filter.recipient.as_ref().is_none_or(|address| *address == row.to.address)
            && (filter.ended || !row.has_ended())
    };
    let restricts_recipients = filter.destination.is_some() || filter.recipient.is_some();
    if restricts_recipients && !rows.iter().any(|(_, row)| is_meant(row)) {
        return Ok(None);
    }
    for (position, row) in rows {
        let recipient = recipient_view(view, Place { item: number, position }, row)?;
        *looked += recipient.history.len();
        shown.recipients.push(recipient);
    }
    Ok(Some(shown))
}

/// The items of a Message-ID, newest first.
pub(super) fn by_message_id(view: &ReadView<'_>, message_id: &str) -> Result<Vec<ItemView>, EngineError> {
    let range = Keys(view.space()).message_id(message_id).range();
    let mut found = Vec::new();
    for (key, _) in view.scan(&range, Direction::Backward, MESSAGE_ID_ITEMS_MAX)? {
        let mut fields = Fields::of(&key)?;
        // A text with a zero octet, which none of ours has, would find the rows of another one.
        if fields.text()? == message_id {
            found.extend(item(view, fields.u64()?)?);
        }
    }
    Ok(found)
}

/// The content of an open item.
pub(super) fn content(view: &ReadView<'_>, number: u64) -> Result<Option<NewMessage>, EngineError> {
    view.get_record(&Keys(view.space()).item(Table::OutboundContent, number))
}

fn recipients(view: &ReadView<'_>, number: u64) -> Result<Vec<(u32, Recipient)>, EngineError> {
    let range = Keys(view.space()).item(Table::OutboundRecipient, number).range();
    let rows = view.scan(&range, Direction::Forward, RECIPIENTS_MAX)?;
    let row = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let mut fields = Fields::of(key)?;
        fields.u64()?;
        Ok((fields.u32()?, record::decode(value)?))
    };
    rows.iter().map(row).collect()
}

fn recipient_view(view: &ReadView<'_>, place: Place, row: Recipient) -> Result<RecipientView, EngineError> {
    Ok(RecipientView {
        position: place.position,
        state: row.state,
        attempts: row.attempts,
        failures: row.failures.saturating_add(row.no_such_domain),
        uncertain: row.uncertain,
        delay_told: row.delay_told,
        delay_due: row.delay_due,
        end_told: row.end_told,
        history: history(view, place)?,
        recipient: row.to,
    })
}
