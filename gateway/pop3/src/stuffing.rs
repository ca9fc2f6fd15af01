//! Multi-line responses: dot-stuffing (RFC 1939 3) of octets that come in pieces.
//!
//! A dot is doubled at the beginning of a line. A line begins after a CRLF, and here after a bare LF too:
//! some clients take it for a line end, and a message that has one before `.` CRLF must not be able to end its
//! own response and to go on as the next one.
//!
//! A message that does not end with CRLF gets one, because the final dot needs a line of its own.

/// The state between two pieces.
#[derive(Debug)]
pub struct Stuffing {
    /// The next octet is the first of a line.
    at_line_start: bool,
    /// What has been written so far ends with CRLF, or is nothing.
    ended: Ended,
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Line,
    Cr,
    Elsewhere,
}

impl Default for Stuffing {
    fn default() -> Self {
        Self { at_line_start: true, ended: Ended::Line }
    }
}

impl Stuffing {
    /// Appends a piece to `out`, with its dots doubled where they must be.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.at_line_start && first == b'.' {
                out.push(b'.');
            }
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            self.ended_with(&rest[..end]);
            out.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
    }

    /// Appends what ends the response.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.ended != Ended::Line {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }

    fn ended_with(&mut self, line: &[u8]) {
        self.at_line_start = line.ends_with(b"\n");
        self.ended = match line {
            [.., b'\r', b'\n'] => Ended::Line,
            b"\n" if self.ended == Ended::Cr => Ended::Line,
            [.., b'\r'] => Ended::Cr,
            _ => Ended::Elsewhere,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuff(message: &[u8], piece: usize) -> String {
        let (mut stuffing, mut out) = (Stuffing::default(), Vec::new());
        for piece in message.chunks(piece) {
            stuffing.push(piece, &mut out);
        }
        stuffing.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc_1939_section_3_dots_are_doubled_at_the_beginning_of_lines_only() {
        for piece in 1..12 {
            assert_eq!(stuff(b".\r\na.b\r\n..\r\n", piece), "..\r\na.b\r\n...\r\n.\r\n");
            assert_eq!(stuff(b"a\r\n", piece), "a\r\n.\r\n");
        }
        assert_eq!(stuff(b"", 1), ".\r\n");
    }

    #[test]
    fn the_final_dot_has_a_line_of_its_own() {
        for piece in 1..4 {
            assert_eq!(stuff(b"a", piece), "a\r\n.\r\n");
            assert_eq!(stuff(b"a\r", piece), "a\r\r\n.\r\n");
            assert_eq!(stuff(b"a\n", piece), "a\n\r\n.\r\n");
        }
    }

    #[test]
    fn a_bare_newline_cannot_end_the_response() {
        assert_eq!(stuff(b"a\n.\r\n+OK\r\n", 3), "a\n..\r\n+OK\r\n.\r\n");
    }
}
