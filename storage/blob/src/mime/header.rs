//! The header of an entity: which fields it has, and where it ends (RFC 5322 2.2, RFC 2045 3).
//!
//! One pass over the lines. A header ends with its empty line; where that is missing, at a delimiter line of a
//! multipart around it, or at the end of the message. Lines that are no field (a `From ` line, garbage) are
//! passed over: stopping there would turn the rest of the header into text for the reader.

use memchr::memchr;

use super::boundary::Boundaries;

/// Octets of one field that are looked at; some 4,000 addresses fit.
pub(crate) const FIELD_SIZE_BYTES_MAX: usize = 256 * 1024;
/// Known fields of one header that are looked at; each name occurs once in a correct message.
const FIELDS_MAX: usize = 256;

/// The fields that a summary or a recipe needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Bcc,
    Cc,
    ContentDescription,
    ContentDisposition,
    ContentId,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
    ContentTransferEncoding,
    ContentType,
    Date,
    DeliveredTo,
    From,
    InReplyTo,
    MessageId,
    Received,
    References,
    ReplyTo,
    Sender,
    Subject,
    To,
}

impl Name {
    fn parse(name: &[u8]) -> Option<Self> {
        let known: &[(&str, Self)] = match name.len() {
            2 => &[("To", Self::To), ("Cc", Self::Cc)],
            3 => &[("Bcc", Self::Bcc)],
            4 => &[("From", Self::From), ("Date", Self::Date)],
            6 => &[("Sender", Self::Sender)],
            7 => &[("Subject", Self::Subject)],
            8 => &[("Reply-To", Self::ReplyTo), ("Received", Self::Received)],
            10 => &[("Message-ID", Self::MessageId), ("References", Self::References), ("Content-ID", Self::ContentId)],
            11 => &[("In-Reply-To", Self::InReplyTo), ("Content-MD5", Self::ContentMd5)],
            12 => &[("Content-Type", Self::ContentType), ("Delivered-To", Self::DeliveredTo)],
            16 => &[("Content-Language", Self::ContentLanguage), ("Content-Location", Self::ContentLocation)],
            19 => {
                &[("Content-Disposition", Self::ContentDisposition), ("Content-Description", Self::ContentDescription)]
            }
            25 => &[("Content-Transfer-Encoding", Self::ContentTransferEncoding)],
            _ => &[],
        };
        known.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())).map(|&(_, name)| name)
    }
}

/// The known fields of one header, in order, their values as they stand (folded, with the last line break).
pub(crate) struct Header<'a> {
    fields: Vec<(Name, &'a [u8])>,
    received: u32,
    end: usize,
}

impl<'a> Header<'a> {
    /// Reads the header that begins at `start`.
    pub(crate) fn read(message: &'a [u8], start: usize, boundaries: &Boundaries) -> Self {
        let mut header = Self { fields: Vec::new(), received: 0, end: message.len() };
        let mut field: Option<(Name, usize)> = None;
        let mut line = start;
        while line < message.len() {
            let next = memchr(b'\n', &message[line..]).map_or(message.len(), |end| line + end + 1);
            let text = &message[line..next];
            if matches!(text[0], b' ' | b'\t') {
                line = next;
                continue;
            }
            header.keep(message, field.take(), line);
            if text == b"\n" || text == b"\r\n" {
                header.end = next;
                return header;
            }
            if text.starts_with(b"--") && boundaries.at(message, line).is_some() {
                header.end = line;
                return header;
            }
            field = field_name(text).map(|(name, value)| (name, line + value));
            line = next;
        }
        header.keep(message, field, message.len());
        header
    }

    /// Where the body begins.
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// How many Received fields there are.
    pub(crate) const fn received_count(&self) -> u32 {
        self.received
    }

    /// The value of the first field of this name.
    pub(crate) fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all fields of this name.
    pub(crate) fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| field.1)
    }

    fn keep(&mut self, message: &'a [u8], field: Option<(Name, usize)>, end: usize) {
        match field {
            Some((Name::Received, _)) => self.received = self.received.saturating_add(1),
            Some((name, value)) if self.fields.len() < FIELDS_MAX => {
                if self.fields.is_empty() {
                    self.fields.reserve(12);
                }
                self.fields.push((name, &message[value..end.min(value + FIELD_SIZE_BYTES_MAX)]));
            }
            _ => {}
        }
    }
}

/// The name of the field that a line begins, if it is a known one, and where in the line its value begins.
fn field_name(line: &[u8]) -> Option<(Name, usize)> {
    const NAME_SIZE_BYTES_MAX: usize = 64;
    let colon = memchr(b':', &line[..line.len().min(NAME_SIZE_BYTES_MAX)])?;
    let name = Name::parse(line[..colon].trim_ascii_end())?;
    Some((name, colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Header<'_> {
        Header::read(text, 0, &Boundaries::new())
    }

    #[test]
    fn fields_are_found_in_any_case_folded_and_with_space_before_the_colon() {
        let header = read(b"subject : a\r\n b\r\nX-Other: 1\r\nTO: x\nTo: y\r\n\r\nFrom: body");
        assert_eq!(header.first(Name::Subject), Some(&b" a\r\n b\r\n"[..]));
        assert_eq!(header.all(Name::To).collect::<Vec<_>>(), [&b" x\n"[..], b" y\r\n"]);
        assert_eq!(header.first(Name::From), None);
        assert_eq!(header.end(), 44);
    }

    #[test]
    fn a_header_ends_at_its_empty_line_a_delimiter_or_the_end() {
        assert_eq!(read(b"\r\nbody").end(), 2);
        assert_eq!(read(b"From x\nA: b\n\nbody").end(), 13);
        assert_eq!(read(b"To: x").end(), 5);
        assert_eq!(read(b"").end(), 0);
        let mut boundaries = Boundaries::new();
        boundaries.open(b"b");
        let header = Header::read(b"To: x\r\n--b\r\nCc: y\r\n\r\n", 0, &boundaries);
        assert_eq!((header.end(), header.first(Name::Cc)), (7, None));
    }

    #[test]
    fn received_fields_are_counted_without_bound_and_others_are_bounded() {
        let header = "Received: x\r\nTo: y\r\n".repeat(1000);
        let header = read(header.as_bytes());
        assert_eq!((header.received_count(), header.all(Name::To).count()), (1000, FIELDS_MAX));
    }
}
