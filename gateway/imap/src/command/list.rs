//! LIST and LSUB (RFC 9051 6.3.9, RFC 5258, RFC 5819 LIST-STATUS, RFC 6154 SPECIAL-USE, RFC 3501 6.3.9).
//!
//! An account's mailboxes come as one sorted answer with their counters, so a listing with STATUS is one
//! question. Parents of existing mailboxes exist too (the store makes them); only a subscription can have a
//! parent without a mailbox.

use std::collections::{BTreeMap, HashSet};

use securanet_gateway::model::{MailboxName, account::MailboxInfo};

use super::status;
use crate::{
    grammar::{
        command::{MailboxArg, MailboxArgError},
        list::List,
        pattern::Pattern,
    },
    mailbox::Account,
    response::{ListRow, Stop, Tagged},
    session::Session,
};

/// `LIST`
pub(crate) async fn list(session: &mut Session, account: &Account, list: &List) -> Result<Tagged, Stop> {
    if !list.extended && list.patterns == [Vec::<u8>::new()] {
        session.out.untagged("LIST (\\Noselect) \"/\" \"\"");
        return Ok(Tagged::ok("Delimiter listed"));
    }
    let patterns = patterns(list, session.out.enabled.utf8)?;
    let mailboxes = account.mailboxes().await?;
    let dangling = if list.selection.subscribed { account.dangling_subscriptions().await? } else { Vec::new() };
    let rows = rows(list, &patterns, &mailboxes, &dangling);
    let wants_status = |row: &ListRow| row.exists && !list.returns.status.is_empty();
    for row in rows {
        session.out.list_row(&row);
        if wants_status(&row)
            && let Ok(at) = mailboxes.binary_search_by(|info| info.name.cmp(&row.name))
        {
            status::respond(session, account, &mailboxes[at], &list.returns.status).await?;
        }
        session.send_gathered().await?;
    }
    Ok(Tagged::ok("Mailboxes listed"))
}

/// `LSUB`
pub(crate) async fn lsub(session: &mut Session, account: &Account, list: &List) -> Result<Tagged, Stop> {
    if list.patterns == [Vec::<u8>::new()] {
        session.out.untagged("LSUB (\\Noselect) \"/\" \"\"");
        return Ok(Tagged::ok("Delimiter listed"));
    }
    let patterns = patterns(list, session.out.enabled.utf8)?;
    let mut names: Vec<MailboxName> = account.dangling_subscriptions().await?;
    names.extend(account.mailboxes().await?.into_iter().filter(|info| info.subscribed).map(|info| info.name));
    for (name, no_select) in subscribed_rows(&patterns, &names) {
        session.out.lsub_row(&name, no_select);
        session.send_gathered().await?;
    }
    Ok(Tagged::ok("Subscriptions listed"))
}

fn patterns(list: &List, utf8: bool) -> Result<Vec<Pattern>, MailboxArgError> {
    let reference = MailboxArg::text(&list.reference, utf8)?;
    let join = |pattern: &Vec<u8>| Ok(Pattern::new(&format!("{reference}{}", MailboxArg::text(pattern, utf8)?)));
    list.patterns.iter().map(join).collect()
}

fn fits(patterns: &[Pattern], name: &MailboxName) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name.as_str()))
}

fn ancestors(name: &MailboxName) -> impl Iterator<Item = MailboxName> {
    std::iter::successors(name.parent(), MailboxName::parent)
}

/// The rows of a LIST, sorted by name.
fn rows(list: &List, patterns: &[Pattern], mailboxes: &[MailboxInfo], dangling: &[MailboxName]) -> Vec<ListRow> {
    let parents: HashSet<MailboxName> = mailboxes.iter().flat_map(|info| ancestors(&info.name)).collect();
    let selection = list.selection;
    let is_selected = |info: &MailboxInfo| {
        (!selection.subscribed || info.subscribed) && (!selection.special_use || info.special_use.is_some())
    };
    let existing = mailboxes.iter().map(|info| (row(info, list, &parents), is_selected(info)));
    let only_subscribed = dangling.iter().map(|name| (missing(name, true, &parents), !selection.special_use));
    let mut found: BTreeMap<MailboxName, ListRow> = BTreeMap::new();
    let mut selected = Vec::new();
    for (row, is_selected) in existing.chain(only_subscribed) {
        if is_selected {
            selected.push(row.name.clone());
            if fits(patterns, &row.name) {
                found.insert(row.name.clone(), row);
            }
        }
    }
    if selection.recursive_match {
        let what = if selection.subscribed { "SUBSCRIBED" } else { "SPECIAL-USE" };
        for parent in selected.iter().flat_map(ancestors).filter(|parent| fits(patterns, parent)) {
            let parent_row = found.entry(parent).or_insert_with_key(|name| {
                let info = mailboxes.iter().find(|info| info.name == *name);
                info.map_or_else(|| missing(name, false, &parents), |info| row(info, list, &parents))
            });
            parent_row.child_info = Some(what);
        }
    }
    found.into_values().collect()
}

fn row(info: &MailboxInfo, list: &List, parents: &HashSet<MailboxName>) -> ListRow {
    ListRow {
        name: info.name.clone(),
        exists: true,
        has_children: Some(parents.contains(&info.name)),
        subscribed: info.subscribed && (list.selection.subscribed || list.returns.subscribed),
        special_use: info.special_use,
        child_info: None,
    }
}

fn missing(name: &MailboxName, subscribed: bool, parents: &HashSet<MailboxName>) -> ListRow {
    let has_children = parents.contains(name).then_some(true);
    ListRow { name: name.clone(), exists: false, has_children, subscribed, special_use: None, child_info: None }
}

/// RFC 3501 6.3.9: a subscribed name below a pattern that ends in `%` shows its parent, which cannot be selected.
fn subscribed_rows(patterns: &[Pattern], names: &[MailboxName]) -> BTreeMap<MailboxName, bool> {
    let mut rows = BTreeMap::new();
    for name in names {
        if fits(patterns, name) {
            rows.insert(name.clone(), false);
        } else if let Some(parent) = ancestors(name).find(|parent| fits(patterns, parent)) {
            rows.entry(parent).or_insert(true);
        }
    }
    rows
}
