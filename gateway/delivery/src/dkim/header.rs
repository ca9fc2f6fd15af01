//! The header of a message that is being signed: its fields, and whom it says it is from.

use mail_parser::{Address as Mailboxes, MessageParser};
use securanet_gateway::model::DomainName;

/// A field: its name, and its value with folding and the CRLF behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field<'h> {
    pub(super) name: &'h [u8],
    pub(super) value: &'h [u8],
}

/// The fields of a header, in order; a line that belongs to none is left out.
pub(super) fn fields(mut header: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !header.is_empty() {
        let (field, rest) = header.split_at(field_end(header));
        header = rest;
        if let Some(colon) = memchr::memchr(b':', field)
            && !matches!(field[0], b' ' | b'\t')
        {
            fields.push(Field { name: field[..colon].trim_ascii_end(), value: &field[colon + 1..] });
        }
    }
    fields
}

/// Where the first field ends: behind a line end that no white space follows.
fn field_end(header: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', header)
        .map(|at| at + 1)
        .find(|&end| !matches!(header.get(end), Some(b' ' | b'\t')))
        .unwrap_or(header.len())
}

/// The domain of the one mailbox that From names; `None` when it names none or mailboxes of several domains, for which
/// nobody can sign (RFC 7489 6.6.1).
pub(super) fn author_domain(header: &[u8]) -> Option<DomainName> {
    let is_from = |field: &&Field<'_>| field.name.eq_ignore_ascii_case(b"from");
    let parsed_fields = fields(header);
    let mut from = parsed_fields.iter().filter(is_from);
    let (one, another) = (from.next()?, from.next());
    if another.is_some() {
        return None;
    }
    let field = [b"From:", one.value].concat();
    let parsed = MessageParser::new().parse_headers(&field[..])?;
    let mailboxes: Vec<_> = match parsed.from()? {
        Mailboxes::List(list) => list.iter().collect(),
        Mailboxes::Group(groups) => groups.iter().flat_map(|group| &group.addresses).collect(),
    };
    let mut domains = mailboxes.iter().map(|mailbox| {
        let (_, domain) = mailbox.address.as_deref()?.rsplit_once('@')?;
        DomainName::parse(domain).ok()
    });
    let first = domains.next()??;
    domains.all(|domain| domain.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_their_folding() {
        let header = b" stray\r\nFrom : a\r\n b\r\nno field\r\nX:\r\nTo:c";
        let expect = [(&b"From"[..], &b" a\r\n b\r\n"[..]), (b"X", b"\r\n"), (b"To", b"c")];
        assert_eq!(fields(header), expect.map(|(name, value)| Field { name, value }));
        assert_eq!(fields(b""), []);
    }

    #[test]
    fn the_author_is_one_domain_or_none() {
        let author = |header: &str| author_domain(header.as_bytes()).map(|domain| domain.to_string());
        let cases = [
            ("From: Ann <ann@Example.ORG>\r\n", Some("example.org")),
            ("Subject: x\r\nfrom:\r\n ann@bücher.example (x@y)\r\n", Some("xn--bcher-kva.example")),
            ("From: a@example.org, b@EXAMPLE.org\r\nSender: c@example.net\r\n", Some("example.org")),
            ("From: \"x@example.net\" <a@example.org>\r\n", Some("example.org")),
            ("From: a@example.org, b@example.net\r\n", None),
            ("From: a@example.org\r\nFrom: b@example.org\r\n", None),
            ("From: nobody\r\n", None),
            ("To: a@example.org\r\n", None),
        ];
        for (header, domain) in cases {
            assert_eq!(author(header).as_deref(), domain, "{header:?}");
        }
    }
}
