//! STATUS (RFC 9051 6.3.11): every item comes from the mailbox's counters, none is counted.

use securanet_gateway::model::{Uid, account::MailboxInfo, account::UidSet};

use crate::{
    grammar::{command::MailboxArg, status::StatusItem},
    mailbox::{Account, STATE_ROWS_MAX},
    response::{Code, Stop, Tagged},
    session::Session,
};

/// Answers.
pub(crate) async fn run(
    session: &mut Session,
    account: &Account,
    mailbox: &MailboxArg,
    items: &[StatusItem],
) -> Result<Tagged, Stop> {
    let name = mailbox.name(session.out.enabled.utf8)?;
    let Some(info) = account.mailbox(&name).await? else {
        return Err(Tagged::no("Mailbox does not exist").code(Code::NON_EXISTENT).into());
    };
    respond(session, account, &info, items).await?;
    Ok(Tagged::ok("Status listed"))
}

/// Writes the response for one mailbox.
pub(crate) async fn respond(
    session: &mut Session,
    account: &Account,
    info: &MailboxInfo,
    items: &[StatusItem],
) -> Result<(), Stop> {
    // RFC 7162 3.1.2.1: asking for a mod-sequence switches CONDSTORE on.
    session.out.enabled.condstore |= items.contains(&StatusItem::HighestModSeq);
    let recent = if items.contains(&StatusItem::Recent) { recent(session, account, info).await? } else { 0 };
    let append_limit = session.service.settings.message_size_bytes_max;
    session.out.status_row(account.id(), info, items, recent, append_limit);
    session.send_gathered().await?;
    Ok(())
}

/// Messages above the last UID that a session was told of. Where no session was told of any, that is all.
async fn recent(session: &mut Session, account: &Account, info: &MailboxInfo) -> Result<u32, Stop> {
    let told = session.service.recents.told(account.id(), info.id);
    if told == Uid::new(0) {
        return Ok(u32::try_from(info.messages).unwrap_or(u32::MAX));
    }
    let (mut from, mut count) = (told.next(), 0);
    while from < info.uid_next {
        let page = account.states(info.id, UidSet::from_ranges([(from, Uid::new(u32::MAX))])).await?;
        count += page.len();
        match page.last() {
            Some(last) if page.len() >= STATE_ROWS_MAX as usize => from = last.uid.next(),
            _ => break,
        }
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
