//! The maildrop's lock (RFC 1939 3): one POP3 session at a time, and a dead one cannot keep it.
//!
//! A lock is a lease against the group's clock. Its holder renews it; nobody has to notice that the holder died.

use securanet_model::{
    RequestId, UnixMillis,
    account::{AccountRef, AccountRefusal, AccountReply},
};

use super::{
    change::{Step, row_of},
    records::MaildropLock,
    tables::AccountKeys,
};
use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

/// How far a lease may reach: a session that dies keeps the maildrop for at most this long.
const LEASE_MILLIS_MAX: u64 = 10 * 60 * 1000;

/// Takes or renews the lock; a lease that reaches too far is shortened.
pub(super) fn lock(
    tx: &mut Tx<'_>,
    stamp: UnixMillis,
    account: AccountRef,
    session: RequestId,
    until: UnixMillis,
) -> Step<AccountReply> {
    let keys = keys_of(tx, account)?;
    if holder(&tx.view(), keys, stamp)?.is_some_and(|holder| holder != session) {
        return Err(AccountRefusal::Locked.into());
    }
    let until = until.min(stamp.plus_millis(LEASE_MILLIS_MAX));
    tx.put_record(keys.maildrop_lock(), &MaildropLock { session, until });
    Ok(AccountReply::Done)
}

/// Gives the lock back, if the session holds it.
pub(super) fn unlock(tx: &mut Tx<'_>, account: AccountRef, session: RequestId) -> Step<AccountReply> {
    let keys = keys_of(tx, account)?;
    let lock: Option<MaildropLock> = tx.get_record(&keys.maildrop_lock())?;
    if lock.is_some_and(|lock| lock.session == session) {
        tx.delete(keys.maildrop_lock());
    }
    Ok(AccountReply::Done)
}

/// Who holds the lock at `now`.
pub(super) fn holder(
    view: &ReadView<'_>,
    keys: AccountKeys,
    now: UnixMillis,
) -> Result<Option<RequestId>, EngineError> {
    let lock: Option<MaildropLock> = view.get_record(&keys.maildrop_lock())?;
    Ok(lock.filter(|lock| now < lock.until).map(|lock| lock.session))
}

fn keys_of(tx: &Tx<'_>, account: AccountRef) -> Step<AccountKeys> {
    row_of(&tx.view(), account)?;
    Ok(AccountKeys::new(tx.view().space(), account.id))
}
