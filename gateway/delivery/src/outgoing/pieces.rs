//! A message's octets, a piece at a time.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use securanet_gateway::{model::StoreError, store::Content};

/// What is read at once: large enough that reading is not felt, and a thousand deliveries hold a quarter GiB.
const PIECE_OCTETS: u64 = 256 * 1024;

/// Reads a range of a message in order.
pub(crate) struct Pieces<'c> {
    content: &'c dyn Content,
    left: Range<u64>,
}

impl<'c> Pieces<'c> {
    /// The whole message.
    pub(crate) fn all(content: &'c dyn Content) -> Self {
        Self { content, left: 0..content.size_bytes() }
    }

    /// The next octets, never none of them; `None` at the end.
    ///
    /// # Errors
    /// Those of the store; [`StoreError::Damaged`] when the message is shorter than it says.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let piece = read(self.content, self.left.clone()).await?;
        self.left.start += piece.len() as u64;
        Ok(Some(piece))
    }
}

/// Reads the beginning of a range that is not empty.
///
/// # Errors
/// As [`Pieces::next`].
pub(crate) async fn read(content: &dyn Content, range: Range<u64>) -> Result<Bytes, StoreError> {
    let end = range.end.min(range.start + PIECE_OCTETS);
    let piece = content.read(range.start..end).await?;
    if piece.is_empty() {
        return Err(StoreError::Damaged("a message ends before its size".to_owned()));
    }
    Ok(piece)
}

/// The header of a message: whole fields with their CRLF, without the empty line; cut before the field that makes
/// it longer than `octets_max`.
///
/// # Errors
/// As [`Pieces::next`].
pub(crate) async fn header(content: &dyn Content, octets_max: usize) -> Result<Vec<u8>, StoreError> {
    let mut pieces = Pieces { content, left: 0..content.size_bytes().min(octets_max as u64) };
    let mut header = Vec::new();
    while let Some(piece) = pieces.next().await? {
        let searched = header.len().saturating_sub(3);
        header.extend_from_slice(&piece);
        if header.starts_with(b"\r\n") {
            return Ok(Vec::new());
        }
        if let Some(end) = memmem::find(&header[searched..], b"\r\n\r\n") {
            header.truncate(searched + end + 2);
            return Ok(header);
        }
    }
    if content.size_bytes() > octets_max as u64 {
        header.truncate(last_field_start(&header));
    }
    Ok(header)
}

/// Where the last field begins, which may not be whole.
fn last_field_start(header: &[u8]) -> usize {
    let starts_field = |at: &usize| !matches!(header.get(at + 2), None | Some(b' ' | b'\t'));
    memmem::rfind_iter(header, b"\r\n").find(starts_field).map_or(0, |at| at + 2)
}
