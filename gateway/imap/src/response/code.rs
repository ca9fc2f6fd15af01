//! Response codes (RFC 9051 7.1, RFC 5530, RFC 7162, RFC 4315, RFC 8474, RFC 5182, RFC 3516).

use std::borrow::Cow;

use securanet_gateway::model::{AccountId, EmailId, MailboxId, ModSeq, ThreadId, Uid, UidValidity};

use super::sets;

/// What stands in the brackets of a status response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Code(Cow<'static, str>);

macro_rules! codes {
    ($($name:ident = $text:literal),* $(,)?) => {
        impl Code {
            $(pub(crate) const $name: Self = Self(Cow::Borrowed($text));)*
        }
    };
}

codes! {
    ALREADY_EXISTS = "ALREADYEXISTS",
    AUTHENTICATION_FAILED = "AUTHENTICATIONFAILED",
    BAD_CHARSET = "BADCHARSET (UTF-8 US-ASCII)",
    CANNOT = "CANNOT",
    CLOSED = "CLOSED",
    COMPRESSION_ACTIVE = "COMPRESSIONACTIVE",
    CONTACT_ADMIN = "CONTACTADMIN",
    CORRUPTION = "CORRUPTION",
    EXPUNGE_ISSUED = "EXPUNGEISSUED",
    HAS_CHILDREN = "HASCHILDREN",
    IN_USE = "INUSE",
    LIMIT = "LIMIT",
    NO_PERMISSION = "NOPERM",
    NON_EXISTENT = "NONEXISTENT",
    OVER_QUOTA = "OVERQUOTA",
    PRIVACY_REQUIRED = "PRIVACYREQUIRED",
    READ_ONLY = "READ-ONLY",
    READ_WRITE = "READ-WRITE",
    SERVER_BUG = "SERVERBUG",
    TOO_BIG = "TOOBIG",
    TRY_CREATE = "TRYCREATE",
    UNAVAILABLE = "UNAVAILABLE",
    UNKNOWN_CTE = "UNKNOWN-CTE",
    USE_ATTRIBUTE = "USEATTR",
}

impl Code {
    /// The octets between the brackets.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// RFC 4315 APPENDUID
    pub(crate) fn append_uid(validity: UidValidity, to: &[Uid]) -> Self {
        Self(format!("APPENDUID {validity} {}", sets::uids(to)).into())
    }

    /// RFC 4315 COPYUID
    pub(crate) fn copy_uid(validity: UidValidity, from: &[Uid], to: &[Uid]) -> Self {
        Self(format!("COPYUID {validity} {} {}", sets::uids(from), sets::uids(to)).into())
    }

    /// CAPABILITY
    pub(crate) fn capability(capabilities: &str) -> Self {
        Self(format!("CAPABILITY {capabilities}").into())
    }

    /// RFC 7162
    pub(crate) fn highest_mod_seq(modseq: ModSeq) -> Self {
        Self(format!("HIGHESTMODSEQ {modseq}").into())
    }

    /// RFC 7162; a set of sequence numbers or UIDs.
    pub(crate) fn modified(set: &str) -> Self {
        Self(format!("MODIFIED {set}").into())
    }

    /// RFC 8474
    pub(crate) fn mailbox_id(object_id: &str) -> Self {
        Self(format!("MAILBOXID ({object_id})").into())
    }

    /// A number: `UIDNEXT`, `UIDVALIDITY`, `UNSEEN`.
    pub(crate) fn number(name: &str, number: u64) -> Self {
        Self(format!("{name} {number}").into())
    }

    /// PERMANENTFLAGS; the list comes with its parentheses.
    pub(crate) fn permanent_flags(list: &str) -> Self {
        Self(format!("PERMANENTFLAGS {list}").into())
    }
}

/// RFC 8474 MAILBOXID of a mailbox.
pub(crate) fn mailbox_object_id(account: AccountId, mailbox: MailboxId) -> String {
    format!("F{:x}-{:x}", account.get(), mailbox.get())
}

/// RFC 8474 EMAILID of a message.
pub(crate) fn email_object_id(account: AccountId, email: EmailId) -> String {
    format!("M{:x}-{:x}", account.get(), email.get())
}

/// RFC 8474 THREADID of a message.
pub(crate) fn thread_object_id(account: AccountId, thread: ThreadId) -> String {
    format!("T{:x}-{:x}", account.get(), thread.get())
}
