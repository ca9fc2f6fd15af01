//! What STATUS can be asked for (RFC 9051 6.3.11, RFC 7162, RFC 8438, RFC 8474, RFC 7889, RFC 9208).

use super::cursor::{Cursor, SyntaxError};

/// `status-att`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusItem {
    /// Number of messages.
    Messages,
    /// Messages that no session was told of (RFC 3501).
    Recent,
    /// The next UID.
    UidNext,
    /// UIDVALIDITY.
    UidValidity,
    /// Number of messages without `\Seen`.
    Unseen,
    /// Number of messages with `\Deleted` (RFC 9051).
    Deleted,
    /// Octets of messages with `\Deleted`, in units of 1024 (RFC 9208).
    DeletedStorage,
    /// Sum of sizes (RFC 8438).
    Size,
    /// RFC 7162.
    HighestModSeq,
    /// RFC 7889.
    AppendLimit,
    /// RFC 8474.
    MailboxId,
}

impl StatusItem {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::DeletedStorage => "DELETED-STORAGE",
            Self::Size => "SIZE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::AppendLimit => "APPENDLIMIT",
            Self::MailboxId => "MAILBOXID",
        }
    }

    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Messages,
        Self::Recent,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
        Self::Deleted,
        Self::DeletedStorage,
        Self::Size,
        Self::HighestModSeq,
        Self::AppendLimit,
        Self::MailboxId,
    ];

    /// `"(" status-att *(SP status-att) ")"`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none or an unknown one.
    pub fn parse_list(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        cursor.list(|cursor| {
            let at = cursor.position();
            let word = cursor.word("a STATUS item")?;
            let known = Self::ALL.into_iter().find(|item| item.name() == word);
            known.ok_or(SyntaxError { at, expected: "a STATUS item" })
        })
    }
}
