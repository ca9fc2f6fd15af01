//! The keys of SEARCH that only the message itself can answer (RFC 9051 6.4.4).
//!
//! Everything that a mailbox row answers is settled by [`crate::command::search`]; what is left comes here one
//! key at a time, with the message's summary and its octets, which are read in pieces and never held whole.

use std::ops::Range;

use securanet_gateway::{
    model::{StoreError, summary::Summary},
    store::Content,
};

mod body;
mod charset;
pub(crate) mod encoded_word;
mod fold;
mod header;
mod text;

pub(crate) use text::matches;

/// Octets of a header that are looked at.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// A message that is searched.
pub(crate) struct Searched<'a> {
    /// Its envelope and structure; offsets in it count behind the prefix.
    pub(crate) summary: &'a Summary,
    /// Its octets, the recipient's prefix first.
    pub(crate) content: &'a dyn Content,
    /// Octets of the recipient's prefix.
    pub(crate) prefix_size_bytes: u64,
}

impl Searched<'_> {
    /// The range of the whole header: the recipient's fields, then the message's.
    pub(crate) fn header(&self) -> Range<u64> {
        0..self.prefix_size_bytes.saturating_add(self.summary.header_size_bytes).min(self.content.size_bytes())
    }

    /// Where a range of the message is, when the recipient's prefix stands before it.
    pub(crate) fn behind_prefix(&self, range: Range<u64>) -> Range<u64> {
        let place = |at: u64| at.saturating_add(self.prefix_size_bytes).min(self.content.size_bytes());
        place(range.start)..place(range.end)
    }

    /// Reads a header, the beginning of one that is too large.
    pub(crate) async fn read_header(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut header = Vec::new();
        self.read(range, |piece| {
            header.extend_from_slice(piece);
            header.len() < HEADER_OCTETS_MAX
        })
        .await?;
        Ok(header)
    }

    /// Reads a range in pieces of at most 1 MiB; `take` says whether to go on.
    pub(crate) async fn read(
        &self,
        mut range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        while !range.is_empty() {
            let piece = self.content.read(range.clone()).await?;
            if piece.is_empty() {
                return Err(StoreError::Damaged("a message is shorter than its size".to_owned()));
            }
            range.start += piece.len() as u64;
            if !take(&piece) {
                return Ok(());
            }
        }
        Ok(())
    }
}
