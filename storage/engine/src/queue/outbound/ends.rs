//! How a recipient ends, and who is told.
//!
//! RFC 3461 4.1: a failure is told when nothing was asked or FAILURE was; a delivery only when SUCCESS was, and then
//! only if the remote did not take over that duty; a delay when nothing was asked or DELAY was. A null sender is
//! never told anything: a failure of its mail is counted as a double bounce, and of a report of ours the worker is asked,
//! who may tell the postmaster. What an operator cancelled is not told.
//!
//! The first end of an item that is to be told starts its timer, later ones do not move it: one report covers what
//! ended within [`TELL_AFTER_MILLIS`], and none waits longer than that.

use securanet_model::{
    UnixMillis,
    outbound::{Notify, Origin, Place, State},
};

use super::{
    change::Change,
    rows::{Recipient, less},
};
use crate::EngineError;

/// A report waits so long for the ends of other recipients.
pub(super) const TELL_AFTER_MILLIS: u64 = 5_000;

/// How a recipient ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// The remote server has it; whether that one tells the sender.
    Delivered { notifies: bool },
    /// For good.
    Failed,
    /// By an operator, silently.
    Cancelled,
}

impl Ending {
    const fn state(self) -> State {
        match self {
            Self::Delivered { .. } => State::Delivered,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }

    /// Whether the sender asked to be told of it.
    const fn is_wanted(self, notify: Notify) -> bool {
        match (self, notify) {
            (Self::Delivered { notifies: false }, Notify::On { success, .. }) => success,
            (Self::Failed, Notify::Default) => true,
            (Self::Failed, Notify::On { failure, .. }) => failure,
            (Self::Delivered { .. } | Self::Failed | Self::Cancelled, _) => false,
        }
    }
}

/// Whether a sender, if there is one, wants to be told of delays.
pub(super) const fn wants_delay(has_sender: bool, notify: Notify) -> bool {
    match notify {
        Notify::Default => has_sender,
        Notify::On { delay, .. } => delay && has_sender,
        Notify::Never => false,
    }
}

impl Change<'_, '_> {
    /// Ends a recipient that has no end.
    pub(super) fn end(&mut self, place: Place, row: &mut Recipient, ending: Ending) -> Result<(), EngineError> {
        self.leave(place, row)?;
        row.state = ending.state();
        row.unreached = false;
        // Whatever an attempt that is still in doubt may bring: only a delivery changes an end.
        row.deciding = None;
        self.count(ending);
        let destination = &mut self.destination(&row.to.destination)?.row;
        destination.open = less(destination.open)?;
        let loaded = self.item_of(place)?;
        let origin = loaded.state.origin.clone();
        loaded.state.open =
            loaded.state.open.checked_sub(1).ok_or_else(|| super::inconsistent("an item ends twice"))?;
        self.forget_delay(place, row)?;
        let sender = self.sender(&origin)?;
        *sender = less(*sender)?;
        self.tell_of(place, row, ending)
    }

    /// A recipient that ended otherwise was delivered after all: a fact, whatever we said about it. It is told
    /// unless the sender was told already, or nobody was to be.
    pub(super) fn correct(&mut self, place: Place, row: &mut Recipient, notifies: bool) -> Result<(), EngineError> {
        row.state = State::Delivered;
        self.count(Ending::Delivered { notifies });
        if row.end_told {
            self.store(place, row);
            return Ok(());
        }
        let state = &mut self.item_of(place)?.state;
        state.untold = state.untold.saturating_sub(1);
        self.tell_of(place, row, Ending::Delivered { notifies })
    }

    fn count(&mut self, ending: Ending) {
        let counters = &mut self.counters;
        match ending {
            Ending::Delivered { .. } => counters.delivered = counters.delivered.saturating_add(1),
            Ending::Failed => counters.failed = counters.failed.saturating_add(1),
            Ending::Cancelled => {}
        }
    }

    /// Sets the timer for the report, if there is to be one.
    fn tell_of(&mut self, place: Place, row: &mut Recipient, ending: Ending) -> Result<(), EngineError> {
        let at = self.clock.plus_millis(TELL_AFTER_MILLIS);
        let loaded = self.item_of(place)?;
        let has_sender = loaded.state.has_sender;
        let is_told = if has_sender {
            ending.is_wanted(row.to.notify)
        } else {
            ending == Ending::Failed && loaded.state.origin == Origin::Report
        };
        if is_told {
            loaded.state.untold = loaded.state.untold.saturating_add(1);
            loaded.state.end_at.get_or_insert(at);
        }
        if !has_sender && ending == Ending::Failed {
            self.counters.double_bounces = self.counters.double_bounces.saturating_add(1);
        }
        row.end_told = !is_told;
        self.store(place, row);
        Ok(())
    }

    /// The sender is to be told at `at` that the recipient still waits, unless an earlier time was set. The caller
    /// stores the recipient.
    pub(super) fn plan_delay(&mut self, place: Place, row: &mut Recipient, at: UnixMillis) -> Result<(), EngineError> {
        if row.delay_due.is_some_and(|set| set <= at) {
            return Ok(());
        }
        self.forget_delay(place, row)?;
        row.delay_due = Some(at);
        self.item_of(place)?.add_delay(at);
        Ok(())
    }

    /// The sender is not to be told of a delay any more. The caller stores the recipient.
    pub(super) fn forget_delay(&mut self, place: Place, row: &mut Recipient) -> Result<(), EngineError> {
        match row.delay_due.take() {
            Some(due) => self.item_of(place)?.remove_delay(due),
            None => Ok(()),
        }
    }
}
