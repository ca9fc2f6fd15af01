//! The addresses in a From, Sender or Reply-To field (RFC 5322 3.4, RFC 6854), to be compared with those that a
//! sender may use.
//!
//! Strict where it matters who a reader will believe wrote the message: what two readers could take for two different
//! authors is refused, not guessed at. An address in front of an angle address (`ann@a.example <eve@b.example>`) is
//! none that RFC 5322 knows, but some programs show it as the author: so it counts as one of the addresses.

use securanet_gateway::model::{Address, DomainName};

/// More addresses than this in one field are refused: each one is looked up.
pub const MAILBOXES_MAX: usize = 25;
/// How deep comments may nest.
const COMMENT_DEPTH_MAX: usize = 16;

/// Why a field's value is no list of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// A quoted string, a comment, an angle bracket or a domain literal without its end.
    #[error("something in it has no end")]
    Unclosed,
    /// An address that is none.
    #[error("an address is expected in it")]
    Address,
    /// Octets that are not UTF-8 in an address, or control characters.
    #[error("it has octets that are no text")]
    NotText,
    /// Too many.
    #[error("it has more than {MAILBOXES_MAX} addresses")]
    TooMany,
}

/// One piece of a field's value, comments and white space taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    /// An atom or an encoded word: whatever is neither special nor space.
    Atom(String),
    /// A quoted string's value.
    Quoted(String),
    /// `[...]`
    Literal,
    /// One of `< > @ , ; : .`
    Special(u8),
}

/// The addresses in the value of a field, in order; it may be folded. A group without members has none.
///
/// # Errors
/// [`MailboxError`].
pub fn parse(value: &[u8]) -> Result<Vec<Address>, MailboxError> {
    let tokens = tokens(value)?;
    let mut addresses = Vec::new();
    // Groups do not nest: a colon ends a group's name, a semicolon ends the group as a comma ends a mailbox.
    for item in items(&tokens)? {
        addresses.append(&mut mailbox(item)?);
        if addresses.len() > MAILBOXES_MAX {
            return Err(MailboxError::TooMany);
        }
    }
    Ok(addresses)
}

/// Splits at commas and semicolons outside angle brackets, and takes the names of groups off.
fn items(tokens: &[Token]) -> Result<Vec<&[Token]>, MailboxError> {
    let mut items = Vec::new();
    let (mut start, mut in_angle, mut in_group) = (0, false, false);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Special(b'<') if in_angle => return Err(MailboxError::Address),
            Token::Special(b'<') => in_angle = true,
            Token::Special(b'>') => in_angle = false,
            Token::Special(b':') if !in_angle => {
                let name = &tokens[start..at];
                let is_phrase = name.iter().all(|token| !matches!(token, Token::Special(special) if *special != b'.'));
                if in_group || name.is_empty() || !is_phrase {
                    return Err(MailboxError::Address);
                }
                (in_group, start) = (true, at + 1);
            }
            Token::Special(b',') if !in_angle => {
                items.push(&tokens[start..at]);
                start = at + 1;
            }
            Token::Special(b';') => {
                if !in_group || in_angle {
                    return Err(MailboxError::Address);
                }
                items.push(&tokens[start..at]);
                (in_group, start) = (false, at + 1);
            }
            _ => {}
        }
    }
    if in_angle || in_group {
        return Err(MailboxError::Unclosed);
    }
    items.push(&tokens[start..]);
    // `a, , b` and the nothing behind a group: the obsolete syntax allows empty items.
    Ok(items.into_iter().filter(|item| !item.is_empty()).collect())
}

/// `[phrase] "<" [route ":"] addr-spec ">" / addr-spec`
fn mailbox(item: &[Token]) -> Result<Vec<Address>, MailboxError> {
    let Some(open) = item.iter().position(|token| *token == Token::Special(b'<')) else {
        return Ok(vec![address(item)?]);
    };
    let Some((Token::Special(b'>'), inside)) = item[open + 1..].split_last() else {
        return Err(MailboxError::Address);
    };
    let phrase = &item[..open];
    let mut found = Vec::new();
    if phrase.contains(&Token::Special(b'@')) {
        found.push(address(phrase)?);
    } else if phrase.iter().any(|token| !matches!(token, Token::Atom(_) | Token::Quoted(_) | Token::Special(b'.'))) {
        return Err(MailboxError::Address);
    }
    // RFC 5322 4.4: a route before the address means nothing.
    let spec = match inside.iter().position(|token| *token == Token::Special(b':')) {
        Some(colon) if inside.first() == Some(&Token::Special(b'@')) => &inside[colon + 1..],
        _ => inside,
    };
    found.push(address(spec)?);
    Ok(found)
}

/// `local-part "@" domain`
fn address(tokens: &[Token]) -> Result<Address, MailboxError> {
    let at = tokens.iter().position(|token| *token == Token::Special(b'@')).ok_or(MailboxError::Address)?;
    let (local, domain) = (words(&tokens[..at])?, words(&tokens[at + 1..])?);
    if tokens[at + 1..].iter().any(|token| matches!(token, Token::Quoted(_))) {
        return Err(MailboxError::Address);
    }
    let domain = DomainName::parse(&domain).map_err(|_| MailboxError::Address)?;
    Address::new(&local, domain).map_err(|_| MailboxError::Address)
}

/// `word *("." word)`, as one text. Dots may stand anywhere, as in SMTP's paths.
fn words(tokens: &[Token]) -> Result<String, MailboxError> {
    let mut text = String::new();
    let mut after_word = false;
    for token in tokens {
        let is_word = match token {
            Token::Atom(word) | Token::Quoted(word) if !after_word => {
                text.push_str(word);
                true
            }
            Token::Special(b'.') => {
                text.push('.');
                false
            }
            _ => return Err(MailboxError::Address),
        };
        after_word = is_word;
    }
    if text.is_empty() { Err(MailboxError::Address) } else { Ok(text) }
}

fn tokens(value: &[u8]) -> Result<Vec<Token>, MailboxError> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while let Some((&octet, after)) = rest.split_first() {
        rest = match octet {
            b' ' | b'\t' | b'\r' | b'\n' => after,
            b'(' => comment(after)?,
            b'"' => {
                let (text, after) = quoted(after)?;
                tokens.push(Token::Quoted(text));
                after
            }
            b'[' => {
                let end = memchr::memchr(b']', after).ok_or(MailboxError::Unclosed)?;
                tokens.push(Token::Literal);
                &after[end + 1..]
            }
            b'<' | b'>' | b'@' | b',' | b';' | b':' | b'.' => {
                tokens.push(Token::Special(octet));
                after
            }
            b')' | b']' | b'\\' => return Err(MailboxError::Address),
            _ => {
                let is_atom = |octet: &u8| !b" \t\r\n()<>[]:;@\\,.\"".contains(octet);
                let end = rest.iter().position(|octet| !is_atom(octet)).unwrap_or(rest.len());
                tokens.push(Token::Atom(text(&rest[..end])?));
                &rest[end..]
            }
        };
    }
    Ok(tokens)
}

/// Passes over a comment whose `(` was taken.
fn comment(mut rest: &[u8]) -> Result<&[u8], MailboxError> {
    let mut depth = 1;
    while depth > 0 {
        let (&octet, after) = rest.split_first().ok_or(MailboxError::Unclosed)?;
        rest = match octet {
            b'\\' => after.get(1..).ok_or(MailboxError::Unclosed)?,
            _ => after,
        };
        match octet {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth > COMMENT_DEPTH_MAX {
            return Err(MailboxError::Unclosed);
        }
    }
    Ok(rest)
}

/// The value of a quoted string whose `"` was taken, and what follows.
fn quoted(mut rest: &[u8]) -> Result<(String, &[u8]), MailboxError> {
    let mut value = Vec::new();
    loop {
        let (&octet, after) = rest.split_first().ok_or(MailboxError::Unclosed)?;
        rest = after;
        match octet {
            b'"' => return Ok((text(&value)?, rest)),
            b'\\' => {
                let (&escaped, after) = rest.split_first().ok_or(MailboxError::Unclosed)?;
                value.push(escaped);
                rest = after;
            }
            // A folded quoted string: the line end is no part of it.
            b'\r' | b'\n' => {}
            b'\t' => value.push(b' '),
            octet => value.push(octet),
        }
    }
}

/// Old programs write names in Latin-1: such an atom is no address, and compares as none.
fn text(octets: &[u8]) -> Result<String, MailboxError> {
    let text = String::from_utf8_lossy(octets);
    if text.chars().any(char::is_control) { Err(MailboxError::NotText) } else { Ok(text.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expect: Result<&[&str], MailboxError>) {
        let found = parse(value.as_bytes()).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expect = expect.map(|expect| expect.iter().map(ToString::to_string).collect());
        assert_eq!(found, expect, "{value:?}");
    }

    #[test]
    fn rfc_5322_a_1_1_addresses() {
        check("John Doe <jdoe@machine.example>", Ok(&["jdoe@machine.example"]));
        check("\"Joe Q. Public\" <john.q.public@example.com>", Ok(&["john.q.public@example.com"]));
        check("jdoe@example.org, Who? <one@y.test>", Ok(&["jdoe@example.org", "one@y.test"]));
        check("\"Giant; \\\"Big\\\" Box\" <sysservices@example.net>", Ok(&["sysservices@example.net"]));
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", Ok(&["pete@silly.test"]));
        check("John Q. Public <a@b.example>", Ok(&["a@b.example"]));
        check("=?utf-8?q?J=C3=B6rg?=\r\n <joerg@example.org>", Ok(&["joerg@example.org"]));
        check("<ann@example.org>", Ok(&["ann@example.org"]));
        check("\"ann lee\"@example.org", Ok(&["\"ann lee\"@example.org"]));
        check("Jörg <jörg@bücher.example>", Ok(&["jörg@xn--bcher-kva.example"]));
    }

    #[test]
    fn rfc_6854_groups() {
        check("Undisclosed recipients:;", Ok(&[]));
        check("A Group:Ed <joe@where.test>,joe@where.test;", Ok(&["joe@where.test", "joe@where.test"]));
        check("A Group:Ed <joe@where.test>", Err(MailboxError::Unclosed));
        check("a: b: c@d.example;;", Err(MailboxError::Address));
    }

    #[test]
    fn what_another_reader_could_take_for_another_author_counts() {
        check("ceo@bank.example <eve@b.example>", Ok(&["ceo@bank.example", "eve@b.example"]));
        check("\"ceo@bank.example\" <eve@b.example>", Ok(&["eve@b.example"]));
        check("<@bank.example:eve@b.example>", Ok(&["eve@b.example"]));
        for odd in [
            "ann",
            "ann@",
            "@example.org",
            "ann@example.org eve@b.example",
            "<ceo@bank.example> <eve@b.example>",
            "<ceo@bank.example> eve@b.example",
            "ceo@bank.example\" <eve@b.example>",
            "<<eve@b.example>>",
            "ann@@example.org",
            "ann@[192.0.2.1]",
            "a;b@c.example",
            "a) b@c.example",
            "ann lee@example.org",
        ] {
            assert!(parse(odd.as_bytes()).is_err(), "{odd}");
        }
        check("ann\u{0}@example.org", Err(MailboxError::NotText));
    }

    #[test]
    fn a_field_has_a_bounded_number_of_addresses() {
        let many = |count: usize| vec!["a@b.example"; count].join(",");
        assert_eq!(parse(many(MAILBOXES_MAX).as_bytes()).map(|found| found.len()), Ok(MAILBOXES_MAX));
        assert_eq!(parse(many(MAILBOXES_MAX + 1).as_bytes()), Err(MailboxError::TooMany));
        assert_eq!(parse("(".repeat(100_000).as_bytes()), Err(MailboxError::Unclosed));
    }
}
