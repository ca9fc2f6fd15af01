//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 6.3.4 to 6.3.8, RFC 6154 5, RFC 8474 4.2).

use securanet_gateway::model::{
    SpecialUse,
    account::{AccountCommand, AccountReply},
};

use crate::{
    grammar::command::MailboxArg,
    mailbox::Account,
    response::{Code, Stop, Tagged, mailbox_object_id},
    session::Session,
};

/// `CREATE`
pub(crate) async fn create(
    session: &mut Session,
    account: &Account,
    mailbox: &MailboxArg,
    special_use: Result<Option<SpecialUse>, ()>,
) -> Result<Tagged, Stop> {
    let name = mailbox.name(session.out.enabled.utf8)?;
    let Ok(special_use) = special_use else {
        return Err(Tagged::no("Special use is not supported").code(Code::USE_ATTRIBUTE).into());
    };
    match account.change(AccountCommand::CreateMailbox { name, special_use }).await? {
        AccountReply::Created(mailbox) => {
            let code = Code::mailbox_id(&mailbox_object_id(account.id(), mailbox));
            Ok(Tagged::ok("Created").code(code))
        }
        _ => Err(crate::mailbox::out_of_turn()),
    }
}

/// `DELETE`
pub(crate) async fn delete(session: &mut Session, account: &Account, mailbox: &MailboxArg) -> Result<Tagged, Stop> {
    let name = mailbox.name(session.out.enabled.utf8)?;
    account.change(AccountCommand::DeleteMailbox { name }).await?;
    Ok(Tagged::ok("Deleted"))
}

/// `RENAME`
pub(crate) async fn rename(
    session: &mut Session,
    account: &Account,
    from: &MailboxArg,
    to: &MailboxArg,
) -> Result<Tagged, Stop> {
    let (from, to) = (from.name(session.out.enabled.utf8)?, to.name(session.out.enabled.utf8)?);
    account.change(AccountCommand::RenameMailbox { from, to }).await?;
    Ok(Tagged::ok("Renamed"))
}

/// `SUBSCRIBE` and `UNSUBSCRIBE`
pub(crate) async fn subscribe(
    session: &mut Session,
    account: &Account,
    mailbox: &MailboxArg,
    subscribed: bool,
) -> Result<Tagged, Stop> {
    let name = mailbox.name(session.out.enabled.utf8)?;
    account.change(AccountCommand::Subscribe { name, subscribed }).await?;
    Ok(Tagged::ok(if subscribed { "Subscribed" } else { "Unsubscribed" }))
}
