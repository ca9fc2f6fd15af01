//! One command's changes of rows that many recipients share: read once, written once.
//!
//! A command about a thousand recipients of one item and one destination changes these two rows a thousand times;
//! here they are kept until [`Change::close`], which writes what is different and moves timers to where the rows
//! say they belong. So a transition only says what becomes of its recipient.

use std::{collections::BTreeMap, ops::ControlFlow};

use securanet_kv::{Direction, KeyRange};
use securanet_model::{
    UnixMillis,
    content::NewMessage,
    outbound::{Origin, Place},
    request::Topic,
};

use super::{
    inconsistent,
    rows::{CLASSES, Class, Counters, Destination, ItemState, Keys, Recipient, Slot, less},
    timeline::{LINES, Line},
};
use crate::{
    EngineError,
    keys::{Fields, Table},
    reachability::{self, Owner},
    tx::Tx,
};

/// A destination that cannot be reached is probed so long after it failed, or after the last probe: 30 minutes.
const PROBE_AFTER_MILLIS: u64 = 30 * 60 * 1000;

/// See the card of this file.
pub(super) struct Change<'t, 'b> {
    pub(super) tx: &'t mut Tx<'b>,
    pub(super) keys: Keys,
    /// The group's clock.
    pub(super) clock: UnixMillis,
    pub(super) counters: Counters,
    /// Lines of the timeline whose earliest row was removed.
    pub(super) stale: [bool; LINES],
    stored: Option<Counters>,
    destinations: BTreeMap<String, LoadedDestination>,
    items: BTreeMap<u64, LoadedItem>,
    senders: BTreeMap<Vec<u8>, u64>,
}

/// A destination's row with what was stored.
pub(super) struct LoadedDestination {
    stored: Destination,
    pub(super) row: Destination,
    /// Classes whose first recipient left: `first` is only a bound then.
    stale: [bool; CLASSES],
}

/// An open item with what was stored.
pub(super) struct LoadedItem {
    pub(super) state: ItemState,
    stored: Option<ItemState>,
    /// Nobody is left with the earliest delay: the next one is to be looked up.
    delays_stale: bool,
}

impl<'t, 'b> Change<'t, 'b> {
    pub(super) fn open(tx: &'t mut Tx<'b>, clock: UnixMillis) -> Result<Self, EngineError> {
        let keys = Keys(tx.view().space());
        let stored: Option<Counters> = tx.get_record(&keys.counters())?;
        Ok(Self {
            tx,
            keys,
            clock,
            counters: stored.unwrap_or_default(),
            stale: [false; LINES],
            stored,
            destinations: BTreeMap::new(),
            items: BTreeMap::new(),
            senders: BTreeMap::new(),
        })
    }

    /// Wakes the workers of this group.
    pub(super) fn touch(&mut self) {
        let group = self.keys.0.group;
        self.tx.touch(Topic::Outbound(group));
    }

    pub(super) fn recipient(&self, place: Place) -> Result<Option<Recipient>, EngineError> {
        self.tx.get_record(&self.keys.recipient(place))
    }

    pub(super) fn store(&mut self, place: Place, recipient: &Recipient) {
        self.tx.put_record(self.keys.recipient(place), recipient);
    }

    /// A destination; a new one has nothing.
    pub(super) fn destination(&mut self, name: &str) -> Result<&mut LoadedDestination, EngineError> {
        if !self.destinations.contains_key(name) {
            let stored: Destination = self.tx.get_record(&self.keys.destination(name))?.unwrap_or_default();
            let loaded = LoadedDestination { stored, row: stored, stale: [false; CLASSES] };
            self.destinations.insert(name.to_owned(), loaded);
        }
        self.destinations.get_mut(name).ok_or_else(|| inconsistent("a destination is lost"))
    }

    /// An item that is open; `None`: it is closed, or there never was one.
    pub(super) fn item(&mut self, number: u64) -> Result<Option<&mut LoadedItem>, EngineError> {
        if !self.items.contains_key(&number) {
            let stored: Option<ItemState> = self.tx.get_record(&self.keys.item(Table::OutboundItemState, number))?;
            let Some(state) = stored.clone() else { return Ok(None) };
            self.items.insert(number, LoadedItem { state, stored, delays_stale: false });
        }
        Ok(self.items.get_mut(&number))
    }

    /// The item of a recipient without an end.
    pub(super) fn item_of(&mut self, place: Place) -> Result<&mut LoadedItem, EngineError> {
        self.item(place.item)?.ok_or_else(|| inconsistent("a recipient has no end but its item is closed"))
    }

    /// Adds an item.
    pub(super) fn insert(&mut self, number: u64, state: ItemState) {
        self.counters.items = self.counters.items.saturating_add(1);
        self.items.insert(number, LoadedItem { state, stored: None, delays_stale: false });
    }

    /// How many recipients of a sender have no end.
    pub(super) fn sender(&mut self, origin: &Origin) -> Result<&mut u64, EngineError> {
        let key = Vec::from(self.keys.sender(origin));
        let stored = if self.senders.contains_key(&key) { None } else { self.tx.get_record::<u64>(&key)? };
        Ok(self.senders.entry(key).or_insert(stored.unwrap_or(0)))
    }

    /// Writes everything.
    pub(super) fn close(mut self) -> Result<(), EngineError> {
        for (name, destination) in std::mem::take(&mut self.destinations) {
            self.close_destination(&name, destination)?;
        }
        let mut oldest_closed = false;
        for (number, item) in std::mem::take(&mut self.items) {
            oldest_closed |= self.close_item(number, item)? && number == self.counters.oldest;
        }
        if oldest_closed {
            self.counters.oldest = self.oldest_after(self.counters.oldest)?;
        }
        for (key, count) in std::mem::take(&mut self.senders) {
            if count == 0 {
                self.tx.delete(key);
            } else {
                self.tx.put_record(key, &count);
            }
        }
        self.refresh_lines()?;
        if self.stored != Some(self.counters) {
            self.tx.put_record(self.keys.counters(), &self.counters);
        }
        Ok(())
    }

    fn close_destination(&mut self, name: &str, mut loaded: LoadedDestination) -> Result<(), EngineError> {
        let stored = loaded.stored;
        for class in Class::ALL {
            loaded.row.first[class as usize] = self.first_of(name, &loaded, class)?;
        }
        let row = &mut loaded.row;
        row.probe_at = if row.unreached == 0 {
            None
        } else {
            Some(row.probe_at.unwrap_or(self.clock.plus_millis(PROBE_AFTER_MILLIS)))
        };
        if *row == stored {
            return Ok(());
        }
        let due = |slot: Option<Slot>| slot.map(|slot| slot.due);
        for class in Class::ALL {
            let at = class as usize;
            self.reset(Line::of(class), name.as_bytes(), due(stored.first[at]), due(row.first[at]));
        }
        self.reset(Line::Probe, name.as_bytes(), stored.probe_at, row.probe_at);
        if row.open == 0 {
            self.tx.delete(self.keys.destination(name));
        } else {
            self.tx.put_record(self.keys.destination(name), row);
        }
        Ok(())
    }

    /// The first recipient that waits in a class. When the first one left, the next is sought behind it.
    fn first_of(&self, name: &str, loaded: &LoadedDestination, class: Class) -> Result<Option<Slot>, EngineError> {
        let at = class as usize;
        let Some(bound) = loaded.row.first[at].filter(|_| loaded.row.waiting[at] > 0) else { return Ok(None) };
        if !loaded.stale[at] {
            return Ok(Some(bound));
        }
        let start = self.keys.waiting(name, class, bound);
        let range = KeyRange { start: start.into(), end: self.keys.waiting_class(name, class).range().end };
        let rows = self.tx.view().scan(&range, Direction::Forward, 1)?;
        let (key, _) = rows.first().ok_or_else(|| inconsistent("a destination counts recipients that do not wait"))?;
        let mut fields = Fields::of(key)?;
        fields.text()?;
        fields.u8()?;
        Slot::read(&mut fields).map(Some)
    }

    /// Writes an item's state, or closes the item: true then.
    fn close_item(&mut self, number: u64, loaded: LoadedItem) -> Result<bool, EngineError> {
        let LoadedItem { mut state, stored, delays_stale } = loaded;
        let is_closed = state.open == 0 && state.untold == 0;
        if state.untold == 0 {
            state.end_at = None;
        }
        if state.delays == 0 {
            (state.delay_at, state.delays_first) = (None, 0);
        } else if delays_stale {
            (state.delay_at, state.delays_first) = self.first_delay(number)?;
        }
        if stored.as_ref() == Some(&state) {
            return Ok(false);
        }
        let who = number.to_be_bytes();
        let (end_at, delay_at) = stored.map_or((None, None), |stored| (stored.end_at, stored.delay_at));
        self.reset(Line::End, &who, end_at, state.end_at);
        self.reset(Line::Delay, &who, delay_at, state.delay_at);
        let key = self.keys.item(Table::OutboundItemState, number);
        if !is_closed {
            self.tx.put_record(key, &state);
            return Ok(false);
        }
        self.tx.delete(key);
        self.counters.items = less(self.counters.items)?;
        self.reset(Line::Closed, &who, None, Some(self.clock));
        self.remove_content(number)?;
        Ok(true)
    }

    /// The earliest delay of an item's recipients, and how many have it. As many recipients as there are mostly have
    /// the same, so this is looked up once in a while and not for each of them.
    fn first_delay(&self, number: u64) -> Result<(Option<UnixMillis>, u32), EngineError> {
        let (mut earliest, mut count) = (None, 0);
        let range = self.keys.item(Table::OutboundRecipient, number).range();
        self.tx.view().visit_records(&range, Direction::Forward, |_, row: Recipient| {
            if let Some(due) = row.delay_due.filter(|due| earliest.is_none_or(|earliest| *due <= earliest)) {
                count = if earliest == Some(due) { count + 1 } else { 1 };
                earliest = Some(due);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((earliest, count))
    }

    fn remove_content(&mut self, number: u64) -> Result<(), EngineError> {
        let key = self.keys.item(Table::OutboundContent, number);
        let message: Option<NewMessage> = self.tx.get_record(&key)?;
        let message = message.ok_or_else(|| inconsistent("an open item has no content"))?;
        for blob in &message.blobs {
            reachability::remove(self.tx, &blob.id, Owner::OutboundItem(number));
        }
        self.tx.delete(key);
        Ok(())
    }

    /// The lowest number of an open item from `number` on.
    fn oldest_after(&self, number: u64) -> Result<u64, EngineError> {
        let end = self.keys.item(Table::OutboundItemState, self.counters.next_item);
        let range = self.keys.item(Table::OutboundItemState, number).to(end);
        let rows = self.tx.view().scan(&range, Direction::Forward, 1)?;
        rows.first().map_or(Ok(self.counters.next_item), |(key, _)| Fields::of(key)?.u64())
    }
}

impl LoadedItem {
    /// One more recipient has this delay.
    pub(super) fn add_delay(&mut self, due: UnixMillis) {
        let state = &mut self.state;
        state.delays = state.delays.saturating_add(1);
        match state.delay_at {
            Some(at) if at < due => {}
            Some(at) if at == due => state.delays_first = state.delays_first.saturating_add(1),
            _ => (state.delay_at, state.delays_first) = (Some(due), 1),
        }
    }

    /// One recipient less has this delay.
    pub(super) fn remove_delay(&mut self, due: UnixMillis) -> Result<(), EngineError> {
        let state = &mut self.state;
        let less = |count: u32| count.checked_sub(1).ok_or_else(|| inconsistent("a delay was not counted"));
        state.delays = less(state.delays)?;
        if state.delay_at == Some(due) && !self.delays_stale {
            state.delays_first = less(state.delays_first)?;
            self.delays_stale = state.delays_first == 0;
        }
        Ok(())
    }
}

impl LoadedDestination {
    /// A recipient waits here.
    pub(super) fn add(&mut self, class: Class, slot: Slot, unreached: bool) {
        let at = class as usize;
        self.row.waiting[at] = self.row.waiting[at].saturating_add(1);
        self.row.first[at] = Some(self.row.first[at].map_or(slot, |first| first.min(slot)));
        self.row.unreached = self.row.unreached.saturating_add(u64::from(unreached));
    }

    /// A recipient does not wait here any more.
    pub(super) fn remove(&mut self, class: Class, slot: Slot, unreached: bool) -> Result<(), EngineError> {
        let at = class as usize;
        self.row.waiting[at] = less(self.row.waiting[at])?;
        self.stale[at] |= self.row.first[at] == Some(slot);
        if unreached {
            self.row.unreached = less(self.row.unreached)?;
        }
        Ok(())
    }
}
