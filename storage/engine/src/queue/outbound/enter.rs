//! Entering: *(none)* to waiting.
//!
//! All or nothing: deliveries to groups of ours and the item for outside are one commit, or none of it is (a full
//! window refuses all), so that a client is never told 250 for a part. Whoever calls rolls back on a refusal.

use securanet_model::{
    ReversePath, UnixMillis,
    delivery::{FanOut, QueueReply},
    limits::{ACCEPTED_FAN_OUT_MAX, ACCEPTED_OUTBOUND_MAX, RECIPIENTS_MAX},
    outbound::{Acceptance, AcceptedItem, Origin, Outbound, OutboundRecipient, OutboundReply, Place, State},
};

use super::{
    change::Change,
    ends::wants_delay,
    inconsistent,
    rows::{Class, Item, ItemState, Recipient},
    schedule,
};
use crate::{
    EngineError,
    keys::Table,
    reachability::{self, Owner},
    tx::Tx,
};

/// A message to more recipients than this is a mailing: people write to fewer.
const LETTER_RECIPIENTS_MAX: usize = 20;
/// A sender with more recipients without an end than this sends a mailing, message by message.
const LETTER_SENDER_OPEN_MAX: u64 = 100;

const DESTINATION_OCTETS_MAX: usize = 255;
const ORIGINAL_OCTETS_MAX: usize = 500;
const ENVELOPE_ID_OCTETS_MAX: usize = 100;
const TEXT_OCTETS_MAX: usize = 255;

pub(super) fn accept(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    acceptance: &Acceptance,
) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    let reply = take_in(&mut change, acceptance)?;
    change.close()?;
    Ok(reply)
}

/// Takes in what a submission or a report brings.
pub(super) fn take_in(change: &mut Change<'_, '_>, acceptance: &Acceptance) -> Result<OutboundReply, EngineError> {
    if !is_bounded(acceptance) {
        return Ok(OutboundReply::OutOfBounds);
    }
    for fan_out in &acceptance.fan_out {
        if let Some(refusal) = fan_out_to_groups(change, fan_out)? {
            return Ok(refusal);
        }
    }
    let items = acceptance.outbound.iter().map(|outbound| take_in_once(change, outbound)).collect::<Result<_, _>>()?;
    Ok(OutboundReply::Accepted(items))
}

fn take_in_once(change: &mut Change<'_, '_>, outbound: &Outbound) -> Result<AcceptedItem, EngineError> {
    let Some(key) = &outbound.repeat_key else {
        return Ok(AcceptedItem { item: add_item(change, outbound)?, repeat: false });
    };
    if let Some(item) = change.repeated(key)? {
        return Ok(AcceptedItem { item, repeat: true });
    }
    let item = add_item(change, outbound)?;
    change.remember(key, item);
    Ok(AcceptedItem { item, repeat: false })
}

fn fan_out_to_groups(change: &mut Change<'_, '_>, fan_out: &FanOut) -> Result<Option<OutboundReply>, EngineError> {
    match crate::queue::enter::fan_out(change.tx, change.clock, fan_out)? {
        QueueReply::WindowFull(group) => Ok(Some(OutboundReply::WindowFull(group))),
        _ => Ok(None),
    }
}

fn add_item(change: &mut Change<'_, '_>, outbound: &Outbound) -> Result<u64, EngineError> {
    let number = change.counters.next_item;
    change.counters.next_item = number.saturating_add(1);
    let open = u32::try_from(outbound.recipients.len()).map_err(|_| inconsistent("an item has too many recipients"))?;
    store_item(change, number, outbound, open);
    let class = classify(change, outbound)?;
    for (position, to) in (0..open).zip(&outbound.recipients) {
        add_recipient(change, Place { item: number, position }, to, (outbound, class))?;
    }
    change.touch();
    Ok(number)
}

fn store_item(change: &mut Change<'_, '_>, number: u64, outbound: &Outbound, open: u32) {
    let item = Item {
        queued: change.clock,
        sender: outbound.sender.clone(),
        options: outbound.options.clone(),
        origin: outbound.origin.clone(),
        message_id: outbound.message_id.clone(),
        trace_id: outbound.trace_id.clone(),
        size_bytes: outbound.message.size_bytes,
    };
    change.tx.put_record(change.keys.item(Table::OutboundItem, number), &item);
    change.tx.put_record(change.keys.item(Table::OutboundContent, number), &outbound.message);
    for blob in &outbound.message.blobs {
        reachability::add(change.tx, &blob.id, Owner::OutboundItem(number));
    }
    if let Some(message_id) = &outbound.message_id {
        change.tx.put(change.keys.message_id(message_id).u64(number), Vec::new());
    }
    change.insert(number, ItemState::new(&item, open));
}

/// Letter or bulk; charges the recipients to their sender.
fn classify(change: &mut Change<'_, '_>, outbound: &Outbound) -> Result<Class, EngineError> {
    let open = change.sender(&outbound.origin)?;
    let is_letter = outbound.recipients.len() <= LETTER_RECIPIENTS_MAX && *open <= LETTER_SENDER_OPEN_MAX;
    *open = open.saturating_add(outbound.recipients.len() as u64);
    Ok(if is_letter { Class::Letter } else { Class::Bulk })
}

fn add_recipient(
    change: &mut Change<'_, '_>,
    place: Place,
    to: &OutboundRecipient,
    (outbound, class): (&Outbound, Class),
) -> Result<(), EngineError> {
    let deadline = outbound.options.deliver_by;
    let mut row = Recipient {
        to: to.clone(),
        class,
        state: State::Held,
        unreached: false,
        return_by: deadline.filter(|deadline| deadline.or_return).map(|deadline| deadline.by),
        attempts: 0,
        deciding: None,
        begun: Vec::new(),
        resume: None,
        failures: 0,
        no_such_domain: 0,
        uncertain: 0,
        delay_due: None,
        delay_told: false,
        end_told: false,
        last: None,
    };
    if let Some(deadline) = deadline.filter(|deadline| !deadline.or_return)
        && wants_delay(outbound.sender != ReversePath::Null, to.notify)
    {
        change.plan_delay(place, &mut row, deadline.by)?;
    }
    let due = outbound.hold_until.map_or(change.clock, |hold| hold.max(change.clock));
    row.state = State::Waiting { due: schedule::limit(&row, due) };
    let destination = &mut change.destination(&to.destination)?.row;
    destination.open = destination.open.saturating_add(1);
    change.enter(place, &row)?;
    change.store(place, &row);
    Ok(())
}

/// Whether a destination can be part of a key.
pub(super) fn is_destination(text: &str) -> bool {
    (1..=DESTINATION_OCTETS_MAX).contains(&text.len()) && !text.contains('\0')
}

/// Whether what comes in together keeps the bounds of the vocabulary, and can be written.
fn is_bounded(acceptance: &Acceptance) -> bool {
    let recipients: usize = acceptance.outbound.iter().map(|outbound| outbound.recipients.len()).sum();
    acceptance.fan_out.len() <= ACCEPTED_FAN_OUT_MAX
        && acceptance.outbound.len() <= ACCEPTED_OUTBOUND_MAX
        && recipients <= RECIPIENTS_MAX
        && acceptance.outbound.iter().all(is_message_bounded)
}

/// The same of one message.
fn is_message_bounded(outbound: &Outbound) -> bool {
    let is_short = |text: Option<&String>, octets_max: usize| text.is_none_or(|text| text.len() <= octets_max);
    let is_recipient =
        |to: &OutboundRecipient| is_destination(&to.destination) && is_short(to.original.as_ref(), ORIGINAL_OCTETS_MAX);
    let message_id = outbound.message_id.as_ref();
    let is_origin = match &outbound.origin {
        Origin::Relay(grant) => grant.len() <= TEXT_OCTETS_MAX,
        Origin::Account(_) | Origin::Report | Origin::Forward(_) | Origin::Local | Origin::TlsReport => true,
    };
    !outbound.recipients.is_empty()
        && outbound.recipients.iter().all(is_recipient)
        && is_short(outbound.options.envelope_id.as_ref(), ENVELOPE_ID_OCTETS_MAX)
        && is_short(message_id, TEXT_OCTETS_MAX)
        && message_id.is_none_or(|id| !id.contains('\0'))
        && outbound.trace_id.len() <= TEXT_OCTETS_MAX
        && is_origin
}
