//! The recipe: how a stored message is put together again, octet for octet.
//!
//! A message is a row of segments. A large leaf part is a blob: decoded when it is base64 that encoding gives
//! back, otherwise as it stands. Everything else is inline, in one run of bytes that the segments cut up in order;
//! where that run is itself large (a giant header, thousands of small parts) it is a blob too.

use securanet_model::{
    content::{BlobRef, bytes_field},
    limits::BLOB_PART_SIZE_BYTES_MIN,
    record,
    summary::{Inside, Part},
};
use serde::{Deserialize, Serialize};

use crate::{
    BlobError,
    mime::base64::{self, Encoded, Layout},
};

/// Blobs of one message. The parts beyond stay inline, so that neither the recipe nor the gate that waits for its
/// blobs grows with what a stranger sends.
const BLOBS_MAX: usize = 1000;
/// Inline bytes that ride in the recipe itself; more become a blob.
pub(crate) const INLINE_SIZE_BYTES_MAX: usize = 64 * 1024;

/// No message has a part or a line as large as this; beyond it, sizes computed from them could overflow.
const PART_SIZE_BYTES_MAX: u64 = 1 << 48;

/// How a message is put together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Recipe {
    /// Octets of the message.
    pub(crate) size_bytes: u64,
    /// Its segments, in order.
    pub(crate) segments: Vec<Segment>,
    /// The bytes of all inline segments.
    pub(crate) inline: Inline,
}

/// A stretch of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Segment {
    /// The next bytes of the inline run.
    Inline {
        /// How many.
        size_bytes: u64,
    },
    /// A blob as it stands.
    Raw(BlobRef),
    /// A blob, base64 encoded.
    Base64 {
        /// The decoded bytes.
        blob: BlobRef,
        /// How the encoded ones are cut into lines.
        layout: Layout,
    },
}

/// Where the inline bytes are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Inline {
    /// Here.
    Here(#[serde(with = "bytes_field")] Vec<u8>),
    /// In a blob.
    Blob(BlobRef),
}

impl Segment {
    /// Octets of the message that it gives.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Inline { size_bytes } => *size_bytes,
            Self::Raw(blob) => blob.size_bytes,
            Self::Base64 { blob, layout } => layout.encoded_size_bytes(blob.size_bytes),
        }
    }
}

impl Recipe {
    /// The recipe as a record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let inline = if let Inline::Here(bytes) = &self.inline { bytes.len() } else { 0 };
        record::encode_into(self, Vec::with_capacity(inline + 32 + 64 * self.segments.len()))
    }

    /// The recipe of a record, checked.
    ///
    /// # Errors
    /// [`BlobError::Record`], [`BlobError::Sealed`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BlobError> {
        let recipe: Self = record::decode(bytes)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Checks what a reader relies on.
    ///
    /// # Errors
    /// [`BlobError::Sealed`] when the recipe contradicts itself.
    fn check(&self) -> Result<(), BlobError> {
        let contradiction = |what: &str| Err(BlobError::Sealed(format!("the recipe contradicts itself: {what}")));
        let (mut inline, mut all) = (0_u64, 0_u64);
        for segment in &self.segments {
            match segment {
                Segment::Base64 { layout, .. } if !(1..=PART_SIZE_BYTES_MAX).contains(&layout.line_length) => {
                    return contradiction("lines of an impossible length");
                }
                Segment::Raw(blob) | Segment::Base64 { blob, .. } if blob.size_bytes > PART_SIZE_BYTES_MAX => {
                    return contradiction("a part of an impossible size");
                }
                Segment::Inline { size_bytes } => inline = inline.saturating_add(*size_bytes),
                Segment::Raw(_) | Segment::Base64 { .. } => {}
            }
            all = all.saturating_add(segment.size_bytes());
        }
        let inline_here = match &self.inline {
            Inline::Here(bytes) => bytes.len() as u64,
            Inline::Blob(blob) => blob.size_bytes,
        };
        if inline != inline_here {
            return contradiction("its inline segments");
        }
        if all != self.size_bytes { contradiction("its size") } else { Ok(()) }
    }
}

/// A stretch of a message that is being taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    /// Stays inline.
    Inline(&'a [u8]),
    /// Becomes a blob as it stands.
    Raw(&'a [u8]),
    /// Becomes a decoded blob if it decodes; a body with a base64 stretch in it.
    Base64(&'a [u8], Encoded),
}

/// Cuts a message into pieces; together they are the message.
pub(crate) fn cut<'a>(message: &'a [u8], structure: &Part) -> Vec<Piece<'a>> {
    let mut leaves = Vec::new();
    collect_large_leaves(structure, &mut leaves);
    let mut pieces = Vec::with_capacity(2 * leaves.len() + 1);
    let mut at = 0;
    for leaf in leaves {
        let Ok(start) = usize::try_from(leaf.body_offset) else { continue };
        let Some(body) = message.get(start..start + leaf.body_size_bytes as usize).filter(|_| start >= at) else {
            continue;
        };
        push_inline(&mut pieces, &message[at..start]);
        pieces.push(match base64::find(body).filter(|found| leaf.encoding == b"BASE64" && is_worth_it(body, found)) {
            Some(encoded) => Piece::Base64(body, encoded),
            None => Piece::Raw(body),
        });
        at = start + body.len();
    }
    push_inline(&mut pieces, &message[at..]);
    pieces
}

fn push_inline<'a>(pieces: &mut Vec<Piece<'a>>, bytes: &'a [u8]) {
    if !bytes.is_empty() {
        pieces.push(Piece::Inline(bytes));
    }
}

/// What stands around the encoded stretch stays inline, so it must be small.
const fn is_worth_it(body: &[u8], encoded: &Encoded) -> bool {
    let around = body.len() - (encoded.end - encoded.start);
    encoded.end - encoded.start >= BLOB_PART_SIZE_BYTES_MIN as usize && around < BLOB_PART_SIZE_BYTES_MIN as usize / 4
}

fn collect_large_leaves<'p>(part: &'p Part, leaves: &mut Vec<&'p Part>) {
    match &part.inside {
        Inside::Parts(parts) => parts.iter().for_each(|part| collect_large_leaves(part, leaves)),
        Inside::Message(message) => collect_large_leaves(&message.1, leaves),
        Inside::Nothing if part.body_size_bytes >= BLOB_PART_SIZE_BYTES_MIN && leaves.len() < BLOBS_MAX => {
            leaves.push(part);
        }
        Inside::Nothing => {}
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::{BlobId, TenantId};

    use super::*;
    use crate::mime::base64::LineBreak;

    fn recipe() -> Recipe {
        let blob =
            |octet, size_bytes| BlobRef { id: BlobId { tenant: TenantId::new(9), hash: [octet; 32] }, size_bytes };
        let layout = Layout { line_length: 76, line_break: LineBreak::CrLf };
        Recipe {
            size_bytes: 5 + 20_000 + 78 + 4,
            segments: vec![
                Segment::Inline { size_bytes: 5 },
                Segment::Raw(blob(1, 20_000)),
                Segment::Base64 { blob: blob(2, 58), layout },
            ],
            inline: Inline::Here(b"A: b\n".to_vec()),
        }
    }

    #[test]
    fn recipes_are_what_was_frozen() {
        let frozen = "01f79c0103000501090101010101010101010101010101010101010101010101010101010101010101a09c01020902020202\
                      020202020202020202020202020202020202020202020202020202023a4c000005413a20620a";
        let hex: String = recipe().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, frozen);
        let octets: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&frozen[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert_eq!(Recipe::decode(&octets).unwrap(), recipe());
    }

    #[test]
    fn a_recipe_that_contradicts_itself_is_refused() {
        let mut changed = recipe();
        changed.size_bytes += 1;
        assert!(Recipe::decode(&changed.encode()).is_err());
        let mut changed = recipe();
        changed.inline = Inline::Here(b"A: b".to_vec());
        assert!(Recipe::decode(&changed.encode()).is_err());
        let mut changed = recipe();
        let Segment::Base64 { layout, .. } = &mut changed.segments[2] else { panic!("not base64") };
        layout.line_length = 0;
        assert!(Recipe::decode(&changed.encode()).is_err());
    }

    #[test]
    fn sizes_that_overflow_are_refused_before_they_are_computed_with() {
        for (line, part) in [(u64::MAX, 58), (76, u64::MAX), (1, u64::MAX / 3), (PART_SIZE_BYTES_MAX + 1, 58)] {
            let mut changed = recipe();
            let Segment::Base64 { layout, blob } = &mut changed.segments[2] else { panic!("not base64") };
            (layout.line_length, blob.size_bytes) = (line, part);
            assert!(Recipe::decode(&changed.encode()).is_err(), "{line} {part}");
        }
        let mut changed = recipe();
        changed.segments = vec![Segment::Raw(BlobRef { size_bytes: u64::MAX, ..blob_of(&changed) })];
        assert!(Recipe::decode(&changed.encode()).is_err());
    }

    fn blob_of(recipe: &Recipe) -> BlobRef {
        match recipe.segments[1] {
            Segment::Raw(blob) => blob,
            _ => panic!("not raw"),
        }
    }
}
