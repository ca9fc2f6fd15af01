//! EXPUNGE and UID EXPUNGE (RFC 9051 6.4.3 and 6.4.9).
//!
//! Only messages that the client knows of are expunged: what arrived with `\Deleted` in the meantime stays until
//! the client has heard of it.

use securanet_gateway::model::account::{AccountCommand, AccountReply};

use crate::{
    grammar::SequenceSet,
    mailbox::Selection,
    response::{Code, Stop, Tagged},
    session::state::Selected,
};

/// Answers; the numbers are told when the session is synchronised behind the command.
pub(crate) async fn run(selected: &mut Selected, set: Option<SequenceSet>) -> Result<Tagged, Stop> {
    if selected.view.read_only {
        return Err(Tagged::no("Mailbox is open for reading only").code(Code::READ_ONLY).into());
    }
    let view = &mut selected.view;
    let selection = match set {
        Some(set) => view.find(&set, true, &selected.saved),
        None => view.everything(),
    };
    expunge(selected, &selection).await?;
    Ok(Tagged::ok("Expunged"))
}

async fn expunge(selected: &mut Selected, selection: &Selection) -> Result<(), Stop> {
    let view = &mut selected.view;
    if selection.is_empty() {
        return Ok(());
    }
    let uids = selection.uid_set(view.uids());
    let command = AccountCommand::Expunge { mailbox: view.mailbox, uids, deleted_only: true };
    match selected.authenticated.account.change(command).await? {
        AccountReply::Expunged(uids) => view.expunge(&uids),
        _ => return Err(crate::mailbox::out_of_turn()),
    }
    Ok(())
}
