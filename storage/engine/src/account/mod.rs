//! Accounts: their mailboxes, messages and what is delivered into them.

use securanet_model::{
    BlobId, UnixMillis,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply},
    delivery::{Deliver, Delivered},
    request::{DomainUsage, Totals},
};

use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

pub(crate) fn apply(
    _tx: &mut Tx<'_>,
    _stamp: UnixMillis,
    _account: AccountRef,
    _command: &AccountCommand,
) -> Result<AccountReply, EngineError> {
    Ok(AccountReply::Refused(AccountRefusal::NoAccount))
}

pub(crate) fn deliver(_tx: &mut Tx<'_>, _stamp: UnixMillis, deliver: &Deliver) -> Result<Vec<Delivered>, EngineError> {
    Ok(deliver.to.iter().map(|_| Delivered::Refused(AccountRefusal::NoAccount)).collect())
}

pub(crate) fn answer(
    _view: &ReadView<'_>,
    _account: AccountRef,
    _query: &AccountQuery,
) -> Result<AccountAnswer, EngineError> {
    Ok(AccountAnswer::Refused(AccountRefusal::NoAccount))
}

pub(crate) fn domain_usage(_view: &ReadView<'_>) -> Result<Vec<DomainUsage>, EngineError> {
    Ok(Vec::new())
}

pub(crate) fn blobs_reachable(_view: &ReadView<'_>, blobs: &[BlobId]) -> Result<Vec<bool>, EngineError> {
    Ok(vec![false; blobs.len()])
}

pub(crate) fn blobs(_view: &ReadView<'_>, _after: Option<BlobId>, _rows_max: u32) -> Result<Vec<BlobId>, EngineError> {
    Ok(Vec::new())
}

pub(crate) fn totals(_view: &ReadView<'_>) -> Result<Totals, EngineError> {
    Ok(Totals::default())
}
