//! Content-Transfer-Encodings (RFC 2045 6), octets in, octets out, however the input is split.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest line that SMTP carries, without its CRLF (RFC 5321 4.5.3.1.6).
pub(crate) const LINE_OCTETS_MAX: usize = 998;
/// Longest line that an encoding makes (RFC 2045 6.7 and 6.8).
const ENCODED_LINE_MAX: usize = 76;
/// Octets whose base64 is a line.
const BASE64_LINE_INPUT: usize = 57;

/// How a range of a message is written instead of as it is.
#[derive(Debug)]
pub(super) enum Encoder {
    /// Anything as base64.
    Base64(Vec<u8>),
    /// Text as quoted-printable.
    Quoted(Quoted),
    /// base64 whose lines are too long, or that has octets that do not belong there.
    RewrapBase64(usize),
    /// quoted-printable whose lines are too long, or that has octets that do not belong there.
    RewrapQuoted(RewrapQuoted),
    /// Text that nobody reads (before and after the parts): cut into lines, `?` for what is not ASCII.
    Loose(usize),
    /// A header line that is too long: folded.
    Fold(Vec<u8>),
}

impl Encoder {
    /// Takes octets.
    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Base64(held) => base64_lines(held, input, out),
            Self::Quoted(quoted) => input.iter().for_each(|&octet| quoted.push(octet, out)),
            Self::RewrapBase64(column) => input.iter().for_each(|&octet| rewrap_base64(column, octet, out)),
            Self::RewrapQuoted(quoted) => input.iter().for_each(|&octet| quoted.push(octet, out)),
            Self::Loose(column) => input.iter().for_each(|&octet| loose(column, octet, out)),
            Self::Fold(line) => input.iter().for_each(|&octet| fold(line, octet, out)),
        }
    }

    /// There is no more.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Base64(held) => out.extend_from_slice(STANDARD.encode(std::mem::take(held)).as_bytes()),
            Self::Quoted(quoted) => quoted.finish(out),
            Self::RewrapQuoted(quoted) => quoted.finish(out),
            Self::Fold(line) => out.append(line),
            Self::RewrapBase64(_) | Self::Loose(_) => {}
        }
    }
}

fn base64_lines(held: &mut Vec<u8>, mut input: &[u8], out: &mut Vec<u8>) {
    // A full line is written only once more follows, so that the last one has no CRLF of ours.
    while held.len() + input.len() > BASE64_LINE_INPUT {
        let (taken, rest) = input.split_at(BASE64_LINE_INPUT - held.len());
        held.extend_from_slice(taken);
        input = rest;
        out.extend_from_slice(STANDARD.encode(&*held).as_bytes());
        out.extend_from_slice(b"\r\n");
        held.clear();
    }
    held.extend_from_slice(input);
}

fn rewrap_base64(column: &mut usize, octet: u8, out: &mut Vec<u8>) {
    if !(octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')) {
        return;
    }
    if *column == ENCODED_LINE_MAX {
        out.extend_from_slice(b"\r\n");
        *column = 0;
    }
    out.push(octet);
    *column += 1;
}

fn loose(column: &mut usize, octet: u8, out: &mut Vec<u8>) {
    if matches!(octet, b'\r' | b'\n') {
        *column = 0;
    } else {
        if *column == LINE_OCTETS_MAX {
            out.extend_from_slice(b"\r\n");
            *column = 0;
        }
        *column += 1;
    }
    out.push(if octet.is_ascii() { octet } else { b'?' });
}

/// Breaks before the last white space that leaves a line short enough; a word that is longer is broken anyway,
/// which is no worse than what its next host would do.
fn fold(line: &mut Vec<u8>, octet: u8, out: &mut Vec<u8>) {
    if octet == b'\n' {
        // A bare CR or LF was within the line and has become its end.
        line.push(octet);
        out.append(line);
        return;
    }
    if line.len() == LINE_OCTETS_MAX {
        let space = |at: &usize| matches!(line[*at], b' ' | b'\t') && !matches!(line[*at - 1], b' ' | b'\t');
        let at = (1..line.len()).rev().find(space);
        out.extend(line.drain(..at.unwrap_or(LINE_OCTETS_MAX)));
        out.extend_from_slice(b"\r\n");
        if at.is_none() {
            line.push(b' ');
        }
    }
    line.push(octet);
}

/// Quoted-printable of text: CRLF stays a line break.
#[derive(Debug, Default)]
pub(super) struct Quoted {
    column: usize,
    /// A space or tab that must be quoted should the line end here.
    space: Option<u8>,
    /// A CR was read and may begin a line break.
    cr: bool,
}

impl Quoted {
    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            if octet == b'\n' {
                if let Some(space) = self.space.take() {
                    self.quote(space, out);
                }
                out.extend_from_slice(b"\r\n");
                self.column = 0;
                return;
            }
            self.release_space(out);
            self.quote(b'\r', out);
        }
        match octet {
            b'\r' => self.cr = true,
            b' ' | b'\t' => {
                self.release_space(out);
                self.space = Some(octet);
            }
            b'!'..=b'<' | b'>'..=b'~' => {
                self.release_space(out);
                self.literal(octet, out);
            }
            _ => {
                self.release_space(out);
                self.quote(octet, out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            self.release_space(out);
            self.quote(b'\r', out);
        }
        if let Some(space) = self.space.take() {
            self.quote(space, out);
        }
    }

    fn release_space(&mut self, out: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.literal(space, out);
        }
    }

    fn literal(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.soft_break(1, out);
        out.push(octet);
    }

    fn quote(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.soft_break(3, out);
        push_quoted(octet, out);
    }

    fn soft_break(&mut self, octets: usize, out: &mut Vec<u8>) {
        soft_break(&mut self.column, octets, out);
    }
}

/// Makes room on the line for so many octets; the last column is that of the soft break's own `=`.
fn soft_break(column: &mut usize, octets: usize, out: &mut Vec<u8>) {
    if *column + octets > ENCODED_LINE_MAX - 1 {
        out.extend_from_slice(b"=\r\n");
        *column = 0;
    }
    *column += octets;
}

fn push_quoted(octet: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}

/// Quoted-printable in, quoted-printable with short lines out; what it decodes to stays the same.
#[derive(Debug, Default)]
pub(super) struct RewrapQuoted {
    column: usize,
    /// The beginning of an `=XX` or of a soft break.
    escape: Vec<u8>,
}

impl RewrapQuoted {
    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.escape.as_slice(), octet) {
            ([], b'=') | ([b'='], b'\r') => self.escape.push(octet),
            ([b'=', b'\r'], b'\n') => {
                out.extend_from_slice(b"=\r\n");
                self.escape.clear();
                self.column = 0;
            }
            ([b'='], _) if octet.is_ascii_hexdigit() => self.escape.push(octet),
            ([b'=', high], _) if high.is_ascii_hexdigit() && octet.is_ascii_hexdigit() => {
                let high = *high;
                self.escape.clear();
                soft_break(&mut self.column, 3, out);
                out.extend_from_slice(&[b'=', high, octet]);
            }
            ([], _) => self.plain(octet, out),
            _ => {
                self.release(out);
                self.push(octet, out);
            }
        }
    }

    fn plain(&mut self, octet: u8, out: &mut Vec<u8>) {
        match octet {
            b'\r' | b'\n' => {
                out.push(octet);
                self.column = 0;
            }
            0x80.. => {
                soft_break(&mut self.column, 3, out);
                push_quoted(octet, out);
            }
            _ => {
                soft_break(&mut self.column, 1, out);
                out.push(octet);
            }
        }
    }

    /// An `=` that began nothing: written so that every reader sees it.
    fn release(&mut self, out: &mut Vec<u8>) {
        for octet in std::mem::take(&mut self.escape) {
            if octet == b'=' {
                soft_break(&mut self.column, 3, out);
                push_quoted(octet, out);
            } else {
                self.plain(octet, out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
    }
}

/// Turns each bare CR and bare LF into CRLF: a host behind us may take one for a line's end and read a command out of
/// a message. Our own door lets none in, so this hardly ever does anything.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    cr: bool,
}

impl LineEnds {
    /// Takes octets.
    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &octet in input {
            let after_cr = std::mem::take(&mut self.cr);
            match octet {
                b'\n' => out.extend_from_slice(b"\r\n"),
                _ => {
                    if after_cr {
                        out.extend_from_slice(b"\r\n");
                    }
                    if octet == b'\r' {
                        self.cr = true;
                    } else {
                        out.push(octet);
                    }
                }
            }
        }
    }

    /// There is no more.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            out.extend_from_slice(b"\r\n");
        }
    }
}
