//! CLOSE and UNSELECT (RFC 9051 6.4.1 and 6.4.2): neither tells what is expunged.

use securanet_gateway::model::account::AccountCommand;

use crate::{
    response::{Stop, Tagged},
    session::state::Selected,
};

/// Answers; the mailbox is closed in any case.
pub(crate) async fn run(selected: &Selected, expunge: bool) -> Result<Tagged, Stop> {
    let view = &selected.view;
    let all = view.everything();
    if expunge && !view.read_only && !all.is_empty() {
        let uids = all.uid_set(view.uids());
        let command = AccountCommand::Expunge { mailbox: view.mailbox, uids, deleted_only: true };
        selected.authenticated.account.change(command).await?;
    }
    Ok(Tagged::ok("Mailbox is closed"))
}
