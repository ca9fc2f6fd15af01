//! Replies of servers: RFC 5321 4.2 with the enhanced status codes of RFC 3463 and RFC 2034. Octets in, values out.
//!
//! Servers are strangers: a reply is bounded in lines and octets, text keeps no control characters, and what is no
//! reply is an error that the caller counts as a temporary failure. Permanent or temporary goes by the first digit
//! alone; an enhanced code of another class keeps its subject and detail and loses its class.

use bytes::BytesMut;

/// Lines of one reply. EHLO of the most talkative servers has some thirty.
const LINES_MAX: usize = 100;
/// Octets of one line with its ending; RFC 5321 4.5.3.1.5 allows 512, servers that explain themselves need more.
const LINE_OCTETS_MAX: usize = 2048;

/// One reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    code: u16,
    status: Option<(u16, u16)>,
    lines: Vec<String>,
}

/// Why octets are no reply. The connection is of no use then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyError {
    /// A line is too long.
    #[error("a reply line of more than {LINE_OCTETS_MAX} octets")]
    LineTooLong,
    /// There are too many lines.
    #[error("a reply of more than {LINES_MAX} lines")]
    TooManyLines,
    /// It does not begin with a code from 200 to 599 and a space, a hyphen or nothing.
    #[error("something that is no SMTP reply")]
    NoCode,
    /// Its lines have different codes.
    #[error("a reply whose lines have different codes")]
    CodeChanges,
}

impl Reply {
    /// Takes the first reply that is complete; `None` when more octets are needed.
    ///
    /// # Errors
    /// [`ReplyError`] as soon as it is certain that no reply comes of it.
    pub fn take(input: &mut BytesMut) -> Result<Option<Self>, ReplyError> {
        let mut reply: Option<Self> = None;
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(LINE_OCTETS_MAX)]) else {
                return if rest.len() >= LINE_OCTETS_MAX { Err(ReplyError::LineTooLong) } else { Ok(None) };
            };
            let line = &rest[..end];
            let line = Line::parse(line.strip_suffix(b"\r").unwrap_or(line))?;
            at += end + 1;
            let reply = reply.get_or_insert_with(|| Self { code: line.code, status: line.status, lines: Vec::new() });
            if reply.code != line.code {
                return Err(ReplyError::CodeChanges);
            }
            if reply.lines.len() == LINES_MAX {
                return Err(ReplyError::TooManyLines);
            }
            reply.lines.push(line.text);
            if line.last {
                let done = reply.clone();
                let _ = input.split_to(at);
                return Ok(Some(done));
            }
        }
    }

    /// The three digits, 200 to 599.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// 2xx.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5xx.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// RFC 3463 status; where the server gave none, `otherwise` with the class of the code.
    #[must_use]
    pub fn status(&self, otherwise: (u16, u16)) -> (u8, u16, u16) {
        let (subject, detail) = self.status.unwrap_or(otherwise);
        let class = match self.code / 100 {
            2 => 2,
            5 => 5,
            _ => 4,
        };
        (class, subject, detail)
    }

    /// Subject and detail of the enhanced code, where there is one.
    #[must_use]
    pub const fn detail(&self) -> Option<(u16, u16)> {
        self.status
    }

    /// The lines without their codes; enhanced codes stay in the text.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The whole reply in one line: `550 5.1.1 no such mailbox`; at most `octets_max` octets.
    #[must_use]
    pub fn text(&self, octets_max: usize) -> String {
        let mut text = self.code.to_string();
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            text.push(' ');
            text.push_str(line);
        }
        text.truncate(text.floor_char_boundary(octets_max));
        text
    }
}

struct Line {
    code: u16,
    last: bool,
    status: Option<(u16, u16)>,
    text: String,
}

impl Line {
    fn parse(line: &[u8]) -> Result<Self, ReplyError> {
        let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
            return Err(ReplyError::NoCode);
        };
        let digits = [*a, *b, *c].map(|digit| u16::from(digit - b'0'));
        let (last, text) = match rest {
            [] => (true, &[][..]),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyError::NoCode),
        };
        let text = String::from_utf8_lossy(text);
        let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let text = text.trim_end().to_owned();
        let code = digits[0] * 100 + digits[1] * 10 + digits[2];
        Ok(Self { code, last, status: enhanced(&text), text })
    }
}

/// RFC 2034 4: `class "." subject "." detail` before a space or the end.
fn enhanced(text: &str) -> Option<(u16, u16)> {
    let word = text.split(' ').next()?;
    let mut numbers = word.split('.').map(|number| {
        let digits = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse::<u16>().ok()).flatten()
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && matches!(class, 2 | 4 | 5)).then_some((subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Reply>, ReplyError> {
        Reply::take(&mut BytesMut::from(text))
    }

    fn complete(text: &str) -> Reply {
        take(text).unwrap().unwrap()
    }

    #[test]
    fn rfc_5321_4_2_1_a_reply_has_one_line_or_several() {
        let mut input = BytesMut::from("250-mx.example.org greets you\r\n250-SIZE 1000\r\n250 HELP\r\n220 next\r\n");
        let reply = Reply::take(&mut input).unwrap().unwrap();
        assert_eq!(reply.lines(), ["mx.example.org greets you", "SIZE 1000", "HELP"]);
        assert_eq!(Reply::take(&mut input).unwrap().unwrap().code(), 220);
        assert!(input.is_empty());
        assert_eq!(complete("250\r\n").lines(), [""]);
        assert_eq!(complete("354 \n").code(), 354);
    }

    #[test]
    fn an_unfinished_reply_stays_in_the_buffer() {
        let whole = "250-a\r\n250 b\r\n";
        for cut in 0..whole.len() {
            let mut input = BytesMut::from(&whole[..cut]);
            assert_eq!(Reply::take(&mut input), Ok(None));
            assert_eq!(input.len(), cut);
        }
    }

    #[test]
    fn rfc_2034_4_the_first_digit_alone_tells_permanent_from_temporary() {
        assert_eq!(complete("550 5.1.1 no\r\n").status((0, 0)), (5, 1, 1));
        assert_eq!(complete("450 5.7.1 no\r\n").status((0, 0)), (4, 7, 1));
        assert_eq!(complete("550 4.2.1 no\r\n").status((0, 0)), (5, 2, 1));
        assert_eq!(complete("550 no\r\n").status((1, 1)), (5, 1, 1));
        for no_code in ["5.1", "5.1.1.1", "5.1.x", "6.1.1", "5..1", "5.1.1111", "5.1.1x"] {
            assert_eq!(complete(&format!("550 {no_code} x\r\n")).detail(), None, "{no_code}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error_at_once() {
        for garbage in ["hello\r\n", "99 x\r\n", "100 x\r\n", "600 x\r\n", "2500 x\r\n", "25\r\n", "\r\n", "250\tx\r\n"]
        {
            assert_eq!(take(garbage), Err(ReplyError::NoCode), "{garbage:?}");
        }
        assert_eq!(take("250-a\r\n251 b\r\n"), Err(ReplyError::CodeChanges));
        assert_eq!(take(&format!("250 {}", "x".repeat(LINE_OCTETS_MAX))), Err(ReplyError::LineTooLong));
        assert_eq!(take(&"250-x\r\n".repeat(LINES_MAX + 1)), Err(ReplyError::TooManyLines));
    }

    #[test]
    fn text_is_one_line_without_control_characters() {
        assert_eq!(complete("550-5.1.1 a\u{7}b\r\n550 5.1.1 c\rd\r\n").text(1000), "550 5.1.1 a?b 5.1.1 c?d");
        assert_eq!(complete("550 äöü\r\n").text(6), "550 ä");
    }
}
