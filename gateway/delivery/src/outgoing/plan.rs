//! What is changed in a message so that its next host takes it: a list of edits, made from a [`Scan`].
//!
//! | found | done |
//! |---|---|
//! | nothing of the below | the octets leave as they are |
//! | Return-Path field (RFC 5321 4.4) | taken out |
//! | a line over 998 octets in a leaf part | the part becomes quoted-printable (text) or base64 |
//! | the same in base64 or quoted-printable | its lines are broken anew; what it decodes to stays the same |
//! | the same in a header | folded |
//! | octets above 127 in a leaf part, no 8BITMIME | the part becomes quoted-printable (text) or base64 |
//! | either before, between or behind parts, which nobody reads | lines broken, `?` for each such octet |
//! | a long line in multipart/signed or /encrypted, or in an unknown encoding | left alone: changing it would break it for sure, the next host only perhaps |
//! | octets above 127 there, no 8BITMIME | [`Unsendable`] 5.6.3 |
//! | octets above 127 in a part's header, no 8BITMIME | [`Unsendable`] 5.6.3 |
//! | UTF-8 in the message's header, no SMTPUTF8 | encoded words (RFC 2047) where readers are shown the same, else [`Unsendable`] 5.6.7 |
//! | other octets above 127 in the message's header | leave where 8BITMIME is spoken, else [`Unsendable`] 5.6.3 |
//! | bare CR or LF | becomes CRLF |

use std::{collections::HashMap, ops::Range};

use super::{
    encode::{Encoder, Quoted, RewrapQuoted},
    field::{Kind, TransferEncoding},
    scan::{Leaf, Octets, ROWS_MAX, Scan},
};

/// What the next host takes, as its EHLO says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// RFC 6152 8BITMIME.
    pub eight_bit_mime: bool,
    /// RFC 6531 SMTPUTF8.
    pub smtp_utf8: bool,
}

impl Path {
    /// Whether it takes ASCII only. Whoever takes UTF-8 takes 8 bits (RFC 6531 3.1).
    const fn is_narrow(self) -> bool {
        !self.eight_bit_mime && !self.smtp_utf8
    }
}

/// Why a message cannot go to a host that takes no more than a [`Path`] says. Permanent for that host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unsendable {
    /// RFC 6531 3.4: the header is UTF-8 and the host takes none.
    #[error("the message's header has characters that the next server cannot take: it does not support SMTPUTF8")]
    HeaderNeedsUtf8,
    /// The header has octets above 127 in no known character set.
    #[error("the message's header has 8-bit characters and the next server takes 7 bits only")]
    EightBitHeader,
    /// A part's header, or that of an enclosed message, has octets above 127.
    #[error("the header of a part has 8-bit characters and the next server takes 7 bits only")]
    EightBitPartHeader,
    /// What is signed or encrypted must not be changed.
    #[error("a signed or encrypted part has 8-bit characters and the next server takes 7 bits only")]
    EightBitProtected,
    /// The part must not be encoded, or is in an encoding that we do not know.
    #[error("a part has 8-bit characters that cannot be converted and the next server takes 7 bits only")]
    EightBitUnencodable,
    /// More parts than are followed.
    #[error("the message has more than {ROWS_MAX} parts that would have to be converted for the next server")]
    TooManyParts,
}

impl Unsendable {
    /// RFC 3463 status.
    #[must_use]
    pub const fn status(self) -> (u8, u16, u16) {
        match self {
            Self::HeaderNeedsUtf8 => (5, 6, 7),
            _ => (5, 6, 3),
        }
    }
}

/// What stands instead of a range of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum With {
    Octets(Vec<u8>),
    Base64 { final_line_end: bool },
    QuotedPrintable,
    RewrapBase64 { final_line_end: bool },
    RewrapQuoted,
    Loose,
    Fold,
}

impl With {
    /// An encoder for the range, where it takes one.
    pub(super) fn encoder(&self) -> Option<Encoder> {
        Some(match self {
            Self::Octets(_) => return None,
            Self::Base64 { .. } => Encoder::Base64(Vec::new()),
            Self::QuotedPrintable => Encoder::Quoted(Quoted::default()),
            Self::RewrapBase64 { .. } => Encoder::RewrapBase64(0),
            Self::RewrapQuoted => Encoder::RewrapQuoted(RewrapQuoted::default()),
            Self::Loose => Encoder::Loose(0),
            Self::Fold => Encoder::Fold(Vec::new()),
        })
    }

    /// Whether a CRLF follows that the range itself brings in encoded form.
    pub(super) const fn final_line_end(&self) -> bool {
        matches!(self, Self::Base64 { final_line_end: true } | Self::RewrapBase64 { final_line_end: true })
    }
}

/// A range of the message and what is written instead of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    pub(super) range: Range<u64>,
    pub(super) with: With,
}

/// How a message is written for a [`Path`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// In order, none overlaps another.
    pub(super) edits: Vec<Edit>,
    pub(super) mend_line_ends: bool,
    pub(super) size_bytes_about: u64,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
}

impl Plan {
    /// Whether the octets leave as they are.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.edits.is_empty() && !self.mend_line_ends
    }

    /// Whether what leaves has octets above 127: BODY=8BITMIME is to be said.
    #[must_use]
    pub const fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Whether the header that leaves is UTF-8: SMTPUTF8 is to be said.
    #[must_use]
    pub const fn needs_utf8(&self) -> bool {
        self.utf8
    }
}

impl Scan {
    /// Octets of the message.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether there are octets above 127 anywhere.
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        let parts = self.leaves.iter().any(|leaf| leaf.high_octets > 0) || self.loose.iter().any(|l| l.high_octets > 0);
        parts || self.header != Octets::Ascii || self.part_headers != Octets::Ascii
    }

    /// Whether the header is UTF-8 and not ASCII, so that it needs SMTPUTF8.
    #[must_use]
    pub const fn needs_utf8(&self) -> bool {
        matches!(self.header, Octets::Utf8)
    }

    /// What has to be changed for such a host. For a message without long lines and octets above 127: nothing.
    ///
    /// # Errors
    /// [`Unsendable`]: it cannot go there.
    pub fn plan(&self, path: Path) -> Result<Plan, Unsendable> {
        self.check(path)?;
        let narrow = path.is_narrow();
        let mut edits = Vec::new();
        let remove = |range: &Range<u64>| Edit { range: range.clone(), with: With::Octets(Vec::new()) };
        edits.extend(self.return_paths.iter().map(remove));
        if self.header == Octets::Utf8 && !path.smtp_utf8 {
            let worded = |(range, field): &(Range<u64>, Vec<u8>)| Edit {
                range: range.clone(),
                with: With::Octets(field.clone()),
            };
            edits.extend(self.worded.iter().map(worded));
        }
        let mut encoded = false;
        for leaf in &self.leaves {
            encoded |= self.edit_leaf(leaf, narrow, &mut edits)?;
        }
        let mut loose = self.loose.iter().filter(|loose| !loose.protected && (narrow || loose.long_lines));
        edits.extend(loose.by_ref().map(|loose| Edit { range: loose.range.clone(), with: With::Loose }));
        if narrow {
            let with = || With::Octets(b"Content-Transfer-Encoding: 7bit\r\n".to_vec());
            edits.extend(self.containers.iter().map(|range| Edit { range: range.clone(), with: with() }));
        }
        if let Some(at) = self.header_end.filter(|_| encoded && !self.has_mime_version) {
            edits.push(Edit { range: at..at, with: With::Octets(b"MIME-Version: 1.0\r\n".to_vec()) });
        }
        let fold = |range: &Range<u64>| Edit { range: range.clone(), with: With::Fold };
        edits.extend(self.long_header_lines.iter().map(fold));
        Ok(Plan {
            size_bytes_about: self.size_after(&edits),
            eight_bit: !narrow && self.is_eight_bit(),
            utf8: path.smtp_utf8 && self.needs_utf8(),
            edits: in_order(edits),
            mend_line_ends: self.bare_line_ends,
        })
    }

    /// What no edit can help.
    fn check(&self, path: Path) -> Result<(), Unsendable> {
        match self.header {
            Octets::Utf8 if !path.smtp_utf8 && (self.unwordable || self.overflow) => {
                return Err(Unsendable::HeaderNeedsUtf8);
            }
            Octets::Other if path.is_narrow() => return Err(Unsendable::EightBitHeader),
            _ => {}
        }
        if !path.is_narrow() {
            return Ok(());
        }
        if self.part_headers != Octets::Ascii {
            return Err(Unsendable::EightBitPartHeader);
        }
        if self.loose.iter().any(|loose| loose.protected && loose.high_octets > 0) {
            return Err(Unsendable::EightBitProtected);
        }
        if self.overflow { Err(Unsendable::TooManyParts) } else { Ok(()) }
    }

    /// Adds the edits of a leaf; answers whether its encoding is another now.
    fn edit_leaf(&self, leaf: &Leaf, narrow: bool, edits: &mut Vec<Edit>) -> Result<bool, Unsendable> {
        let high = narrow && leaf.high_octets > 0;
        if !high && !leaf.long_lines {
            return Ok(false);
        }
        if leaf.protected {
            return if high { Err(Unsendable::EightBitProtected) } else { Ok(false) };
        }
        let Some(with) = coding(leaf) else {
            return if high { Err(Unsendable::EightBitUnencodable) } else { Ok(false) };
        };
        edits.push(Edit { range: leaf.body.clone(), with: with.clone() });
        let name = match with {
            With::Base64 { .. } => "base64",
            With::QuotedPrintable => "quoted-printable",
            _ => return Ok(false),
        };
        let mut fields = format!("Content-Transfer-Encoding: {name}\r\n").into_bytes();
        if leaf.is_message && leaf.lacks_type && leaf.high_octets > 0 {
            // RFC 1428: what the sender has not named is not guessed.
            let charset = if leaf.is_utf8 { "utf-8" } else { "unknown-8bit" };
            fields.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
        }
        let range = leaf.encoding_field.clone().unwrap_or(leaf.header_end..leaf.header_end);
        edits.push(Edit { range, with: With::Octets(fields) });
        Ok(true)
    }

    /// What the message has afterwards, roughly and rather more (RFC 1870 6.1 asks for an estimate).
    fn size_after(&self, edits: &[Edit]) -> u64 {
        let high: HashMap<u64, u64> = self.leaves.iter().map(|leaf| (leaf.body.start, leaf.high_octets)).collect();
        let growth: u64 = edits
            .iter()
            .map(|edit| {
                let octets = edit.range.end - edit.range.start;
                match &edit.with {
                    With::Octets(with) => with.len() as u64,
                    With::Base64 { .. } => octets * 2 / 5 + 4,
                    With::QuotedPrintable | With::RewrapQuoted => {
                        octets / 16 + 4 + 2 * high.get(&edit.range.start).copied().unwrap_or(0)
                    }
                    With::RewrapBase64 { .. } => octets / 38 + 2,
                    With::Loose | With::Fold => octets / 400 + 2,
                }
            })
            .sum();
        self.size_bytes + growth
    }
}

/// How a leaf is written so that its lines are short and ASCII; `None`: it cannot be.
pub(super) fn coding(leaf: &Leaf) -> Option<With> {
    match leaf.encoding {
        TransferEncoding::Base64 => Some(With::RewrapBase64 { final_line_end: leaf.is_last }),
        TransferEncoding::QuotedPrintable => Some(With::RewrapQuoted),
        TransferEncoding::Other => None,
        TransferEncoding::SevenBit | TransferEncoding::EightBit | TransferEncoding::Binary => {
            // Where every fourth octet would be three, base64 is shorter.
            let mostly_ascii = leaf.high_octets * 4 < leaf.body.end - leaf.body.start;
            match leaf.kind {
                Kind::Unencodable => None,
                Kind::Text if mostly_ascii => Some(With::QuotedPrintable),
                _ => Some(With::Base64 { final_line_end: leaf.is_last }),
            }
        }
    }
}

/// Sorts edits and drops what lies within another (a long line of a field that goes away).
fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|edit| (edit.range.start, std::cmp::Reverse(edit.range.end)));
    let mut end = 0;
    edits.retain(|edit| {
        let kept = edit.range.start >= end;
        end = end.max(edit.range.end);
        kept
    });
    edits
}
