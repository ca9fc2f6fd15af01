//! Commands before login: STARTTLS, AUTHENTICATE, LOGIN (RFC 9051 6.2, RFC 4959 SASL-IR).

use std::fmt;

use crate::grammar::cursor::{Cursor, SyntaxError};

/// Octets that nobody may see in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the octets.
    #[must_use]
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A command of the not authenticated state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotAuthenticatedCommand {
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE mechanism [initial-response]`
    Authenticate {
        /// In upper case.
        mechanism: String,
        /// Base64 as written; `=` is an empty response.
        initial: Option<Secret>,
    },
    /// `LOGIN user password`
    Login {
        /// Who.
        user: Vec<u8>,
        /// With what.
        password: Secret,
    },
}

pub(super) fn parse(name: &str, cursor: &mut Cursor<'_>) -> Result<Option<NotAuthenticatedCommand>, SyntaxError> {
    Ok(Some(match name {
        "STARTTLS" => NotAuthenticatedCommand::StartTls,
        "AUTHENTICATE" => {
            cursor.space()?;
            let mechanism = cursor.word("a mechanism")?;
            let initial = if cursor.eat(b' ') {
                let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet);
                Some(Secret(cursor.take_while(fits).to_vec()))
            } else {
                None
            };
            NotAuthenticatedCommand::Authenticate { mechanism, initial }
        }
        "LOGIN" => {
            cursor.space()?;
            let user = cursor.astring()?.into_owned();
            cursor.space()?;
            NotAuthenticatedCommand::Login { user, password: Secret(cursor.astring()?.into_owned()) }
        }
        _ => return Ok(None),
    }))
}
