//! The one pass over a message that makes a [`Scan`]: which lines are too long, where octets above 127 stand, which part
//! they belong to.
//!
//! Pushed octets in, a [`Scan`] out; no store, no clock. It keeps the beginning of one line, the fields of one header
//! that matter, and a row for each part that may have to change, all bounded. What it cannot follow (deeper than
//! [`DEPTH_MAX`], more than [`ROWS_MAX`] such parts) is one opaque part.

use std::ops::Range;

use super::{
    encode::LINE_OCTETS_MAX,
    field::{Kind, TransferEncoding},
    line::{Field, LINE_KEPT_MAX, Line, Utf8},
    scan::{Leaf, Loose, Octets, ROWS_MAX, Scan},
    words,
};

/// Nested multiparts and messages that are followed.
const DEPTH_MAX: usize = 50;
/// Octets of fields in ASCII that are kept, should the next host take nothing else.
const WORDED_OCTETS_MAX: usize = 256 * 1024;

/// An entity (the message, or a part) whose header is being read.
#[derive(Debug)]
struct Entity {
    is_message: bool,
    protected: bool,
    kind: Option<Kind>,
    default: Kind,
    encoding: TransferEncoding,
    encoding_field: Option<Range<u64>>,
}

impl Entity {
    const fn new(is_message: bool, protected: bool, default: Kind) -> Self {
        let encoding = TransferEncoding::SevenBit;
        Self { is_message, protected, kind: None, default, encoding, encoding_field: None }
    }
}

/// A multipart that is open.
#[derive(Debug)]
struct Open {
    boundary: Vec<u8>,
    /// Itself or one around it is signed or encrypted.
    protected: bool,
    digest: bool,
    /// How many messages are open around it.
    depth: usize,
}

/// Where in the structure the current line is.
#[derive(Debug)]
enum Place {
    Header(Entity),
    Leaf(Leaf),
    Loose(Loose),
}

/// Reads a message and finds what a [`Scan`] holds.
#[derive(Debug)]
pub(crate) struct Scanner {
    at: u64,
    line: Line,
    field: Option<Field>,
    place: Place,
    open: Vec<Open>,
    messages: usize,
    /// Octets of the CRLF before the current line.
    line_end_before: u64,
    utf8: Utf8,
    worded_octets: usize,
    scan: Scan,
}

impl Scanner {
    /// At the beginning of a message.
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            line: Line::default(),
            field: None,
            place: Place::Header(Entity::new(true, false, Kind::Text)),
            open: Vec::new(),
            messages: 0,
            line_end_before: 0,
            utf8: Utf8::default(),
            worded_octets: 0,
            scan: Scan::default(),
        }
    }

    /// Takes octets.
    pub(crate) fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets);
            let (piece, rest) = octets.split_at(end.map_or(octets.len(), |at| at + 1));
            if matches!(&self.place, Place::Leaf(leaf) if leaf.lacks_type) {
                self.utf8.push(piece);
            }
            let text = if end.is_some() { &piece[..piece.len() - 1] } else { piece };
            self.line.push(text);
            self.at += piece.len() as u64;
            if end.is_some() {
                self.end_line(1);
            }
            octets = rest;
        }
    }

    /// There is no more.
    pub(crate) fn finish(mut self) -> Scan {
        if self.line.octets > 0 {
            self.end_line(0);
        }
        self.end_field();
        let end = self.at;
        self.close_place(end, true);
        self.scan.size_bytes = self.at;
        self.scan
    }

    fn end_line(&mut self, line_feed: u64) {
        let mut line = std::mem::take(&mut self.line);
        let crlf = line.cr && line_feed == 1;
        self.scan.bare_line_ends |= line.bare_cr || (line.cr || line_feed == 1) && !crlf;
        if crlf {
            line.octets -= 1;
            if line.kept.len() as u64 > line.octets {
                line.kept.pop();
            }
        }
        self.take_line(&line);
        self.line_end_before = u64::from(crlf) + line_feed;
        line.clear(self.at);
        self.line = line;
    }

    fn take_line(&mut self, line: &Line) {
        if let Some((level, last)) = self.delimiter(line) {
            return self.take_delimiter(level, last, line);
        }
        let is_long = line.octets > LINE_OCTETS_MAX as u64;
        match &mut self.place {
            Place::Header(_) => self.take_header_line(line, is_long),
            Place::Leaf(leaf) => {
                leaf.high_octets += line.high_octets;
                leaf.long_lines |= is_long;
            }
            Place::Loose(loose) => {
                loose.high_octets += line.high_octets;
                loose.long_lines |= is_long;
            }
        }
    }

    /// Which open multipart the line delimits, the innermost that fits, and whether it is its last delimiter.
    fn delimiter(&self, line: &Line) -> Option<(usize, bool)> {
        let text = line.kept.strip_prefix(b"--")?;
        if line.octets > LINE_KEPT_MAX as u64 {
            return None;
        }
        self.open.iter().enumerate().rev().find_map(|(level, open)| {
            let rest = text.strip_prefix(open.boundary.as_slice())?;
            match rest.trim_ascii_end() {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    fn take_delimiter(&mut self, level: usize, last: bool, line: &Line) {
        self.end_field();
        self.close_place(line.start.saturating_sub(self.line_end_before), false);
        self.open.truncate(level + 1);
        let open = &self.open[level];
        self.messages = open.depth;
        let protected = open.protected;
        if last {
            self.open.pop();
            self.place = Place::Loose(Loose { range: self.at..self.at, high_octets: 0, long_lines: false, protected });
        } else {
            let default = if open.digest { Kind::Message } else { Kind::Text };
            self.place = Place::Header(Entity::new(false, protected, default));
        }
    }

    fn take_header_line(&mut self, line: &Line, is_long: bool) {
        if line.octets == 0 {
            self.end_field();
            return self.end_header(line);
        }
        let Place::Header(entity) = &self.place else { return };
        if is_long && entity.protected {
            self.scan.has_protected_long_header = true;
        } else if is_long {
            self.row(|scan| scan.long_header_lines.push(line.start..line.start + line.octets));
        }
        if line.high_octets > 0 {
            let octets = if line.octets > line.kept.len() as u64 { Octets::Other } else { Octets::of(&line.kept) };
            let whole = matches!(&self.place, Place::Header(entity) if entity.is_message) && self.messages == 0;
            let place = if whole { &mut self.scan.header } else { &mut self.scan.part_headers };
            *place = place.and(octets);
        }
        if matches!(line.kept.first(), Some(b' ' | b'\t')) {
            if let Some(field) = &mut self.field {
                field.range.end = self.at;
                field.keep(line);
            } else {
                self.scan.unwordable |= line.high_octets > 0;
            }
        } else {
            self.end_field();
            let mut field = Field { range: line.start..self.at, ..Field::default() };
            field.keep(line);
            self.field = Some(field);
        }
    }

    /// The current field is whole.
    fn end_field(&mut self) {
        let Some(field) = self.field.take() else { return };
        if field.high {
            self.word(&field);
        }
        let Place::Header(entity) = &mut self.place else { return };
        let Some(colon) = memchr::memchr(b':', &field.kept) else { return };
        let (name, value) = (field.kept[..colon].trim_ascii_end(), &field.kept[colon + 1..]);
        let whole = entity.is_message && self.messages == 0;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("content-type") && entity.kind.is_none() {
            entity.kind = Some(Kind::parse(value));
        } else if is("content-transfer-encoding") && entity.encoding_field.is_none() {
            entity.encoding = TransferEncoding::parse(value);
            entity.encoding_field = Some(field.range);
        } else if whole && is("mime-version") {
            self.scan.has_mime_version = true;
        } else if whole && is("return-path") {
            self.row(|scan| scan.return_paths.push(field.range));
        }
    }

    /// Finds what a field with octets above 127 is in ASCII.
    fn word(&mut self, field: &Field) {
        if !matches!(&self.place, Place::Header(entity) if entity.is_message) || self.messages > 0 {
            return;
        }
        let text = std::str::from_utf8(&field.kept).ok().filter(|_| !field.cut);
        match text.and_then(words::encode_field) {
            Some(worded) if self.worded_octets + worded.len() <= WORDED_OCTETS_MAX => {
                self.worded_octets += worded.len();
                self.row(|scan| scan.worded.push((field.range.clone(), worded)));
            }
            _ => self.scan.unwordable = true,
        }
    }

    /// The empty line behind a header.
    fn end_header(&mut self, line: &Line) {
        let ended =
            Place::Loose(Loose { range: self.at..self.at, high_octets: 0, long_lines: false, protected: false });
        let Place::Header(entity) = std::mem::replace(&mut self.place, ended) else { return };
        if entity.is_message && self.messages == 0 {
            self.scan.header_end = Some(line.start);
        }
        let lacks_type = entity.kind.is_none();
        let kind = entity.kind.unwrap_or(entity.default);
        let deep = self.open.len() + self.messages >= DEPTH_MAX;
        // A structure that is encoded as a whole (RFC 2045 6.4 forbids it) is one opaque part.
        let opaque = deep || !entity.encoding.is_identity();
        let protected = entity.protected;
        if let Kind::Multipart { boundary, protected: own, digest } = &kind
            && !opaque
        {
            self.note_container(entity.encoding, entity.encoding_field);
            let (boundary, digest, depth) = (boundary.clone(), *digest, self.messages);
            self.open.push(Open { boundary, protected: protected || *own, digest, depth });
            self.place = Place::Loose(Loose { range: self.at..self.at, high_octets: 0, long_lines: false, protected });
        } else if kind == Kind::Message && !opaque {
            self.note_container(entity.encoding, entity.encoding_field);
            self.messages += 1;
            self.place = Place::Header(Entity::new(true, protected, Kind::Text));
        } else {
            self.utf8 = Utf8::default();
            self.place = Place::Leaf(Leaf {
                body: self.at..self.at,
                header_end: line.start,
                kind,
                encoding: entity.encoding,
                encoding_field: entity.encoding_field,
                high_octets: 0,
                long_lines: false,
                protected,
                is_message: entity.is_message && self.messages == 0,
                is_last: false,
                lacks_type,
                is_utf8: true,
            });
        }
    }

    fn note_container(&mut self, encoding: TransferEncoding, field: Option<Range<u64>>) {
        if encoding != TransferEncoding::SevenBit
            && let Some(field) = field
        {
            self.row(|scan| scan.containers.push(field));
        }
    }

    /// What was read so far ends before `end`.
    fn close_place(&mut self, end: u64, is_last: bool) {
        let fresh = Place::Loose(Loose { range: end..end, high_octets: 0, long_lines: false, protected: false });
        match std::mem::replace(&mut self.place, fresh) {
            Place::Leaf(mut leaf) if leaf.high_octets > 0 || leaf.long_lines => {
                leaf.body.end = end.max(leaf.body.start);
                leaf.is_last = is_last;
                leaf.is_utf8 = self.utf8.is_valid();
                self.row(|scan| scan.leaves.push(leaf));
            }
            Place::Loose(mut loose) if loose.high_octets > 0 || loose.long_lines => {
                loose.range.end = end.max(loose.range.start);
                self.row(|scan| scan.loose.push(loose));
            }
            _ => {}
        }
    }

    fn row(&mut self, push: impl FnOnce(&mut Scan)) {
        let scan = &self.scan;
        let rows = scan.leaves.len() + scan.loose.len() + scan.containers.len() + scan.long_header_lines.len();
        if rows + scan.return_paths.len() + scan.worded.len() < ROWS_MAX {
            push(&mut self.scan);
        } else {
            self.scan.overflow = true;
        }
    }
}
