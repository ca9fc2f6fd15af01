//! Reading a blob: any range of its content, chunk by chunk.

use std::{ops::Range, sync::Arc};

use securanet_model::{BlobId, limits::BLOB_CHUNK_SIZE_BYTES_MAX};

use crate::{BlobError, BlobStore, lease::Pin, stored::Header};

const CHUNK_SIZE_BYTES: u64 = BLOB_CHUNK_SIZE_BYTES_MAX as u64;

/// A blob being read; it is not collected meanwhile. Reading on in small steps opens each chunk once; the chunk
/// is forgotten when its last octet was given, so that many open blobs do not keep a chunk each.
pub struct OpenBlob {
    store: Arc<BlobStore>,
    pin: Pin,
    header: Header,
    last: Option<(u32, Vec<u8>)>,
}

impl OpenBlob {
    pub(crate) const fn new(store: Arc<BlobStore>, pin: Pin, header: Header) -> Self {
        Self { store, pin, header, last: None }
    }

    /// Octets of the content.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    /// Octets `range` of the content, at most 1 MiB.
    ///
    /// # Errors
    /// [`BlobError::Range`], [`BlobError::Damaged`]; those of the disk.
    pub fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let (id, header) = (self.pin.id(), self.header);
        read_range(&id, &header, range, &mut self.last, |index| self.store.chunk(&id, &header, index))
    }
}

/// Puts a range together from chunks; `last` is the chunk that the range before ended in.
pub(crate) fn read_range(
    id: &BlobId,
    header: &Header,
    range: Range<u64>,
    last: &mut Option<(u32, Vec<u8>)>,
    chunk: impl Fn(u32) -> Result<Vec<u8>, BlobError>,
) -> Result<Vec<u8>, BlobError> {
    let (start, end, size_bytes) = (range.start, range.end, header.size_bytes);
    if start > end || end > size_bytes || end - start > CHUNK_SIZE_BYTES {
        return Err(BlobError::Range { id: *id, start, end, size_bytes });
    }
    let mut out = Vec::new();
    let mut at = start;
    while at < end {
        // The range lies in the blob, whose chunks are counted in 32 bits.
        let index = (at / CHUNK_SIZE_BYTES) as u32;
        let content = match last.take() {
            Some((known, content)) if known == index => content,
            _ => chunk(index)?,
        };
        let chunk_start = u64::from(index) * CHUNK_SIZE_BYTES;
        let within = (at - chunk_start) as usize..content.len().min((end - chunk_start) as usize);
        at = chunk_start + within.end as u64;
        if within.start == 0 && within.end == content.len() && out.is_empty() {
            out = content;
            continue;
        }
        if out.is_empty() {
            out.reserve_exact((end - start) as usize);
        }
        out.extend_from_slice(&content[within.clone()]);
        if within.end < content.len() {
            *last = Some((index, content));
        }
    }
    Ok(out)
}
