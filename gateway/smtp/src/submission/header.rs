//! The header of a submitted message: collected while it comes in, looked at, completed (RFC 6409 8).
//!
//! A header ends with an empty line, or before the first line that is no field: such a message gets the empty line
//! that it lacks, and what is no header is its body. A line that an mbox file begins with is dropped.
//!
//! Pure: octets and facts in, octets out. Not more than the header is held, and that is at most [`HEADER_OCTETS_MAX`].

use std::ops::Range;

use securanet_gateway::model::Address;

use crate::grammar::{
    Reply,
    mailboxes::{self, MailboxError},
};

/// Longest header in octets.
pub(crate) const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// Fields that a message must not leave with: they name hidden recipients.
const HIDDEN: [&[u8]; 2] = [b"bcc", b"resent-bcc"];

/// A header that comes in.
#[derive(Default)]
pub(crate) struct Collector {
    octets: Vec<u8>,
    /// `octets[..checked]` are lines of the header.
    checked: usize,
    has_fields: bool,
}

/// A header, whole.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Header and what came with it of the body.
    octets: Vec<u8>,
    /// Where the header ends.
    end: usize,
    /// Where the body begins: behind the empty line, if there is one.
    body: usize,
}

/// What there is to know of a header before it is completed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts {
    /// The addresses in From; empty when there is none, or an empty one.
    pub(crate) from: Vec<Address>,
    /// The addresses in Sender.
    pub(crate) sender: Vec<Address>,
    pub(crate) has_date: bool,
    pub(crate) has_message_id: bool,
    /// It has octets above 127.
    pub(crate) has_eight_bit: bool,
}

/// What is added; a Sender takes the place of the one that is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Additions {
    pub(crate) from: Option<String>,
    pub(crate) sender: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) message_id: Option<String>,
}

/// What a line of a message is.
enum LineKind {
    Field,
    Continuation,
    /// The first line of an mbox file.
    Mbox,
    Empty,
    Other,
}

impl Collector {
    /// Takes more octets (lines end with CRLF); the header, once it is whole.
    ///
    /// # Errors
    /// The refusal of one that is too long.
    pub(crate) fn push(&mut self, octets: &[u8]) -> Result<Option<Header>, Reply> {
        let mut searched = self.octets.len();
        self.octets.extend_from_slice(octets);
        while let Some(at) = memchr::memchr(b'\n', &self.octets[searched..]) {
            if let Some(header) = self.line(searched + at + 1) {
                return Ok(Some(header));
            }
            searched = self.checked;
        }
        if self.octets.len() > HEADER_OCTETS_MAX { Err(too_long()) } else { Ok(None) }
    }

    /// The line that ends before `next`.
    fn line(&mut self, next: usize) -> Option<Header> {
        match kind(&self.octets[self.checked..next], self.has_fields) {
            LineKind::Field | LineKind::Continuation => {
                self.has_fields = true;
                self.checked = next;
                None
            }
            LineKind::Mbox => {
                self.octets.drain(self.checked..next);
                None
            }
            LineKind::Empty => Some(self.whole(self.checked, next)),
            LineKind::Other => Some(self.whole(self.checked, self.checked)),
        }
    }

    /// The message is over.
    pub(crate) fn finish(mut self) -> Header {
        let rest = &self.octets[self.checked..];
        if !rest.is_empty() && matches!(kind(rest, self.has_fields), LineKind::Field | LineKind::Continuation) {
            // Only in chunks can the last line be without its end.
            self.octets.extend_from_slice(b"\r\n");
            self.checked = self.octets.len();
        }
        self.whole(self.checked, self.checked)
    }

    fn whole(&mut self, end: usize, body: usize) -> Header {
        Header { octets: std::mem::take(&mut self.octets), end, body }
    }
}

fn kind(line: &[u8], has_fields: bool) -> LineKind {
    if line == b"\r\n" {
        return LineKind::Empty;
    }
    if has_fields && is_folded(line) {
        return LineKind::Continuation;
    }
    let is_mbox = line.starts_with(b"From ") || line.starts_with(b">From ");
    if name(line).is_some() {
        LineKind::Field
    } else if !has_fields && is_mbox {
        LineKind::Mbox
    } else {
        LineKind::Other
    }
}

/// RFC 5322 2.2.3.
const fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// `field-name *WSP ":"` (RFC 5322 3.6.8, 4.5): the name.
fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic());
    is_name.then_some(name)
}

/// A field's name in lower case, and its value.
fn parse(field: &[u8]) -> (Vec<u8>, &[u8]) {
    let colon = memchr::memchr(b':', field).unwrap_or(field.len());
    let name = field[..colon].trim_ascii_end().to_ascii_lowercase();
    (name, field.get(colon + 1..).unwrap_or_default())
}

impl Header {
    /// The ranges of its fields, continuations included.
    fn fields(&self) -> Vec<Range<usize>> {
        let mut fields: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        for line in self.octets[..self.end].split_inclusive(|&octet| octet == b'\n') {
            let next = at + line.len();
            match fields.last_mut() {
                Some(last) if is_folded(line) => last.end = next,
                _ => fields.push(at..next),
            }
            at = next;
        }
        fields
    }

    /// What there is to know of it.
    ///
    /// # Errors
    /// The refusal of a header whose author cannot be told: two From fields, or one that is no list of addresses.
    pub(crate) fn facts(&self) -> Result<Facts, Reply> {
        let mut facts = Facts { has_eight_bit: !self.octets[..self.end].is_ascii(), ..Facts::default() };
        let (mut froms, mut senders) = (0, 0);
        for field in self.fields() {
            let (name, value) = parse(&self.octets[field]);
            let is_empty = value.trim_ascii().is_empty();
            match name.as_slice() {
                b"from" if !is_empty => {
                    froms += 1;
                    facts.from = mailboxes::parse(value).map_err(|error| bad_field("From", error))?;
                    if facts.from.is_empty() {
                        return Err(bad_field("From", MailboxError::Address));
                    }
                }
                b"sender" if !is_empty => {
                    senders += 1;
                    facts.sender = mailboxes::parse(value).map_err(|error| bad_field("Sender", error))?;
                }
                b"date" => facts.has_date |= !is_empty,
                b"message-id" => facts.has_message_id |= !is_empty,
                _ => {}
            }
        }
        if froms > 1 || senders > 1 {
            return Err(Reply::new(550, (6, 0), "message has more than one From or Sender field"));
        }
        Ok(facts)
    }

    /// The header with its additions and without its hidden recipients, the empty line, and what came of the body.
    pub(crate) fn complete(&self, additions: &Additions) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.octets.len() + 512);
        for field in self.fields() {
            let field = &self.octets[field];
            let (name, value) = parse(field);
            let is_empty = value.trim_ascii().is_empty();
            let replaced = match name.as_slice() {
                b"from" => is_empty,
                b"sender" => is_empty || additions.sender.is_some(),
                b"date" => is_empty && additions.date.is_some(),
                b"message-id" => is_empty && additions.message_id.is_some(),
                name => HIDDEN.contains(&name),
            };
            if !replaced {
                out.extend_from_slice(field);
            }
        }
        let Additions { from, sender, date, message_id } = additions;
        for (name, value) in [("From", from), ("Sender", sender), ("Date", date), ("Message-ID", message_id)] {
            if let Some(value) = value {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.octets[self.body..]);
        out
    }
}

fn too_long() -> Reply {
    Reply::new(552, (3, 4), format!("header is larger than {HEADER_OCTETS_MAX} octets"))
}

fn bad_field(name: &str, error: MailboxError) -> Reply {
    Reply::new(550, (6, 0), format!("{name} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a message that comes in pieces of `step` octets, and what comes behind it.
    fn collect(message: &str, step: usize) -> (Header, Vec<u8>) {
        let mut collector = Collector::default();
        let mut rest = Vec::new();
        let mut header = None;
        for piece in message.as_bytes().chunks(step) {
            match &header {
                None => header = collector.push(piece).unwrap(),
                Some(_) => rest.extend_from_slice(piece),
            }
        }
        (header.unwrap_or_else(|| collector.finish()), rest)
    }

    #[track_caller]
    fn check(message: &str, additions: &Additions, expect: &str) {
        for step in 1..=message.len().max(1) {
            let (header, rest) = collect(message, step);
            let complete = [header.complete(additions), rest].concat();
            assert_eq!(String::from_utf8(complete).unwrap(), expect, "in steps of {step}");
        }
    }

    #[test]
    fn rfc_6409_8_what_is_missing_is_added_behind_what_is_there() {
        let additions = Additions {
            from: Some("<ann@example.org>".to_owned()),
            date: Some("today".to_owned()),
            message_id: Some("<1@example.org>".to_owned()),
            sender: None,
        };
        let added = "From: <ann@example.org>\r\nDate: today\r\nMessage-ID: <1@example.org>\r\n";
        check("Subject: a\r\n\r\nbody\r\n", &additions, &format!("Subject: a\r\n{added}\r\nbody\r\n"));
        check("", &additions, &format!("{added}\r\n"));
        check("\r\nbody", &additions, &format!("{added}\r\nbody"));
        check("From: \r\nDate:\r\nMessage-ID:\r\n\r\n", &additions, &format!("{added}\r\n"));
    }

    #[test]
    fn hidden_recipients_stay_hidden() {
        let message = "To: a@b.example\r\nBcc: x@y.example,\r\n z@y.example\r\nbCC : c@d.example\r\nResent-Bcc: e@f.example\r\nSubject: a\r\n\r\nBcc: not one\r\n";
        check(message, &Additions::default(), "To: a@b.example\r\nSubject: a\r\n\r\nBcc: not one\r\n");
    }

    #[test]
    fn a_header_ends_before_what_is_no_field() {
        check("Subject: a\r\nno field\r\n", &Additions::default(), "Subject: a\r\n\r\nno field\r\n");
        check("hello\r\nSubject: a\r\n\r\n", &Additions::default(), "\r\nhello\r\nSubject: a\r\n\r\n");
        check(" folded nothing\r\n", &Additions::default(), "\r\n folded nothing\r\n");
        check("From ann Mon Nov 23\r\nSubject: a\r\n\r\nb\r\n", &Additions::default(), "Subject: a\r\n\r\nb\r\n");
        check("Subject: a\r\n b", &Additions::default(), "Subject: a\r\n b\r\n\r\n");
        check("Subject: a\r\nDate", &Additions::default(), "Subject: a\r\n\r\nDate");
    }

    #[test]
    fn a_sender_takes_the_place_of_another() {
        let additions = Additions { sender: Some("<bob@example.org>".to_owned()), ..Additions::default() };
        let message = "From: a@b.example\r\nSender: x@y.example\r\n\r\n";
        check(message, &additions, "From: a@b.example\r\nSender: <bob@example.org>\r\n\r\n");
        check(message, &Additions::default(), message);
    }

    #[test]
    fn the_facts_name_authors_and_what_is_there() {
        let facts = |message: &str| collect(message, 7).0.facts();
        let address = |text: &str| Address::parse(text).unwrap();
        let found =
            facts("FROM : A <a@b.example>,\r\n\tc@d.example\r\nSender: e@f.example\r\nDate: x\r\n\r\nFrom: body\r\n");
        let expect = Facts {
            from: vec![address("a@b.example"), address("c@d.example")],
            sender: vec![address("e@f.example")],
            has_date: true,
            has_message_id: false,
            has_eight_bit: false,
        };
        assert_eq!(found, Ok(expect));
        assert!(facts("Subject: ä\r\n\r\n").unwrap().has_eight_bit);
        assert!(!facts("Subject: a\r\n\r\nä").unwrap().has_eight_bit);
        let refused = |message: &str| facts(message).unwrap_err().status();
        assert_eq!(refused("From: a@b.example\r\nFrom: c@d.example\r\n\r\n"), "5.6.0");
        assert_eq!(refused("From: nobody\r\n\r\n"), "5.6.0");
        assert_eq!(refused("From: nobody:;\r\n\r\n"), "5.6.0");
    }

    #[test]
    fn a_header_has_a_bounded_length() {
        let mut collector = Collector::default();
        let line = format!("X: {}\r\n", "x".repeat(1000));
        let refused = (0..2000).find_map(|_| collector.push(line.as_bytes()).err()).unwrap();
        assert_eq!((refused.code(), refused.status().as_str()), (552, "5.3.4"));
        let mut endless = Collector::default();
        assert!((0..2000).any(|_| endless.push(&[b'x'; 1000]).is_err()));
    }
}
