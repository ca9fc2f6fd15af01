//! Replies: `+OK`, `-ERR` with a response code, challenges, and the list of capabilities.

use securanet_gateway::login::{LoginError, Mechanism, encoding};

use crate::command::CommandError;

/// RFC 2449 8 and RFC 3206: what a client may do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// Another session has the maildrop: try again later.
    InUse,
    /// A fault of ours that will pass.
    SysTemp,
    /// A fault of ours that somebody must repair.
    SysPerm,
    /// The credentials are wrong: ask the user.
    Auth,
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::InUse => "[IN-USE] ",
            Self::SysTemp => "[SYS/TEMP] ",
            Self::SysPerm => "[SYS/PERM] ",
            Self::Auth => "[AUTH] ",
        }
    }
}

/// One line of reply. Its text is ours and never a client's, so that it has no line end in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply(String);

impl Reply {
    /// `+OK text`.
    #[must_use]
    pub fn ok(text: impl std::fmt::Display) -> Self {
        Self(format!("+OK {text}\r\n"))
    }

    /// `-ERR [CODE] text`.
    #[must_use]
    pub fn err(code: Option<Code>, text: impl std::fmt::Display) -> Self {
        Self(format!("-ERR {}{text}\r\n", code.map_or("", Code::text)))
    }

    /// `+ challenge` (RFC 5034 4).
    #[must_use]
    pub fn challenge(challenge: &[u8]) -> Self {
        Self(format!("+ {}\r\n", encoding::encode_challenge(challenge)))
    }

    /// `+OK text`, lines, and the final dot.
    #[must_use]
    pub fn list(text: &str, lines: impl IntoIterator<Item = String>) -> Self {
        let mut reply = format!("+OK {text}\r\n");
        for line in lines {
            reply.push_str(&line);
            reply.push_str("\r\n");
        }
        reply.push_str(".\r\n");
        Self(reply)
    }

    /// The octets to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        Self::err(None, error)
    }
}

impl From<&LoginError> for Reply {
    fn from(error: &LoginError) -> Self {
        match error {
            LoginError::Refused => Self::err(Some(Code::Auth), "wrong user name or password"),
            LoginError::Disabled => Self::err(Some(Code::Auth), "the account is suspended"),
            LoginError::PrivacyRequired => Self::err(None, "begin TLS first"),
            LoginError::TooManyAttempts { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                Self::err(Some(Code::SysTemp), format_args!("too many failed logins: try again in {seconds} seconds"))
            }
            LoginError::Malformed(what) => Self::err(None, what),
            LoginError::Cancelled => Self::err(None, "cancelled"),
            LoginError::Store(_) => Self::err(Some(Code::SysTemp), "cannot check passwords right now"),
        }
    }
}

/// What the session can do now (RFC 2449 6).
#[must_use]
pub fn capabilities(mechanisms: &[Mechanism], private: bool, starttls: bool) -> Vec<String> {
    let mut lines = vec!["TOP".to_owned()];
    if private {
        lines.push("USER".to_owned());
    }
    if !mechanisms.is_empty() {
        let names: Vec<&str> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        lines.push(format!("SASL {}", names.join(" ")));
    }
    if starttls {
        lines.push("STLS".to_owned());
    }
    lines.extend(["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "UIDL"].map(str::to_owned));
    // "USER": names and passwords may be UTF-8 (RFC 6856 2.2).
    lines.extend(["UTF8 USER", "IMPLEMENTATION SecuraNET-Mail"].map(str::to_owned));
    lines
}
