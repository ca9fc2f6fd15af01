//! Threads: which messages belong to one conversation (RFC 8474 THREADID).
//!
//! A message names its own Message-ID, its parent's and those of its References, as keyed hashes. It joins the
//! thread of the first one that some message of the account has named before; else it founds a thread, whose id
//! is the founder's email id (unique in the account, and one counter less). A message's thread never changes, as
//! RFC 8474 wants, so two threads that turn out to be one stay two.
//!
//! A key's row counts the messages that name it and goes with the last one: no message, no row. A message is
//! counted in at most [`THREAD_KEYS_MAX`] keys, because a reply's References grow with the thread and each is a
//! row to write; the first eight are its own id, its parent, the thread's root and the next five. For joining, up
//! to [`LOOKUPS_MAX`] are tried.

use securanet_model::{EmailId, KeyedHash, ThreadId};

use super::{change::Change, records::ThreadKey};
use crate::EngineError;

/// Keys that a message is counted in.
const THREAD_KEYS_MAX: usize = 8;
/// Keys that are tried to find a thread; a longer list is a very long thread or an attack.
const LOOKUPS_MAX: usize = 64;

/// Finds or founds the thread of a new message; the keys are those that it is now counted in.
pub(super) fn join(
    change: &mut Change<'_, '_>,
    founder: EmailId,
    named: &[KeyedHash],
) -> Result<(ThreadId, Vec<KeyedHash>), EngineError> {
    let mut distinct: Vec<KeyedHash> = Vec::with_capacity(named.len().min(LOOKUPS_MAX));
    for key in named.iter().take(LOOKUPS_MAX) {
        if !distinct.contains(key) {
            distinct.push(*key);
        }
    }
    let thread = known(change, &distinct)?.unwrap_or(ThreadId::new(founder.get()));
    distinct.truncate(THREAD_KEYS_MAX);
    for key in &distinct {
        let row_key = change.keys.thread_key(key);
        let mut row = change.tx.get_record(&row_key)?.unwrap_or(ThreadKey { thread, messages: 0 });
        row.messages += 1;
        change.tx.put_record(row_key, &row);
    }
    Ok((thread, distinct))
}

/// The thread of the first key that has one.
fn known(change: &Change<'_, '_>, keys: &[KeyedHash]) -> Result<Option<ThreadId>, EngineError> {
    for key in keys {
        if let Some(row) = change.tx.get_record::<ThreadKey>(&change.keys.thread_key(key))? {
            return Ok(Some(row.thread));
        }
    }
    Ok(None)
}

/// A message that was counted in these keys is gone.
pub(super) fn leave(change: &mut Change<'_, '_>, keys: &[KeyedHash]) -> Result<(), EngineError> {
    for key in keys {
        let row_key = change.keys.thread_key(key);
        match change.tx.get_record::<ThreadKey>(&row_key)? {
            Some(row) if row.messages > 1 => {
                change.tx.put_record(row_key, &ThreadKey { messages: row.messages - 1, ..row });
            }
            Some(_) => change.tx.delete(row_key),
            None => {
                return Err(EngineError::Inconsistent(format!(
                    "account {}: a message's thread key has no row",
                    change.keys.account()
                )));
            }
        }
    }
    Ok(())
}
