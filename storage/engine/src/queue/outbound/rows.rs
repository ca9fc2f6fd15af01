//! The outbound queue's records, and how the keys of its tables are built.
//!
//! They are split by how often they change: what was taken in is written once ([`Item`], the content, the texts of
//! the Message-ID index), why an item is open changes with its recipients' ends ([`ItemState`]), and only a
//! recipient's own row changes with each of its attempts. So an attempt never rewrites a message.

use securanet_model::{
    ReversePath, UnixMillis,
    outbound::{EnvelopeOptions, Origin, OutboundRecipient, Outcome, Place, State, WorkerId},
};
use serde::{Deserialize, Serialize};

use super::{inconsistent, timeline::LINES};
use crate::{
    EngineError,
    keys::{Fields, Key, Space, Table},
};

/// Attempts of a recipient that are kept open for a late outcome; that of an older one is passed over.
const BEGUN_MAX: usize = 16;

/// Classes of waiting recipients.
pub(super) const CLASSES: usize = 2;

/// With what a recipient waits: a mailing must not stand before a letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) enum Class {
    /// A message to few, of a sender with few messages here.
    Letter,
    /// Everything else.
    Bulk,
}

impl Class {
    pub(super) const ALL: [Self; CLASSES] = [Self::Letter, Self::Bulk];
}

/// The row of [`Table::OutboundCounters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Counters {
    /// The number of the next item; never given twice.
    pub(super) next_item: u64,
    /// The number of the next lease; never given twice.
    pub(super) next_epoch: u64,
    /// Open items.
    pub(super) items: u64,
    /// The lowest number of an open item; the next number when there is none.
    pub(super) oldest: u64,
    /// Recipients by state.
    pub(super) waiting: u64,
    pub(super) taken: u64,
    pub(super) held: u64,
    /// Since the group exists; these only grow.
    pub(super) uncertain: u64,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) taken_over: u64,
    pub(super) double_bounces: u64,
    pub(super) repeats: u64,
    /// The first day of which repeats are remembered.
    pub(super) repeats_from_day: u32,
    /// The earliest time of each line of the timeline; the end of time for an empty one.
    pub(super) earliest: [UnixMillis; LINES],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next_item: 1,
            next_epoch: 1,
            items: 0,
            oldest: 1,
            waiting: 0,
            taken: 0,
            held: 0,
            uncertain: 0,
            delivered: 0,
            failed: 0,
            taken_over: 0,
            double_bounces: 0,
            repeats: 0,
            repeats_from_day: 0,
            earliest: [NEVER; LINES],
        }
    }
}

/// The end of time.
pub(super) const NEVER: UnixMillis = UnixMillis::new(u64::MAX);

/// A row of [`Table::OutboundItem`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) queued: UnixMillis,
    pub(super) sender: ReversePath,
    pub(super) options: EnvelopeOptions,
    pub(super) origin: Origin,
    pub(super) message_id: Option<String>,
    pub(super) trace_id: String,
    pub(super) size_bytes: u64,
}

/// A row of [`Table::OutboundItemState`]: with what each end of a recipient asks of its item, so that it reads no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ItemState {
    pub(super) queued: UnixMillis,
    /// As in [`Item::origin`].
    pub(super) origin: Origin,
    /// There is somebody who can be told: the envelope's sender is not null.
    pub(super) has_sender: bool,
    /// Recipients without an end.
    pub(super) open: u32,
    /// Recipients with an end of which the sender is still to be told.
    pub(super) untold: u32,
    /// When to tell: there is one as long as `untold` is not 0.
    pub(super) end_at: Option<UnixMillis>,
    /// Recipients with a [`Recipient::delay_due`].
    pub(super) delays: u32,
    /// The earliest of these: there is one as long as `delays` is not 0.
    pub(super) delay_at: Option<UnixMillis>,
    /// How many of them are at that time.
    pub(super) delays_first: u32,
}

impl ItemState {
    /// Of an item that comes in with so many recipients.
    pub(super) fn new(item: &Item, open: u32) -> Self {
        Self {
            queued: item.queued,
            origin: item.origin.clone(),
            has_sender: item.sender != ReversePath::Null,
            open,
            untold: 0,
            end_at: None,
            delays: 0,
            delay_at: None,
            delays_first: 0,
        }
    }
}

/// A row of [`Table::OutboundRecipient`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Recipient {
    pub(super) to: OutboundRecipient,
    pub(super) class: Class,
    pub(super) state: State,
    /// Waits because no host of its destination could be reached: due as soon as one answers.
    pub(super) unreached: bool,
    /// RFC 2852: returned then.
    pub(super) return_by: Option<UnixMillis>,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// The attempt whose outcome says how it goes on; a delivery says so whichever attempt it was.
    pub(super) deciding: Option<u32>,
    /// Attempts without an outcome, oldest first.
    pub(super) begun: Vec<Begun>,
    /// The present attempt stands outside the schedule; when it fails for a while, this is when it goes on.
    pub(super) resume: Option<UnixMillis>,
    /// Failures that the general schedule counts.
    pub(super) failures: u32,
    /// Failures that the schedule for "no such domain" counts.
    pub(super) no_such_domain: u32,
    /// Attempts that may have been delivered without our knowing.
    pub(super) uncertain: u32,
    pub(super) delay_due: Option<UnixMillis>,
    pub(super) delay_told: bool,
    pub(super) end_told: bool,
    /// How the last attempt that was really tried ended.
    pub(super) last: Option<Outcome>,
}

/// An attempt without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) attempt: u32,
    /// Nobody is at it any more, and it may have been delivered.
    pub(super) in_doubt: bool,
}

impl Recipient {
    /// Begins the next attempt, and answers its number.
    pub(super) fn begin(&mut self) -> u32 {
        self.attempts = self.attempts.saturating_add(1);
        self.deciding = Some(self.attempts);
        if self.begun.len() == BEGUN_MAX {
            self.begun.remove(0);
        }
        self.begun.push(Begun { attempt: self.attempts, in_doubt: false });
        self.attempts
    }

    /// Whether the last attempt may have been delivered, so that the next one is a repeat.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.begun.last().is_some_and(|last| last.in_doubt && last.attempt == self.attempts)
    }

    /// Nobody will tell how this attempt ended, and it may have been delivered. False when that was known.
    pub(super) fn doubt(&mut self, attempt: u32) -> bool {
        let begun = self.begun.iter_mut().find(|begun| begun.attempt == attempt && !begun.in_doubt);
        let Some(begun) = begun else { return false };
        begun.in_doubt = true;
        self.uncertain = self.uncertain.saturating_add(1);
        true
    }

    /// This attempt has an outcome now. False when it had one, or never began.
    pub(super) fn finish(&mut self, attempt: u32) -> bool {
        let Some(at) = self.begun.iter().position(|begun| begun.attempt == attempt) else { return false };
        if self.begun.remove(at).in_doubt {
            self.uncertain = self.uncertain.saturating_sub(1);
        }
        true
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Delivered | State::Failed | State::Cancelled)
    }
}

/// A row of [`Table::OutboundDestination`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Destination {
    /// Recipients without an end; the row goes with the last one.
    pub(super) open: u64,
    /// Recipients that wait, by class.
    pub(super) waiting: [u64; CLASSES],
    /// The first of each.
    pub(super) first: [Option<Slot>; CLASSES],
    /// Those that wait because nothing could be reached.
    pub(super) unreached: u64,
    pub(super) failing_since: Option<UnixMillis>,
    /// When to see whether it answers: there is one as long as `unreached` is not 0.
    pub(super) probe_at: Option<UnixMillis>,
}

/// Where a recipient stands among those that wait with it: the order of the fields is that of the keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) due: UnixMillis,
    pub(super) place: Place,
}

impl Slot {
    /// Reads the end of a key of [`Table::OutboundWaiting`].
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, EngineError> {
        Ok(Self { due: UnixMillis::new(fields.u64()?), place: read_place(fields)? })
    }
}

/// A row of [`Table::OutboundLease`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) worker: WorkerId,
    pub(super) until: UnixMillis,
}

/// Reads the end of a key that ends with a recipient.
pub(super) fn read_place(fields: &mut Fields<'_>) -> Result<Place, EngineError> {
    Ok(Place { item: fields.u64()?, position: fields.u32()? })
}

/// The count of one more, or of one less.
pub(super) fn less(count: u64) -> Result<u64, EngineError> {
    count.checked_sub(1).ok_or_else(|| inconsistent("a count goes below nothing"))
}

/// Builds the keys of one group.
#[derive(Clone, Copy)]
pub(super) struct Keys(pub(super) Space);

impl Keys {
    pub(super) fn counters(self) -> Key {
        self.0.key(Table::OutboundCounters)
    }

    /// The key of an item in one of the tables that have nothing but its number.
    pub(super) fn item(self, table: Table, item: u64) -> Key {
        self.0.key(table).u64(item)
    }

    pub(super) fn recipient(self, place: Place) -> Key {
        self.item(Table::OutboundRecipient, place.item).u32(place.position)
    }

    /// The beginning of the attempts of a recipient.
    pub(super) fn attempts(self, place: Place) -> Key {
        self.item(Table::OutboundAttempt, place.item).u32(place.position)
    }

    /// The beginning of what waits for a destination in a class.
    pub(super) fn waiting_class(self, destination: &str, class: Class) -> Key {
        self.0.key(Table::OutboundWaiting).text(destination).u8(class as u8)
    }

    pub(super) fn waiting(self, destination: &str, class: Class, slot: Slot) -> Key {
        let Slot { due, place } = slot;
        self.waiting_class(destination, class).u64(due.get()).u64(place.item).u32(place.position)
    }

    /// The beginning of what waits because the destination could not be reached.
    pub(super) fn unreached_all(self, destination: &str) -> Key {
        self.0.key(Table::OutboundUnreached).text(destination)
    }

    pub(super) fn unreached(self, destination: &str, place: Place) -> Key {
        self.unreached_all(destination).u64(place.item).u32(place.position)
    }

    pub(super) fn destination(self, destination: &str) -> Key {
        self.0.key(Table::OutboundDestination).octets(destination.as_bytes())
    }

    pub(super) fn lease(self, epoch: u64) -> Key {
        self.0.key(Table::OutboundLease).u64(epoch)
    }

    /// The beginning of what a lease has.
    pub(super) fn taken_all(self, epoch: u64) -> Key {
        self.0.key(Table::OutboundTaken).u64(epoch)
    }

    pub(super) fn taken(self, epoch: u64, place: Place) -> Key {
        self.taken_all(epoch).u64(place.item).u32(place.position)
    }

    /// The key of a sender: whoever a message is charged to, so that one sender's mailing is seen as one.
    pub(super) fn sender(self, origin: &Origin) -> Key {
        let key = self.0.key(Table::OutboundSender);
        match origin {
            Origin::Account(account) => key.u8(1).u64(account.get()),
            Origin::Report => key.u8(2),
            Origin::Relay(grant) => key.u8(3).octets(grant.as_bytes()),
            Origin::Forward(address) => key.u8(4).address(address),
            Origin::Local => key.u8(5),
            Origin::TlsReport => key.u8(6),
        }
    }

    /// The beginning of the items of a Message-ID.
    pub(super) fn message_id(self, message_id: &str) -> Key {
        self.0.key(Table::OutboundMessageId).text(message_id)
    }
}
