//! Commands of any state: CAPABILITY, NOOP, LOGOUT (RFC 9051 6.1), ID (RFC 2971).

use crate::grammar::cursor::{Cursor, SyntaxError};

/// Fields that an ID may have (RFC 2971 3.3).
const ID_FIELDS_MAX: usize = 30;

/// A field of an ID and its value.
pub type IdField = (Vec<u8>, Option<Vec<u8>>);

/// A command of any state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AnyCommand {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `ID (...)`: fields as the client gives them, for the log.
    Id(Vec<IdField>),
}

pub(super) fn parse(name: &str, cursor: &mut Cursor<'_>) -> Result<Option<AnyCommand>, SyntaxError> {
    Ok(Some(match name {
        "CAPABILITY" => AnyCommand::Capability,
        "NOOP" => AnyCommand::Noop,
        "LOGOUT" => AnyCommand::Logout,
        "ID" => AnyCommand::Id(id(cursor)?),
        _ => return Ok(None),
    }))
}

fn id(cursor: &mut Cursor<'_>) -> Result<Vec<IdField>, SyntaxError> {
    cursor.space()?;
    if cursor.eat_word(b"NIL") {
        return Ok(Vec::new());
    }
    let fields = cursor.list(|cursor| {
        let field = cursor.string()?.into_owned();
        cursor.space()?;
        Ok((field, cursor.nstring()?.map(std::borrow::Cow::into_owned)))
    })?;
    if fields.len() > ID_FIELDS_MAX { cursor.fail("at most 30 fields before this") } else { Ok(fields) }
}
