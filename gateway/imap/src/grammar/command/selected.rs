//! Commands with a mailbox selected (RFC 9051 6.4, RFC 4315 UIDPLUS, RFC 6851 MOVE, RFC 3501 CHECK), each also
//! in its UID form.

use securanet_gateway::model::{Flags, account::FlagChange};

use super::MailboxArg;
use crate::grammar::{
    cursor::{Cursor, SyntaxError},
    fetch::{self, Fetch},
    flags,
    search::{self, Search},
    set::SequenceSet,
};

/// `STORE` behind its sequence set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// RFC 7162 UNCHANGEDSINCE.
    pub unchanged_since: Option<u64>,
    /// How.
    pub change: FlagChange,
    /// `.SILENT`
    pub silent: bool,
    /// What.
    pub flags: Flags,
}

/// A command of the selected state. `uid` says that numbers are UIDs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SelectedCommand {
    /// `CHECK`
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT`
    Unselect,
    /// `EXPUNGE`
    Expunge,
    /// `UID EXPUNGE`
    UidExpunge(SequenceSet),
    /// `[UID] SEARCH`
    Search {
        /// UID form.
        uid: bool,
        /// What.
        search: Search,
    },
    /// `[UID] FETCH`
    Fetch {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// What.
        fetch: Fetch,
    },
    /// `[UID] STORE`
    Store {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// What.
        store: Store,
    },
    /// `[UID] COPY`
    Copy {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: MailboxArg,
    },
    /// `[UID] MOVE`
    Move {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: MailboxArg,
    },
}

pub(super) fn parse(name: &str, uid: bool, cursor: &mut Cursor<'_>) -> Result<Option<SelectedCommand>, SyntaxError> {
    use SelectedCommand as S;
    Ok(Some(match (name, uid) {
        ("CHECK", false) => S::Check,
        ("CLOSE", false) => S::Close,
        ("UNSELECT", false) => S::Unselect,
        ("EXPUNGE", false) => S::Expunge,
        ("EXPUNGE", true) => S::UidExpunge(set(cursor)?),
        ("SEARCH", _) => S::Search { uid, search: search::parse(cursor)? },
        ("FETCH", _) => {
            let set = set(cursor)?;
            cursor.space()?;
            S::Fetch { uid, set, fetch: fetch::parse(cursor)? }
        }
        ("STORE", _) => S::Store { uid, set: set(cursor)?, store: store(cursor)? },
        ("COPY", _) => {
            let set = set(cursor)?;
            cursor.space()?;
            S::Copy { uid, set, mailbox: MailboxArg::parse(cursor)? }
        }
        ("MOVE", _) => {
            let set = set(cursor)?;
            cursor.space()?;
            S::Move { uid, set, mailbox: MailboxArg::parse(cursor)? }
        }
        _ => return Ok(None),
    }))
}

fn set(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
    cursor.space()?;
    SequenceSet::parse(cursor)
}

fn store(cursor: &mut Cursor<'_>) -> Result<Store, SyntaxError> {
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.eat(b'(') {
        if cursor.word("UNCHANGEDSINCE")? != "UNCHANGEDSINCE" {
            return cursor.fail("UNCHANGEDSINCE before this");
        }
        cursor.space()?;
        unchanged_since = Some(cursor.number64()?);
        cursor.expect(b')', ")")?;
        cursor.space()?;
    }
    let change = match cursor.peek() {
        Some(b'+') => FlagChange::Add,
        Some(b'-') => FlagChange::Remove,
        _ => FlagChange::Replace,
    };
    if change != FlagChange::Replace {
        let _ = cursor.eat(b'+') || cursor.eat(b'-');
    }
    let silent = match cursor.word("FLAGS")?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return cursor.fail("FLAGS or FLAGS.SILENT before this"),
    };
    cursor.space()?;
    Ok(Store { unchanged_since, change, silent, flags: flags::parse_store(cursor)? })
}
