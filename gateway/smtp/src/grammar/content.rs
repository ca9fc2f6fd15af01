//! Message data as it comes over the wire, in pieces of any size: where it ends, and its octets decoded.
//!
//! Two framings, one rule for newlines. After DATA the message ends at CRLF.CRLF and nowhere else, and a dot that
//! begins a line is removed (RFC 5321 4.5.2); in BDAT chunks (RFC 3030) octets are counted by the session and a dot
//! is a dot. In both a line ends with CRLF; a bare LF becomes CRLF or is refused as the listener says; a bare CR and
//! a NUL are refused. What other servers take for the end of a message (LF.LF, CR.CR, LF.CRLF, CRLF.CR ...) is
//! content or a refusal here, never an end: nobody can smuggle a second message inside a first.
//!
//! A dot after a bare LF was not put there by dot-stuffing, since a conforming client stuffs after CRLF only; so it
//! is kept. A dot between CRLF and a bare LF is kept too: a lone dot that results from normalising is content.
//!
//! Slices are handed out as they stand in the input. After a fault nothing is content any more; the end is still
//! found, so that the session can pass over the rest.

use memchr::memchr3;
use securanet_gateway::listener::BareNewline;

use super::reply::Reply;

/// Message data that is refused. Ordered by how grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DataFault {
    /// A NUL (RFC 5321 4.5.2, RFC 5322 4).
    #[error("message has a NUL octet")]
    Nul,
    /// A bare LF where the listener refuses it.
    #[error("message has a line feed without a carriage return")]
    BareLineFeed,
    /// A bare CR (RFC 5321 2.3.8).
    #[error("message has a carriage return without a line feed")]
    BareCarriageReturn,
}

impl DataFault {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Nul => Reply::new(554, (6, 0), self.to_string()),
            Self::BareLineFeed | Self::BareCarriageReturn => Reply::new(550, (6, 11), self.to_string()),
        }
    }

    /// Whether the session ends: client and we may not agree where a message with such line ends is over, so
    /// whatever follows could be its data.
    #[must_use]
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::BareLineFeed | Self::BareCarriageReturn)
    }
}

/// What a scan came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan<'a> {
    /// Octets of the message, decoded; never empty.
    Content(&'a [u8]),
    /// The message is over; what is left of the input is none of it. Never in counted framing.
    End,
    /// The message is refused. Told once, and once more if a graver fault comes.
    Fault(DataFault),
    /// The input is used up.
    More,
}

/// Where the scan stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// After CRLF, or at the very beginning.
    LineStart,
    /// Within a line, or after a bare LF.
    Inside,
    /// After a CR within a line that has not been handed out yet.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line, and a CR.
    DotCr,
    /// A bare LF was passed: its CRLF is to be handed out.
    Newline,
}

/// Finds the end of message data and decodes it.
#[derive(Clone, Debug)]
pub struct ContentScanner {
    dotted: bool,
    bare_newline: BareNewline,
    at: At,
    discarding: bool,
    fault: Option<DataFault>,
}

impl ContentScanner {
    /// For data after DATA: ends at CRLF.CRLF.
    #[must_use]
    pub const fn dotted(bare_newline: BareNewline) -> Self {
        Self { dotted: true, bare_newline, at: At::LineStart, discarding: false, fault: None }
    }

    /// For data in BDAT chunks: the caller counts, and gives all chunks of a message to one scanner.
    #[must_use]
    pub const fn counted(bare_newline: BareNewline) -> Self {
        Self { dotted: false, ..Self::dotted(bare_newline) }
    }

    /// From now on hands out no content: the message is refused for a reason of the caller's.
    pub const fn discard(&mut self) {
        self.discarding = true;
    }

    /// Looks at the beginning of `input`, and takes from it what it understood.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Scan<'a> {
        loop {
            let scan = match (self.at, input.first()) {
                (At::Newline, _) => {
                    self.at = At::Inside;
                    Scan::Content(b"\r\n")
                }
                (_, None) => return Scan::More,
                (At::Inside, Some(_)) => self.lines(input),
                (_, Some(&octet)) => match self.edge(octet, input) {
                    Some(scan) => scan,
                    None => continue,
                },
            };
            match scan {
                Scan::Content(_) if self.discarding => {}
                Scan::Fault(fault) if self.fault >= Some(fault) => {}
                Scan::Fault(fault) => {
                    self.fault = Some(fault);
                    self.discarding = true;
                    return scan;
                }
                _ => return scan,
            }
        }
    }

    /// All octets of a counted message have been given.
    ///
    /// # Errors
    /// [`DataFault::BareCarriageReturn`] when the last of them was a CR.
    pub fn finish(&self) -> Result<(), DataFault> {
        if self.at == At::Cr { Err(DataFault::BareCarriageReturn) } else { Ok(()) }
    }

    /// Decides on the one octet that makes the difference around a line's beginning or a CR.
    fn edge<'a>(&mut self, octet: u8, input: &mut &'a [u8]) -> Option<Scan<'a>> {
        let (next, taken, scan) = match (self.at, octet) {
            (At::LineStart, b'.') if self.dotted => (At::Dot, 1, None),
            (At::Dot, b'\r') => (At::DotCr, 1, None),
            (At::DotCr, b'\n') => (At::LineStart, 1, Some(Scan::End)),
            (At::Cr, b'\n') => (At::LineStart, 1, Some(Scan::Content(b"\r\n"))),
            (At::Dot, b'\n') if self.bare_newline == BareNewline::Normalise => {
                (At::Newline, 1, Some(Scan::Content(b".")))
            }
            (At::Cr | At::DotCr, _) => (At::Inside, 0, Some(Scan::Fault(DataFault::BareCarriageReturn))),
            // What follows is an ordinary line; a dot before it was stuffing and is gone.
            _ => (At::Inside, 0, None),
        };
        self.at = next;
        *input = &input[taken..];
        scan
    }

    /// Takes as many octets as stand in the message just as they came, over line ends too.
    fn lines<'a>(&mut self, input: &mut &'a [u8]) -> Scan<'a> {
        let bytes = *input;
        let mut from = 0;
        loop {
            let Some(found) = memchr3(0, b'\r', b'\n', &bytes[from..]).map(|at| from + at) else {
                return self.take(input, bytes.len(), 0, At::Inside);
            };
            match (bytes[found], bytes.get(found + 1)) {
                (b'\r', Some(b'\n')) => {
                    from = found + 2;
                    if bytes.get(from).is_none_or(|&octet| octet == b'.' && self.dotted) {
                        return self.take(input, from, 0, At::LineStart);
                    }
                }
                (b'\r', None) => return self.take(input, found, 1, At::Cr),
                (b'\n', _) if self.bare_newline == BareNewline::Normalise => {
                    return self.take(input, found, 1, At::Newline);
                }
                (octet, _) => {
                    *input = &bytes[found + 1..];
                    return Scan::Fault(match octet {
                        b'\r' => DataFault::BareCarriageReturn,
                        b'\n' => DataFault::BareLineFeed,
                        _ => DataFault::Nul,
                    });
                }
            }
        }
    }

    /// Hands out `octets` and passes over `skipped` more.
    fn take<'a>(&mut self, input: &mut &'a [u8], octets: usize, skipped: usize, next: At) -> Scan<'a> {
        let (content, rest) = input.split_at(octets);
        self.at = next;
        *input = &rest[skipped..];
        match (content, next) {
            ([], At::Newline) => {
                self.at = At::Inside;
                Scan::Content(b"\r\n")
            }
            // Only a CR, which waits for what follows it.
            ([], _) => Scan::More,
            _ => Scan::Content(content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans `pieces` one after the other: the content, how it went, and what is left of the piece that ended it.
    fn scan(mut scanner: ContentScanner, pieces: &[&[u8]]) -> (Vec<u8>, Option<Scan<'static>>, usize) {
        let (mut content, mut fault) = (Vec::new(), None);
        for piece in pieces {
            let mut input = *piece;
            loop {
                match scanner.next(&mut input) {
                    Scan::Content(octets) => content.extend_from_slice(octets),
                    Scan::More => break,
                    Scan::End => return (content, fault.or(Some(Scan::End)), input.len()),
                    Scan::Fault(why) => fault = Some(Scan::Fault(why)),
                }
            }
            assert!(input.is_empty());
        }
        (content, fault, 0)
    }

    /// What is on the wire; what comes of it where bare newlines are normalised; and where they are rejected.
    type Variant<'a> = (&'a [u8], Result<&'a [u8], DataFault>, Result<&'a [u8], DataFault>);

    /// Scans in both settings, whole and split at each position and into single octets: always the same.
    #[track_caller]
    fn check(wire: &[u8], normalised: Result<&[u8], DataFault>, rejected: Result<&[u8], DataFault>) {
        for (setting, expect) in [(BareNewline::Normalise, normalised), (BareNewline::Reject, rejected)] {
            let scanner = ContentScanner::dotted(setting);
            let mut splits: Vec<Vec<&[u8]>> = (0..=wire.len()).map(|at| vec![&wire[..at], &wire[at..]]).collect();
            splits.push(wire.chunks(1).collect());
            for pieces in splits {
                let (content, end, left) = scan(scanner.clone(), &pieces);
                let label = format!(
                    "{} as {:?}, {setting:?}",
                    wire.escape_ascii(),
                    pieces.iter().map(|p| p.len()).collect::<Vec<_>>()
                );
                assert_eq!(left, 0, "{label}");
                match expect {
                    Ok(expect) => {
                        assert_eq!((content.as_slice(), end), (expect, Some(Scan::End)), "{label}");
                    }
                    Err(fault) => assert_eq!(end, Some(Scan::Fault(fault)), "{label}"),
                }
            }
        }
    }

    #[test]
    fn rfc_5321_4_5_2_dots_are_unstuffed_and_the_end_is_found() {
        let same = |wire: &[u8], content: &[u8]| check(wire, Ok(content), Ok(content));
        same(b".\r\n", b"");
        same(b"\r\n.\r\n", b"\r\n");
        same(b"a\r\n.\r\n", b"a\r\n");
        same(b"..\r\n.\r\n", b".\r\n");
        same(b".a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n");
        same(b"a.\r\n b.c\r\n.\r\n", b"a.\r\n b.c\r\n");
        same(b"a\r\n\r\n...\r\n\r\n.\r\n", b"a\r\n\r\n..\r\n\r\n");
        same(b"\xff\x80\x01\r\n.\r\n", b"\xff\x80\x01\r\n");
    }

    #[test]
    fn a_bare_line_feed_becomes_crlf_or_is_refused() {
        let lf = Err(DataFault::BareLineFeed);
        check(b"a\nb\r\n.\r\n", Ok(b"a\r\nb\r\n"), lf);
        check(b"\n\n\r\n.\r\n", Ok(b"\r\n\r\n\r\n"), lf);
        check(b"a\n.b\r\n.\r\n", Ok(b"a\r\n.b\r\n"), lf);
        check(b"a\n..\r\n.\r\n", Ok(b"a\r\n..\r\n"), lf);
        check(b".\n\r\n.\r\n", Ok(b".\r\n\r\n"), lf);
        check(b"..\n\r\n.\r\n", Ok(b".\r\n\r\n"), lf);
    }

    /// Each sequence that some server somewhere takes for the end of data, between two lines and before a command
    /// that must stay content. The true end follows.
    #[test]
    fn no_published_smuggling_variant_ends_a_message() {
        let lf = Err(DataFault::BareLineFeed);
        let cr = Err(DataFault::BareCarriageReturn);
        let nul = Err(DataFault::Nul);
        let table: &[Variant<'_>] = &[
            (b"\n.\n", Ok(b"\r\n.\r\n"), lf),
            (b"\n.\r\n", Ok(b"\r\n.\r\n"), lf),
            (b"\r\n.\n", Ok(b"\r\n.\r\n"), lf),
            (b"\n\n.\n\n", Ok(b"\r\n\r\n.\r\n\r\n"), lf),
            (b"\r\n\n.\r\n", Ok(b"\r\n\r\n.\r\n"), lf),
            (b"\n.\r", cr, cr),
            (b"\r.\n", cr, cr),
            (b"\r.\r", cr, cr),
            (b"\r.\r\n", cr, cr),
            (b"\r\n.\r", cr, cr),
            (b"\n\r.\r\n", cr, cr),
            (b"\r\n.\r\r\n", cr, cr),
            (b"\r\r\n.\r\r\n", cr, cr),
            (b"\r\r.\r\r", cr, cr),
            (b"\n\r.\n\r", cr, cr),
            (b"\r\n\0.\r\n", nul, nul),
            (b"\r\n.\0\r\n", nul, nul),
            (b"\r\n.\r\0\n", cr, cr),
            (b"\r\0\n.\r\n", cr, cr),
            (b"\0\r\n.\n", nul, lf),
            (b"\n\0.\n", nul, lf),
            (b"\n.\0\n", nul, lf),
            (b"\r\n .\r\n", Ok(b"\r\n .\r\n"), Ok(b"\r\n .\r\n")),
            (b"\r\n. \r\n", Ok(b"\r\n \r\n"), Ok(b"\r\n \r\n")),
            (b"\r\n\x0b.\r\n", Ok(b"\r\n\x0b.\r\n"), Ok(b"\r\n\x0b.\r\n")),
            (b"\xe2\x80\xa8.\xe2\x80\xa8", Ok(b"\xe2\x80\xa8.\xe2\x80\xa8"), Ok(b"\xe2\x80\xa8.\xe2\x80\xa8")),
        ];
        for (variant, normalised, rejected) in table {
            let around = |inside: &[u8]| [b"first", inside, b"MAIL FROM:<x@y.z>\r\n"].concat();
            let wire = [around(variant), b".\r\n".to_vec()].concat();
            let normalised = normalised.map(around);
            let rejected = rejected.map(around);
            check(&wire, normalised.as_deref().map_err(|&fault| fault), rejected.as_deref().map_err(|&fault| fault));
        }
    }

    /// Those in which a true CRLF.CRLF is hidden behind a bare CR: it is the end, and the session is over.
    #[test]
    fn a_true_end_behind_a_bare_carriage_return_ends_the_session_too() {
        for wire in [&b"a\r\r\n.\r\n"[..], b"a\r\n\r\r\n.\r\n"] {
            check(wire, Err(DataFault::BareCarriageReturn), Err(DataFault::BareCarriageReturn));
        }
        assert!(DataFault::BareCarriageReturn.ends_session());
        assert!(DataFault::BareLineFeed.ends_session());
    }

    #[test]
    fn a_graver_fault_is_told_too() {
        check(b"\0a\rb\r\n.\r\n", Err(DataFault::BareCarriageReturn), Err(DataFault::BareCarriageReturn));
        check(b"\ra\0b\r\n.\r\n", Err(DataFault::BareCarriageReturn), Err(DataFault::BareCarriageReturn));
    }

    #[test]
    fn what_follows_the_end_is_left_alone() {
        let mut input = &b"a\r\n.\r\nQUIT\r\n"[..];
        let mut scanner = ContentScanner::dotted(BareNewline::Normalise);
        assert_eq!(scanner.next(&mut input), Scan::Content(b"a\r\n"));
        assert_eq!(scanner.next(&mut input), Scan::End);
        assert_eq!(input, b"QUIT\r\n");
    }

    #[test]
    fn rfc_3030_2_in_chunks_a_dot_is_a_dot() {
        let counted = |setting, pieces: &[&[u8]]| scan(ContentScanner::counted(setting), pieces);
        for setting in [BareNewline::Normalise, BareNewline::Reject] {
            let (content, end, _) = counted(setting, &[b"a\r", b"\n.\r\n", b"..", b"b\r\n.\r\n"]);
            assert_eq!((content.as_slice(), end), (&b"a\r\n.\r\n..b\r\n.\r\n"[..], None));
            assert_eq!(counted(setting, &[b"a\r", b"b"]).1, Some(Scan::Fault(DataFault::BareCarriageReturn)));
            assert_eq!(counted(setting, &[b"a\r\n", b"\0"]).1, Some(Scan::Fault(DataFault::Nul)));
        }
        assert_eq!(counted(BareNewline::Normalise, &[b"a\n.", b"\nb"]).0, b"a\r\n.\r\nb");
        assert_eq!(counted(BareNewline::Reject, &[b"a\n"]).1, Some(Scan::Fault(DataFault::BareLineFeed)));
    }

    #[test]
    fn a_counted_message_does_not_end_with_a_carriage_return() {
        let mut scanner = ContentScanner::counted(BareNewline::Normalise);
        let mut input = &b"a\r"[..];
        while scanner.next(&mut input) != Scan::More {}
        assert_eq!(scanner.finish(), Err(DataFault::BareCarriageReturn));
        let mut input = &b"\n"[..];
        while scanner.next(&mut input) != Scan::More {}
        assert_eq!(scanner.finish(), Ok(()));
    }
}
