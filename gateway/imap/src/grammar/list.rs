//! LIST with its extensions, and LSUB (RFC 9051 6.3.9, RFC 5258, RFC 5819, RFC 6154, RFC 3501 6.3.9).

use super::{
    cursor::{Cursor, SyntaxError},
    status::StatusItem,
};

/// Patterns that one LIST may have.
const PATTERNS_MAX: usize = 100;
/// Octets of all patterns of one LIST: each name of the account is held against all of them.
const PATTERNS_OCTETS_MAX: usize = 8192;

/// `LIST [selection] reference (pattern / "(" patterns ")") [RETURN options]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// What every pattern stands behind; as written.
    pub reference: Vec<u8>,
    /// Patterns as written; at least one.
    pub patterns: Vec<Vec<u8>>,
    /// Which mailboxes are wanted.
    pub selection: Selection,
    /// What is wanted of them.
    pub returns: Returns,
    /// Whether the client wrote any form of RFC 5258.
    pub extended: bool,
}

/// `list-select-opts`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Subscribed names instead of existing ones.
    pub subscribed: bool,
    /// Names on other servers too: there are none.
    pub remote: bool,
    /// Parents too whose children fit.
    pub recursive_match: bool,
    /// Only those with a special use.
    pub special_use: bool,
}

/// `list-return-opts`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Returns {
    /// `\Subscribed`
    pub subscribed: bool,
    /// `\HasChildren` and `\HasNoChildren`; we always tell.
    pub children: bool,
    /// Special uses; we always tell.
    pub special_use: bool,
    /// A STATUS response with each.
    pub status: Vec<StatusItem>,
}

/// Reads what stands behind `LIST`.
///
/// # Errors
/// [`SyntaxError`] when it is no LIST.
pub fn parse_list(cursor: &mut Cursor<'_>) -> Result<List, SyntaxError> {
    cursor.space()?;
    let mut list = List::default();
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.selection = selection(cursor)?;
        cursor.space()?;
    }
    list.reference = cursor.astring()?.into_owned();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = cursor.list(|cursor| cursor.list_mailbox().map(std::borrow::Cow::into_owned))?;
        if list.patterns.is_empty() || list.patterns.len() > PATTERNS_MAX {
            return cursor.fail("1 to 100 patterns before this");
        }
    } else {
        list.patterns.push(cursor.list_mailbox()?.into_owned());
    }
    if list.patterns.iter().map(Vec::len).sum::<usize>() > PATTERNS_OCTETS_MAX {
        return cursor.fail("shorter patterns");
    }
    if cursor.eat_word(b" RETURN ") {
        list.extended = true;
        list.returns = returns(cursor)?;
    }
    Ok(list)
}

fn selection(cursor: &mut Cursor<'_>) -> Result<Selection, SyntaxError> {
    let mut selection = Selection::default();
    let at = cursor.position();
    cursor.list(|cursor| {
        match cursor.word("a selection option")?.as_str() {
            "SUBSCRIBED" => selection.subscribed = true,
            "REMOTE" => selection.remote = true,
            "RECURSIVEMATCH" => selection.recursive_match = true,
            "SPECIAL-USE" => selection.special_use = true,
            _ => return cursor.fail("SUBSCRIBED, REMOTE, RECURSIVEMATCH or SPECIAL-USE before this"),
        }
        Ok(())
    })?;
    // RFC 5258 3: RECURSIVEMATCH alone, or with REMOTE only, means nothing.
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err(SyntaxError { at, expected: "SUBSCRIBED or SPECIAL-USE beside RECURSIVEMATCH" });
    }
    Ok(selection)
}

fn returns(cursor: &mut Cursor<'_>) -> Result<Returns, SyntaxError> {
    let mut returns = Returns::default();
    cursor.list(|cursor| {
        match cursor.word("a return option")?.as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                cursor.space()?;
                returns.status = StatusItem::parse_list(cursor)?;
            }
            _ => return cursor.fail("SUBSCRIBED, CHILDREN, SPECIAL-USE or STATUS before this"),
        }
        Ok(())
    })?;
    Ok(returns)
}
