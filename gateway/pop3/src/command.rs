//! The grammar of commands.
//!
//! Keywords come in any case. Arguments are separated by one space; what USER and PASS get is the rest of the
//! line, because passwords have spaces (RFC 1939 7). A command has at most 255 octets (RFC 2449 4).

use std::fmt;

/// Longest command line in octets, its CRLF included.
pub const COMMAND_OCTETS_MAX: usize = 255;
/// Longest answer to a challenge in octets (RFC 4954 4 has the same for SMTP).
pub const RESPONSE_OCTETS_MAX: usize = 12_288;

/// A message's number in its session; from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MessageNumber(u32);

impl MessageNumber {
    /// A number; `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Octets that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// RFC 1939 7: `USER name`.
    User(String),
    /// RFC 1939 7: `PASS string`.
    Pass(Secret),
    /// RFC 5034 4: `AUTH mechanism [initial-response]`.
    Auth {
        /// The mechanism's name.
        mechanism: String,
        /// The initial response in base64.
        initial: Option<Secret>,
    },
    /// `AUTH` alone: old clients ask for the mechanisms so.
    AuthList,
    /// RFC 2595 4.
    Stls,
    /// RFC 2449 5.
    Capa,
    /// RFC 6856 2.1.
    Utf8,
    /// RFC 1939 5 and 6.
    Quit,
    /// RFC 1939 5.
    Stat,
    /// RFC 1939 5: `LIST [msg]`.
    List(Option<MessageNumber>),
    /// RFC 1939 5: `RETR msg`.
    Retr(MessageNumber),
    /// RFC 1939 5: `DELE msg`.
    Dele(MessageNumber),
    /// RFC 1939 5.
    Noop,
    /// RFC 1939 5.
    Rset,
    /// RFC 1939 7: `TOP msg n`.
    Top(MessageNumber, u32),
    /// RFC 1939 7: `UIDL [msg]`.
    Uidl(Option<MessageNumber>),
}

/// Why a line is no command. The text is for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// No keyword that we know.
    #[error("unknown command")]
    Unknown,
    /// The keyword is known, its arguments do not fit.
    #[error("{0}")]
    Arguments(&'static str),
}

impl Command {
    /// Reads a line, given without its ending.
    ///
    /// # Errors
    /// [`CommandError`]
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let (keyword, rest) = match line.iter().position(|&octet| octet == b' ') {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        match keyword.as_slice() {
            b"USER" => user(rest),
            b"PASS" => Ok(Self::Pass(Secret(rest.ok_or(CommandError::Arguments("PASS needs a password"))?.to_vec()))),
            b"AUTH" => auth(rest),
            b"LIST" => optional_number(rest).map(Self::List),
            b"UIDL" => optional_number(rest).map(Self::Uidl),
            b"RETR" => one_number(rest).map(Self::Retr),
            b"DELE" => one_number(rest).map(Self::Dele),
            b"TOP" => top(rest),
            _ => {
                let command = Self::without_arguments(&keyword).ok_or(CommandError::Unknown)?;
                if arguments(rest)?.is_empty() {
                    Ok(command)
                } else {
                    Err(CommandError::Arguments("no argument expected"))
                }
            }
        }
    }

    fn without_arguments(keyword: &[u8]) -> Option<Self> {
        Some(match keyword {
            b"QUIT" => Self::Quit,
            b"STAT" => Self::Stat,
            b"NOOP" => Self::Noop,
            b"RSET" => Self::Rset,
            b"CAPA" => Self::Capa,
            b"STLS" => Self::Stls,
            b"UTF8" => Self::Utf8,
            _ => return None,
        })
    }
}

fn user(rest: Option<&[u8]>) -> Result<Command, CommandError> {
    let name = rest.and_then(|rest| std::str::from_utf8(rest).ok()).map(str::trim).unwrap_or_default();
    if name.is_empty() { Err(CommandError::Arguments("USER needs a name")) } else { Ok(Command::User(name.to_owned())) }
}

fn auth(rest: Option<&[u8]>) -> Result<Command, CommandError> {
    let wrong = CommandError::Arguments("AUTH needs a mechanism and perhaps an initial response");
    match arguments(rest)?.as_slice() {
        [] => Ok(Command::AuthList),
        [mechanism] => Ok(Command::Auth { mechanism: (*mechanism).to_owned(), initial: None }),
        [mechanism, initial] => {
            let initial = Some(Secret(initial.as_bytes().to_vec()));
            Ok(Command::Auth { mechanism: (*mechanism).to_owned(), initial })
        }
        _ => Err(wrong),
    }
}

fn top(rest: Option<&[u8]>) -> Result<Command, CommandError> {
    let wrong = CommandError::Arguments("TOP needs a message number and a number of lines");
    match arguments(rest)?.as_slice() {
        [message, lines] => Ok(Command::Top(number(message)?, digits(lines).ok_or(wrong)?)),
        _ => Err(wrong),
    }
}

fn optional_number(rest: Option<&[u8]>) -> Result<Option<MessageNumber>, CommandError> {
    match arguments(rest)?.as_slice() {
        [] => Ok(None),
        [message] => number(message).map(Some),
        _ => Err(CommandError::Arguments("at most one message number expected")),
    }
}

fn one_number(rest: Option<&[u8]>) -> Result<MessageNumber, CommandError> {
    match arguments(rest)?.as_slice() {
        [message] => number(message),
        _ => Err(CommandError::Arguments("one message number expected")),
    }
}

fn number(text: &str) -> Result<MessageNumber, CommandError> {
    digits(text).and_then(MessageNumber::new).ok_or(CommandError::Arguments("message numbers are whole, from 1"))
}

fn digits(text: &str) -> Option<u32> {
    // Without the check a sign would pass.
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Arguments, with spaces around them forgiven.
fn arguments(rest: Option<&[u8]>) -> Result<Vec<&str>, CommandError> {
    let text =
        std::str::from_utf8(rest.unwrap_or_default()).map_err(|_| CommandError::Arguments("arguments are ASCII"))?;
    Ok(text.split(' ').filter(|argument| !argument.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, CommandError> {
        Command::parse(line.as_bytes())
    }

    fn message(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn rfc_1939_section_3_keywords_come_in_any_case() {
        for (line, command) in [
            ("stat", Command::Stat),
            ("Quit ", Command::Quit),
            ("LIST", Command::List(None)),
            ("list 2", Command::List(Some(message(2)))),
            ("UIDL 4294967295", Command::Uidl(Some(message(u32::MAX)))),
            ("retr 1", Command::Retr(message(1))),
            ("DELE 01", Command::Dele(message(1))),
            ("TOP 1 0", Command::Top(message(1), 0)),
            ("capa", Command::Capa),
            ("AUTH", Command::AuthList),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn rfc_1939_section_7_pass_takes_the_rest_of_the_line() {
        assert_eq!(parse("PASS two  words "), Ok(Command::Pass(Secret(b"two  words ".to_vec()))));
        assert_eq!(parse("PASS "), Ok(Command::Pass(Secret(Vec::new()))));
        assert_eq!(parse("USER  ann@example.org "), Ok(Command::User("ann@example.org".to_owned())));
        assert_eq!(format!("{:?}", parse("PASS secret").unwrap()), "Pass(Secret(..))");
    }

    #[test]
    fn rfc_5034_section_4_auth_has_a_mechanism_and_perhaps_an_initial_response() {
        let auth = |initial: Option<&str>| Command::Auth {
            mechanism: "PLAIN".to_owned(),
            initial: initial.map(|text| Secret(text.as_bytes().to_vec())),
        };
        assert_eq!(parse("AUTH PLAIN"), Ok(auth(None)));
        assert_eq!(parse("AUTH PLAIN ="), Ok(auth(Some("="))));
        assert!(matches!(parse("AUTH PLAIN a b"), Err(CommandError::Arguments(_))));
    }

    #[test]
    fn what_is_no_command_says_why() {
        assert_eq!(parse("APOP a b"), Err(CommandError::Unknown));
        assert_eq!(parse(""), Err(CommandError::Unknown));
        assert_eq!(Command::parse(b"\xff"), Err(CommandError::Unknown));
        for line in [
            "RETR",
            "RETR 0",
            "RETR -1",
            "RETR +1",
            "RETR 1 2",
            "RETR x",
            "TOP 1",
            "TOP 1 x",
            "LIST 4294967296",
            "STAT 1",
            "USER",
            "USER ",
            "PASS",
            "DELE 1,2",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Arguments(_))), "{line}");
        }
        assert!(matches!(Command::parse(b"RETR \xff"), Err(CommandError::Arguments(_))));
    }
}
