//! Commands after login that leave the state as it is (RFC 9051 6.3).

use super::{list, mailboxes, quota, status};
use crate::{
    grammar::command::{AuthenticatedCommand, Extension},
    mailbox::Account,
    response::{Code, Stop, Tagged},
    session::Session,
};

/// Answers. SELECT, IDLE and COMPRESS are not here: they need more than the account.
pub(crate) async fn run(
    session: &mut Session,
    account: &Account,
    command: AuthenticatedCommand,
) -> Result<Tagged, Stop> {
    use AuthenticatedCommand as A;
    match command {
        A::Enable(extensions) => Ok(enable(session, &extensions)),
        A::Create { mailbox, special_use } => mailboxes::create(session, account, &mailbox, special_use).await,
        A::Delete(mailbox) => mailboxes::delete(session, account, &mailbox).await,
        A::Rename { from, to } => mailboxes::rename(session, account, &from, &to).await,
        A::Subscribe { mailbox, subscribed } => mailboxes::subscribe(session, account, &mailbox, subscribed).await,
        A::List(list) => list::list(session, account, &list).await,
        A::Lsub(list) => list::lsub(session, account, &list).await,
        A::Namespace => {
            session.out.untagged("NAMESPACE ((\"\" \"/\")) NIL NIL");
            Ok(Tagged::ok("Namespaces listed"))
        }
        A::Status { mailbox, items } => status::run(session, account, &mailbox, &items).await,
        A::GetQuota(root) => quota::get(session, account, &root).await,
        A::GetQuotaRoot(mailbox) => quota::get_root(session, account, &mailbox).await,
        A::SetQuota => Err(Tagged::no("Only operators set quotas").code(Code::NO_PERMISSION).into()),
        A::Select(_) | A::Idle | A::Compress => Err(Tagged::bad("Not possible now").into()),
    }
}

/// ENABLE (RFC 9051 6.3.1): tells what was off before.
fn enable(session: &mut Session, extensions: &[Extension]) -> Tagged {
    let enabled = &mut session.out.enabled;
    let mut now = Vec::new();
    for extension in extensions {
        let before = *enabled;
        match extension {
            Extension::CondStore => enabled.condstore = true,
            Extension::Qresync => {
                // RFC 7162 3.2.3: QRESYNC includes CONDSTORE.
                enabled.condstore = true;
                enabled.qresync = true;
            }
            Extension::Utf8Accept => enabled.utf8 = true,
            Extension::Imap4Rev2 => {
                enabled.rev2 = true;
                enabled.utf8 = true;
            }
        }
        if *enabled != before {
            now.push(extension.name());
        }
    }
    let list = now.join(" ");
    session.out.untagged(format!("ENABLED {list}").trim_end());
    Tagged::ok("Enabled")
}
