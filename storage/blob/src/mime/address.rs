//! Lists of addresses as an ENVELOPE shows them (RFC 5322 3.4 and 4.4, RFC 9051 7.5.2).
//!
//! A list is cut into elements at its commas, semicolons and colons outside of quotes, comments, angle brackets
//! and domain literals; each element is read by itself, so that a broken one does not take its neighbours along.
//!
//! Broken or old writing has a meaning here: `Bob <bob>` and `bob` have an empty (not absent) host, because an
//! absent one would begin a group; `bob@example.org (Bob)` takes its name from the comment; `a@b <c@d>` has the
//! name `a@b`; a route (`<@a,@b:c@d>`) is dropped; a semicolon outside a group separates.

use securanet_model::summary::EnvelopeAddress;

use super::{
    allowance::Allowance,
    cursor::{Cursor, append_line_text, append_unquoted, is_space},
};

/// A piece of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token<'a> {
    /// White space, or a comment in the middle of something.
    Space,
    /// The inside of a quoted string, backslashes kept.
    Quoted(&'a [u8]),
    /// A word, dots included, or a domain literal with its brackets.
    Word(&'a [u8]),
    /// One of `, ; : < > @`, or a delimiter that opens nothing.
    Special(u8),
}

/// An element being gathered. White space at the beginning and repeated white space is not kept.
#[derive(Default)]
struct Element<'a> {
    outside: Vec<Token<'a>>,
    inside: Vec<Token<'a>>,
    has_at: bool,
    has_angle: bool,
    in_angle: bool,
    comment: Option<&'a [u8]>,
}

/// An address taken apart.
struct Parts<'a, 'b> {
    before: &'b [Token<'a>],
    local: &'b [Token<'a>],
    host: &'b [Token<'a>],
    behind: &'b [Token<'a>],
}

/// Reads a list and adds its addresses to `list`, as many as the allowance covers.
pub(crate) fn append_addresses(list: &mut Vec<EnvelopeAddress>, value: &[u8], allowance: &mut Allowance) {
    let mut cursor = Cursor::new(value);
    let mut element = Element::default();
    let mut in_group = false;
    while let Some(token) = next(&mut cursor, &mut element.comment) {
        if allowance.is_used_up() {
            break;
        }
        match token {
            Token::Special(b',') if !element.is_in_route() => list.extend(element.take(allowance)),
            Token::Special(b';') => {
                list.extend(element.take(allowance));
                if std::mem::take(&mut in_group) {
                    list.push(EnvelopeAddress::default());
                }
            }
            Token::Special(b':') if !in_group && element.may_be_group() => {
                let name = allowance.grant(phrase(&element.outside));
                element.clear();
                list.push(EnvelopeAddress { mailbox: Some(name), ..EnvelopeAddress::default() });
                in_group = true;
            }
            token => element.push(token),
        }
    }
    list.extend(element.take(allowance));
    if in_group {
        list.push(EnvelopeAddress::default());
    }
}

/// The next token; a comment is kept aside and reads as white space.
fn next<'a>(cursor: &mut Cursor<'a>, comment: &mut Option<&'a [u8]>) -> Option<Token<'a>> {
    let octet = cursor.peek()?;
    if is_space(octet) {
        cursor.take_while(is_space);
        return Some(Token::Space);
    }
    match octet {
        b'(' => {
            if let Some(inside) = cursor.comment() {
                *comment = Some(inside);
                return Some(Token::Space);
            }
        }
        b'"' => {
            if let Some(inside) = cursor.quoted() {
                return Some(Token::Quoted(inside));
            }
        }
        b'[' => {
            if let Some(literal) = cursor.literal() {
                return Some(Token::Word(literal));
            }
        }
        _ => {
            let word = cursor.take_while(|octet| !is_space(octet) && !b",;:<>@()\"[".contains(&octet));
            if !word.is_empty() {
                return Some(Token::Word(word));
            }
        }
    }
    cursor.advance();
    Some(Token::Special(octet))
}

impl<'a> Element<'a> {
    fn clear(&mut self) {
        self.outside.clear();
        self.inside.clear();
        (self.has_at, self.has_angle, self.in_angle, self.comment) = (false, false, false, None);
    }

    fn push(&mut self, token: Token<'a>) {
        match token {
            Token::Special(b'<') => {
                self.inside.clear();
                (self.has_angle, self.in_angle) = (true, true);
            }
            Token::Special(b'>') => self.in_angle = false,
            Token::Special(b':') if self.is_in_route() => self.inside.clear(),
            token => {
                self.has_at |= token == Token::Special(b'@');
                let tokens = if self.in_angle { &mut self.inside } else { &mut self.outside };
                if token != Token::Space || tokens.last().is_some_and(|&last| last != Token::Space) {
                    tokens.push(token);
                }
            }
        }
    }

    /// RFC 5322 4.4: `<@a,@b:` before the address; its commas separate no elements.
    fn is_in_route(&self) -> bool {
        self.in_angle && self.inside.first() == Some(&Token::Special(b'@'))
    }

    const fn may_be_group(&self) -> bool {
        !self.has_angle && !self.has_at
    }

    /// The address that was gathered, if any; the element is empty afterwards.
    fn take(&mut self, allowance: &mut Allowance) -> Option<EnvelopeAddress> {
        let address = self.read();
        self.clear();
        let (name, mailbox, host) = address?;
        let name = (!name.is_empty()).then(|| allowance.grant(name));
        Some(EnvelopeAddress { name, mailbox: Some(allowance.grant(mailbox)), host: Some(allowance.grant(host)) })
    }

    /// Display name, local part and host.
    fn read(&self) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let (mut name, mailbox, host) = if self.has_angle {
            let parts = split(&self.inside);
            let mailbox = [compact(parts.before), compact(parts.local)];
            let mailbox = if mailbox[0].is_empty() { mailbox[1].clone() } else { mailbox.join(&b' ') };
            (phrase(&self.outside), mailbox, compact(parts.host))
        } else if self.outside.is_empty() {
            return None;
        } else {
            let parts = split(&self.outside);
            let name = if parts.before.is_empty() { parts.behind } else { parts.before };
            (phrase(name), compact(parts.local), compact(parts.host))
        };
        if let (true, Some(comment)) = (name.is_empty(), self.comment) {
            append_unquoted(&mut name, comment.trim_ascii());
        }
        Some((name, mailbox, host))
    }
}

/// `words local@host words`; without an `@` everything is local.
fn split<'a, 'b>(tokens: &'b [Token<'a>]) -> Parts<'a, 'b> {
    let nothing = &tokens[..0];
    let Some(at) = tokens.iter().rposition(|&token| token == Token::Special(b'@')) else {
        return Parts { before: nothing, local: tokens, host: nothing, behind: nothing };
    };
    let local_end = at - usize::from(at > 0 && tokens[at - 1] == Token::Space);
    let local_start = (0..local_end).rev().find(|&index| is_gap(tokens, index)).map_or(0, |gap| gap + 1);
    let host_start = at + 1 + usize::from(tokens.get(at + 1) == Some(&Token::Space));
    let host_end = (host_start..tokens.len()).find(|&index| is_gap(tokens, index)).unwrap_or(tokens.len());
    Parts {
        before: &tokens[..local_start],
        local: &tokens[local_start..local_end],
        host: tokens.get(host_start..host_end).unwrap_or(nothing),
        behind: tokens.get(host_end..).unwrap_or(nothing),
    }
}

/// Whether the token is white space that separates words: not that around a dot (RFC 5322 4.4 allows it there).
fn is_gap(tokens: &[Token<'_>], index: usize) -> bool {
    let dot_before = || index > 0 && matches!(tokens[index - 1], Token::Word(word) if word.ends_with(b"."));
    let dot_behind = || matches!(tokens.get(index + 1), Some(Token::Word(word)) if word.starts_with(b"."));
    tokens[index] == Token::Space && !dot_before() && !dot_behind()
}

/// The words as a display name: quotes removed, white space as one space.
fn phrase(tokens: &[Token<'_>]) -> Vec<u8> {
    join(tokens, |index| tokens[index] == Token::Space)
}

/// The words as half of an address: quotes removed, no white space around dots.
fn compact(tokens: &[Token<'_>]) -> Vec<u8> {
    join(tokens, |index| is_gap(tokens, index))
}

fn join(tokens: &[Token<'_>], is_gap: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, &token) in tokens.iter().enumerate() {
        match token {
            Token::Quoted(inside) => append_unquoted(&mut text, inside),
            Token::Word(word) => append_line_text(&mut text, word),
            Token::Special(octet) => text.push(octet),
            Token::Space if is_gap(index) => text.push(b' '),
            Token::Space => {}
        }
    }
    text.truncate(text.trim_ascii_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per address: `name|mailbox|host`, `-` for what is absent.
    fn check(value: &str, expected: &[&str]) {
        let mut list = Vec::new();
        append_addresses(&mut list, value.as_bytes(), &mut Allowance::new());
        let text = |field: &Option<Vec<u8>>| {
            field.as_ref().map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let line = |a: &EnvelopeAddress| format!("{}|{}|{}", text(&a.name), text(&a.mailbox), text(&a.host));
        assert_eq!(list.iter().map(line).collect::<Vec<_>>(), expected, "{value}");
    }

    #[test]
    fn rfc_5322_appendix_a_1() {
        check("John Doe <jdoe@machine.example>", &["John Doe|jdoe|machine.example"]);
        check("\"Joe Q. Public\" <john.q.public@example.com>", &["Joe Q. Public|john.q.public|example.com"]);
        check(
            "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            &["Mary Smith|mary|x.test", "-|jdoe|example.org", "Who?|one|y.test"],
        );
        check(
            "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
            &["-|boss|nil.test", "Giant; \"Big\" Box|sysservices|example.net"],
        );
        check(
            "A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;",
            &["-|A Group|-", "Ed Jones|joe|where.test", "-|joe|where.test", "John|jdoe|one.test", "-|-|-"],
        );
        check("Undisclosed recipients:;", &["-|Undisclosed recipients|-", "-|-|-"]);
    }

    #[test]
    fn rfc_5322_appendix_a_5_and_a_6() {
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["Pete|pete|silly.test"]);
        check(
            "A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n joe@example.org;(x)",
            &["-|A Group|-", "Chris Jones|c|public.example", "-|joe|example.org", "-|-|-"],
        );
        check("Joe Q. Public <john.q.public@example.com>", &["Joe Q. Public|john.q.public|example.com"]);
        check(
            "Mary Smith <@node.test:mary@example.net>, , jdoe@test   . example",
            &["Mary Smith|mary|example.net", "-|jdoe|test.example"],
        );
        check("<@a,@b:c@d>, e@f", &["-|c|d", "-|e|f"]);
    }

    #[test]
    fn old_and_broken_writing() {
        check("bob@example.org (Bob \\(B\\))", &["Bob (B)|bob|example.org"]);
        check("bob", &["-|bob|"]);
        check("Bob <bob>", &["Bob|bob|"]);
        check("Bob <>", &["Bob||"]);
        check("a@b <c@d>", &["a@b|c|d"]);
        check("a@b; c@d;", &["-|a|b", "-|c|d"]);
        check("Bob bob@example.org", &["Bob|bob|example.org"]);
        check("\"john smith\"@example.org", &["-|john smith|example.org"]);
        check("a@[192.0.2.1], [x] y <z@[IPv6:::1]>", &["-|a|[192.0.2.1]", "[x] y|z|[IPv6:::1]"]);
        check("\"open <a@b>, c@d", &["\"open|a|b", "-|c|d"]);
        check("x <a@b, c@d", &["x|a|b", "-|c|d"]);
        check("list: a@b, c@d", &["-|list|-", "-|a|b", "-|c|d", "-|-|-"]);
        check("a@b@c", &["-|a@b|c"]);
        check(" , ;\r\n", &[]);
        check("=?utf-8?Q?a=2C?= =?utf-8?Q?b?= <a@b>", &["=?utf-8?Q?a=2C?= =?utf-8?Q?b?=|a|b"]);
        check("J\u{f6}rg <j\u{f6}rg@b\u{fc}cher.example>", &["J\u{f6}rg|j\u{f6}rg|b\u{fc}cher.example"]);
    }
}
