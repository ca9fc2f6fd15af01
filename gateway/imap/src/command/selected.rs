//! Commands on messages (RFC 9051 6.4): one place that says which does what.

use super::{copy, expunge, search, store};
use crate::{
    fetch,
    grammar::{Tag, command::SelectedCommand},
    response::{Stop, Tagged},
    session::{Session, state::Selected},
};

/// Answers.
pub(crate) async fn run(
    session: &mut Session,
    selected: &mut Selected,
    tag: &Tag,
    command: SelectedCommand,
) -> Result<Tagged, Stop> {
    use SelectedCommand as S;
    match command {
        S::Check | S::Close | S::Unselect => Ok(Tagged::ok("Checked")),
        S::Expunge => expunge::run(selected, None).await,
        S::UidExpunge(set) => expunge::run(selected, Some(set)).await,
        S::Search { uid, search } => search::run(session, selected, tag, uid, search).await,
        S::Fetch { uid, set, fetch } => fetch::run(session, selected, &set, uid, fetch).await,
        S::Store { uid, set, store } => store::run(session, selected, &set, uid, store).await,
        S::Copy { uid, set, mailbox } => copy::run(session, selected, &set, uid, &mailbox, false).await,
        S::Move { uid, set, mailbox } => copy::run(session, selected, &set, uid, &mailbox, true).await,
    }
}
