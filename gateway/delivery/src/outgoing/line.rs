//! A line and a header field as they come in pieces, kept as far as they matter; and whether octets are UTF-8.

use std::ops::Range;

/// Octets of a line that are kept: a boundary, or the beginning of a field.
pub(super) const LINE_KEPT_MAX: usize = 1024;
/// Octets of a field that are kept.
const FIELD_KEPT_MAX: usize = 16 * 1024;

/// The current line.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) start: u64,
    pub(super) octets: u64,
    pub(super) high_octets: u64,
    pub(super) kept: Vec<u8>,
    /// Its last octet was a CR.
    pub(super) cr: bool,
    /// It has a CR that is not its end.
    pub(super) bare_cr: bool,
}

/// A field of a header, as it is read line by line.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) range: Range<u64>,
    /// From its name on, without line ends.
    pub(super) kept: Vec<u8>,
    /// It has more than was kept.
    pub(super) cut: bool,
    /// It has octets above 127.
    pub(super) high: bool,
}

impl Line {
    pub(super) fn push(&mut self, octets: &[u8]) {
        let Some(&last) = octets.last() else { return };
        self.bare_cr |= self.cr || memchr::memchr(b'\r', &octets[..octets.len() - 1]).is_some();
        self.cr = last == b'\r';
        self.octets += octets.len() as u64;
        if !octets.is_ascii() {
            self.high_octets += octets.iter().filter(|octet| !octet.is_ascii()).count() as u64;
        }
        let room = LINE_KEPT_MAX - self.kept.len();
        self.kept.extend_from_slice(&octets[..octets.len().min(room)]);
    }

    pub(super) fn clear(&mut self, start: u64) {
        self.kept.clear();
        let kept = std::mem::take(&mut self.kept);
        *self = Self { start, kept, ..Self::default() };
    }
}

impl Field {
    pub(super) fn keep(&mut self, line: &Line) {
        let room = FIELD_KEPT_MAX.saturating_sub(self.kept.len()).min(line.kept.len());
        self.kept.extend_from_slice(&line.kept[..room]);
        self.cut |= (room as u64) < line.octets;
        self.high |= line.high_octets > 0;
    }
}

/// Whether octets that come in pieces are UTF-8.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character.
    held: Vec<u8>,
    broken: bool,
}

impl Utf8 {
    pub(super) fn push(&mut self, octets: &[u8]) {
        if self.broken || self.held.is_empty() && octets.is_ascii() {
            return;
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(octets);
        if let Err(error) = std::str::from_utf8(&text) {
            self.broken = error.error_len().is_some();
            self.held = text.split_off(error.valid_up_to());
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        !self.broken && self.held.is_empty()
    }
}
