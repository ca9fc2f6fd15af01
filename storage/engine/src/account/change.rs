//! An account while one command changes it: its row, the mod-sequence of the change, what to log.
//!
//! All that a command changes gets one mod-sequence, the next of the account's counter. A command that turns out
//! to change nothing is dropped without [`Change::close`] writing anything, so it takes none.

use std::collections::BTreeSet;

use securanet_model::{
    EmailId, MailboxId, ModSeq, UidValidity, UnixMillis,
    account::{AccountRef, AccountRefusal, Changed},
    request::Topic,
};

use super::{
    change_log,
    records::{AccountRow, Used},
    tables::AccountKeys,
    usage,
};
use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

/// Why a command goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is refused: what it wrote so far is rolled back.
    Refused(AccountRefusal),
    /// The replica cannot go on.
    Engine(EngineError),
}

impl From<AccountRefusal> for Stop {
    fn from(refusal: AccountRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A step of a command.
pub(super) type Step<T> = Result<T, Stop>;

/// An account while one command changes it.
pub(super) struct Change<'c, 'b> {
    pub(super) tx: &'c mut Tx<'b>,
    pub(super) stamp: UnixMillis,
    pub(super) keys: AccountKeys,
    pub(super) row: AccountRow,
    /// What everything that this command changes gets.
    pub(super) modseq: ModSeq,
    used_before: Used,
    log: BTreeSet<Changed>,
    changed: bool,
}

/// Reads the account's row and checks the epoch.
pub(super) fn row_of(view: &ReadView<'_>, account: AccountRef) -> Step<AccountRow> {
    let keys = AccountKeys::new(view.space(), account.id);
    let row: AccountRow = view.get_record(&keys.state())?.ok_or(AccountRefusal::NoAccount)?;
    if row.epoch != account.epoch {
        return Err(AccountRefusal::WrongEpoch(row.epoch).into());
    }
    Ok(row)
}

impl<'c, 'b> Change<'c, 'b> {
    /// Opens an account that is here, under its epoch.
    pub(super) fn open(tx: &'c mut Tx<'b>, stamp: UnixMillis, account: AccountRef) -> Step<Self> {
        let row = row_of(&tx.view(), account)?;
        Ok(Self::begin(tx, stamp, AccountKeys::new(tx.view().space(), account.id), row))
    }

    /// Begins with a row that the caller has, or has made.
    pub(super) fn begin(tx: &'c mut Tx<'b>, stamp: UnixMillis, keys: AccountKeys, row: AccountRow) -> Self {
        let (modseq, used_before) = (row.modseq.next(), row.used);
        Self { tx, stamp, keys, row, modseq, used_before, log: BTreeSet::new(), changed: false }
    }

    /// Something changed that the change log has no word for.
    pub(super) fn mark(&mut self) {
        self.changed = true;
    }

    /// Something changed. A command tells each email once, however many of its instances it touches.
    pub(super) fn log(&mut self, changed: Changed) {
        self.changed = true;
        self.log.insert(changed);
    }

    /// The next mailbox id.
    pub(super) fn next_mailbox(&mut self) -> Step<MailboxId> {
        self.row.last_mailbox = following(self.row.last_mailbox)?;
        Ok(MailboxId::new(self.row.last_mailbox))
    }

    /// The next email id.
    pub(super) fn next_email(&mut self) -> EmailId {
        self.row.last_email += 1;
        EmailId::new(self.row.last_email)
    }

    /// A UIDVALIDITY above all that the account has given. It follows the clock where it can, so that one of an
    /// account that is restored or made anew is above those of its former life too (promise P3).
    pub(super) fn next_uid_validity(&mut self) -> Step<UidValidity> {
        // Seconds fit into 32 bits until 2106. From 2097 on the counter goes on alone.
        const CLOCK_MAX: u64 = 0xf000_0000;
        let clock = u32::try_from(self.stamp.seconds().min(CLOCK_MAX)).unwrap_or_default();
        self.row.last_uid_validity = following(self.row.last_uid_validity)?.max(clock);
        Ok(UidValidity::new(self.row.last_uid_validity))
    }

    /// Writes the account's row, the change log and the domain's usage, if anything changed.
    pub(super) fn close(mut self) -> Result<(), EngineError> {
        if !self.changed {
            return Ok(());
        }
        self.row.modseq = self.modseq;
        change_log::append(self.tx, self.keys, &mut self.row, self.modseq, &self.log)?;
        usage::shift(self.tx, self.row.domain, self.used_before, self.row.used)?;
        self.tx.put_record(self.keys.state(), &self.row);
        self.tx.touch(Topic::Account(self.keys.account()));
        Ok(())
    }
}

/// The number after the last one given; a refusal where 32 bits are used up.
fn following(last: u32) -> Result<u32, AccountRefusal> {
    last.checked_add(1).ok_or(AccountRefusal::TooMany(u64::from(u32::MAX)))
}
