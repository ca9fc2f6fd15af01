//! The tree of a message's parts (RFC 2045, 2046; shown as RFC 9051 7.5.2 BODYSTRUCTURE).
//!
//! One walk from the beginning to the end. Whatever is broken becomes a leaf, never an error: a multipart without
//! any part (no boundary, or one that never occurs) is text, an encoded or too deep message/rfc822 is
//! application/octet-stream. So a leaf is never called multipart/*, message/rfc822 or message/global, and IMAP's
//! grammar can show every tree. When a bound is reached, the rest of that multipart counts as its epilogue.

use memchr::memchr_iter;
use securanet_model::summary::{Envelope, Inside, Part};

use super::{
    allowance::Allowance,
    boundary::{Boundaries, Delimiter},
    cursor::Cursor,
    header::{Header, Name},
    parameters,
};
use crate::envelope;

/// Levels of nesting that are followed.
pub(crate) const DEPTH_MAX: usize = 64;
/// Parts that are told apart.
pub(crate) const PARTS_MAX: usize = 10_000;
/// What a part takes of the allowance beside its texts: sizes and offsets in the record.
const PART_COST_BYTES: usize = 32;

/// What a message shows of itself.
pub(crate) struct Scan<'a> {
    /// Its own header.
    pub(crate) header: Header<'a>,
    /// Its envelope.
    pub(crate) envelope: Envelope,
    /// Its parts.
    pub(crate) structure: Part,
}

/// Scans a whole message. Never fails; linear in its size.
pub(crate) fn scan(message: &[u8]) -> Scan<'_> {
    let mut scanner = Scanner {
        message,
        boundaries: Boundaries::new(),
        allowance: Allowance::new(),
        parts_left: PARTS_MAX,
        lines: LineCount { message, at: 0, lines: 0 },
    };
    let entity = scanner.entity(0, Kind::Message, 0);
    Scan { header: entity.header, envelope: entity.envelope, structure: entity.part }
}

/// What is read at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A message: it has an envelope.
    Message,
    /// A part of a multipart; text/plain by default (RFC 2045 5.2).
    Part,
    /// A part of a multipart/digest; message/rfc822 by default (RFC 2046 5.1.5).
    DigestPart,
}

struct Scanner<'a> {
    message: &'a [u8],
    boundaries: Boundaries,
    allowance: Allowance,
    parts_left: usize,
    lines: LineCount<'a>,
}

/// A message or part with its header, and the delimiter at which it ended (none: the end of the message).
struct Entity<'a> {
    header: Header<'a>,
    envelope: Envelope,
    part: Part,
    ended_by: Option<Delimiter>,
}

impl<'a> Scanner<'a> {
    fn entity(&mut self, start: usize, kind: Kind, depth: usize) -> Entity<'a> {
        self.parts_left = self.parts_left.saturating_sub(1);
        self.allowance.charge(PART_COST_BYTES);
        let header = Header::read(self.message, start, &self.boundaries);
        let envelope = match kind {
            Kind::Message => envelope::read(&header, &mut self.allowance),
            Kind::Part | Kind::DigestPart => Envelope::default(),
        };
        let mut part = self.describe(&header, kind);
        let lines_before = self.lines.before(header.end());
        let ended_by = self.body(&mut part, header.end(), depth);
        let end = ended_by.map_or(self.message.len(), |delimiter| delimiter.body_end).max(header.end());
        part.header_offset = start as u64;
        part.body_offset = header.end() as u64;
        part.body_size_bytes = (end - header.end()) as u64;
        let unfinished_line = end > header.end() && self.message[end - 1] != b'\n';
        part.lines = self.lines.before(end) - lines_before + u64::from(unfinished_line);
        Entity { header, envelope, part, ended_by }
    }

    /// What the part's header says of it.
    fn describe(&mut self, header: &Header<'_>, kind: Kind) -> Part {
        let allowance = &mut self.allowance;
        let mut part = Part::default();
        let content_type = header.first(Name::ContentType);
        let mut cursor = Cursor::new(content_type.unwrap_or_default());
        if let Some((media_type, media_subtype)) = parameters::media_type(&mut cursor, allowance) {
            (part.media_type, part.media_subtype) = (media_type, media_subtype);
            part.parameters = parameters::parameters(&mut cursor, allowance);
        } else if kind == Kind::DigestPart && content_type.is_none() {
            (part.media_type, part.media_subtype) = (b"message".to_vec(), b"rfc822".to_vec());
        } else {
            become_text(&mut part, parameters::parameters(&mut cursor, allowance));
        }
        part.encoding = transfer_encoding(header);
        let mut text = |name| header.first(name).map(|value| allowance.text(value));
        part.id = text(Name::ContentId);
        part.description = text(Name::ContentDescription);
        part.md5 = text(Name::ContentMd5);
        part.location = text(Name::ContentLocation);
        part.disposition = header.first(Name::ContentDisposition).and_then(|value| disposition(value, allowance));
        part.language = header.first(Name::ContentLanguage).map_or_else(Vec::new, |value| languages(value, allowance));
        part
    }

    /// Reads the body that begins at `start`, with everything inside; the delimiter at which it ended.
    fn body(&mut self, part: &mut Part, start: usize, depth: usize) -> Option<Delimiter> {
        let may_nest = depth + 1 < DEPTH_MAX && self.may_go_on();
        if part.media_type == b"multipart" {
            let own = parameters::boundary(&part.parameters)
                .filter(|_| may_nest)
                .and_then(|boundary| self.boundaries.open(&boundary));
            let ended_by = match own {
                Some(own) => self.multipart(part, own, start, depth),
                None => self.boundaries.find(self.message, start),
            };
            if part.inside == Inside::Nothing {
                become_text(part, Vec::new());
            }
            return ended_by;
        }
        if part.media_type == b"message" && matches!(part.media_subtype.as_slice(), b"rfc822" | b"global") {
            if may_nest && !is_encoded(part) {
                let entity = self.entity(start, Kind::Message, depth + 1);
                part.inside = Inside::Message(Box::new((entity.envelope, entity.part)));
                return entity.ended_by;
            }
            (part.media_type, part.media_subtype) = (b"application".to_vec(), b"octet-stream".to_vec());
        }
        self.boundaries.find(self.message, start)
    }

    fn multipart(&mut self, part: &mut Part, own: usize, start: usize, depth: usize) -> Option<Delimiter> {
        let kind = if part.media_subtype == b"digest" { Kind::DigestPart } else { Kind::Part };
        let mut parts = Vec::new();
        let mut found = self.boundaries.find(self.message, start);
        while let Some(delimiter) = found.filter(|found| found.boundary == own && !found.closes && self.may_go_on()) {
            let entity = self.entity(delimiter.next, kind, depth + 1);
            parts.push(entity.part);
            found = entity.ended_by;
        }
        self.boundaries.close();
        if !parts.is_empty() {
            part.inside = Inside::Parts(parts);
        }
        match found {
            Some(delimiter) if delimiter.boundary == own => self.boundaries.find(self.message, delimiter.next),
            outer => outer,
        }
    }

    const fn may_go_on(&self) -> bool {
        self.parts_left > 0 && !self.allowance.is_used_up()
    }
}

/// RFC 2045 5.2: text/plain, in US-ASCII unless the parameters say otherwise.
fn become_text(part: &mut Part, parameters: Vec<parameters::Parameter>) {
    (part.media_type, part.media_subtype) = (b"text".to_vec(), b"plain".to_vec());
    part.parameters = parameters;
    if !part.parameters.iter().any(|(name, _)| name == b"charset") {
        part.parameters.push((b"charset".to_vec(), b"us-ascii".to_vec()));
    }
}

/// RFC 2045 6.1; in upper case.
fn transfer_encoding(header: &Header<'_>) -> Vec<u8> {
    let mut cursor = Cursor::new(header.first(Name::ContentTransferEncoding).unwrap_or_default());
    let token = parameters::token(&mut cursor);
    if token.is_empty() { b"7BIT".to_vec() } else { token[..token.len().min(64)].to_ascii_uppercase() }
}

fn is_encoded(part: &Part) -> bool {
    !matches!(part.encoding.as_slice(), b"7BIT" | b"8BIT" | b"BINARY")
}

fn disposition(value: &[u8], allowance: &mut Allowance) -> Option<(Vec<u8>, Vec<parameters::Parameter>)> {
    let mut cursor = Cursor::new(value);
    let kind = parameters::token(&mut cursor).to_ascii_lowercase();
    (!kind.is_empty()).then(|| (allowance.grant(kind), parameters::parameters(&mut cursor, allowance)))
}

/// RFC 3282: tags, separated by commas.
fn languages(value: &[u8], allowance: &mut Allowance) -> Vec<Vec<u8>> {
    const TAGS_MAX: usize = 64;
    let tags = value.split(|&octet| octet == b',').map(|tag| parameters::token(&mut Cursor::new(tag)));
    tags.filter(|tag| !tag.is_empty()).take(TAGS_MAX).map(|tag| allowance.text(tag)).collect()
}

/// Counts line ends up to places that (nearly always) lie ever further on: each octet is looked at once.
struct LineCount<'a> {
    message: &'a [u8],
    at: usize,
    lines: u64,
}

impl LineCount<'_> {
    fn before(&mut self, place: usize) -> u64 {
        let count = |text: &[u8]| memchr_iter(b'\n', text).count() as u64;
        if place >= self.at {
            self.lines += count(&self.message[self.at..place]);
        } else {
            // An empty part: its body begins behind the line break that the delimiter after it owns.
            self.lines -= count(&self.message[place..self.at]);
        }
        self.at = place;
        self.lines
    }
}
