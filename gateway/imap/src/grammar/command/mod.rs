//! Commands, by the state in which RFC 9051 section 6 allows them.
//!
//! The text of a command comes whole, with its literals inside and without its last line end. APPEND is not
//! here but in [`super::append`].

use std::fmt;

use securanet_gateway::model::{MailboxName, mailbox::MailboxNameError};

use super::{
    cursor::{Cursor, SyntaxError},
    tag::Tag,
    utf7::{self, Utf7Error},
};

mod any;
mod authenticated;
mod not_authenticated;
mod selected;

pub use any::{AnyCommand, IdField};
pub use authenticated::{AuthenticatedCommand, Extension, Qresync, Select};
pub use not_authenticated::{NotAuthenticatedCommand, Secret};
pub use selected::{SelectedCommand, Store};

/// A command, by the first state that allows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Allowed in every state.
    Any(AnyCommand),
    /// Allowed before login only.
    NotAuthenticated(NotAuthenticatedCommand),
    /// Allowed after login.
    Authenticated(AuthenticatedCommand),
    /// Allowed with a mailbox selected.
    Selected(SelectedCommand),
}

/// A command with its tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// What the tagged response repeats.
    pub tag: Tag,
    /// What to do.
    pub command: Command,
}

/// Parses a command.
///
/// # Errors
/// [`SyntaxError`]; the tag, if there is one, is found with [`Tag::of`].
pub fn parse(text: &[u8]) -> Result<Parsed, SyntaxError> {
    let mut cursor = Cursor::new(text);
    let tag = Tag::parse(&mut cursor)?;
    cursor.space()?;
    let at = cursor.position();
    let mut name = cursor.word("a command")?;
    let uid = name == "UID";
    if uid {
        cursor.space()?;
        name = cursor.word("COPY, EXPUNGE, FETCH, MOVE, SEARCH or STORE")?;
    }
    let command = by_name(&name, uid, &mut cursor)?.ok_or(SyntaxError { at, expected: "a command that we know" })?;
    cursor.end()?;
    Ok(Parsed { tag, command })
}

fn by_name(name: &str, uid: bool, cursor: &mut Cursor<'_>) -> Result<Option<Command>, SyntaxError> {
    if let Some(command) = selected::parse(name, uid, cursor)? {
        return Ok(Some(Command::Selected(command)));
    }
    if uid {
        return Ok(None);
    }
    if let Some(command) = any::parse(name, cursor)? {
        return Ok(Some(Command::Any(command)));
    }
    if let Some(command) = not_authenticated::parse(name, cursor)? {
        return Ok(Some(Command::NotAuthenticated(command)));
    }
    Ok(authenticated::parse(name, cursor)?.map(Command::Authenticated))
}

/// A mailbox name as written: modified UTF-7 or, once the client has asked for it, UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct MailboxArg(Vec<u8>);

/// Why a text names no mailbox that could exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxArgError {
    /// It is no modified UTF-7.
    #[error("mailbox name is not modified UTF-7: {0}")]
    Utf7(#[from] Utf7Error),
    /// It is no UTF-8.
    #[error("mailbox name is not UTF-8")]
    Utf8,
    /// It is no name.
    #[error(transparent)]
    Name(#[from] MailboxNameError),
}

impl MailboxArg {
    /// Wraps the octets.
    #[must_use]
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// `mailbox = "INBOX" / astring`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        cursor.astring().map(|name| Self(name.into_owned()))
    }

    /// The octets as Unicode text; `utf8`: the client speaks UTF-8.
    ///
    /// # Errors
    /// [`MailboxArgError`] when they are none.
    pub fn text(octets: &[u8], utf8: bool) -> Result<String, MailboxArgError> {
        if utf8 {
            String::from_utf8(octets.to_vec()).map_err(|_| MailboxArgError::Utf8)
        } else {
            Ok(utf7::decode(octets)?)
        }
    }

    /// The name; one delimiter at the end is dropped (RFC 9051 6.3.4: it only says that children will come).
    ///
    /// # Errors
    /// [`MailboxArgError`] says what is wrong with it.
    pub fn name(&self, utf8: bool) -> Result<MailboxName, MailboxArgError> {
        let text = Self::text(&self.0, utf8)?;
        Ok(MailboxName::parse(text.strip_suffix('/').unwrap_or(&text))?)
    }
}

impl fmt::Debug for MailboxArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
