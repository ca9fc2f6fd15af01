//! Who names a blob: one row per (blob, owner), written with the change that makes or ends the naming.
//!
//! Rows, never a counter: a row that is written twice is the same row, so a replayed entry cannot miscount.
//! A blob without a row may be collected once nothing else pins it (the blob room decides).
//!
//! Key: `tenant u32 | hash 32 | kind u8 | owner`; kind 1 is a message of an account (`account u64 | email u64`),
//! kind 2 an item of the queue (`item u64`), kind 3 an item of its outbound part (`item u64`). The value is empty.

use securanet_model::{AccountId, BlobId, EmailId};

use crate::{
    keys::{Key, Space, Table},
    tx::Tx,
};

/// Who names a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A message of an account.
    Email(AccountId, EmailId),
    /// An item of the queue.
    QueueItem(u64),
    /// An item of the queue's outbound part.
    OutboundItem(u64),
}

/// The beginning of all rows of a blob.
pub(crate) fn blob_key(space: Space, blob: &BlobId) -> Key {
    space.key(Table::BlobReachability).u32(blob.tenant.get()).octets(&blob.hash)
}

/// From now on `owner` names `blob`.
pub(crate) fn add(tx: &mut Tx<'_>, blob: &BlobId, owner: Owner) {
    let key = row_key(tx, blob, owner);
    tx.put(key, Vec::new());
}

/// From now on `owner` does not name `blob`.
pub(crate) fn remove(tx: &mut Tx<'_>, blob: &BlobId, owner: Owner) {
    let key = row_key(tx, blob, owner);
    tx.delete(key);
}

fn row_key(tx: &Tx<'_>, blob: &BlobId, owner: Owner) -> Key {
    let key = blob_key(tx.view().space(), blob);
    match owner {
        Owner::Email(account, email) => key.u8(1).u64(account.get()).u64(email.get()),
        Owner::QueueItem(item) => key.u8(2).u64(item),
        Owner::OutboundItem(item) => key.u8(3).u64(item),
    }
}
