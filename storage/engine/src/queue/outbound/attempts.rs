//! What is kept of attempts: the first one of a recipient and the last fifteen, for bounces and the trace.
//!
//! The texts come from remote servers through a worker; here they are cut to the vocabulary's bounds, because an
//! outcome is a fact and must not be refused for its length.

use securanet_kv::Direction;
use securanet_model::{
    UnixMillis,
    outbound::{Attempt, Outcome, Place},
};

use super::{
    change::Change,
    rows::{Keys, Recipient},
};
use crate::{EngineError, tx::ReadView};

/// Attempts kept of one recipient.
pub(super) const HISTORY_ROWS_MAX: usize = 16;
const HOST_OCTETS_MAX: usize = 300;
const TLS_OCTETS_MAX: usize = 200;
const ANSWER_OCTETS_MAX: usize = 1000;

impl Change<'_, '_> {
    /// Keeps how an attempt ended; when there are too many, the second of them goes.
    pub(super) fn record(
        &mut self,
        place: Place,
        row: &Recipient,
        number: u32,
        attempt: &Attempt,
    ) -> Result<(), EngineError> {
        let key = self.keys.attempts(place).u32(number);
        self.tx.put_record(key, &bounded(attempt));
        if row.attempts as usize <= HISTORY_ROWS_MAX {
            return Ok(());
        }
        let range = self.keys.attempts(place).range();
        let mut rows = self.tx.view().scan(&range, Direction::Forward, 2 * HISTORY_ROWS_MAX)?;
        while rows.len() > HISTORY_ROWS_MAX {
            self.tx.delete(rows.remove(1).0);
        }
        Ok(())
    }

    /// Keeps a word of the queue itself, as an attempt of its own: why it ended the recipient.
    pub(super) fn record_own(
        &mut self,
        place: Place,
        row: &mut Recipient,
        status: (u8, u16, u16),
        answer: &str,
    ) -> Result<(), EngineError> {
        let number = row.begin();
        row.finish(number);
        self.record(place, row, number, &own(self.clock, Outcome::Permanent, status, answer))
    }
}

/// An attempt as the queue itself tells it.
pub(super) fn own(at: UnixMillis, outcome: Outcome, status: (u8, u16, u16), answer: &str) -> Attempt {
    let answer = answer.to_owned();
    Attempt { at, took_millis: 0, outcome, status, host: None, tls: None, answer, answer_is_remote: false }
}

/// The attempts of a recipient, oldest first.
pub(super) fn history(view: &ReadView<'_>, place: Place) -> Result<Vec<Attempt>, EngineError> {
    let rows = view.scan(&Keys(view.space()).attempts(place).range(), Direction::Forward, HISTORY_ROWS_MAX)?;
    rows.iter().map(|(_, value)| Ok(securanet_model::record::decode(value)?)).collect()
}

fn bounded(attempt: &Attempt) -> Attempt {
    Attempt {
        host: attempt.host.as_deref().map(|host| cut(host, HOST_OCTETS_MAX)),
        tls: attempt.tls.as_deref().map(|tls| cut(tls, TLS_OCTETS_MAX)),
        answer: cut(&attempt.answer, ANSWER_OCTETS_MAX),
        ..attempt.clone()
    }
}

/// The beginning of a text, at most so many octets of it.
fn cut(text: &str, octets_max: usize) -> String {
    let end = (0..=octets_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}
