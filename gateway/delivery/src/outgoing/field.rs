//! The three header fields that say how a body is written: Content-Type, Content-Transfer-Encoding, MIME-Version.
//!
//! Tolerant: what cannot be read is what RFC 2045 says holds when nothing is said.

/// RFC 2045 6.1 Content-Transfer-Encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TransferEncoding {
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    /// None of RFC 2045's.
    Other,
}

impl TransferEncoding {
    /// Reads a field's value.
    pub(super) fn parse(value: &[u8]) -> Self {
        let value = without_comments(value);
        let name = value.trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if name.is_empty() || is("7bit") => Self::SevenBit,
            () if is("8bit") => Self::EightBit,
            () if is("binary") => Self::Binary,
            () if is("quoted-printable") => Self::QuotedPrintable,
            () if is("base64") => Self::Base64,
            () => Self::Other,
        }
    }

    /// Whether a body stands as it is, so that it may be encoded.
    pub(super) const fn is_identity(self) -> bool {
        matches!(self, Self::SevenBit | Self::EightBit | Self::Binary)
    }
}

/// What a Content-Type says about a body's structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `multipart/*` with its boundary.
    Multipart { boundary: Vec<u8>, protected: bool, digest: bool },
    /// `message/rfc822`: a message whose parts are looked at.
    Message,
    /// `text/*`.
    Text,
    /// Other `message/*` types, which RFC 2046 forbids to encode.
    Unencodable,
    /// All else.
    Other,
}

impl Kind {
    /// Reads a field's value.
    pub(super) fn parse(value: &[u8]) -> Self {
        let value = without_comments(value);
        let (kind, parameters) = split_at(&value, b';');
        let kind = kind.trim_ascii().to_ascii_lowercase();
        let (major, minor) = split_at(&kind, b'/');
        match (major.trim_ascii(), minor.trim_ascii()) {
            (b"multipart", minor) => match parameter(parameters, b"boundary") {
                Some(boundary) if !boundary.is_empty() => Self::Multipart {
                    boundary,
                    protected: matches!(minor, b"signed" | b"encrypted"),
                    digest: minor == b"digest",
                },
                _ => Self::Other,
            },
            (b"message", b"rfc822") => Self::Message,
            (b"message", b"partial" | b"external-body") => Self::Unencodable,
            (b"text", _) => Self::Text,
            _ => Self::Other,
        }
    }
}

/// What stands before and behind the first such octet; nothing behind when there is none.
fn split_at(value: &[u8], octet: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(octet, value) {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (value, &[]),
    }
}

/// The value of a parameter, without quotes.
fn parameter(mut rest: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    while !rest.is_empty() {
        let (name, behind) = split_at(rest, b'=');
        // A parameter without a value: the name holds the next one's `;`.
        let name = name.rsplit(|&octet| octet == b';').next().unwrap_or_default().trim_ascii();
        let (value, behind) = parameter_value(behind.trim_ascii_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// A token or quoted string and what stands behind the `;` after it.
fn parameter_value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (token, behind) = split_at(text, b';');
        return (token.trim_ascii().to_vec(), behind);
    };
    let mut value = Vec::new();
    let mut octets = quoted.iter().enumerate();
    while let Some((at, &octet)) = octets.next() {
        match octet {
            b'"' => return (value, split_at(&quoted[at + 1..], b';').1),
            b'\\' => value.extend(octets.next().map(|(_, &escaped)| escaped)),
            b'\r' | b'\n' => {}
            _ => value.push(octet),
        }
    }
    (value, &[])
}

/// RFC 5322 comments outside of quoted strings are taken out.
fn without_comments(value: &[u8]) -> Vec<u8> {
    let (mut out, mut depth, mut quoted, mut escaped) = (Vec::with_capacity(value.len()), 0_u32, false, false);
    for &octet in value {
        let is_escaped = std::mem::take(&mut escaped);
        match octet {
            b'\\' if !is_escaped => escaped = true,
            b'"' if !is_escaped && depth == 0 => quoted = !quoted,
            b'(' if !is_escaped && !quoted => {
                depth += 1;
                continue;
            }
            b')' if !is_escaped && !quoted && depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            out.push(octet);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_what_the_body_is_made_of() {
        let multipart = |boundary: &str, protected, digest| Kind::Multipart {
            boundary: boundary.as_bytes().to_vec(),
            protected,
            digest,
        };
        let cases = [
            (" multipart/mixed; boundary=abc", multipart("abc", false, false)),
            (" Multipart/Signed; micalg=x;\r\n Boundary=\"a;b=\\\"c\"", multipart("a;b=\"c", true, false)),
            ("multipart/encrypted; protocol=\"p;q\"; boundary = x ", multipart("x", true, false)),
            ("multipart/digest (a comment; boundary=no); boundary=yes", multipart("yes", false, true)),
            ("multipart/mixed; flag; boundary=abc", multipart("abc", false, false)),
            ("multipart/mixed", Kind::Other),
            ("message/RFC822", Kind::Message),
            ("message/partial; id=1", Kind::Unencodable),
            ("text/plain; charset=utf-8", Kind::Text),
            ("message/global", Kind::Other),
            ("nonsense", Kind::Other),
            ("", Kind::Other),
        ];
        for (value, kind) in cases {
            assert_eq!(Kind::parse(value.as_bytes()), kind, "{value:?}");
        }
    }

    #[test]
    fn transfer_encodings_are_read_without_case_and_comments() {
        assert_eq!(TransferEncoding::parse(b" Base64 (really)\r\n"), TransferEncoding::Base64);
        assert_eq!(TransferEncoding::parse(b"8BIT"), TransferEncoding::EightBit);
        assert_eq!(TransferEncoding::parse(b""), TransferEncoding::SevenBit);
        assert_eq!(TransferEncoding::parse(b"x-uuencode"), TransferEncoding::Other);
    }
}
