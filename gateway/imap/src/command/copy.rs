//! COPY and MOVE with their UID forms (RFC 9051 6.4.7 and 6.4.8, RFC 4315, RFC 6851).

use securanet_gateway::model::account::{AccountCommand, AccountRefusal, AccountReply, UidMap};

use crate::{
    grammar::{SequenceSet, command::MailboxArg},
    response::{Code, Stop, Tagged},
    session::{Session, state::Selected},
};

/// Answers; `moves` says MOVE.
pub(crate) async fn run(
    session: &mut Session,
    selected: &mut Selected,
    set: &SequenceSet,
    uid: bool,
    mailbox: &MailboxArg,
    moves: bool,
) -> Result<Tagged, Stop> {
    if moves && selected.view.read_only {
        return Err(Tagged::no("Mailbox is open for reading only").code(Code::READ_ONLY).into());
    }
    let name = mailbox.name(session.out.enabled.utf8)?;
    if !uid {
        // A number may stand for a message that is gone: better known before than after.
        selected.synchronise(session, false).await?;
    }
    let selection = selected.view.select(set, uid, &selected.saved)?;
    let account = &selected.authenticated.account;
    let Some(target) = account.mailbox(&name).await? else { return Err(try_create().into()) };
    if selection.is_empty() {
        return Ok(Tagged::ok("No message fits"));
    }
    // RFC 2180 4.4.1: a number that stands for an expunged message copies nothing.
    if !uid && selected.view.has_gone(&selection) {
        return Err(Tagged::no("Some of the messages were expunged").code(Code::EXPUNGE_ISSUED).into());
    }
    let uids = selection.uid_set(selected.view.uids());
    let (mailbox, to) = (selected.view.mailbox, target.id);
    let command =
        if moves { AccountCommand::Move { mailbox, uids, to } } else { AccountCommand::Copy { mailbox, uids, to } };
    let map = match account.change(command).await {
        Ok(AccountReply::Uids(map)) => map,
        Ok(_) => return Err(crate::mailbox::out_of_turn()),
        Err(Stop::Refused(tagged)) if tagged == Tagged::from(AccountRefusal::NoMailbox) => {
            return Err(try_create().into());
        }
        Err(stop) => return Err(stop),
    };
    Ok(answer(session, selected, &map, moves))
}

fn answer(session: &mut Session, selected: &mut Selected, map: &UidMap, moves: bool) -> Tagged {
    let code = map.uid_validity.filter(|_| !map.to.is_empty());
    let code = code.map(|validity| Code::copy_uid(validity, &map.from, &map.to));
    if moves {
        // RFC 6851 4.3: the code comes before the expunges, hence untagged.
        if let Some(code) = code {
            session.out.ok(&code, "Moved UIDs");
        }
        selected.view.expunge(&map.from);
        return Tagged::ok("Moved");
    }
    Tagged { code, ..Tagged::ok("Copied") }
}

/// There is no such mailbox, but there could be.
pub(crate) fn try_create() -> Tagged {
    Tagged::no("Mailbox does not exist").code(Code::TRY_CREATE)
}
