//! Reverse and forward paths (RFC 5321 4.1.2), with the UTF-8 of RFC 6531 3.3.
//!
//! ```text
//! Path         = "<" [ A-d-l ":" ] Mailbox ">"
//! Mailbox      = Local-part "@" ( Domain / address-literal )
//! Local-part   = Dot-string / Quoted-string
//! ```
//!
//! A source route (A-d-l) is accepted and ignored, as RFC 5321 C asks. Dots may stand anywhere in an unquoted
//! local part, because whole countries' phones send `a..b@example.org`. Whether octets above 127 are allowed is
//! the session's knowledge; here it is only told that there were some.

use securanet_gateway::model::{
    Address, AddressError, DomainName, HostLiteral, LiteralAddress, RecipientAddress, ReversePath,
};

/// Longest path in octets, a source route not counted (RFC 5321 4.5.3.1.3).
const PATH_OCTETS_MAX: usize = 256;

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not stand in angle brackets.
    #[error("an address stands in angle brackets")]
    Brackets,
    /// A source route that is none.
    #[error("bad source route")]
    Route,
    /// The part before the `@`.
    #[error("bad local part")]
    LocalPart,
    /// There is no `@`.
    #[error("an address has a domain")]
    NoDomain,
    /// The domain.
    #[error("bad domain")]
    Domain,
    /// `[...]` that is no IPv4 or IPv6 address (RFC 5321 4.1.3).
    #[error("bad address literal")]
    Literal,
    /// Longer than 256 octets.
    #[error("address too long")]
    TooLong,
}

/// Where mail should go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForwardPath {
    /// `<local@domain>`
    Address(Address),
    /// `<local@[192.0.2.1]>`
    Literal(LiteralAddress),
    /// `<Postmaster>` (RFC 5321 4.5.1)
    Postmaster,
}

impl ForwardPath {
    /// The address, where one was written.
    #[must_use]
    pub fn address(&self) -> Option<RecipientAddress> {
        match self {
            Self::Address(address) => Some(address.clone().into()),
            Self::Literal(address) => Some(address.clone().into()),
            Self::Postmaster => None,
        }
    }
}

impl std::fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Literal(address) => address.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

/// Parses the reverse path at the beginning of `text`; gives it and what follows the `>`.
///
/// # Errors
/// [`PathError`].
pub fn reverse(text: &str) -> Result<(ReversePath, &str), PathError> {
    let inside = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    if let Some(rest) = inside.strip_prefix('>') {
        return Ok((ReversePath::Null, rest));
    }
    let (path, rest) = mailbox(skip_route(inside)?)?;
    Ok(match path {
        Mailbox::Named(address) => (ReversePath::Address(address), rest),
        Mailbox::Literal(address) => (ReversePath::Literal(address), rest),
    })
}

/// Parses the forward path at the beginning of `text`; gives it and what follows the `>`.
///
/// # Errors
/// [`PathError`].
pub fn forward(text: &str) -> Result<(ForwardPath, &str), PathError> {
    const POSTMASTER: &str = "postmaster";
    let inside = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    if let Some((name, rest)) = inside.split_at_checked(POSTMASTER.len())
        && name.eq_ignore_ascii_case(POSTMASTER)
        && let Some(rest) = rest.strip_prefix('>')
    {
        return Ok((ForwardPath::Postmaster, rest));
    }
    let (path, rest) = mailbox(skip_route(inside)?)?;
    Ok(match path {
        Mailbox::Named(address) => (ForwardPath::Address(address), rest),
        Mailbox::Literal(address) => (ForwardPath::Literal(address), rest),
    })
}

enum Mailbox {
    Named(Address),
    Literal(LiteralAddress),
}

/// `A-d-l = At-domain *( "," At-domain )`, then `:`.
fn skip_route(text: &str) -> Result<&str, PathError> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let colon = text.find(':').ok_or(PathError::Route)?;
    let hosts = text[..colon].split(',').map(|host| host.strip_prefix('@').ok_or(PathError::Route));
    for host in hosts {
        DomainName::parse(host?).map_err(|_| PathError::Route)?;
    }
    Ok(&text[colon + 1..])
}

/// `Mailbox ">"`: gives the mailbox and what follows the bracket.
fn mailbox(text: &str) -> Result<(Mailbox, &str), PathError> {
    let (local, after) = if let Some(quoted) = text.strip_prefix('"') { quoted_string(quoted)? } else { atoms(text)? };
    let host = after.strip_prefix('@').ok_or(PathError::NoDomain)?;
    let close = host.find('>').ok_or(PathError::Brackets)?;
    let (host, rest) = (&host[..close], &host[close + 1..]);
    if text.len() - rest.len() + "<".len() > PATH_OCTETS_MAX {
        return Err(PathError::TooLong);
    }
    let bad_local = |_: AddressError| PathError::LocalPart;
    let path = if host.starts_with('[') {
        let host = HostLiteral::parse(host).map_err(|_| PathError::Literal)?;
        Mailbox::Literal(LiteralAddress::new(&local, host.ip()).map_err(bad_local)?)
    } else {
        let domain = DomainName::parse(host).map_err(|_| PathError::Domain)?;
        Mailbox::Named(Address::new(&local, domain).map_err(bad_local)?)
    };
    Ok((path, rest))
}

/// An unquoted local part as it stands: atext and dots.
fn atoms(text: &str) -> Result<(std::borrow::Cow<'_, str>, &str), PathError> {
    let atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let end = text.find(|c| !atext(c)).unwrap_or(text.len());
    match (end, text[end..].chars().next()) {
        (1.., Some('@')) => Ok((text[..end].into(), &text[end..])),
        (1.., Some('>')) => Err(PathError::NoDomain),
        (1.., None) => Err(PathError::Brackets),
        _ => Err(PathError::LocalPart),
    }
}

/// The value of `*QcontentSMTP DQUOTE`, and what follows.
fn quoted_string(text: &str) -> Result<(std::borrow::Cow<'_, str>, &str), PathError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        let c = match c {
            '"' => return Ok((value.into(), &text[at + 1..])),
            '\\' => chars.next().ok_or(PathError::LocalPart)?.1,
            plain => plain,
        };
        if c.is_control() {
            return Err(PathError::LocalPart);
        }
        value.push(c);
    }
    Err(PathError::LocalPart)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, PathError>) {
        let got = forward(text).map(|(path, rest)| {
            assert_eq!(rest, "", "{text}");
            path.to_string()
        });
        assert_eq!(got, expect.map(str::to_owned), "{text}");
    }

    #[test]
    fn rfc_5321_4_1_2_paths() {
        check("<ann@example.org>", Ok("ann@example.org"));
        check("<Ann.Lee+tag@EXAMPLE.org>", Ok("Ann.Lee+tag@example.org"));
        check(r#"<"ann lee"@example.org>"#, Ok(r#""ann lee"@example.org"#));
        check(r#"<"a>b"@example.org>"#, Ok(r#""a>b"@example.org"#));
        check(r#"<"a\"\\@b"@example.org>"#, Ok(r#""a\"\\@b"@example.org"#));
        check(r#"<"ann"@example.org>"#, Ok("ann@example.org"));
        check("<a..b.@example.org>", Ok(r#""a..b."@example.org"#));
        check("<PostMaster>", Ok("postmaster"));
        check("<postmaster@example.org>", Ok("postmaster@example.org"));
    }

    #[test]
    fn rfc_5321_4_1_3_address_literals() {
        check("<ann@[192.0.2.1]>", Ok("ann@[192.0.2.1]"));
        check("<ann@[ipv6:2001:db8::1]>", Ok("ann@[IPv6:2001:db8::1]"));
        check("<ann@[2001:db8::1]>", Err(PathError::Literal));
        check("<ann@[192.0.2.999]>", Err(PathError::Literal));
        check("<ann@[192.0.2.1>", Err(PathError::Literal));
        check("<ann@[x400:something]>", Err(PathError::Literal));
    }

    #[test]
    fn rfc_5321_c_a_source_route_is_ignored() {
        check("<@a.example,@b.example:ann@example.org>", Ok("ann@example.org"));
        check("<@a.example,b.example:ann@example.org>", Err(PathError::Route));
        check("<@a.example ann@example.org>", Err(PathError::Route));
        check("<@:ann@example.org>", Err(PathError::Route));
    }

    #[test]
    fn rfc_6531_3_3_utf8_and_idn() {
        check("<jürgen@bücher.example>", Ok("jürgen@xn--bcher-kva.example"));
        check("<ann@XN--BCHER-KVA.example>", Ok("ann@xn--bcher-kva.example"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_part_that_is_wrong() {
        check("ann@example.org", Err(PathError::Brackets));
        check("<ann@example.org", Err(PathError::Brackets));
        check("<ann", Err(PathError::Brackets));
        check("<>", Err(PathError::LocalPart));
        check("<ann>", Err(PathError::NoDomain));
        check("<@example.org>", Err(PathError::Route));
        check("<ann lee@example.org>", Err(PathError::LocalPart));
        check("<ann@exa mple.org>", Err(PathError::Domain));
        check("<ann@>", Err(PathError::Domain));
        check("<ann@a@b>", Err(PathError::Domain));
        check(r#"<"ann@example.org>"#, Err(PathError::LocalPart));
        check(r#"<""@example.org>"#, Err(PathError::LocalPart));
        check(&format!("<{}@example.org>", "a".repeat(245)), Err(PathError::TooLong));
        check(&format!("<{}@example.org>", "a".repeat(65)), Ok(&format!("{}@example.org", "a".repeat(65))));
    }

    #[test]
    fn the_null_path_is_a_senders_only() {
        assert_eq!(reverse("<> SIZE=1"), Ok((ReversePath::Null, " SIZE=1")));
        assert_eq!(reverse("<postmaster>"), Err(PathError::NoDomain));
    }
}
