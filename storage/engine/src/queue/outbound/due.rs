//! What is due, fairly: no destination, no sender and no mailing stands before the others.
//!
//! Three turns are taken. *Destinations*: a page goes on where the last one ended, and from each destination it
//! shows only the first recipients, so one with a hundred thousand of them takes one place of a page. *Letters and
//! bulk*: four destinations with letters, then one with bulk, and within a destination four letters, then one
//! of bulk, so that a mailing delays no letter and letters do not stop a mailing. *Time*: among equals who is due
//! longest comes first.
//!
//! The cost of a page is that of the rows that it shows: destinations are found by their earliest due time, and a
//! destination's recipients are read from the first one on, which its row knows.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::ControlFlow,
};

use securanet_kv::{Direction, KeyRange};
use securanet_model::{
    UnixMillis,
    outbound::{DueCursor, DueDestination, OutboundAnswer, Place},
};

use super::{
    ROWS_MAX, counters,
    rows::{CLASSES, Class, Counters, Destination, Keys, Slot},
    timeline::{Line, until_now},
};
use crate::{EngineError, tx::ReadView};

/// Letters come to bulk as this to one.
const LETTER_SHARE: usize = 4;
/// Recipients of one page.
const PAGE_PLACES_MAX: usize = 10_000;

/// Bounds of a page, as the asker wishes them.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) now: UnixMillis,
    pub(super) destinations_max: u32,
    pub(super) rows_max: u32,
}

pub(super) fn due(view: &ReadView<'_>, page: Page, after: Option<&DueCursor>) -> Result<OutboundAnswer, EngineError> {
    let counters = counters(view)?;
    let destinations_max = page.destinations_max.clamp(1, ROWS_MAX) as usize;
    let rows_max = page.rows_max.clamp(1, ROWS_MAX) as usize;
    let mut cursor = after.cloned().unwrap_or_default();
    let mut letters = line(view, &counters, Line::Letters, (page.now, cursor.letters.as_ref()), destinations_max)?;
    let mut bulk = line(view, &counters, Line::Bulk, (page.now, cursor.bulk.as_ref()), destinations_max)?;
    // A line that gave as many as were asked for may have more than this page.
    let more = letters.len() == destinations_max || bulk.len() == destinations_max;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let (mut places, mut turn) = (0, 0);
    while found.len() < destinations_max && places < PAGE_PLACES_MAX {
        let Some((class, who)) = next_turn(&mut letters, &mut bulk, &mut turn) else { break };
        match class {
            Class::Letter => cursor.letters = Some(who.clone()),
            Class::Bulk => cursor.bulk = Some(who.clone()),
        }
        if !seen.insert(who.1.clone()) {
            continue;
        }
        let destination = of_destination(view, who.1, page.now, rows_max.min(PAGE_PLACES_MAX - places))?;
        places += destination.places.len();
        found.push(destination);
    }
    let is_last = !more && letters.is_empty() && bulk.is_empty();
    Ok(OutboundAnswer::Due(found, (!is_last).then_some(cursor)))
}

type Who = (UnixMillis, String);

/// The destinations of a line that are due, longest first.
fn line(
    view: &ReadView<'_>,
    counters: &Counters,
    line: Line,
    (now, after): (UnixMillis, Option<&Who>),
    destinations_max: usize,
) -> Result<VecDeque<Who>, EngineError> {
    let mut found = VecDeque::new();
    until_now(view, counters, line, (now, after), |at, fields| {
        let name = std::str::from_utf8(fields.rest()).map_err(|_| super::inconsistent("a destination is no text"))?;
        found.push_back((at, name.to_owned()));
        Ok(if found.len() < destinations_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// Whose turn it is; who has nothing gives it to the other.
fn next_turn<T>(letters: &mut VecDeque<T>, bulk: &mut VecDeque<T>, turn: &mut usize) -> Option<(Class, T)> {
    let bulk_first = *turn % (LETTER_SHARE + 1) == LETTER_SHARE;
    *turn += 1;
    let (first, second) = if bulk_first { (bulk, letters) } else { (letters, bulk) };
    let (class, other) = if bulk_first { (Class::Bulk, Class::Letter) } else { (Class::Letter, Class::Bulk) };
    first.pop_front().map(|next| (class, next)).or_else(|| second.pop_front().map(|next| (other, next)))
}

fn of_destination(
    view: &ReadView<'_>,
    name: String,
    now: UnixMillis,
    rows_max: usize,
) -> Result<DueDestination, EngineError> {
    let row: Option<Destination> = view.get_record(&Keys(view.space()).destination(&name))?;
    let row = row.ok_or_else(|| super::inconsistent("a destination is due but has no row"))?;
    let mut waiting: [VecDeque<Place>; CLASSES] = Default::default();
    for class in Class::ALL {
        waiting[class as usize] = first_due(view, &name, class, (row.first[class as usize], now), rows_max)?;
    }
    let [mut letters, mut bulk] = waiting;
    let (mut places, mut of_letters, mut turn) = (Vec::new(), 0_u32, 0);
    while places.len() < rows_max {
        let Some((class, place)) = next_turn(&mut letters, &mut bulk, &mut turn) else { break };
        of_letters += u32::from(class == Class::Letter);
        places.push(place);
    }
    Ok(DueDestination { destination: name, failing_since: row.failing_since, places, letters: of_letters })
}

fn first_due(
    view: &ReadView<'_>,
    name: &str,
    class: Class,
    (first, now): (Option<Slot>, UnixMillis),
    rows_max: usize,
) -> Result<VecDeque<Place>, EngineError> {
    let keys = Keys(view.space());
    let mut places = VecDeque::new();
    let Some(first) = first.filter(|first| first.due <= now) else { return Ok(places) };
    let range =
        KeyRange { start: keys.waiting(name, class, first).into(), end: keys.waiting_class(name, class).range().end };
    view.visit(&range, Direction::Forward, |mut fields, _| {
        fields.text()?;
        fields.u8()?;
        let slot = Slot::read(&mut fields)?;
        if slot.due > now {
            return Ok(ControlFlow::Break(()));
        }
        places.push_back(slot.place);
        Ok(if places.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(places)
}
