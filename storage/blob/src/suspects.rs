//! What collection does to the store: marking, deleting what is still marked, sweeping unfinished puts.
//!
//! Marking and deleting look at the header under the lock under which blobs are pinned. So against any hold or put
//! one of three is true: it came before the mark and has set the header's time; it came after and took the mark
//! away; or it is not over and the blob is pinned.

use securanet_kv::{Direction, Durability, KeyRange, WriteBatch};
use securanet_model::{BlobId, UnixMillis};

use crate::{
    BlobError, BlobStore,
    stored::{self, Table, chunk_key},
};

impl BlobStore {
    /// Marks a blob as suspect if nobody holds it and its grace is over.
    pub(crate) fn suspect(&self, id: BlobId, now: UnixMillis) -> Result<bool, BlobError> {
        self.leases.suspect(id, now, || {
            // The header is read under the lock: whoever holds the blob later takes the mark away, and whoever
            // held it before has set its time. A damaged one is for the scrub to tell.
            match self.header(&id) {
                Ok(header) => Ok(header.is_some_and(|header| self.is_grace_over(&header, now))),
                Err(error) if error.is_damage() => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Takes the mark of a blob away that is named after all.
    pub(crate) fn absolve(&self, id: BlobId, now: UnixMillis) {
        self.leases.clear(id, now);
    }

    /// Deletes a blob that is suspect still; gives the octets of its rows.
    pub(crate) fn delete_suspect(&self, id: BlobId, now: UnixMillis) -> Result<Option<u64>, BlobError> {
        let deleted = self.leases.if_still_suspect(id, now, || {
            let Some(header) = self.header(&id)?.filter(|header| self.is_grace_over(header, now)) else {
                return Ok(None);
            };
            let mut batch = WriteBatch::new();
            batch.delete(Table::Headers.key(&id));
            // One by one: a range leaves a marker that each later read has to look at.
            (0..header.chunks).for_each(|index| batch.delete(chunk_key(&id, index)));
            self.kv.write(batch, Durability::Buffered)?;
            Ok(Some(header.stored_size_bytes))
        });
        deleted.unwrap_or(Ok(None))
    }

    /// Removes what puts left that never came to an end; gives how many of at most `rows_max` were looked at and
    /// removed.
    pub(crate) fn sweep(&self, now: UnixMillis, rows_max: usize) -> Result<usize, BlobError> {
        self.leases.tidy(now);
        let rows = self.kv.scan(&KeyRange::prefix([Table::Unfinished as u8]), Direction::Forward, rows_max)?;
        let over = |row: &[u8]| now.millis_since(stored::decode_unfinished(row)) > self.grace_millis;
        let mut swept = 0;
        for (key, _) in rows.into_iter().filter(|(_, row)| over(row)) {
            let Some(id) = stored::id_of(&key) else { continue };
            swept += usize::from(self.sweep_one(id, key, now)?);
        }
        Ok(swept)
    }

    fn sweep_one(&self, id: BlobId, key: Vec<u8>, now: UnixMillis) -> Result<bool, BlobError> {
        let swept = self.leases.if_unheld(id, now, || {
            let mut batch = WriteBatch::new();
            batch.delete(key);
            if self.header(&id)?.is_none() {
                batch.delete_range(KeyRange::prefix(Table::Chunks.key(&id)));
            }
            self.kv.write(batch, Durability::Buffered).map_err(BlobError::from)
        });
        Ok(swept.transpose()?.is_some())
    }

    /// How many puts have not come to an end, whether they still run or not; counts up to `rows_max`.
    pub(crate) fn unfinished(&self, rows_max: usize) -> Result<usize, BlobError> {
        Ok(self.kv.scan(&KeyRange::prefix([Table::Unfinished as u8]), Direction::Forward, rows_max)?.len())
    }
}
