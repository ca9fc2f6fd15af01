//! What holds of the rows after every command, read from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use securanet_kv::{Direction, Read};
use securanet_model::{
    content::NewMessage,
    outbound::{Place, State},
    record,
};
use serde::de::DeserializeOwned;

use super::super::{
    rows::{Class, Counters, Destination, Item, ItemState, Keys, Lease, NEVER, Recipient, Slot},
    timeline::{LINES, Line},
};
use crate::{
    harness::Group,
    keys::{Fields, Key, Table},
    reachability::blob_key,
};

type Rows = BTreeSet<Vec<u8>>;

struct Tables<'g> {
    group: &'g Group,
    keys: Keys,
}

impl Tables<'_> {
    fn raw(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.group.store.scan(&self.group.space.key(table).range(), Direction::Forward, usize::MAX).unwrap()
    }

    fn keys_of(&self, table: Table) -> Rows {
        self.raw(table).into_iter().map(|(key, _)| key).collect()
    }

    fn rows<T: DeserializeOwned>(&self, table: Table) -> Vec<(Vec<u8>, T)> {
        self.raw(table).into_iter().map(|(key, value)| (key, record::decode(&value).unwrap())).collect()
    }

    fn numbered<T: DeserializeOwned>(&self, table: Table) -> BTreeMap<u64, T> {
        let number = |key: &[u8]| Fields::of(key).unwrap().u64().unwrap();
        self.rows(table).into_iter().map(|(key, row)| (number(&key), row)).collect()
    }
}

/// What the recipients' rows ask for.
#[derive(Default)]
struct Wanted {
    waiting: Rows,
    unreached: Rows,
    taken: Rows,
    states: BTreeMap<u64, ItemState>,
    destinations: BTreeMap<String, Destination>,
    senders: BTreeMap<Vec<u8>, u64>,
    counters: Counters,
}

fn vec(key: Key) -> Vec<u8> {
    key.into()
}

/// Checks everything.
pub(super) fn check(group: &Group) {
    let read = Tables { group, keys: Keys(group.space) };
    let items: BTreeMap<u64, Item> = read.numbered(Table::OutboundItem);
    let mut wanted = Wanted::default();
    for (key, row) in read.rows::<Recipient>(Table::OutboundRecipient) {
        let mut fields = Fields::of(&key).unwrap();
        let place = Place { item: fields.u64().unwrap(), position: fields.u32().unwrap() };
        wanted.add(&read, place, &row, &items[&place.item]);
    }
    assert_eq!(read.keys_of(Table::OutboundWaiting), wanted.waiting, "exactly who waits has a waiting row");
    assert_eq!(read.keys_of(Table::OutboundUnreached), wanted.unreached);
    assert_eq!(read.keys_of(Table::OutboundTaken), wanted.taken, "exactly who is taken has a taken row");
    let senders: BTreeMap<Vec<u8>, u64> = read.rows(Table::OutboundSender).into_iter().collect();
    assert_eq!(senders, wanted.senders, "each sender has as many open recipients as are counted");
    let mut lines: [Rows; LINES] = Default::default();
    check_items(&read, &items, &wanted, &mut lines);
    check_destinations(&read, &wanted, &mut lines);
    for (epoch, lease) in read.numbered::<Lease>(Table::OutboundLease) {
        lines[Line::Lease as usize].insert(vec(read.keys.line(Line::Lease, lease.until).u64(epoch)));
    }
    check_counters(&read, &wanted, &lines);
}

impl Wanted {
    fn add(&mut self, read: &Tables<'_>, place: Place, row: &Recipient, item: &Item) {
        let (keys, name) = (read.keys, &row.to.destination);
        let state = self.states.entry(place.item).or_insert_with(|| ItemState::new(item, 0));
        if let Some(due) = row.delay_due {
            assert!(!row.has_ended() && !row.delay_told);
            state.delays += 1;
            match state.delay_at {
                Some(at) if at < due => {}
                Some(at) if at == due => state.delays_first += 1,
                _ => (state.delay_at, state.delays_first) = (Some(due), 1),
            }
        }
        assert!(row.uncertain >= row.begun.iter().filter(|begun| begun.in_doubt).count() as u32);
        assert!(row.deciding.is_none_or(|deciding| deciding <= row.attempts));
        let history = read.group.store.scan(&keys.attempts(place).range(), Direction::Forward, 100).unwrap();
        assert!(history.len() <= 16);
        if row.has_ended() {
            state.untold += u32::from(!row.end_told);
            return;
        }
        assert!(!row.end_told);
        state.open += 1;
        *self.senders.entry(vec(keys.sender(&item.origin))).or_default() += 1;
        let destination = self.destinations.entry(name.clone()).or_default();
        destination.open += 1;
        assert!(!row.unreached || matches!(row.state, State::Waiting { .. }));
        match row.state {
            State::Waiting { due } => {
                let slot = Slot { due, place };
                self.waiting.insert(vec(keys.waiting(name, row.class, slot)));
                if row.unreached {
                    self.unreached.insert(vec(keys.unreached(name, place)));
                }
                let at = row.class as usize;
                destination.waiting[at] += 1;
                destination.unreached += u64::from(row.unreached);
                destination.first[at] = Some(destination.first[at].map_or(slot, |first| first.min(slot)));
                self.counters.waiting += 1;
            }
            State::Taken { epoch } | State::Sending { epoch, .. } => {
                self.taken.insert(vec(keys.taken(epoch, place)));
                self.counters.taken += 1;
                assert_eq!(row.begun.last().map(|begun| begun.attempt), Some(row.attempts));
            }
            State::Held => self.counters.held += 1,
            State::Delivered | State::Failed | State::Cancelled => {}
        }
    }
}

fn check_items(read: &Tables<'_>, items: &BTreeMap<u64, Item>, wanted: &Wanted, lines: &mut [Rows; LINES]) {
    let states: BTreeMap<u64, ItemState> = read.numbered(Table::OutboundItemState);
    let contents: BTreeMap<u64, NewMessage> = read.numbered(Table::OutboundContent);
    assert_eq!(items.keys().collect::<Vec<_>>(), wanted.states.keys().collect::<Vec<_>>());
    let line = &read.group.space.key(Table::OutboundTimeline).u8(Line::Closed as u8);
    let closed = read.keys_of(Table::OutboundTimeline);
    let closed: Rows = closed.into_iter().filter(|key| key.starts_with(line)).collect();
    let closed_items: BTreeSet<u64> = closed.iter().map(|key| closed_item(key)).collect();
    lines[Line::Closed as usize] = closed;
    for (number, item) in items {
        let expected = wanted.states[number].clone();
        let is_open = expected.open > 0 || expected.untold > 0;
        assert_eq!(states.contains_key(number), is_open, "an item is open until all have ended and were told");
        assert_eq!(contents.contains_key(number), is_open, "the content is there exactly as long");
        assert_eq!(closed_items.contains(number), !is_open);
        let by_id = |id: &String| {
            let key = read.keys.message_id(id).u64(*number);
            assert!(read.group.store.get(&key).unwrap().is_some());
        };
        item.message_id.iter().for_each(by_id);
        let Some(state) = states.get(number) else { continue };
        for blob in &contents[number].blobs {
            let key = blob_key(read.group.space, &blob.id).u8(3).u64(*number);
            assert!(read.group.store.get(&key).unwrap().is_some(), "the content of an open item is reachable");
        }
        assert_eq!(*state, ItemState { end_at: state.end_at, ..expected }, "the counts are those of the recipients");
        assert_eq!(state.end_at.is_some(), state.untold > 0, "a timer tells of ends exactly as long as there are some");
        let who = number.to_be_bytes();
        for (line, at) in [(Line::End, state.end_at), (Line::Delay, state.delay_at)] {
            lines[line as usize].extend(at.map(|at| vec(read.keys.line(line, at).octets(&who))));
        }
    }
    let owned = read.keys_of(Table::BlobReachability).into_iter().filter(|key| key[key.len() - 9] == 3).count();
    assert_eq!(owned, contents.values().map(|content| content.blobs.len()).sum::<usize>(), "nothing else is reachable");
}

fn closed_item(key: &[u8]) -> u64 {
    let mut fields = Fields::of(key).unwrap();
    fields.u8().unwrap();
    fields.u64().unwrap();
    fields.u64().unwrap()
}

fn check_destinations(read: &Tables<'_>, wanted: &Wanted, lines: &mut [Rows; LINES]) {
    let rows = read.rows::<Destination>(Table::OutboundDestination);
    let names: Vec<String> =
        rows.iter().map(|(key, _)| String::from_utf8(Fields::of(key).unwrap().rest().to_vec()).unwrap()).collect();
    assert_eq!(names, wanted.destinations.keys().cloned().collect::<Vec<_>>());
    for ((_, row), (name, expected)) in rows.iter().zip(&wanted.destinations) {
        let told = Destination { failing_since: row.failing_since, probe_at: row.probe_at, ..*expected };
        assert_eq!(*row, told, "the row of {name} counts what waits, and knows who is first");
        assert_eq!(row.probe_at.is_some(), row.unreached > 0, "whoever waits for a host has a probe");
        for class in Class::ALL {
            let line = Line::of(class);
            let due = row.first[class as usize].map(|first| first.due);
            lines[line as usize].extend(due.map(|due| vec(read.keys.line(line, due).octets(name.as_bytes()))));
        }
        let probe = row.probe_at.map(|at| vec(read.keys.line(Line::Probe, at).octets(name.as_bytes())));
        lines[Line::Probe as usize].extend(probe);
    }
}

fn check_counters(read: &Tables<'_>, wanted: &Wanted, lines: &[Rows; LINES]) {
    let all: Rows = lines.iter().flatten().cloned().collect();
    assert_eq!(read.keys_of(Table::OutboundTimeline), all, "the timeline has what the rows ask for and nothing else");
    let counters: Counters = read.group.view().get_record(&read.keys.counters()).unwrap().unwrap_or_default();
    for (line, rows) in lines.iter().enumerate() {
        let at = |key: &Vec<u8>| {
            let mut fields = Fields::of(key).unwrap();
            fields.u8().unwrap();
            securanet_model::UnixMillis::new(fields.u64().unwrap())
        };
        let earliest = rows.iter().next().map_or(NEVER, at);
        assert_eq!(counters.earliest[line], earliest, "the counters know the earliest time of line {line}");
    }
    let sums = (wanted.counters.waiting, wanted.counters.taken, wanted.counters.held);
    assert_eq!((counters.waiting, counters.taken, counters.held), sums);
    let open: Vec<u64> = read.numbered::<ItemState>(Table::OutboundItemState).into_keys().collect();
    assert_eq!(counters.items, open.len() as u64);
    assert_eq!(counters.oldest, open.first().copied().unwrap_or(counters.next_item));
}
