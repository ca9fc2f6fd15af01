//! Lexical pieces of header fields: folding, white space, comments, quoted strings (RFC 5322 2.2.3, 3.2).
//!
//! Tolerant: a quote or parenthesis that never closes is an ordinary character. The cursor remembers that one
//! did not close and does not look again, so that reading a field is linear in its length.

/// Whether the octet is folding white space.
pub(crate) const fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text without white space around it.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let Some(first) = text.iter().position(|&octet| !is_space(octet)) else { return &[] };
    let last = text.iter().rposition(|&octet| !is_space(octet)).unwrap_or(first);
    &text[first..=last]
}

/// The text trimmed and with folding removed: it has no CR, no LF and no NUL (RFC 5322 2.2.3).
pub(crate) fn unfold(text: &[u8]) -> Vec<u8> {
    let text = trim(text);
    let mut unfolded = Vec::with_capacity(text.len());
    append_line_text(&mut unfolded, text);
    unfolded
}

/// Appends text, leaving out CR, LF and NUL: no IMAP string may hold NUL, no line a line break.
pub(crate) fn append_line_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        out.extend(text.iter().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)));
    } else {
        out.extend_from_slice(text);
    }
}

/// Appends the inside of a quoted string: backslashes that quote are gone (RFC 5322 3.2.4).
pub(crate) fn append_unquoted(out: &mut Vec<u8>, inside: &[u8]) {
    let mut quoted = false;
    for &octet in inside {
        if octet == b'\\' && !quoted {
            quoted = true;
            continue;
        }
        quoted = false;
        if !matches!(octet, b'\r' | b'\n' | 0) {
            out.push(octet);
        }
    }
}

/// A position in the text of one field.
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    comments_close: bool,
    quotes_close: bool,
    literals_close: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, comments_close: true, quotes_close: true, literals_close: true }
    }

    /// The octet here; none at the end.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Moves behind the octet here.
    pub(crate) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.text.len());
    }

    /// Moves behind the octet here if it is this one.
    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    /// Everything from here on as long as `wanted`.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.iter().position(|&octet| !wanted(octet)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// At `(`: the inside of the comment, comments in it included; nothing moves when it never closes.
    pub(crate) fn comment(&mut self) -> Option<&'a [u8]> {
        if self.peek() != Some(b'(') || !self.comments_close {
            return None;
        }
        let inside = &self.text[self.at + 1..];
        let mut depth = 1_usize;
        let mut quoted = false;
        for (index, &octet) in inside.iter().enumerate() {
            match octet {
                _ if quoted => quoted = false,
                b'\\' => quoted = true,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += index + 2;
                return Some(&inside[..index]);
            }
        }
        self.comments_close = false;
        None
    }

    /// At `"`: the inside of the quoted string, backslashes kept; nothing moves when it never closes.
    pub(crate) fn quoted(&mut self) -> Option<&'a [u8]> {
        if self.peek() != Some(b'"') || !self.quotes_close {
            return None;
        }
        let inside = &self.text[self.at + 1..];
        let mut quoted = false;
        for (index, &octet) in inside.iter().enumerate() {
            match octet {
                _ if quoted => quoted = false,
                b'\\' => quoted = true,
                b'"' => {
                    self.at += index + 2;
                    return Some(&inside[..index]);
                }
                _ => {}
            }
        }
        self.quotes_close = false;
        None
    }

    /// At `[`: the domain literal with its brackets; nothing moves when it never closes.
    pub(crate) fn literal(&mut self) -> Option<&'a [u8]> {
        if self.peek() != Some(b'[') || !self.literals_close {
            return None;
        }
        let rest = &self.text[self.at..];
        let Some(end) = memchr::memchr(b']', rest) else {
            self.literals_close = false;
            return None;
        };
        self.at += end + 1;
        Some(&rest[..=end])
    }

    /// Moves over white space and comments.
    pub(crate) fn skip_space_and_comments(&mut self) {
        loop {
            self.take_while(is_space);
            if self.comment().is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_disappears_and_white_space_stays() {
        assert_eq!(unfold(b" a\r\n b\r\n\tc \r\n"), b"a b\tc");
        assert_eq!(unfold(b" \r\n "), b"");
        assert_eq!(unfold(b"a\0b"), b"ab");
    }

    #[test]
    fn comments_nest_and_quote() {
        let mut cursor = Cursor::new(b"(a (b) \\) c) d");
        assert_eq!(cursor.comment(), Some(&b"a (b) \\) c"[..]));
        cursor.skip_space_and_comments();
        assert_eq!(cursor.peek(), Some(b'd'));
    }

    #[test]
    fn what_never_closes_is_ordinary() {
        let mut cursor = Cursor::new(b"(((( \" [");
        assert_eq!(cursor.comment(), None);
        assert_eq!(cursor.take_while(|octet| octet != b'"'), b"(((( ");
        assert_eq!(cursor.quoted(), None);
        cursor.advance();
        cursor.advance();
        assert_eq!(cursor.literal(), None);
        assert_eq!(cursor.peek(), Some(b'['));
    }
}
