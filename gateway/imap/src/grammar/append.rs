//! APPEND in pieces: what stands before each message literal, and what follows one (RFC 9051 6.3.12,
//! RFC 3502 MULTIAPPEND, RFC 9755 `UTF8 (...)`).
//!
//! ```text
//! append      = "APPEND" SP mailbox 1*append-message
//! append-message = [SP flag-list] [SP date-time] SP append-data
//! append-data = literal / literal8 / "UTF8" SP "(" literal8 ")"
//! ```

use securanet_gateway::model::{Flags, UnixMillis};

use super::{
    command::MailboxArg,
    cursor::{Cursor, SyntaxError},
    date, flags,
    tag::Tag,
};

/// What stands before a message literal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE; `None`: now.
    pub internal_date: Option<UnixMillis>,
    /// Whether the literal stands in `UTF8 (...)`, whose parenthesis follows it.
    pub utf8: bool,
}

/// The beginning of an APPEND, up to its first message literal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The command's tag.
    pub tag: Tag,
    /// Where to.
    pub mailbox: MailboxArg,
    /// About the first message.
    pub first: Options,
}

/// What follows a message literal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another message.
    Message(Options),
    /// The command is complete.
    End,
}

/// Whether a command that stands before a literal's header is an APPEND whose mailbox is already there: then
/// the literal is a message. A literal that is the mailbox itself is none.
#[must_use]
pub fn is_message_literal(before: &[u8]) -> bool {
    let mut cursor = Cursor::new(before);
    let name = |cursor: &mut Cursor<'_>| -> Result<bool, SyntaxError> {
        Tag::parse(cursor)?;
        cursor.space()?;
        if cursor.word("a command")? != "APPEND" {
            return Ok(false);
        }
        cursor.space()?;
        cursor.astring()?;
        Ok(cursor.peek() == Some(b' '))
    };
    name(&mut cursor).unwrap_or(false)
}

/// Parses the beginning of an APPEND; `before` ends where the literal's header begins.
///
/// # Errors
/// [`SyntaxError`] when it is none.
pub fn parse_head(before: &[u8]) -> Result<Head, SyntaxError> {
    let mut cursor = Cursor::new(before);
    let tag = Tag::parse(&mut cursor)?;
    cursor.space()?;
    if cursor.word("APPEND")? != "APPEND" {
        return cursor.fail("APPEND before this");
    }
    cursor.space()?;
    let mailbox = MailboxArg::parse(&mut cursor)?;
    Ok(Head { tag, mailbox, first: options(&mut cursor)? })
}

/// Parses what follows a message literal, up to the next one's header or to the end of the line.
/// `ended` says that the line has no literal header; `utf8` is that of the message before.
///
/// # Errors
/// [`SyntaxError`] when it is neither an end nor another message.
pub fn parse_next(line: &[u8], utf8: bool, ended: bool) -> Result<Next, SyntaxError> {
    let mut cursor = Cursor::new(line);
    if utf8 {
        cursor.expect(b')', ")")?;
    }
    if ended {
        return cursor.end().map(|()| Next::End);
    }
    options(&mut cursor).map(Next::Message)
}

fn options(cursor: &mut Cursor<'_>) -> Result<Options, SyntaxError> {
    cursor.space()?;
    let mut options = Options { flags: Flags::default(), internal_date: None, utf8: false };
    if cursor.peek() == Some(b'(') {
        options.flags = flags::parse_list(cursor)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        options.internal_date = Some(date::parse_date_time(cursor)?);
        cursor.space()?;
    }
    options.utf8 = cursor.eat_word(b"UTF8 (");
    if cursor.rest().is_empty() { Ok(options) } else { cursor.fail("flags, a date-time or a literal") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9051_6_3_12_the_literal_of_a_mailbox_is_no_message() {
        assert!(!is_message_literal(b"a APPEND "));
        assert!(is_message_literal(b"a APPEND x "));
        assert!(is_message_literal(b"a append {3}\r\na b (\\Seen) "));
        assert!(!is_message_literal(b"a CREATE x "));
        assert!(!is_message_literal(b"a APPENDX x "));
    }

    #[test]
    fn rfc_3502_and_9755_heads_and_what_follows() {
        let head = parse_head(b"a APPEND \"x y\" (\\Seen foo) \"17-Jul-1996 02:44:25 -0700\" UTF8 (").unwrap();
        assert_eq!(head.mailbox, MailboxArg::new(b"x y".to_vec()));
        assert!(head.first.utf8 && head.first.internal_date.is_some());
        assert_eq!(head.first.flags.keywords().len(), 1);
        assert_eq!(parse_next(b")", true, true), Ok(Next::End));
        assert_eq!(parse_next(b"", false, true), Ok(Next::End));
        assert!(matches!(parse_next(b") (\\Draft) ", true, false), Ok(Next::Message(_))));
        assert!(parse_next(b"", true, true).is_err());
        assert!(parse_next(b" x", false, true).is_err());
        assert!(parse_head(b"a APPEND x(").is_err());
    }
}
