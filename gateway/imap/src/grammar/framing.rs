//! Where a command ends, and where a literal begins inside it (RFC 9051 4.3, RFC 7888).
//!
//! The octets stay in the caller's buffer; the framer remembers how far it has looked, so that a command that
//! arrives octet by octet is scanned once. At a literal it stops and asks: the caller takes it into the buffer
//! ([`Framer::accept`]), streams it away (APPEND), or refuses it.
//!
//! A bare LF ends a line as CRLF does: a client that sends it means it, and nothing behind us reads the line.

/// Octets that a command may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without its literals.
    pub line_octets_max: usize,
    /// In one literal that is no message.
    pub literal_octets_max: u64,
    /// In all of those together.
    pub literals_octets_max: u64,
}

impl Limits {
    /// Before login: nobody needs more for names, passwords, an ID or a SASL response.
    pub const STRANGER: Self = Self { line_octets_max: 16 * 1024, literal_octets_max: 1024, literals_octets_max: 4096 };
    /// After login: lists of UIDs are long, and so are searches.
    pub const KNOWN: Self =
        Self { line_octets_max: 64 * 1024, literal_octets_max: 64 * 1024, literals_octets_max: 256 * 1024 };
}

/// `literal = ["~"] "{" number64 ["+"] "}" CRLF`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiteralHeader {
    /// How many octets follow.
    pub octets: u64,
    /// Whether the client sends them without being asked (RFC 7888 `+`).
    pub without_asking: bool,
    /// Whether it is a literal8 (RFC 3516 `~`).
    pub binary: bool,
}

/// What the framer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The command is not there yet.
    More,
    /// A whole command.
    Command {
        /// It ends before this octet.
        end: usize,
        /// The next one begins here.
        next: usize,
    },
    /// A line of the command that ends with the header of a literal.
    Literal {
        /// The header.
        header: LiteralHeader,
        /// The header begins here (at `{` or `~`).
        begin: usize,
        /// Its octets begin here.
        next: usize,
    },
    /// The command has too many octets outside its literals; its end was not seen.
    TooLong,
}

/// Looks for the end of one command.
#[derive(Debug, Default)]
pub struct Framer {
    /// The octets before this are known to have no line end that matters.
    scanned: usize,
    /// The line looked at begins here: at the command's first octet or behind a literal.
    line: usize,
    /// Octets of literals taken so far.
    literals_octets: u64,
}

impl Framer {
    /// Looks at the buffer, which begins with the command's first octet and holds all that has arrived.
    pub fn poll(&mut self, buffer: &[u8], limits: &Limits) -> Frame {
        let Some(unseen) = buffer.get(self.scanned..) else { return Frame::More };
        let Some(offset) = memchr::memchr(b'\n', unseen) else {
            let outside = buffer.len() as u64 - self.literals_octets.min(buffer.len() as u64);
            self.scanned = buffer.len();
            return if outside > limits.line_octets_max as u64 { Frame::TooLong } else { Frame::More };
        };
        let next = self.scanned + offset + 1;
        if next as u64 - self.literals_octets > limits.line_octets_max as u64 {
            return Frame::TooLong;
        }
        let line = &buffer[self.line..next - 1];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match literal_header(line) {
            Some((header, begin)) => Frame::Literal { header, begin: self.line + begin, next },
            None => Frame::Command { end: self.line + line.len(), next },
        }
    }

    /// Where the line begins in whose middle the framer is: behind the last literal.
    #[must_use]
    pub const fn line_begin(&self) -> usize {
        self.line
    }

    /// Takes the literal that was just found into the command. `false`: it is too large.
    pub fn accept(&mut self, header: &LiteralHeader, next: usize, limits: &Limits) -> bool {
        let total = self.literals_octets.saturating_add(header.octets);
        if header.octets > limits.literal_octets_max || total > limits.literals_octets_max {
            return false;
        }
        self.literals_octets = total;
        self.line = next + usize::try_from(header.octets).unwrap_or(usize::MAX);
        self.scanned = self.line;
        true
    }
}

/// The header of a literal at the end of a line (given without its line end), and where it begins.
#[must_use]
pub fn literal_header(line: &[u8]) -> Option<(LiteralHeader, usize)> {
    let inside = line.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let without_asking = inside.len() + 2 == line.len();
    let digits = inside.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let begin = inside.len().checked_sub(digits + 1).filter(|&at| inside[at] == b'{')?;
    let octets = std::str::from_utf8(&inside[begin + 1..]).ok()?.parse().ok()?;
    let binary = begin > 0 && line[begin - 1] == b'~';
    Some((LiteralHeader { octets, without_asking, binary }, begin - usize::from(binary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Framer::default().poll(text.as_bytes(), &Limits::KNOWN)
    }

    #[test]
    fn rfc_9051_2_2_a_command_ends_at_its_line_end() {
        assert_eq!(frame("a NOOP"), Frame::More);
        assert_eq!(frame("a NOOP\r\nb"), Frame::Command { end: 6, next: 8 });
        assert_eq!(frame("a NOOP\n"), Frame::Command { end: 6, next: 7 });
        assert_eq!(frame("\r\n"), Frame::Command { end: 0, next: 2 });
    }

    #[test]
    fn rfc_7888_literals_are_found_at_line_ends_only() {
        let header = |octets, without_asking, binary| LiteralHeader { octets, without_asking, binary };
        assert_eq!(frame("a LOGIN {3}\r\n"), Frame::Literal { header: header(3, false, false), begin: 8, next: 13 });
        assert_eq!(frame("a LOGIN {3+}\r\n"), Frame::Literal { header: header(3, true, false), begin: 8, next: 14 });
        assert_eq!(frame("a X ~{3+}\r\n"), Frame::Literal { header: header(3, true, true), begin: 4, next: 11 });
        assert_eq!(frame("a X {3} y\r\n"), Frame::Command { end: 9, next: 11 });
        assert_eq!(frame("a X {}\r\n"), Frame::Command { end: 6, next: 8 });
        assert_eq!(frame("a X {99999999999999999999}\r\n"), Frame::Command { end: 26, next: 28 });
    }

    #[test]
    fn a_literal_may_hold_line_ends_and_arrive_in_pieces() {
        let text = b"a LOGIN {4}\r\nx\r\ny {1+}\r\nz\r\n";
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for length in 0..=text.len() {
            match framer.poll(&text[..length], &Limits::KNOWN) {
                Frame::More => {}
                Frame::Literal { header, next, .. } => {
                    assert!(framer.accept(&header, next, &Limits::KNOWN));
                    found.push(header.octets);
                }
                Frame::Command { end, next } => assert_eq!((end, next, length), (25, 27, text.len())),
                Frame::TooLong => panic!("too long"),
            }
        }
        assert_eq!(found, [4, 1]);
    }

    #[test]
    fn what_stands_in_a_literal_is_no_header_and_no_line_end() {
        let mut framer = Framer::default();
        let text = b"a X {4}\r\n{9}\r\n";
        let Frame::Literal { header, next, .. } = framer.poll(text, &Limits::KNOWN) else { panic!("no literal") };
        assert!(framer.accept(&header, next, &Limits::KNOWN));
        assert_eq!(framer.poll(text, &Limits::KNOWN), Frame::Command { end: 13, next: 14 });
    }

    #[test]
    fn lines_and_literals_have_limits() {
        let limits = Limits { line_octets_max: 16, literal_octets_max: 4, literals_octets_max: 6 };
        assert_eq!(Framer::default().poll(&[b'a'; 17], &limits), Frame::TooLong);
        assert_eq!(Framer::default().poll(b"aaaaaaaaaaaaaaaaaaa\r\n", &limits), Frame::TooLong);
        let header = |octets| LiteralHeader { octets, without_asking: false, binary: false };
        let mut framer = Framer::default();
        assert!(!framer.accept(&header(5), 10, &limits));
        assert!(framer.accept(&header(4), 10, &limits));
        assert!(!framer.accept(&header(3), 20, &limits));
    }
}
