//! Base64 bodies that can be kept decoded: those that re-encoding gives back octet for octet (RFC 2045 6.8).
//!
//! Such a body is what one encoder writes: lines of one length (the last may be shorter), one kind of line
//! break, canonical padding. [`find`] recognises that shape, [`Decoder`] decodes it and, chunk by chunk, encodes
//! again and compares; the first difference is an error, and the body is then kept raw. What stands before the
//! encoded lines (empty lines) or behind them (a line break, a mailing list's footer) is not part of it.

use std::io::{self, Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memchr;
use serde::{Deserialize, Serialize};

/// Characters that are decoded and compared at once: a multiple of 4.
const CHUNK_CHARACTERS: usize = 32 * 1024;

/// What ends a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum LineBreak {
    /// Carriage return and line feed.
    CrLf,
    /// A bare line feed.
    Lf,
}

impl LineBreak {
    const fn octets(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }
}

/// How an encoded body is cut into lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Characters of each line but the last; not 0.
    pub(crate) line_length: u64,
    /// Between lines.
    pub(crate) line_break: LineBreak,
}

/// An encoded body within a larger text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Encoded {
    /// Where its first character is.
    pub(crate) start: usize,
    /// Behind its last character.
    pub(crate) end: usize,
    /// How it is cut into lines.
    pub(crate) layout: Layout,
    /// Octets that it decodes to, if it decodes.
    pub(crate) decoded_size_bytes: u64,
}

/// Looks for the shape of an encoded body; whether it decodes is the [`Decoder`]'s to say.
pub(crate) fn find(text: &[u8]) -> Option<Encoded> {
    let start = text.iter().position(|octet| !matches!(octet, b'\r' | b'\n'))?;
    let first_break = memchr(b'\n', &text[start..]).map_or(text.len(), |end| start + end);
    let has_cr = first_break < text.len() && text[first_break - 1] == b'\r';
    let line_break = if has_cr { LineBreak::CrLf } else { LineBreak::Lf };
    let line_length = first_break - start - usize::from(has_cr);
    if line_length == 0 {
        return None;
    }
    let (mut at, mut characters) = (start, 0);
    let end = loop {
        let (length, full) = line(&text[at..], line_length, line_break.octets());
        characters += length;
        at += length;
        if !full || !continues(text[at - 1], &text[at + line_break.octets().len()..]) {
            break at;
        }
        at += line_break.octets().len();
    };
    let padding = text[start..end].iter().rev().filter(|octet| !matches!(octet, b'\r' | b'\n')).take(2);
    let padding = padding.take_while(|&&octet| octet == b'=').count();
    let layout = Layout { line_length: line_length as u64, line_break };
    (characters >= 4 && characters.is_multiple_of(4)).then(|| Encoded {
        start,
        end,
        layout,
        decoded_size_bytes: (characters / 4 * 3 - padding) as u64,
    })
}

/// Characters of the line here, and whether it is full and a line break follows.
fn line(text: &[u8], line_length: usize, line_break: &[u8]) -> (usize, bool) {
    if text.len() > line_length && text[line_length..].starts_with(line_break) {
        return (line_length, true);
    }
    let rest = &text[..text.len().min(line_length)];
    (rest.iter().position(|octet| !is_character(*octet)).unwrap_or(rest.len()), false)
}

/// Whether the line behind `last` is more of the body: behind padding only padding is (in very short lines).
fn continues(last: u8, text: &[u8]) -> bool {
    text.first().is_some_and(|&octet| if last == b'=' { octet == b'=' } else { is_character(octet) })
}

const fn is_character(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

/// Reads the decoded octets of an encoded body; fails at the first place that encoding would not give back.
pub(crate) struct Decoder<'a> {
    text: &'a [u8],
    layout: Layout,
    at: usize,
    column: u64,
    characters: Vec<u8>,
    decoded: Vec<u8>,
    read: usize,
}

impl<'a> Decoder<'a> {
    /// Reads `encoded`, which was found in `text`.
    pub(crate) fn new(text: &'a [u8], encoded: &Encoded) -> Self {
        let text = &text[encoded.start..encoded.end];
        let (characters, decoded) = (Vec::new(), Vec::new());
        Self { text, layout: encoded.layout, at: 0, column: 0, characters, decoded, read: 0 }
    }

    /// Takes the characters of the next lines, up to a chunk of them.
    fn gather(&mut self) -> io::Result<()> {
        self.characters.clear();
        while self.at < self.text.len() && self.characters.len() < CHUNK_CHARACTERS {
            if self.column == self.layout.line_length {
                let line_break = self.layout.line_break.octets();
                if !self.text[self.at..].starts_with(line_break) {
                    return Err(not_reversible());
                }
                self.at += line_break.len();
                self.column = 0;
            }
            let line_left = usize::try_from(self.layout.line_length - self.column).unwrap_or(usize::MAX);
            let room = CHUNK_CHARACTERS - self.characters.len();
            let taken = line_left.min(room).min(self.text.len() - self.at);
            self.characters.extend_from_slice(&self.text[self.at..self.at + taken]);
            self.at += taken;
            self.column += taken as u64;
        }
        Ok(())
    }

    fn decode(&mut self) -> io::Result<()> {
        self.gather()?;
        (self.read, self.decoded) = (0, std::mem::take(&mut self.decoded));
        self.decoded.clear();
        STANDARD.decode_vec(&self.characters, &mut self.decoded).map_err(|_| not_reversible())?;
        let mut again = vec![0; self.characters.len()];
        match STANDARD.encode_slice(&self.decoded, &mut again) {
            Ok(length) if again[..length] == self.characters => Ok(()),
            _ => Err(not_reversible()),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.read == self.decoded.len() {
            if self.at == self.text.len() {
                return Ok(0);
            }
            self.decode()?;
        }
        let length = out.len().min(self.decoded.len() - self.read);
        out[..length].copy_from_slice(&self.decoded[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

fn not_reversible() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "encoding again gives other octets")
}

impl Layout {
    /// Octets of the encoded body of this many decoded ones.
    pub(crate) fn encoded_size_bytes(&self, decoded_size_bytes: u64) -> u64 {
        let characters = decoded_size_bytes.div_ceil(3) * 4;
        let breaks = characters.saturating_sub(1) / self.line_length;
        characters + breaks * self.line_break.octets().len() as u64
    }

    /// Characters before an offset of the encoded body.
    const fn characters_before(&self, offset: u64) -> u64 {
        let stride = self.line_length + self.line_break.octets().len() as u64;
        let column = offset % stride;
        let column = if column < self.line_length { column } else { self.line_length };
        offset / stride * self.line_length + column
    }

    /// The decoded octets that encoded octets `start` to `end` are made of.
    pub(crate) fn decoded_range(&self, start: u64, end: u64, decoded_size_bytes: u64) -> std::ops::Range<u64> {
        let first = self.characters_before(start) / 4 * 3;
        let last = self.characters_before(end).div_ceil(4) * 3;
        first.min(decoded_size_bytes)..last.min(decoded_size_bytes)
    }

    /// Appends encoded octets `start` to `end`, made of `decoded`: the octets of [`Self::decoded_range`].
    pub(crate) fn append_encoded(&self, out: &mut Vec<u8>, start: u64, end: u64, decoded: &[u8]) {
        let mut characters = vec![0; decoded.len().div_ceil(3) * 4];
        let encoded = STANDARD.encode_slice(decoded, &mut characters).unwrap_or_default();
        debug_assert_eq!(encoded, characters.len());
        let first = self.characters_before(start);
        let mut rest = characters.get((first % 4) as usize..).unwrap_or_default();
        let stride = self.line_length + self.line_break.octets().len() as u64;
        let mut at = start;
        while at < end {
            let column = at % stride;
            let until = end.min(at - column + stride);
            if column < self.line_length {
                let length = (until - at).min(self.line_length - column);
                let Some((line, more)) = rest.split_at_checked(length as usize) else { return };
                out.extend_from_slice(line);
                rest = more;
                at += length;
            } else {
                let line_break = self.line_break.octets();
                out.extend_from_slice(&line_break[(column - self.line_length) as usize..][..(until - at) as usize]);
                at = until;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(decoded: &[u8], line_length: usize, line_break: &str) -> Vec<u8> {
        let characters = STANDARD.encode(decoded);
        let lines: Vec<&str> =
            characters.as_bytes().chunks(line_length).map(|line| std::str::from_utf8(line).unwrap()).collect();
        lines.join(line_break).into_bytes()
    }

    fn decode(text: &[u8]) -> Option<(Encoded, Vec<u8>)> {
        let encoded = find(text)?;
        let mut decoded = Vec::new();
        Decoder::new(text, &encoded).read_to_end(&mut decoded).ok()?;
        assert_eq!(decoded.len() as u64, encoded.decoded_size_bytes);
        Some((encoded, decoded))
    }

    #[test]
    fn each_range_of_each_layout_comes_back() {
        let octets: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(167)).collect();
        for size in [1, 2, 3, 4, 5, 56, 57, 58, 113, 114, 115, 200] {
            for (line_length, line_break) in
                [(76, "\r\n"), (76, "\n"), (4, "\r\n"), (1, "\n"), (7, "\r\n"), (998, "\n")]
            {
                let text = encode(&octets[..size], line_length, line_break);
                let (encoded, decoded) = decode(&text).unwrap();
                assert_eq!((encoded.start, encoded.end, decoded.as_slice()), (0, text.len(), &octets[..size]));
                assert_eq!(encoded.layout.encoded_size_bytes(size as u64), text.len() as u64);
                for start in 0..=text.len() {
                    let end = (start + 97).min(text.len());
                    let range = encoded.layout.decoded_range(start as u64, end as u64, size as u64);
                    let mut out = Vec::new();
                    let needed = &decoded[range.start as usize..range.end as usize];
                    encoded.layout.append_encoded(&mut out, start as u64, end as u64, needed);
                    assert_eq!(out, text[start..end], "{size} {line_length} {start}");
                }
            }
        }
    }

    #[test]
    fn large_bodies_are_decoded_in_chunks() {
        let octets: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for line_length in [76, 75, 100_000] {
            let text = encode(&octets, line_length, "\r\n");
            assert!(decode(&text).unwrap().1 == octets);
        }
    }

    #[test]
    fn what_stands_around_the_body_is_left_out() {
        let (encoded, decoded) = decode(b"\r\n\r\nZm9v\r\nYmE=\r\n\r\n____\r\nfooter").unwrap();
        assert_eq!((encoded.start, encoded.end, decoded), (4, 14, b"fooba".to_vec()));
        let (encoded, _) = decode(b"Zm9v\nYmFy\n").unwrap();
        assert_eq!((encoded.start, encoded.end), (0, 9));
    }

    #[test]
    fn what_encoding_would_not_give_back_is_refused() {
        for text in [
            "",
            "\r\n",
            "Zm9",
            "Zm9vYg==Zm9v",
            "Zm9v\r\nYm",
            "Zm9vYh==",
            "Zm 9v",
            "Zm9v\r\nYm Fy\r\nZm9v",
            "====",
            "Zm9vZ\r\nm9\r\n9vZm9v",
            "Zm8\r\nZm8=",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        // Another line break in the middle ends the body there.
        assert_eq!(decode(b"Zm9v\r\nYmFy\nZm9v\r\nYmFy").unwrap().0.end, 10);
    }
}
