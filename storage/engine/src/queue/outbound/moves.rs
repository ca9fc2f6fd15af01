//! How a recipient goes from one state to another: its row, the index of its state, and the counts, together.
//!
//! Invariant: a recipient has exactly the index row that its state asks for. `Waiting`: one in
//! [`crate::keys::Table::OutboundWaiting`], and one more if it was unreached. `Taken` and `Sending`: one in
//! [`crate::keys::Table::OutboundTaken`]. All other states: none.

use securanet_model::{
    UnixMillis,
    outbound::{Place, State},
};

use super::{
    change::Change,
    rows::{Recipient, Slot, less},
};
use crate::EngineError;

impl Change<'_, '_> {
    /// Waits from now on, until `due`.
    pub(super) fn wait(&mut self, place: Place, row: &mut Recipient, due: UnixMillis) -> Result<(), EngineError> {
        self.move_to(place, row, State::Waiting { due }, false)
    }

    /// Waits because no host of its destination could be reached.
    pub(super) fn wait_unreached(
        &mut self,
        place: Place,
        row: &mut Recipient,
        due: UnixMillis,
    ) -> Result<(), EngineError> {
        self.move_to(place, row, State::Waiting { due }, true)
    }

    /// Is in `state` from now on.
    pub(super) fn move_to(
        &mut self,
        place: Place,
        row: &mut Recipient,
        state: State,
        unreached: bool,
    ) -> Result<(), EngineError> {
        self.leave(place, row)?;
        row.state = state;
        row.unreached = unreached;
        self.enter(place, row)?;
        self.store(place, row);
        Ok(())
    }

    /// Adds what the state of a recipient asks for.
    pub(super) fn enter(&mut self, place: Place, row: &Recipient) -> Result<(), EngineError> {
        match row.state {
            State::Waiting { due } => {
                let (name, slot) = (&row.to.destination, Slot { due, place });
                self.tx.put(self.keys.waiting(name, row.class, slot), Vec::new());
                if row.unreached {
                    self.tx.put(self.keys.unreached(name, place), Vec::new());
                }
                self.destination(name)?.add(row.class, slot, row.unreached);
                self.counters.waiting = self.counters.waiting.saturating_add(1);
                if due <= self.clock {
                    self.touch();
                }
            }
            State::Taken { epoch } | State::Sending { epoch, .. } => {
                self.tx.put(self.keys.taken(epoch, place), Vec::new());
                self.counters.taken = self.counters.taken.saturating_add(1);
            }
            State::Held => self.counters.held = self.counters.held.saturating_add(1),
            State::Delivered | State::Failed | State::Cancelled => {}
        }
        Ok(())
    }

    /// Removes what the state of a recipient asked for.
    pub(super) fn leave(&mut self, place: Place, row: &Recipient) -> Result<(), EngineError> {
        match row.state {
            State::Waiting { due } => {
                let (name, slot) = (&row.to.destination, Slot { due, place });
                self.tx.delete(self.keys.waiting(name, row.class, slot));
                if row.unreached {
                    self.tx.delete(self.keys.unreached(name, place));
                }
                self.destination(name)?.remove(row.class, slot, row.unreached)?;
                self.counters.waiting = less(self.counters.waiting)?;
            }
            State::Taken { epoch } | State::Sending { epoch, .. } => {
                self.tx.delete(self.keys.taken(epoch, place));
                self.counters.taken = less(self.counters.taken)?;
            }
            State::Held => self.counters.held = less(self.counters.held)?,
            State::Delivered | State::Failed | State::Cancelled => {}
        }
        Ok(())
    }
}
