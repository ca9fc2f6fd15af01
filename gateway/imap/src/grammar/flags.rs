//! Flags as clients write them (RFC 9051 section 9, `flag`).

use securanet_gateway::model::{Flags, Keyword, SystemFlags};

use super::cursor::{Cursor, SyntaxError};

/// `flag-list = "(" [flag *(SP flag)] ")"`
///
/// `\Recent` is passed over: clients that copy flags from one server to another send it, and it is the
/// server's alone.
///
/// # Errors
/// [`SyntaxError`] when there is none, or an unknown flag with a backslash.
pub fn parse_list(cursor: &mut Cursor<'_>) -> Result<Flags, SyntaxError> {
    cursor.list(parse).map(collect)
}

/// `flag-list / (flag *(SP flag))`, as STORE has it.
///
/// # Errors
/// [`SyntaxError`] when there is none.
pub fn parse_store(cursor: &mut Cursor<'_>) -> Result<Flags, SyntaxError> {
    if cursor.peek() == Some(b'(') {
        return parse_list(cursor);
    }
    let mut found = vec![parse(cursor)?];
    while cursor.eat(b' ') {
        found.push(parse(cursor)?);
    }
    Ok(collect(found))
}

enum Flag {
    System(SystemFlags),
    Keyword(Keyword),
    Recent,
}

fn parse(cursor: &mut Cursor<'_>) -> Result<Flag, SyntaxError> {
    let at = cursor.position();
    if !cursor.eat(b'\\') {
        return keyword(cursor).map(Flag::Keyword);
    }
    let name = cursor.atom()?;
    if name.eq_ignore_ascii_case("Recent") {
        return Ok(Flag::Recent);
    }
    let known = SystemFlags::NAMED.iter().find(|(_, own)| own[1..].eq_ignore_ascii_case(name));
    known.map(|&(flag, _)| Flag::System(flag)).ok_or(SyntaxError { at, expected: "a system flag or a keyword" })
}

/// `flag-keyword = atom`
///
/// # Errors
/// [`SyntaxError`] when there is none or it is too long.
pub fn keyword(cursor: &mut Cursor<'_>) -> Result<Keyword, SyntaxError> {
    let at = cursor.position();
    let error = SyntaxError { at, expected: "a keyword of at most 128 octets" };
    cursor.atom().and_then(|atom| Keyword::parse(atom).map_err(|_| error))
}

fn collect(found: Vec<Flag>) -> Flags {
    let mut system = SystemFlags::NONE;
    let mut keywords = Vec::new();
    for flag in found {
        match flag {
            Flag::System(flag) => system = system.union(flag),
            Flag::Keyword(keyword) => keywords.push(keyword),
            Flag::Recent => {}
        }
    }
    Flags::new(system, keywords)
}
