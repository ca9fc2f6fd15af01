//! STORE and UID STORE (RFC 9051 6.4.6, RFC 7162 3.1.3).
//!
//! Flags are changed in commits of at most [`MESSAGES_PER_COMMIT`] messages, so that one client's change of a
//! huge mailbox does not keep the shard from everybody else. STORE promises nothing about all or none.

use securanet_gateway::model::{
    ModSeq, Uid,
    account::{AccountCommand, AccountReply},
};

use crate::{
    grammar::{SequenceSet, command::Store},
    response::{self, Code, Stop, Tagged},
    session::{Session, state::Selected},
};

/// Messages whose flags one commit changes.
const MESSAGES_PER_COMMIT: usize = 2000;

/// Answers.
pub(crate) async fn run(
    session: &mut Session,
    selected: &mut Selected,
    set: &SequenceSet,
    uid: bool,
    store: Store,
) -> Result<Tagged, Stop> {
    if selected.view.read_only {
        return Err(Tagged::no("Mailbox is open for reading only").code(Code::READ_ONLY).into());
    }
    // RFC 7162 3.1: naming a mod-sequence switches CONDSTORE on.
    session.out.enabled.condstore |= store.unchanged_since.is_some();
    let selection = selected.view.select(set, uid, &selected.saved)?;
    // What others have changed is told now: the answer to a silent STORE would hide it.
    selected.synchronise(session, false).await?;
    let mut done = 0;
    let mut modified: Vec<Uid> = Vec::new();
    for uids in selection.pages(selected.view.uids(), MESSAGES_PER_COMMIT) {
        let command = AccountCommand::StoreFlags {
            mailbox: selected.view.mailbox,
            uids,
            change: store.change,
            flags: store.flags.clone(),
            unchanged_since: store.unchanged_since.map(ModSeq::new),
        };
        let reply = selected.authenticated.account.change(command).await?;
        let AccountReply::Stored { messages, modified: left_alone } = reply else {
            return Err(crate::mailbox::out_of_turn());
        };
        done += messages.len() + left_alone.len();
        modified.extend(left_alone);
        for state in messages {
            let Some(sequence) = selected.view.sequence(state.uid) else { continue };
            if !store.silent {
                session.out.flags_changed(sequence, &state, selected.view.is_recent(state.uid), uid);
            } else if session.out.enabled.condstore {
                session.out.modseq_changed(sequence, &state, uid);
            }
            selected.view.tell(&state);
        }
        session.send_gathered().await?;
    }
    selected.view.expect_changes();
    Ok(answer(selected, uid, &modified, selection.count() - done.min(selection.count())))
}

fn answer(selected: &Selected, uid: bool, modified: &[Uid], missing: usize) -> Tagged {
    if !modified.is_empty() {
        let numbers: Vec<u32> = if uid {
            modified.iter().map(|uid| uid.get()).collect()
        } else {
            modified.iter().filter_map(|&uid| selected.view.sequence(uid)).collect()
        };
        let code = Code::modified(&response::numbers(numbers));
        return Tagged::ok("Some were changed since").code(code);
    }
    if missing > 0 && !uid {
        return Tagged::no("Some of the messages were expunged").code(Code::EXPUNGE_ISSUED);
    }
    Tagged::ok("Stored")
}
