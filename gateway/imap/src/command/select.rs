//! SELECT and EXAMINE (RFC 9051 6.3.2 and 6.3.3, RFC 7162 3.2.5, RFC 8474 4.1).

use securanet_gateway::model::{
    ModSeq,
    account::{MailboxInfo, UidSet},
};

use crate::{
    error::ImapError,
    grammar::command::{Qresync, Select},
    mailbox::{Account, View, intersection, uid_set},
    response::{Code, ListRow, Stop, Tagged, mailbox_object_id},
    session::{
        Session,
        state::{Authenticated, Done, Selected, State},
    },
};

/// Answers; a mailbox that was open before is closed already.
pub(crate) async fn run(session: &mut Session, state: Authenticated, select: Select) -> Result<Done, ImapError> {
    match open(session, &state.account, &select).await {
        Ok((view, tagged)) => {
            let selected = Selected { authenticated: state, view, saved: UidSet::default() };
            Ok(State::Selected(Box::new(selected)).answer(tagged))
        }
        Err(Stop::Refused(tagged)) => Ok(State::Authenticated(state).answer(tagged)),
        Err(Stop::Fatal(error)) => Err(error),
    }
}

async fn open(session: &mut Session, account: &Account, select: &Select) -> Result<(View, Tagged), Stop> {
    if select.qresync.is_some() && !session.out.enabled.qresync {
        return Err(Tagged::bad("Enable QRESYNC first").into());
    }
    session.out.enabled.condstore |= select.condstore;
    let name = select.mailbox.name(session.out.enabled.utf8)?;
    // All that was acknowledged before is in the mailbox that is opened.
    account.store.refresh();
    let Some(info) = account.mailbox(&name).await? else {
        return Err(Tagged::no("Mailbox does not exist").code(Code::NON_EXISTENT).into());
    };
    let (mut view, first_unseen) = View::open(account, &info, select.read_only).await?;
    view.claim_recent(&session.service.recents, account);
    // What happened between the two questions is told next.
    view.expect_changes();
    describe(session, account, &info, &view, first_unseen);
    if let Some(known) = &select.qresync {
        resynchronise(session, account, &view, known).await?;
    }
    let code = if select.read_only { Code::READ_ONLY } else { Code::READ_WRITE };
    Ok((view, Tagged::ok("Mailbox is open").code(code)))
}

fn describe(session: &mut Session, account: &Account, info: &MailboxInfo, view: &View, first_unseen: Option<u32>) {
    let rev2 = session.out.enabled.rev2;
    let out = &mut session.out;
    out.mailbox_flags(view.keywords(), view.read_only);
    out.exists(view.exists());
    out.recent(view.recent());
    if let Some(first) = first_unseen.filter(|_| !rev2) {
        out.ok(&Code::number("UNSEEN", first.into()), "First unseen");
    }
    out.ok(&Code::number("UIDVALIDITY", view.uid_validity.get().into()), "UIDs are valid");
    out.ok(&Code::number("UIDNEXT", view.uid_next().get().into()), "Next UID");
    out.ok(&Code::highest_mod_seq(view.modseq()), "Highest");
    out.ok(&Code::mailbox_id(&mailbox_object_id(account.id(), info.id)), "Mailbox id");
    if rev2 {
        // RFC 9051 6.3.2: the name as the server writes it.
        out.list_row(&ListRow {
            name: info.name.clone(),
            exists: true,
            has_children: None,
            subscribed: info.subscribed,
            special_use: info.special_use,
            child_info: None,
        });
    }
}

/// RFC 7162 3.2.5.1: what a client that comes back has missed.
async fn resynchronise(session: &mut Session, account: &Account, view: &View, known: &Qresync) -> Result<(), Stop> {
    if known.uid_validity != view.uid_validity.get() {
        return Ok(());
    }
    let changes = account.changes(view.mailbox, ModSeq::new(known.mod_seq)).await?;
    // RFC 7162 3.2.5: who does not say which UIDs it knows knows all there were.
    let known = match &known.known_uids {
        None => UidSet::all(),
        Some(set) => uid_set(&set.resolve(view.uid_next().get().saturating_sub(1))),
    };
    session.out.vanished_earlier(&intersection(&changes.vanished, &known));
    for state in changes.messages.iter().filter(|state| known.contains(state.uid)) {
        if let Some(sequence) = view.sequence(state.uid) {
            session.out.flags_changed(sequence, state, view.is_recent(state.uid), true);
            session.send_gathered().await?;
        }
    }
    Ok(())
}
