//! Entries for fuzzing: whatever bytes a log or a disk gives back, the engine answers or fails, and never panics.

use securanet_kv::{Direction, Durability, KeyValue, Read, memory::MemoryStore};
use securanet_model::{
    Address, GroupId, Query, UnixMillis,
    delivery::QueueQuery,
    directory::{DirectoryQuery, Page},
    outbound::{Filter, OutboundQuery},
    record,
    request::Proposal,
};

use crate::{Space, answer, apply};

/// A proposal from the log: what decodes is applied to an empty directory and an empty shard, and its record
/// comes back.
///
/// # Panics
/// When a decoded proposal does not come back as it was: that is the finding.
pub fn fuzz_proposal(data: &[u8]) {
    let Ok(proposal) = record::decode::<Proposal>(data) else { return };
    let again = record::decode::<Proposal>(&record::encode(&proposal));
    assert_eq!(again.as_ref(), Ok(&proposal), "a proposal survives a round trip");
    for group in [0, 1] {
        let store = MemoryStore::new();
        let space = Space { group: GroupId::new(group), generation: 0 };
        if let Ok(applied) = apply(&store, space, &proposal) {
            assert_eq!(applied.replies.len(), proposal.requests.len(), "each request is answered");
        }
    }
}

/// A state with damaged rows: `rows` are (key, value); each query is answered or fails, and so is `proposal`.
pub fn fuzz_state(space: Space, rows: Vec<(Vec<u8>, Vec<u8>)>, proposal: &Proposal) {
    let store = MemoryStore::new();
    let mut batch = securanet_kv::WriteBatch::new();
    rows.into_iter().for_each(|(key, value)| batch.put(key, value));
    if store.write(batch, Durability::Volatile).is_err() {
        return;
    }
    let page = Page { after: None, rows_max: 10 };
    let directory = [
        DirectoryQuery::Cluster,
        DirectoryQuery::ResolvePostmaster,
        DirectoryQuery::Domains(page.clone()),
        DirectoryQuery::Accounts(None, page.clone()),
        DirectoryQuery::Aliases(page.clone()),
        DirectoryQuery::Lists(page),
        DirectoryQuery::Policies,
    ];
    let mut queries: Vec<Query> = directory.into_iter().map(Query::Directory).collect();
    for address in addresses(&store, space) {
        queries.push(Query::Directory(DirectoryQuery::Resolve(address.clone())));
        queries.push(Query::Directory(DirectoryQuery::Credentials(address.to_string())));
    }
    queries.extend([
        Query::Queue(QueueQuery::Pending { rows_max: 10 }),
        Query::Queue(QueueQuery::Depth),
        Query::Queue(QueueQuery::Held { after: None, rows_max: 10 }),
    ]);
    queries.extend(outbound_queries().map(Query::Outbound));
    for query in queries {
        drop(answer(&store, space, &query));
    }
    drop(apply(&store, space, proposal));
}

/// Every question about the outbound queue, about the first items of a group.
fn outbound_queries() -> impl Iterator<Item = OutboundQuery> {
    let now = UnixMillis::new(u64::MAX);
    let of_items = (1..4)
        .flat_map(|item| [OutboundQuery::Item(item), OutboundQuery::Content(item), OutboundQuery::Envelope(item)]);
    let filter = Filter { ended: true, ..Filter::default() };
    let of_all = [
        OutboundQuery::Due { now, after: None, destinations_max: 10, rows_max: 10 },
        OutboundQuery::Timers { now, rows_max: 10 },
        OutboundQuery::Items { filter, before: None, rows_max: 10 },
        OutboundQuery::Items { filter: Filter::default(), before: None, rows_max: 10 },
        OutboundQuery::ByMessageId("<1@a.example>".to_owned()),
        OutboundQuery::Depth,
    ];
    of_items.chain(of_all)
}

/// The addresses that the state has rows for.
fn addresses(store: &MemoryStore, space: Space) -> Vec<Address> {
    let range = space.key(crate::keys::Table::Address).range();
    let rows = store.scan(&range, Direction::Forward, 100).unwrap_or_default();
    let parse = |key: &[u8]| {
        let mut fields = crate::keys::Fields::of(key).ok()?;
        let domain = fields.text().ok()?;
        Address::parse(&format!("{}@{domain}", std::str::from_utf8(fields.rest()).ok()?)).ok()
    };
    rows.iter().filter_map(|(key, _)| parse(key)).collect()
}

#[cfg(test)]
mod tests;
