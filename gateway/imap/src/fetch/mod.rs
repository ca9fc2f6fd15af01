//! FETCH and UID FETCH (RFC 9051 6.4.5 and 7.5.2, RFC 7162 3.1.4, RFC 3516, RFC 8474, RFC 8514, RFC 8970).
//!
//! Messages are read from the store in pages and written as they come. Everything but sections comes from the
//! row and its summary; a section is a range of the message's octets, found in the summary and copied from the
//! store to the connection in pieces of at most 1 MiB, so memory does not grow with the message.
//!
//! A message that was expunged elsewhere has no row: the others are answered, and the command ends with
//! `NO [EXPUNGEISSUED]` (RFC 2180 4.1.2), unless it named UIDs, of which it may name some that are gone.

use securanet_gateway::model::{
    Flags, ModSeq, SystemFlags, Uid,
    account::{AccountCommand, AccountReply, FlagChange, MessageState, UidSet},
};

use crate::{
    grammar::{
        SequenceSet,
        fetch::{Fetch, FetchItem},
    },
    mailbox::{
        Selection, intersection, out_of_turn,
        row::{self, Need, Row},
    },
    response::{Code, Stop, Tagged},
    session::{Session, state::Selected},
};

mod content;
pub(crate) mod decode;
mod header_fields;
mod item;
mod section;

/// What one FETCH does, decided before it begins.
struct Plan {
    items: Vec<FetchItem>,
    need: Need,
    /// Some section of the message itself is wanted.
    opens: bool,
    /// `\Seen` is set on what is fetched.
    sets_seen: bool,
}

/// What one FETCH has met.
#[derive(Default)]
struct Progress {
    answered: usize,
    unknown_encoding: bool,
    gone: bool,
    /// What this page has set `\Seen` on.
    newly_seen: UidSet,
}

/// Answers.
pub(crate) async fn run(
    session: &mut Session,
    selected: &mut Selected,
    set: &SequenceSet,
    uid: bool,
    fetch: Fetch,
) -> Result<Tagged, Stop> {
    if fetch.vanished && !(uid && session.out.enabled.qresync) {
        return Err(Tagged::bad("VANISHED needs UID FETCH and QRESYNC enabled").into());
    }
    session.out.enabled.condstore |= fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq);
    let mut selection = selected.view.select(set, uid, &selected.saved)?;
    if let Some(since) = fetch.changed_since {
        selection = changed_since(session, selected, set, selection, ModSeq::new(since), fetch.vanished).await?;
    }
    let plan = Plan::new(fetch, uid, selected.view.read_only);
    let mut progress = Progress::default();
    for page in selection.pages(selected.view.uids(), plan.need.rows_max()) {
        let mut rows = row::read(&selected.authenticated.account, selected.view.mailbox, page, plan.need).await?;
        progress.newly_seen = if plan.sets_seen { mark_seen(selected, &mut rows).await? } else { UidSet::default() };
        for row in rows {
            item::respond(session, selected, &plan, &row, &mut progress).await?;
            session.send_gathered().await?;
        }
        // A store in this process may answer at once, always: others want their turn.
        tokio::task::yield_now().await;
    }
    if progress.unknown_encoding {
        return Err(Tagged::no("A part has an encoding that is not known").code(Code::UNKNOWN_CTE).into());
    }
    if !uid && (progress.gone || progress.answered < selection.count()) {
        selected.view.expect_changes();
        return Err(Tagged::no("Some of the messages were expunged").code(Code::EXPUNGE_ISSUED).into());
    }
    Ok(Tagged::ok("Fetched"))
}

impl Plan {
    fn new(fetch: Fetch, uid: bool, read_only: bool) -> Self {
        let mut items = fetch.items;
        if uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        // RFC 7162 3.1.4.1: CHANGEDSINCE means MODSEQ too.
        if fetch.changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        let need = items.iter().map(need).max().unwrap_or(Need::State);
        let opens = items.iter().any(opens_content);
        let sets_seen = !read_only && items.iter().any(FetchItem::sets_seen);
        Self { items, need, opens, sets_seen }
    }
}

/// RFC 7162 3.1.4.1 and 3.2.6: leaves what has changed, and tells what has vanished.
async fn changed_since(
    session: &mut Session,
    selected: &Selected,
    set: &SequenceSet,
    selection: Selection,
    since: ModSeq,
    vanished: bool,
) -> Result<Selection, Stop> {
    let view = &selected.view;
    let changes = selected.authenticated.account.changes(view.mailbox, since).await?;
    if vanished {
        let asked = match set {
            SequenceSet::Saved => selected.saved.clone(),
            SequenceSet::Ranges(_) => crate::mailbox::uid_set(&set.resolve(view.uid_next().get().saturating_sub(1))),
        };
        session.out.vanished_earlier(&intersection(&changes.vanished, &asked));
    }
    let changed = UidSet::from_uids(changes.messages.iter().map(|state| state.uid));
    Ok(view.with_uids(&intersection(&changed, &selection.uid_set(view.uids()))))
}

/// Sets `\Seen` on the rows that do not have it, in one commit; answers with their UIDs. When the store cannot,
/// the messages are shown all the same: a full disk is no reason not to read.
async fn mark_seen(selected: &mut Selected, rows: &mut [Row]) -> Result<UidSet, Stop> {
    let unseen = |row: &&mut Row| !row.state.flags.system.contains(SystemFlags::SEEN);
    let uids: Vec<Uid> = rows.iter_mut().filter(unseen).map(|row| row.state.uid).collect();
    if uids.is_empty() {
        return Ok(UidSet::default());
    }
    let command = AccountCommand::StoreFlags {
        mailbox: selected.view.mailbox,
        uids: UidSet::from_uids(uids),
        change: FlagChange::Add,
        flags: Flags::new(SystemFlags::SEEN, []),
        unchanged_since: None,
    };
    let states = match selected.authenticated.account.change(command).await {
        Ok(AccountReply::Stored { messages, .. }) => messages,
        Ok(_) => return Err(out_of_turn()),
        Err(Stop::Refused(tagged)) => {
            tracing::info!(why = %tagged.text, "messages are shown and not marked as seen");
            return Ok(UidSet::default());
        }
        Err(fatal) => return Err(fatal),
    };
    selected.view.expect_changes();
    for state in &states {
        selected.view.tell(state);
    }
    Ok(take_states(rows, states))
}

fn take_states(rows: &mut [Row], states: Vec<MessageState>) -> UidSet {
    let mut changed = Vec::with_capacity(states.len());
    for state in states {
        if let Ok(at) = rows.binary_search_by_key(&state.uid, |row| row.state.uid) {
            changed.push(state.uid);
            rows[at].state = state;
        }
    }
    UidSet::from_uids(changed)
}

/// How much of a row an item needs.
const fn need(item: &FetchItem) -> Need {
    use FetchItem as F;
    match item {
        F::Flags | F::Uid | F::ModSeq | F::EmailId => Need::State,
        F::InternalDate | F::Size | F::ThreadId | F::SaveDate | F::Rfc822 => Need::Message,
        F::Envelope | F::Body | F::BodyStructure | F::Preview | F::Rfc822Header | F::Rfc822Text => Need::Summary,
        F::Section { .. } | F::Binary { .. } | F::BinarySize { .. } => Need::Summary,
    }
}

/// Whether an item is read from the message itself.
const fn opens_content(item: &FetchItem) -> bool {
    use FetchItem as F;
    matches!(
        item,
        F::Rfc822 | F::Rfc822Header | F::Rfc822Text | F::Section { .. } | F::Binary { .. } | F::BinarySize { .. }
    )
}
