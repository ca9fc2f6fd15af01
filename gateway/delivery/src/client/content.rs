//! The message as octets on the wire: where it comes from, and how it is made safe to end with a dot.

use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;

/// Where a message's octets come from, in order and once. The whole of it is never in memory.
pub trait Octets: Send {
    /// The next octets, some but not many (at most 1 MiB); `None` at the end.
    ///
    /// An error is a fault of ours: the connection is broken before the final dot.
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>>;
}

/// A message that is in memory already.
impl Octets for Bytes {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        let all = std::mem::take(self);
        Box::pin(async move { Ok((!all.is_empty()).then_some(all)) })
    }
}

/// Whether dots at the beginning of lines are doubled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dots {
    /// DATA (RFC 5321 4.5.2).
    Doubled,
    /// BDAT (RFC 3030 2).
    Kept,
}

/// Makes octets ready for the wire, over any boundaries of pieces.
///
/// Lines end with CRLF in what it is given. Should a bare LF be among it all the same, it leaves as CRLF: to a
/// server that takes it for the end of a line, what follows must not read as the end of the message and commands.
pub(super) struct Encoder {
    dots: Dots,
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    LineEnd,
    Cr,
    Other,
}

impl Encoder {
    pub(super) const fn new(dots: Dots) -> Self {
        Self { dots, last: Last::LineEnd }
    }

    /// Appends the octets as they are sent.
    pub(super) fn encode(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while let Some(first) = octets.first() {
            if self.last == Last::LineEnd && *first == b'.' && self.dots == Dots::Doubled {
                out.push(b'.');
            }
            let Some(end) = memchr::memchr(b'\n', octets) else {
                out.extend_from_slice(octets);
                self.last = if octets.ends_with(b"\r") { Last::Cr } else { Last::Other };
                return;
            };
            let line = &octets[..end];
            out.extend_from_slice(line);
            let has_cr = if line.is_empty() { self.last == Last::Cr } else { line.ends_with(b"\r") };
            if !has_cr {
                out.push(b'\r');
            }
            out.push(b'\n');
            self.last = Last::LineEnd;
            octets = &octets[end + 1..];
        }
    }

    /// Ends the last line.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self.last {
            Last::LineEnd => return,
            Last::Cr => out.push(b'\n'),
            Last::Other => out.extend_from_slice(b"\r\n"),
        }
        self.last = Last::LineEnd;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(dots: Dots, pieces: &[&[u8]]) -> String {
        let mut encoder = Encoder::new(dots);
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| encoder.encode(piece, &mut out));
        encoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc_5321_4_5_2_a_dot_that_begins_a_line_is_doubled() {
        let cases: [(&[u8], &str); 8] = [
            (b"a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n"),
            (b".a\r\n..b\r\n", "..a\r\n...b\r\n"),
            (b"a.b\r\n", "a.b\r\n"),
            (b"no end", "no end\r\n"),
            (b"", ""),
            (b"cr at the end\r", "cr at the end\r\n"),
            (b".", "..\r\n"),
            (b"\r\n\r\n.", "\r\n\r\n..\r\n"),
        ];
        for (octets, expected) in cases {
            assert_eq!(encoded(Dots::Doubled, &[octets]), expected);
            let single: Vec<&[u8]> = octets.chunks(1).collect();
            assert_eq!(encoded(Dots::Doubled, &single), expected, "octet by octet");
        }
        assert_eq!(encoded(Dots::Kept, &[b"a\r\n.\r\nb"]), "a\r\n.\r\nb\r\n");
    }

    #[test]
    fn a_bare_lf_cannot_smuggle_an_end_of_message() {
        for smuggled in ["a\n.\r\nMAIL FROM:<x@y>", "a\n.\nMAIL", "a\r\n.\nMAIL", "\n.\n"] {
            let single: Vec<&[u8]> = smuggled.as_bytes().chunks(1).collect();
            for sent in [encoded(Dots::Doubled, &[smuggled.as_bytes()]), encoded(Dots::Doubled, &single)] {
                assert!(!sent.contains("\n.\n") && !sent.contains("\n.\r\n"), "{sent:?}");
                assert_eq!(sent.matches('\n').count(), sent.matches("\r\n").count(), "{sent:?}");
            }
        }
    }
}
