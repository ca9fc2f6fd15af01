//! Reading a stored message: any range of it, as it came, without putting it together first.
//!
//! A range touches a few segments; each gives its share: inline bytes from the recipe, raw bytes from a blob,
//! encoded bytes by encoding just the decoded octets that they are made of. One call gives at most
//! [`READ_SIZE_BYTES_MAX`], so that reading a message of any size needs about twice that.
//!
//! What was opened stays readable: its blobs are not collected while the reader lives.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use securanet_model::{BlobId, account::MessageContent, content::BlobRef, limits::BLOB_CHUNK_SIZE_BYTES_MAX};

use crate::{
    BlobError, BlobStore, OpenBlob,
    recipe::{Inline, Recipe, Segment},
    seal,
};

/// Octets that one call gives at most.
pub const READ_SIZE_BYTES_MAX: u64 = BLOB_CHUNK_SIZE_BYTES_MAX as u64;

/// A message open for reading: the recipient's prefix, then the message.
pub struct Reader {
    size_bytes: u64,
    /// The prefix and, behind it, the inline bytes if they are not in a blob.
    here: Vec<u8>,
    stretches: Vec<Stretch>,
    blobs: Mutex<BTreeMap<BlobId, OpenBlob>>,
}

/// A stretch of the message: where it begins and where its octets come from.
struct Stretch {
    start: u64,
    source: Source,
}

enum Source {
    /// [`Reader::here`], from this offset.
    Here(u64),
    /// A blob, from this offset.
    Blob(BlobId, u64),
    /// A blob, encoded.
    Encoded(BlobRef, crate::mime::base64::Layout),
}

impl Reader {
    /// Opens a message.
    ///
    /// # Errors
    /// [`BlobError::Sealed`] and [`BlobError::Record`] when its recipe cannot be opened; [`BlobError::Missing`] when a
    /// blob is not here; those of the disk.
    pub fn open(store: &Arc<BlobStore>, content: &MessageContent) -> Result<Self, BlobError> {
        let recipe = Recipe::decode(&seal::open(&content.recipe)?)?;
        let mut here = seal::open(&content.prefix)?;
        let prefix_size_bytes = here.len() as u64;
        if prefix_size_bytes + recipe.size_bytes != content.size_bytes {
            return Err(BlobError::Sealed("prefix and recipe do not give the message's size".to_owned()));
        }
        let stretches = stretches(&recipe, prefix_size_bytes);
        if let Inline::Here(bytes) = &recipe.inline {
            here.extend_from_slice(bytes);
        }
        let mut blobs = BTreeMap::new();
        for blob in named_blobs(&recipe) {
            let open = store.open(blob.id)?;
            if open.size_bytes() != blob.size_bytes {
                let what = format!("it has {} bytes, its message says {}", open.size_bytes(), blob.size_bytes);
                return Err(BlobError::Damaged { id: blob.id, what });
            }
            blobs.insert(blob.id, open);
        }
        Ok(Self { size_bytes: content.size_bytes, here, stretches, blobs: Mutex::new(blobs) })
    }

    /// Octets, prefix included.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether reading may wait for a disk.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.stretches.iter().any(|stretch| !matches!(stretch.source, Source::Here(_)))
    }

    /// Octets `range`, cut at the end of the message, and at most [`READ_SIZE_BYTES_MAX`] from its beginning.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]; those of the disk.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        let start = range.start.min(self.size_bytes);
        let end = range.end.clamp(start, self.size_bytes).min(start + READ_SIZE_BYTES_MAX);
        if start == end {
            return Ok(Bytes::new());
        }
        let mut out = Vec::with_capacity((end - start) as usize);
        let first = self.stretches.partition_point(|stretch| stretch.start <= start).saturating_sub(1);
        for (index, stretch) in self.stretches.iter().enumerate().skip(first) {
            if stretch.start >= end {
                break;
            }
            let stretch_end = self.stretches.get(index + 1).map_or(self.size_bytes, |next| next.start);
            let within = start.max(stretch.start) - stretch.start..end.min(stretch_end) - stretch.start;
            self.append(&mut out, &stretch.source, within)?;
        }
        Ok(out.into())
    }

    fn append(&self, out: &mut Vec<u8>, source: &Source, range: Range<u64>) -> Result<(), BlobError> {
        match source {
            Source::Here(offset) => {
                out.extend_from_slice(&self.here[(offset + range.start) as usize..(offset + range.end) as usize]);
            }
            Source::Blob(id, offset) => out.extend(self.read_blob(*id, offset + range.start..offset + range.end)?),
            Source::Encoded(blob, layout) => {
                let decoded = layout.decoded_range(range.start, range.end, blob.size_bytes);
                layout.append_encoded(out, range.start, range.end, &self.read_blob(blob.id, decoded)?);
            }
        }
        Ok(())
    }

    fn read_blob(&self, id: BlobId, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        // Held while the disk is read: a message is read by one session, one range after the other.
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get_mut(&id).ok_or(BlobError::Missing(id))?.read(range)
    }
}

fn named_blobs(recipe: &Recipe) -> impl Iterator<Item = BlobRef> {
    let of_segment = |segment: &Segment| match segment {
        Segment::Inline { .. } => None,
        Segment::Raw(blob) | Segment::Base64 { blob, .. } => Some(*blob),
    };
    let inline = match &recipe.inline {
        Inline::Here(_) => None,
        Inline::Blob(blob) => Some(*blob),
    };
    recipe.segments.iter().filter_map(of_segment).chain(inline)
}

fn stretches(recipe: &Recipe, prefix_size_bytes: u64) -> Vec<Stretch> {
    let mut stretches = vec![Stretch { start: 0, source: Source::Here(0) }];
    let (mut start, mut inline) = (prefix_size_bytes, 0);
    for segment in &recipe.segments {
        let source = match segment {
            Segment::Inline { size_bytes } => {
                let source = match &recipe.inline {
                    Inline::Here(_) => Source::Here(prefix_size_bytes + inline),
                    Inline::Blob(blob) => Source::Blob(blob.id, inline),
                };
                inline += size_bytes;
                source
            }
            Segment::Raw(blob) => Source::Blob(blob.id, 0),
            Segment::Base64 { blob, layout } => Source::Encoded(*blob, *layout),
        };
        stretches.push(Stretch { start, source });
        start += segment.size_bytes();
    }
    stretches
}
