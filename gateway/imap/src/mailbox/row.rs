//! What the store knows of a message without opening it, as much of it as FETCH or SEARCH need.

use securanet_gateway::model::{
    MailboxId, ThreadId, UnixMillis,
    account::{Message, MessageState, UidSet},
    record,
    summary::Summary,
};

use super::account::{Account, MESSAGE_ROWS_MAX, STATE_ROWS_MAX, SUMMARY_ROWS_MAX};
use crate::response::{Code, Stop, Tagged};

/// How much of a row is needed; more includes less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Need {
    /// Flags, UID, mod-sequence, email id.
    State,
    /// Sizes, dates, thread too.
    Message,
    /// Envelope, structure and preview too.
    Summary,
}

/// A message.
pub(crate) struct Row {
    pub(crate) state: MessageState,
    /// Absent when only the state was needed.
    pub(crate) detail: Option<Detail>,
}

/// What never changes of a message.
pub(crate) struct Detail {
    pub(crate) thread: ThreadId,
    pub(crate) size_bytes: u64,
    pub(crate) prefix_size_bytes: u64,
    pub(crate) internal_date: UnixMillis,
    pub(crate) saved_date: UnixMillis,
    /// Absent when it was not needed.
    pub(crate) summary: Option<Box<Summary>>,
}

impl Need {
    /// Messages in one page: what the store gives at once.
    pub(crate) const fn rows_max(self) -> usize {
        match self {
            Self::State => STATE_ROWS_MAX as usize,
            Self::Message => MESSAGE_ROWS_MAX as usize,
            Self::Summary => SUMMARY_ROWS_MAX as usize,
        }
    }
}

/// Reads one page, ascending by UID.
pub(crate) async fn read(account: &Account, mailbox: MailboxId, uids: UidSet, need: Need) -> Result<Vec<Row>, Stop> {
    if need == Need::State {
        let states = account.states(mailbox, uids).await?;
        return Ok(states.into_iter().map(|state| Row { state, detail: None }).collect());
    }
    let messages = account.messages(mailbox, uids, need == Need::Summary).await?;
    messages.into_iter().map(row).collect()
}

fn row(message: Message) -> Result<Row, Stop> {
    let summary = message.summary.map(|sealed| open_summary(&sealed.bytes)).transpose()?;
    let detail = Detail {
        thread: message.thread,
        size_bytes: message.size_bytes,
        prefix_size_bytes: message.prefix_size_bytes,
        internal_date: message.internal_date,
        saved_date: message.saved_date,
        summary: summary.map(Box::new),
    };
    Ok(Row { state: message.state, detail: Some(detail) })
}

/// Decodes a summary as the store's front hands it out.
fn open_summary(record: &[u8]) -> Result<Summary, Stop> {
    record::decode(record).map_err(|error| {
        tracing::error!(%error, "a message's summary cannot be read");
        Tagged::no("Stored data is damaged, an operator has been told").code(Code::CORRUPTION).into()
    })
}
