//! Putting the large pieces of one message into the store, and writing the recipe that names them.
//!
//! Content is read from the message itself, never gathered in a second place: a blob's name is computed in one
//! pass over it, the store reads it in another. Only base64 that decodes to at most one chunk is decoded once and
//! kept, because decoding twice would cost more than that memory.

use std::io::{self, Read};

use securanet_model::{BlobId, TenantId, content::BlobRef, limits::BLOB_CHUNK_SIZE_BYTES_MAX};

use crate::{
    BlobError, BlobStore, Lease,
    keys::ContentKeys,
    mime::base64::{Decoder, Encoded},
    recipe::{INLINE_SIZE_BYTES_MAX, Inline, Piece, Recipe, Segment},
};

/// Octets that are read at once while hashing.
const READ_SIZE_BYTES: usize = 64 * 1024;

/// The blobs of one message while it is taken in.
pub(crate) struct Deposit<'a> {
    store: &'a BlobStore,
    keys: &'a ContentKeys,
    tenant: TenantId,
    lease: Lease,
    blobs: Vec<BlobRef>,
}

impl<'a> Deposit<'a> {
    /// Nothing is kept yet.
    pub(crate) const fn new(store: &'a BlobStore, keys: &'a ContentKeys, tenant: TenantId, lease: Lease) -> Self {
        Self { store, keys, tenant, lease, blobs: Vec::new() }
    }

    /// Puts the pieces' blobs and returns the recipe of the whole.
    pub(crate) fn keep(&mut self, pieces: &[Piece<'_>]) -> Result<Recipe, BlobError> {
        let mut segments = Vec::with_capacity(pieces.len());
        let mut inline = Vec::new();
        for &piece in pieces {
            match piece {
                Piece::Inline(bytes) => push_inline(&mut segments, &mut inline, bytes),
                Piece::Raw(bytes) => segments.push(Segment::Raw(self.keep_raw(bytes)?)),
                Piece::Base64(body, encoded) => match self.keep_decoded(body, &encoded)? {
                    Some(blob) => {
                        push_inline(&mut segments, &mut inline, &body[..encoded.start]);
                        segments.push(Segment::Base64 { blob, layout: encoded.layout });
                        push_inline(&mut segments, &mut inline, &body[encoded.end..]);
                    }
                    None => segments.push(Segment::Raw(self.keep_raw(body)?)),
                },
            }
        }
        let size_bytes = segments.iter().map(Segment::size_bytes).sum();
        Ok(Recipe { size_bytes, segments, inline: self.keep_inline(&inline)? })
    }

    /// Makes everything durable; the blobs, distinct, sorted.
    pub(crate) fn finish(mut self) -> Result<Vec<BlobRef>, BlobError> {
        // Also a blob that was here already: whoever put it may not have synced it yet.
        if !self.blobs.is_empty() {
            self.store.sync()?;
        }
        self.blobs.sort_unstable();
        self.blobs.dedup();
        Ok(self.blobs)
    }

    fn keep_inline(&mut self, inline: &[&[u8]]) -> Result<Inline, BlobError> {
        let size: usize = inline.iter().map(|bytes| bytes.len()).sum();
        if size <= INLINE_SIZE_BYTES_MAX {
            return Ok(Inline::Here(inline.concat()));
        }
        let id = self.hash(&mut Row::new(inline))?.0;
        self.put(id, &mut Row::new(inline), size as u64).map(Inline::Blob)
    }

    fn keep_raw(&mut self, mut bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let id = self.keys.blob_id(self.tenant, bytes);
        let size_bytes = bytes.len() as u64;
        self.put(id, &mut bytes, size_bytes)
    }

    /// Keeps an encoded body decoded; `None` when encoding would not give it back.
    fn keep_decoded(&mut self, body: &[u8], encoded: &Encoded) -> Result<Option<BlobRef>, BlobError> {
        let mut decoder = Decoder::new(body, encoded);
        let gives_back =
            |size_bytes| encoded.layout.encoded_size_bytes(size_bytes) == (encoded.end - encoded.start) as u64;
        if encoded.decoded_size_bytes <= BLOB_CHUNK_SIZE_BYTES_MAX as u64 {
            let mut decoded = Vec::with_capacity(encoded.decoded_size_bytes as usize);
            return match decoder.read_to_end(&mut decoded) {
                Ok(size) if gives_back(size as u64) => self.keep_raw(&decoded).map(Some),
                _ => Ok(None),
            };
        }
        match self.hash(&mut decoder) {
            Ok((id, size_bytes)) if gives_back(size_bytes) => {
                self.put(id, &mut Decoder::new(body, encoded), size_bytes).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn hash(&self, content: &mut dyn Read) -> Result<(BlobId, u64), BlobError> {
        let mut hasher = self.keys.blob_hasher(self.tenant);
        let mut buffer = vec![0; READ_SIZE_BYTES];
        let mut size_bytes = 0;
        loop {
            match content.read(&mut buffer).map_err(BlobError::Content)? {
                0 => break,
                length => {
                    hasher.update(&buffer[..length]);
                    size_bytes += length as u64;
                }
            }
        }
        Ok((BlobId { tenant: self.tenant, hash: *hasher.finalize().as_bytes() }, size_bytes))
    }

    fn put(&mut self, id: BlobId, content: &mut dyn Read, size_bytes: u64) -> Result<BlobRef, BlobError> {
        self.store.put(id, content, size_bytes, self.lease)?;
        let blob = BlobRef { id, size_bytes };
        self.blobs.push(blob);
        Ok(blob)
    }
}

/// Adds inline bytes; neighbours share a segment.
fn push_inline<'m>(segments: &mut Vec<Segment>, inline: &mut Vec<&'m [u8]>, bytes: &'m [u8]) {
    if bytes.is_empty() {
        return;
    }
    inline.push(bytes);
    match segments.last_mut() {
        Some(Segment::Inline { size_bytes }) => *size_bytes += bytes.len() as u64,
        _ => segments.push(Segment::Inline { size_bytes: bytes.len() as u64 }),
    }
}

/// Reads slices one behind the other.
struct Row<'a> {
    rest: &'a [&'a [u8]],
    at: usize,
}

impl<'a> Row<'a> {
    const fn new(slices: &'a [&'a [u8]]) -> Self {
        Self { rest: slices, at: 0 }
    }
}

impl Read for Row<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some((first, behind)) = self.rest.split_first() {
            let length = out.len().min(first.len() - self.at);
            if length > 0 {
                out[..length].copy_from_slice(&first[self.at..self.at + length]);
                self.at += length;
                return Ok(length);
            }
            if out.is_empty() {
                break;
            }
            (self.rest, self.at) = (behind, 0);
        }
        Ok(0)
    }
}
