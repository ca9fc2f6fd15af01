//! GETQUOTA and GETQUOTAROOT (RFC 9208 4.1): one root for the account, named by the empty string.

use crate::{
    grammar::command::MailboxArg,
    mailbox::Account,
    response::{Code, Stop, Tagged, has_limit},
    session::Session,
};

/// `GETQUOTA root`
pub(crate) async fn get(session: &mut Session, account: &Account, root: &[u8]) -> Result<Tagged, Stop> {
    let usage = account.quota().await?;
    if !root.is_empty() || !has_limit(&usage) {
        return Err(Tagged::no("No such quota root").code(Code::NON_EXISTENT).into());
    }
    session.out.quota(&usage);
    Ok(Tagged::ok("Quota listed"))
}

/// `GETQUOTAROOT mailbox`
pub(crate) async fn get_root(session: &mut Session, account: &Account, mailbox: &MailboxArg) -> Result<Tagged, Stop> {
    let name = mailbox.name(session.out.enabled.utf8)?;
    if account.mailbox(&name).await?.is_none() {
        return Err(Tagged::no("Mailbox does not exist").code(Code::NON_EXISTENT).into());
    }
    let usage = account.quota().await?;
    session.out.quota_root(&name, &usage);
    session.out.quota(&usage);
    Ok(Tagged::ok("Quota listed"))
}
