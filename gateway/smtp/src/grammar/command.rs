//! Command lines (RFC 5321 4.1.1): one line in, one [`Command`] or the reason why it is none.
//!
//! Verbs and keywords are compared without case. A line is UTF-8 (RFC 6531); which parts of it may be more than
//! ASCII is decided where they are parsed. Limits of length are those of RFC 5321 4.5.3.1.4 raised by what the
//! announced extensions ask for, and hold per command.

use securanet_gateway::model::HostLiteral;

use super::{
    error::CommandError,
    parameter::{self, MailFrom, RcptTo},
};

/// Longest line in octets, CRLF included, of MAIL and RCPT: 512, and what SIZE, BODY, SMTPUTF8 and the
/// parameters of DSN add (RFC 1870 7, RFC 6152 2, RFC 6531 3.1, RFC 3461 3), rounded up generously. A reader needs
/// no more than this.
pub const LINE_OCTETS_MAX: usize = 2048;
/// Longest line of any other command (RFC 5321 4.5.3.1.4).
pub const LINE_OCTETS_BASIC: usize = 512;
/// Longest line of AUTH and of the responses after it, CRLF included (RFC 4954 4).
pub const AUTH_LINE_OCTETS_MAX: usize = 12_288;

/// Which greeting a client used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hello {
    /// RFC 5321, without extensions.
    Helo,
    /// RFC 5321, with extensions.
    Ehlo,
    /// RFC 2033
    Lhlo,
}

/// What a client calls itself: a host name or an address literal, never verified (RFC 5321 4.1.4), safe to be
/// written into a header field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientName(String);

impl ClientName {
    /// `Domain / address-literal`, and the underscores that Windows machines have in their names.
    ///
    /// # Errors
    /// [`CommandError::ClientName`].
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let fits = if text.starts_with('[') {
            HostLiteral::parse(text).is_ok()
        } else {
            (1..=255).contains(&text.len()) && text.bytes().all(is_name)
        };
        if fits { Ok(Self(text.to_owned())) } else { Err(CommandError::ClientName) }
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What only the login may see; it has no readable `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `HELO`, `EHLO`, `LHLO`
    Hello(Hello, ClientName),
    /// `MAIL`
    Mail(Box<MailFrom>),
    /// `RCPT`
    Rcpt(Box<RcptTo>),
    /// `DATA`
    Data,
    /// RFC 3030 `BDAT`
    Chunk {
        /// Octets that follow the line.
        octets: u64,
        /// Whether the message is complete with them.
        last: bool,
    },
    /// `RSET`
    Reset,
    /// `NOOP`
    Noop,
    /// `VRFY`
    Verify,
    /// `EXPN`
    Expand,
    /// `HELP`
    Help,
    /// `QUIT`
    Quit,
    /// RFC 3207 `STARTTLS`
    StartTls,
    /// RFC 4954 `AUTH`
    Auth {
        /// The mechanism's name.
        mechanism: String,
        /// The initial response in base64.
        initial: Option<Secret>,
    },
}

/// Parses a command line, given without its line ending.
///
/// # Errors
/// [`CommandError`] says what is wrong and what the client is told.
pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
    let text = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
    if text.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
        return Err(CommandError::NotText);
    }
    let text = text.trim_end_matches([' ', '\t']);
    let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
    let argument = argument.trim_start_matches(' ');
    let is = |name: &str| verb.eq_ignore_ascii_case(name);
    let octets_max = match verb {
        _ if is("MAIL") || is("RCPT") => LINE_OCTETS_MAX,
        _ if is("AUTH") => AUTH_LINE_OCTETS_MAX,
        _ => LINE_OCTETS_BASIC,
    };
    if line.len() + "\r\n".len() > octets_max {
        return Err(CommandError::TooLong);
    }
    let alone = |command: Command, usage: &'static str| {
        if argument.is_empty() { Ok(command) } else { Err(CommandError::Arguments(usage)) }
    };
    match verb {
        _ if is("RCPT") => parameter::rcpt_to(argument).map(|rcpt| Command::Rcpt(Box::new(rcpt))),
        _ if is("MAIL") => parameter::mail_from(argument).map(|mail| Command::Mail(Box::new(mail))),
        _ if is("DATA") => alone(Command::Data, "DATA"),
        _ if is("BDAT") => chunk(argument),
        _ if is("AUTH") => auth(argument),
        _ if is("EHLO") => ClientName::parse(argument).map(|name| Command::Hello(Hello::Ehlo, name)),
        _ if is("HELO") => ClientName::parse(argument).map(|name| Command::Hello(Hello::Helo, name)),
        _ if is("LHLO") => ClientName::parse(argument).map(|name| Command::Hello(Hello::Lhlo, name)),
        _ if is("RSET") => alone(Command::Reset, "RSET"),
        _ if is("QUIT") => alone(Command::Quit, "QUIT"),
        _ if is("STARTTLS") => alone(Command::StartTls, "STARTTLS"),
        _ if is("NOOP") => Ok(Command::Noop),
        _ if is("HELP") => Ok(Command::Help),
        _ if is("VRFY") || is("EXPN") => match argument {
            "" => Err(CommandError::Arguments("VRFY or EXPN, and a name")),
            _ => Ok(if is("VRFY") { Command::Verify } else { Command::Expand }),
        },
        _ if is_foreign(verb) => Err(CommandError::Foreign),
        _ => Err(CommandError::Unknown),
    }
}

/// `bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]` (RFC 3030 2).
fn chunk(argument: &str) -> Result<Command, CommandError> {
    let (size, marker) = argument.split_once(' ').unwrap_or((argument, ""));
    let digits = (1..=19).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_digit());
    let octets = size.parse().ok().filter(|_| digits).ok_or(CommandError::ChunkSize)?;
    match marker.trim_start_matches(' ') {
        "" => Ok(Command::Chunk { octets, last: false }),
        last if last.eq_ignore_ascii_case("LAST") => Ok(Command::Chunk { octets, last: true }),
        _ => Err(CommandError::ChunkSize),
    }
}

/// `"AUTH" SP sasl-mech [SP initial-response]` (RFC 4954 4).
fn auth(argument: &str) -> Result<Command, CommandError> {
    let (mechanism, initial) = match argument.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(Secret(initial.trim_start_matches(' ').into()))),
        None => (argument, None),
    };
    // RFC 4422 3.1.
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=20).contains(&mechanism.len()) && mechanism.bytes().all(is_name) {
        Ok(Command::Auth { mechanism: mechanism.to_owned(), initial })
    } else {
        Err(CommandError::Arguments("AUTH mechanism [initial-response]"))
    }
}

/// Requests of HTTP, by which a browser could be made to speak commands in its request's body.
fn is_foreign(verb: &str) -> bool {
    matches!(verb, "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" | "PRI")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::path;

    #[track_caller]
    fn check(line: &str, expect: Command) {
        assert_eq!(parse(line.as_bytes()), Ok(expect), "{line}");
    }

    #[track_caller]
    fn refused(line: &[u8], expect: CommandError, code: &str) {
        assert_eq!(parse(line), Err(expect), "{}", line.escape_ascii());
        assert_eq!(format!("{} {}", expect.reply().code(), expect.reply().status()), code);
    }

    fn name(text: &str) -> ClientName {
        ClientName::parse(text).unwrap()
    }

    #[test]
    fn rfc_5321_4_1_1_verbs_have_no_case() {
        check("EHLO mx.example.net", Command::Hello(Hello::Ehlo, name("mx.example.net")));
        check("helo localhost", Command::Hello(Hello::Helo, name("localhost")));
        check("LhLo [IPv6:::1]", Command::Hello(Hello::Lhlo, name("[IPv6:::1]")));
        check("data", Command::Data);
        check("RSET  ", Command::Reset);
        check("NOOP whatever it is", Command::Noop);
        check("HELP MAIL", Command::Help);
        check("VRFY ann", Command::Verify);
        check("EXPN all", Command::Expand);
        check("QUIT", Command::Quit);
        check("StartTLS", Command::StartTls);
    }

    #[test]
    fn rfc_3030_2_bdat() {
        check("BDAT 0 LAST", Command::Chunk { octets: 0, last: true });
        check("bdat 86000 last", Command::Chunk { octets: 86000, last: true });
        check("BDAT 1000", Command::Chunk { octets: 1000, last: false });
        for bad in ["BDAT", "BDAT LAST", "BDAT -1", "BDAT +1", "BDAT 1 2", "BDAT 1 LAST 2", "BDAT 99999999999999999999"]
        {
            refused(bad.as_bytes(), CommandError::ChunkSize, "501 5.5.4");
        }
        assert!(CommandError::ChunkSize.ends_session());
    }

    #[test]
    fn rfc_5321_4_1_1_1_a_client_names_itself() {
        for bad in ["EHLO", "EHLO a b", "EHLO a;b", "EHLO [1.2.3]", "EHLO (x)", "EHLO ünder.example"] {
            refused(bad.as_bytes(), CommandError::ClientName, "501 5.5.4");
        }
        check("EHLO WIN_PC-1", Command::Hello(Hello::Ehlo, name("WIN_PC-1")));
    }

    #[test]
    fn rfc_5321_4_2_4_what_is_no_command() {
        refused(b"", CommandError::Unknown, "500 5.5.1");
        refused(b"MAILFROM:<>", CommandError::Unknown, "500 5.5.1");
        refused(b"TURN", CommandError::Unknown, "500 5.5.1");
        refused(b"DATA now", CommandError::Arguments("DATA"), "501 5.5.4");
        refused(b"NOOP \xff", CommandError::NotText, "500 5.5.2");
        refused(b"NOOP \0", CommandError::NotText, "500 5.5.2");
        refused(b"NOOP a\rb", CommandError::NotText, "500 5.5.2");
        refused(b"GET / HTTP/1.1", CommandError::Foreign, "554 5.5.1");
    }

    #[test]
    fn rfc_4954_4_auth_has_a_mechanism_and_perhaps_a_response() {
        let auth = |mechanism: &str, initial: Option<&str>| Command::Auth {
            mechanism: mechanism.to_owned(),
            initial: initial.map(|text| Secret(text.into())),
        };
        check("AUTH PLAIN", auth("PLAIN", None));
        check("auth scram-sha-256 biws", auth("scram-sha-256", Some("biws")));
        check("AUTH PLAIN =", auth("PLAIN", Some("=")));
        let long = "A".repeat(AUTH_LINE_OCTETS_MAX - "AUTH PLAIN \r\n".len());
        check(&format!("AUTH PLAIN {long}"), auth("PLAIN", Some(&long)));
        refused(format!("AUTH PLAIN {long}A").as_bytes(), CommandError::TooLong, "500 5.5.2");
        for bad in ["AUTH", "AUTH A.B", "AUTH ABCDEFGHIJKLMNOPQRSTU"] {
            refused(bad.as_bytes(), CommandError::Arguments("AUTH mechanism [initial-response]"), "501 5.5.4");
        }
        let shown = format!("{:?}", parse(b"AUTH PLAIN c2VjcmV0"));
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }

    #[test]
    fn rfc_5321_4_5_3_1_4_lines_have_their_length() {
        let noop = |octets: usize| format!("NOOP {}", "x".repeat(octets - 7));
        assert_eq!(noop(LINE_OCTETS_BASIC).len() + 2, LINE_OCTETS_BASIC);
        check(&noop(LINE_OCTETS_BASIC), Command::Noop);
        refused(noop(LINE_OCTETS_BASIC + 1).as_bytes(), CommandError::TooLong, "500 5.5.2");
        let rcpt = format!("RCPT TO:<a@b.c> ORCPT=rfc822;{}", "x".repeat(490));
        assert!(matches!(parse(rcpt.as_bytes()), Ok(Command::Rcpt(_))));
    }

    #[test]
    fn paths_say_whose_fault_it_is() {
        refused(b"MAIL FROM:<ann>", CommandError::Sender(path::PathError::NoDomain), "501 5.1.7");
        refused(b"RCPT TO:ann@example.org", CommandError::Recipient(path::PathError::Brackets), "501 5.1.3");
    }
}
