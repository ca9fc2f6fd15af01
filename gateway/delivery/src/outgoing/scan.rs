//! What a message is made of, as far as it decides how the message may leave.

use std::ops::Range;

use super::field::{Kind, TransferEncoding};

/// Parts, containers and lines that may have to change.
pub(super) const ROWS_MAX: usize = 10_000;

/// Octets above 127 somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Octets {
    /// None.
    #[default]
    Ascii,
    /// All of them UTF-8.
    Utf8,
    /// Something else.
    Other,
}

impl Octets {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ascii, other) | (other, Self::Ascii) => other,
            (Self::Utf8, Self::Utf8) => Self::Utf8,
            _ => Self::Other,
        }
    }

    pub(super) fn of(octets: &[u8]) -> Self {
        match std::str::from_utf8(octets) {
            Ok(text) if text.is_ascii() => Self::Ascii,
            Ok(_) => Self::Utf8,
            Err(_) => Self::Other,
        }
    }
}

/// A leaf part with long lines or octets above 127.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) body: Range<u64>,
    /// Where a field may be added to its header: the empty line behind it.
    pub(super) header_end: u64,
    pub(super) kind: Kind,
    pub(super) encoding: TransferEncoding,
    /// Its Content-Transfer-Encoding field.
    pub(super) encoding_field: Option<Range<u64>>,
    /// Octets above 127.
    pub(super) high_octets: u64,
    pub(super) long_lines: bool,
    /// Inside of multipart/signed or multipart/encrypted.
    pub(super) protected: bool,
    /// The message itself, and not a part of it.
    pub(super) is_message: bool,
    /// Its body ends with the message: no delimiter brings the last CRLF.
    pub(super) is_last: bool,
    /// It has no Content-Type.
    pub(super) lacks_type: bool,
    /// Without a Content-Type: whether it is UTF-8.
    pub(super) is_utf8: bool,
}

/// Text between parts, which nobody reads.
#[derive(Clone, Debug)]
pub(super) struct Loose {
    pub(super) range: Range<u64>,
    pub(super) high_octets: u64,
    pub(super) long_lines: bool,
    pub(super) protected: bool,
}

/// What was found out about a message.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub(super) size_bytes: u64,
    /// Octets above 127 in the header of the message itself.
    pub(super) header: Octets,
    /// Octets above 127 in the header of a part.
    pub(super) part_headers: Octets,
    pub(super) leaves: Vec<Leaf>,
    pub(super) loose: Vec<Loose>,
    /// Content-Transfer-Encoding fields of multiparts and messages that say 8bit or binary.
    pub(super) containers: Vec<Range<u64>>,
    /// Header lines that are too long, without their CRLF.
    pub(super) long_header_lines: Vec<Range<u64>>,
    /// There is a header line that is too long where nothing may be changed.
    pub(super) has_protected_long_header: bool,
    /// Return-Path fields of the message itself.
    pub(super) return_paths: Vec<Range<u64>>,
    /// Fields of the message itself that are UTF-8, and what they are in ASCII.
    pub(super) worded: Vec<(Range<u64>, Vec<u8>)>,
    /// There are some that have no ASCII form.
    pub(super) unwordable: bool,
    /// Where a field may be added to the message's header; `None`: it has no body.
    pub(super) header_end: Option<u64>,
    pub(super) has_mime_version: bool,
    pub(super) bare_line_ends: bool,
    /// Something had to be left out of the lists: what needs changing cannot be told.
    pub(super) overflow: bool,
}
