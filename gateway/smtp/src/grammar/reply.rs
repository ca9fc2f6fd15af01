//! Replies: RFC 5321 4.2 with the enhanced status codes of RFC 3463.
//!
//! A [`Reply`] holds subject and detail only; the class is the first digit of its code, so the two can never
//! disagree. Its text is one line or several; whatever would break a line out of the reply is replaced when it is
//! written, so that no text, wherever it came from, can forge another reply.

use std::borrow::Cow;

/// One reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    code: u16,
    status: Option<(u16, u16)>,
    text: Cow<'static, str>,
}

/// Longest line of text in octets, so that with codes and CRLF it stays within the 512 of RFC 5321 4.5.3.1.5.
const TEXT_OCTETS_MAX: usize = 490;

impl Reply {
    /// A reply with an enhanced status code: `Reply::new(550, (1, 1), "no such mailbox")` is
    /// `550 5.1.1 no such mailbox`. Lines of the text are separated by `\n`.
    #[must_use]
    pub fn new(code: u16, (subject, detail): (u16, u16), text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: Some((subject, detail)), text: text.into() }
    }

    /// A reply that has no enhanced status code: greeting, EHLO, 354 (RFC 2034 4).
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: None, text: text.into() }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// 2xx or 3xx.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 5xx: the same again will fail again.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The enhanced status code, `5.1.1` for instance; empty where there is none.
    #[must_use]
    pub fn status(&self) -> String {
        self.status.map(|(subject, detail)| format!("{}.{subject}.{detail}", self.code / 100)).unwrap_or_default()
    }

    /// The text, lines separated by `\n`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            write_number(out, self.code);
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some((subject, detail)) = self.status {
                for number in [self.code / 100, subject] {
                    write_number(out, number);
                    out.push(b'.');
                }
                write_number(out, detail);
                out.push(b' ');
            }
            let cut = line.floor_char_boundary(TEXT_OCTETS_MAX);
            out.extend(line[..cut].bytes().map(|byte| if byte < b' ' || byte == 0x7f { b'?' } else { byte }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: u16) {
    if number >= 10 {
        write_number(out, number / 10);
    }
    let digit = u8::try_from(number % 10).unwrap_or_default();
    out.push(b'0' + digit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc_2034_4_the_class_is_that_of_the_code() {
        assert_eq!(wire(&Reply::new(550, (1, 1), "no such mailbox")), "550 5.1.1 no such mailbox\r\n");
        assert_eq!(wire(&Reply::new(421, (3, 2), "bye")), "421 4.3.2 bye\r\n");
        assert_eq!(wire(&Reply::new(550, (6, 11), "bare")), "550 5.6.11 bare\r\n");
        assert_eq!(Reply::new(452, (5, 3), "x").status(), "4.5.3");
    }

    #[test]
    fn rfc_5321_4_2_1_each_line_but_the_last_has_a_hyphen() {
        assert_eq!(wire(&Reply::plain(250, "a\nb\nc")), "250-a\r\n250-b\r\n250 c\r\n");
        assert_eq!(wire(&Reply::new(214, (0, 0), "a\nb")), "214-2.0.0 a\r\n214 2.0.0 b\r\n");
    }

    #[test]
    fn a_text_cannot_forge_a_line() {
        assert_eq!(wire(&Reply::plain(250, "a\r250 b\u{7}")), "250 a?250 b?\r\n");
        assert!(wire(&Reply::plain(250, "ü".repeat(600))).len() <= 512);
    }
}
