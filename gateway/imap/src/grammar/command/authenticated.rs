//! Commands after login (RFC 9051 6.3) with ENABLE, IDLE, QUOTA (RFC 9208), COMPRESS (RFC 4978) and the
//! parameters of SELECT (RFC 7162) and CREATE (RFC 6154).

use securanet_gateway::model::SpecialUse;

use super::MailboxArg;
use crate::grammar::{
    cursor::{Cursor, SyntaxError},
    list::{self, List},
    set::SequenceSet,
    status::StatusItem,
};

/// Capabilities that one ENABLE may name.
const ENABLE_MAX: usize = 32;

/// An extension that ENABLE switches on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    /// RFC 7162
    CondStore,
    /// RFC 7162
    Qresync,
    /// RFC 9755
    Utf8Accept,
    /// RFC 9051
    Imap4Rev2,
}

impl Extension {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CondStore => "CONDSTORE",
            Self::Qresync => "QRESYNC",
            Self::Utf8Accept => "UTF8=ACCEPT",
            Self::Imap4Rev2 => "IMAP4rev2",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::CondStore, Self::Qresync, Self::Utf8Accept, Self::Imap4Rev2];
        all.into_iter().find(|own| own.name().eq_ignore_ascii_case(word))
    }
}

/// `SELECT` or `EXAMINE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Select {
    /// Which.
    pub mailbox: MailboxArg,
    /// EXAMINE.
    pub read_only: bool,
    /// RFC 7162 `(CONDSTORE)`
    pub condstore: bool,
    /// RFC 7162 `(QRESYNC (...))`
    pub qresync: Option<Qresync>,
}

/// What a client that comes back knows of the mailbox (RFC 7162 3.2.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Qresync {
    /// UIDVALIDITY as it knows it.
    pub uid_validity: u32,
    /// The last mod-sequence that it knows.
    pub mod_seq: u64,
    /// The UIDs that it knows; `None`: it does not say.
    pub known_uids: Option<SequenceSet>,
}

/// A command of the authenticated state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthenticatedCommand {
    /// `ENABLE`: those that we know, in order.
    Enable(Vec<Extension>),
    /// `SELECT` or `EXAMINE`
    Select(Select),
    /// `CREATE mailbox [(USE (...))]`
    Create {
        /// Its name.
        mailbox: MailboxArg,
        /// RFC 6154; `Err`: attributes that we do not have.
        special_use: Result<Option<SpecialUse>, ()>,
    },
    /// `DELETE`
    Delete(MailboxArg),
    /// `RENAME`
    Rename {
        /// Old name.
        from: MailboxArg,
        /// New name.
        to: MailboxArg,
    },
    /// `SUBSCRIBE` or `UNSUBSCRIBE`
    Subscribe {
        /// Which.
        mailbox: MailboxArg,
        /// SUBSCRIBE.
        subscribed: bool,
    },
    /// `LIST`
    List(List),
    /// `LSUB` (RFC 3501 6.3.9)
    Lsub(List),
    /// `NAMESPACE`
    Namespace,
    /// `STATUS`
    Status {
        /// Which.
        mailbox: MailboxArg,
        /// What.
        items: Vec<StatusItem>,
    },
    /// `IDLE`
    Idle,
    /// `GETQUOTA root`
    GetQuota(Vec<u8>),
    /// `GETQUOTAROOT mailbox`
    GetQuotaRoot(MailboxArg),
    /// `SETQUOTA`: only operators may.
    SetQuota,
    /// `COMPRESS DEFLATE`
    Compress,
}

pub(super) fn parse(name: &str, cursor: &mut Cursor<'_>) -> Result<Option<AuthenticatedCommand>, SyntaxError> {
    use AuthenticatedCommand as A;
    Ok(Some(match name {
        "ENABLE" => A::Enable(enable(cursor)?),
        "SELECT" => A::Select(select(cursor, false)?),
        "EXAMINE" => A::Select(select(cursor, true)?),
        "CREATE" => {
            let mailbox = mailbox(cursor)?;
            A::Create { mailbox, special_use: special_use(cursor)? }
        }
        "DELETE" => A::Delete(mailbox(cursor)?),
        "RENAME" => A::Rename { from: mailbox(cursor)?, to: mailbox(cursor)? },
        "SUBSCRIBE" => A::Subscribe { mailbox: mailbox(cursor)?, subscribed: true },
        "UNSUBSCRIBE" => A::Subscribe { mailbox: mailbox(cursor)?, subscribed: false },
        "LIST" => A::List(list::parse_list(cursor)?),
        "LSUB" => A::Lsub(lsub(cursor)?),
        "NAMESPACE" => A::Namespace,
        "STATUS" => {
            let mailbox = mailbox(cursor)?;
            cursor.space()?;
            A::Status { mailbox, items: StatusItem::parse_list(cursor)? }
        }
        "IDLE" => A::Idle,
        "GETQUOTA" => {
            cursor.space()?;
            A::GetQuota(cursor.astring()?.into_owned())
        }
        "GETQUOTAROOT" => A::GetQuotaRoot(mailbox(cursor)?),
        "SETQUOTA" => {
            cursor.take_while(|_| true);
            A::SetQuota
        }
        "COMPRESS" => {
            cursor.space()?;
            if cursor.word("DEFLATE")? != "DEFLATE" {
                return cursor.fail("DEFLATE before this");
            }
            A::Compress
        }
        _ => return Ok(None),
    }))
}

fn mailbox(cursor: &mut Cursor<'_>) -> Result<MailboxArg, SyntaxError> {
    cursor.space()?;
    MailboxArg::parse(cursor)
}

fn enable(cursor: &mut Cursor<'_>) -> Result<Vec<Extension>, SyntaxError> {
    let mut known = Vec::new();
    let mut count = 0;
    while count == 0 || cursor.peek().is_some() {
        cursor.space()?;
        known.extend(Extension::of(cursor.atom()?));
        count += 1;
        if count > ENABLE_MAX {
            return cursor.fail("at most 32 capabilities before this");
        }
    }
    known.dedup();
    Ok(known)
}

fn select(cursor: &mut Cursor<'_>, read_only: bool) -> Result<Select, SyntaxError> {
    let mut select = Select { mailbox: mailbox(cursor)?, read_only, condstore: false, qresync: None };
    if cursor.eat_word(b" (") {
        loop {
            match cursor.word("CONDSTORE or QRESYNC")?.as_str() {
                "CONDSTORE" => select.condstore = true,
                "QRESYNC" => select.qresync = Some(qresync(cursor)?),
                _ => return cursor.fail("CONDSTORE or QRESYNC before this"),
            }
            if cursor.eat(b')') {
                break;
            }
            cursor.space()?;
        }
    }
    Ok(select)
}

fn qresync(cursor: &mut Cursor<'_>) -> Result<Qresync, SyntaxError> {
    cursor.space()?;
    cursor.expect(b'(', "(")?;
    let uid_validity = cursor.nz_number()?;
    cursor.space()?;
    let mod_seq = cursor.number64()?;
    let mut known_uids = None;
    if cursor.peek() == Some(b' ') && cursor.rest().get(1) != Some(&b'(') {
        cursor.space()?;
        known_uids = Some(SequenceSet::parse(cursor)?);
    }
    if cursor.eat_word(b" (") {
        // Sequence numbers and their UIDs: they only help a server that has forgotten what was expunged.
        SequenceSet::parse(cursor)?;
        cursor.space()?;
        SequenceSet::parse(cursor)?;
        cursor.expect(b')', ")")?;
    }
    cursor.expect(b')', ")")?;
    Ok(Qresync { uid_validity, mod_seq, known_uids })
}

fn special_use(cursor: &mut Cursor<'_>) -> Result<Result<Option<SpecialUse>, ()>, SyntaxError> {
    if !cursor.eat_word(b" (USE ") {
        return Ok(Ok(None));
    }
    let uses = cursor.list(|cursor| {
        cursor.expect(b'\\', "a special use")?;
        let name = cursor.atom()?;
        Ok(SpecialUse::ALL.into_iter().find(|own| own.attribute()[1..].eq_ignore_ascii_case(name)))
    })?;
    cursor.expect(b')', ")")?;
    // A mailbox has at most one special use here.
    Ok(match uses.as_slice() {
        [] => Ok(None),
        [Some(only)] => Ok(Some(*only)),
        _ => Err(()),
    })
}

fn lsub(cursor: &mut Cursor<'_>) -> Result<List, SyntaxError> {
    cursor.space()?;
    let reference = cursor.astring()?.into_owned();
    cursor.space()?;
    let patterns = vec![cursor.list_mailbox()?.into_owned()];
    Ok(List { reference, patterns, ..List::default() })
}
