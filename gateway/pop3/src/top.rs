//! TOP: the header, the empty line and some lines of the body (RFC 1939 7).

/// Counts lines of octets that come in pieces.
#[derive(Debug)]
pub struct Top {
    body_lines_left: u32,
    in_body: bool,
    line: LineSoFar,
}

#[derive(Debug, PartialEq, Eq)]
enum LineSoFar {
    Nothing,
    Cr,
    Something,
}

impl Top {
    /// Wants the header and this many lines of the body.
    #[must_use]
    pub const fn new(body_lines: u32) -> Self {
        Self { body_lines_left: body_lines, in_body: false, line: LineSoFar::Nothing }
    }

    /// How much of a piece is wanted, from its beginning.
    pub fn wanted<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut end = 0;
        while end < piece.len() && !self.is_done() {
            let rest = &piece[end..];
            match memchr::memchr(b'\n', rest) {
                Some(at) => {
                    let empty = self.is_empty_line(&rest[..at]);
                    self.line_ended(empty);
                    end += at + 1;
                }
                None => {
                    let empty = self.is_empty_line(rest);
                    self.line = match rest {
                        b"\r" if empty => LineSoFar::Cr,
                        _ => LineSoFar::Something,
                    };
                    end = piece.len();
                }
            }
        }
        &piece[..end]
    }

    /// Whether nothing more is wanted.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.in_body && self.body_lines_left == 0
    }

    /// Whether the line so far, with these octets, has nothing before its line end.
    fn is_empty_line(&self, octets: &[u8]) -> bool {
        match self.line {
            LineSoFar::Nothing => matches!(octets, b"" | b"\r"),
            LineSoFar::Cr => octets.is_empty(),
            LineSoFar::Something => false,
        }
    }

    fn line_ended(&mut self, empty: bool) {
        if self.in_body {
            self.body_lines_left -= 1;
        } else {
            self.in_body = empty;
        }
        self.line = LineSoFar::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(message: &[u8], lines: u32, piece: usize) -> String {
        let mut top = Top::new(lines);
        let wanted: Vec<u8> = message.chunks(piece).flat_map(|piece| top.wanted(piece).to_vec()).collect();
        String::from_utf8(wanted).unwrap()
    }

    #[test]
    fn rfc_1939_section_7_top_is_header_empty_line_and_lines() {
        let message = b"Subject: a\r\nTo: b\r\n\r\none\r\n\r\nthree\r\nfour";
        for piece in 1..=message.len() {
            assert_eq!(top(message, 0, piece), "Subject: a\r\nTo: b\r\n\r\n", "{piece}");
            assert_eq!(top(message, 2, piece), "Subject: a\r\nTo: b\r\n\r\none\r\n\r\n");
            assert_eq!(top(message, 4, piece).as_bytes(), message);
            assert_eq!(top(message, u32::MAX, piece).as_bytes(), message);
        }
    }

    #[test]
    fn messages_without_header_or_body_are_taken_as_they_are() {
        for piece in 1..4 {
            assert_eq!(top(b"\r\nbody\r\nmore\r\n", 1, piece), "\r\nbody\r\n");
            assert_eq!(top(b"Subject: a\r\n", 1, piece), "Subject: a\r\n");
            assert_eq!(top(b"a: b\n\nbody\nmore\n", 1, piece), "a: b\n\nbody\n");
            assert_eq!(top(b"", 1, piece), "");
        }
    }
}
