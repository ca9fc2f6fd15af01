//! Nodes of the cluster, the tokens that let them in, and the authority that signs their certificates.
//!
//! Replica ids come from a counter of the cluster and go to one store each, for as long as that has its disk.

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{
    GroupId, ReplicaId, UnixMillis,
    directory::{DirectoryRefusal, DirectoryReply},
    nodes::{
        Authority, JOIN_TOKEN_MILLIS_MAX, JOIN_TOKENS_MAX, JoinToken, NODE_ADDRESS_OCTETS_MAX, NODES_MAX, Node,
        NodeFacts, NodeName, NodeState, SiteName, home_site,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Failure, Outcome};
use crate::{
    EngineError,
    keys::{Key, Table},
    recover::JUMP_SMALL,
    tx::{ReadView, Tx},
};

/// The row of [`Table::NodeCounters`]: the replica id to give out next. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Counters {
    replica: u64,
}

/// The row of [`Table::JoinToken`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct TokenRow {
    token: JoinToken,
    /// The key that it was used with, and for which node.
    used: Option<([u8; 32], NodeName)>,
}

/// All of them, sorted by name.
pub(super) fn all(view: &ReadView<'_>) -> Result<Vec<Node>, EngineError> {
    rows(view, Table::Node)
}

/// The shards that are at home in a site.
pub(super) fn shards_at_home(view: &ReadView<'_>, shards: u32, site: &SiteName) -> Result<Vec<u32>, Failure> {
    let nodes = all(view)?;
    let stores = nodes.iter().filter(|node| node.state == NodeState::Active && node.facts.store);
    let sites: BTreeSet<&str> = stores.map(|node| node.facts.site.as_str()).collect();
    let is_home = |shard: &u32| home_site(GroupId::new(*shard), sites.iter().copied()) == Some(site.as_str());
    let at_home: Vec<u32> = (1..=shards).filter(is_home).collect();
    if !at_home.is_empty() {
        return Ok(at_home);
    }
    let known = sites.into_iter().collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "none".to_owned() } else { known };
    Err(DirectoryRefusal::Invalid(format!(
        "no shard is at home in site {site}: sites with active stores are {known}, and they share {shards} shards"
    ))
    .into())
}

/// The cluster's authority, once there is one.
pub(super) fn authority(view: &ReadView<'_>) -> Result<Option<Authority>, EngineError> {
    view.get_record(&view.key(Table::Authority))
}

/// Tokens that were not used.
pub(super) fn tokens(view: &ReadView<'_>) -> Result<Vec<JoinToken>, EngineError> {
    let rows = rows::<TokenRow>(view, Table::JoinToken)?;
    Ok(rows.into_iter().filter(|row| row.used.is_none()).map(|row| row.token).collect())
}

pub(super) fn set_authority(tx: &mut Tx<'_>, new: &Authority) -> Outcome {
    match authority(&tx.view())? {
        Some(there) if there == *new => {}
        Some(_) => return Err(invalid("this cluster has an authority already").into()),
        None => {
            let key = tx.key(Table::Authority);
            tx.put_record(key, new);
        }
    }
    Ok(DirectoryReply::Done)
}

pub(super) fn found(tx: &mut Tx<'_>, clock: UnixMillis, facts: &NodeFacts) -> Outcome {
    match all(&tx.view())?.as_slice() {
        [] => admit(tx, clock, facts),
        [only] if only.facts.name == facts.name => update(tx, facts),
        _ => Err(invalid("this cluster is founded already: a node comes in with a token").into()),
    }
}

pub(super) fn put_token(tx: &mut Tx<'_>, clock: UnixMillis, token: &JoinToken) -> Outcome {
    let mut waiting = 0;
    for row in rows::<TokenRow>(&tx.view(), Table::JoinToken)? {
        if row.token.expires <= clock {
            let key = token_key(&tx.view(), &row.token.digest);
            tx.delete(key);
        } else {
            waiting += 1;
        }
    }
    if waiting >= JOIN_TOKENS_MAX {
        return Err(too_many("tokens that wait to be used", JOIN_TOKENS_MAX).into());
    }
    if token.expires <= clock || token.expires > clock.plus_millis(JOIN_TOKEN_MILLIS_MAX) {
        return Err(invalid("a token lives at least a moment and at most a week").into());
    }
    if let Some(name) = &token.replaces {
        get(&tx.view(), name)?;
    }
    let key = token_key(&tx.view(), &token.digest);
    if tx.view().get_record::<TokenRow>(&key)?.is_some() {
        return Err(DirectoryRefusal::Exists("a token with this secret".to_owned()).into());
    }
    tx.put_record(key, &TokenRow { token: token.clone(), used: None });
    Ok(DirectoryReply::Done)
}

pub(super) fn join(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    (token, key): (&[u8; 32], &[u8; 32]),
    facts: &NodeFacts,
) -> Outcome {
    let row_key = token_key(&tx.view(), token);
    let row: Option<TokenRow> = tx.view().get_record(&row_key)?;
    let row = row.filter(|row| row.token.expires > clock).ok_or(DirectoryRefusal::Token)?;
    if let Some((used_with, by)) = &row.used {
        let again = used_with == key && *by == facts.name;
        return if again {
            Ok(DirectoryReply::Node(get(&tx.view(), by)?))
        } else {
            Err(DirectoryRefusal::Token.into())
        };
    }
    match (&row.token.replaces, find(&tx.view(), &facts.name)?) {
        (Some(replaces), _) if *replaces != facts.name => {
            let why = format!("the token is for node {replaces} to come back: give that name, or another token");
            return Err(refused(&facts.name, why).into());
        }
        (None, Some(_)) => return Err(DirectoryRefusal::NodeExists(facts.name.clone()).into()),
        _ => {}
    }
    let admitted = admit(tx, clock, facts)?;
    tx.put_record(row_key, &TokenRow { used: Some((*key, facts.name.clone())), ..row });
    Ok(admitted)
}

pub(super) fn update(tx: &mut Tx<'_>, facts: &NodeFacts) -> Outcome {
    check(facts)?;
    let mut node = get(&tx.view(), &facts.name)?;
    if node.state == NodeState::Removed {
        return Err(refused(&facts.name, "it was removed from the cluster".to_owned()).into());
    }
    if node.facts.store != facts.store {
        let why = "whether it is a store stays as it joined: remove it and join again under another name";
        return Err(refused(&facts.name, why.to_owned()).into());
    }
    node.facts = facts.clone();
    store(tx, &node);
    Ok(DirectoryReply::Node(node))
}

pub(super) fn set_state(tx: &mut Tx<'_>, name: &NodeName, state: NodeState) -> Outcome {
    let mut node = get(&tx.view(), name)?;
    if node.state == NodeState::Removed && state != NodeState::Removed {
        let why = format!("it was removed; it comes back with a token of `securanet node replace {name}`");
        return Err(refused(name, why).into());
    }
    let works = |other: &Node| other.facts.store && other.state == NodeState::Active;
    let last = works(&node) && !all(&tx.view())?.iter().any(|other| other.facts.name != *name && works(other));
    if state != NodeState::Active && last {
        return Err(refused(name, "it is the last active store".to_owned()).into());
    }
    node.state = state;
    store(tx, &node);
    Ok(DirectoryReply::Node(node))
}

/// Replica ids jump: some that were given out may not be known here.
pub(super) fn jump(tx: &mut Tx<'_>) -> Result<(), EngineError> {
    let key = tx.key(Table::NodeCounters);
    if let Some(Counters { replica }) = tx.get_record(&key)? {
        tx.put_record(key, &Counters { replica: replica.saturating_add(JUMP_SMALL.into()) });
    }
    Ok(())
}

/// Removes a node, whatever work it had; nothing where it is not known.
pub(super) fn give_up(tx: &mut Tx<'_>, name: &NodeName) -> Result<(), EngineError> {
    if let Some(node) = find(&tx.view(), name)? {
        store(tx, &Node { state: NodeState::Removed, ..node });
    }
    Ok(())
}

/// Writes a node that comes in, a store with a new replica id.
fn admit(tx: &mut Tx<'_>, clock: UnixMillis, facts: &NodeFacts) -> Outcome {
    check(facts)?;
    let others = all(&tx.view())?;
    let others = others.iter().filter(|node| node.state != NodeState::Removed && node.facts.name != facts.name);
    if others.count() >= NODES_MAX {
        return Err(too_many("nodes", NODES_MAX).into());
    }
    let replica = if facts.store { Some(next_replica(tx)?) } else { None };
    let node = Node { facts: facts.clone(), state: NodeState::Active, replica, joined: clock };
    store(tx, &node);
    Ok(DirectoryReply::Node(node))
}

fn next_replica(tx: &mut Tx<'_>) -> Result<ReplicaId, EngineError> {
    let key = tx.key(Table::NodeCounters);
    let Counters { replica } = tx.get_record(&key)?.unwrap_or(Counters { replica: 1 });
    tx.put_record(key, &Counters { replica: replica + 1 });
    Ok(ReplicaId::new(replica))
}

fn check(facts: &NodeFacts) -> Result<(), DirectoryRefusal> {
    let is_address = |address: &String| {
        let parts = address.rsplit_once(':');
        let fits = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        fits && address.len() <= NODE_ADDRESS_OCTETS_MAX && address.bytes().all(|octet| octet.is_ascii_graphic())
    };
    if facts.address.as_ref().is_some_and(|address| !is_address(address)) {
        return Err(refused(&facts.name, "its address is not host:port".to_owned()));
    }
    match (facts.store, facts.gateway, &facts.address) {
        (false, false, _) => Err(refused(&facts.name, "it is neither a store nor a gateway".to_owned())),
        (true, _, None) => Err(refused(&facts.name, "a store says where it is reached".to_owned())),
        _ => Ok(()),
    }
}

fn find(view: &ReadView<'_>, name: &NodeName) -> Result<Option<Node>, EngineError> {
    view.get_record(&node_key(view, name))
}

fn get(view: &ReadView<'_>, name: &NodeName) -> Result<Node, Failure> {
    Ok(find(view, name)?.ok_or_else(|| DirectoryRefusal::NotFound(format!("node {name}")))?)
}

fn store(tx: &mut Tx<'_>, node: &Node) {
    let key = node_key(&tx.view(), &node.facts.name);
    tx.put_record(key, node);
}

fn node_key(view: &ReadView<'_>, name: &NodeName) -> Key {
    view.key(Table::Node).octets(name.as_str().as_bytes())
}

fn token_key(view: &ReadView<'_>, digest: &[u8; 32]) -> Key {
    view.key(Table::JoinToken).octets(digest)
}

fn rows<T: DeserializeOwned>(view: &ReadView<'_>, table: Table) -> Result<Vec<T>, EngineError> {
    let mut rows = Vec::new();
    view.visit_records(&view.key(table).range(), Direction::Forward, |_, row| {
        rows.push(row);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

fn invalid(why: &str) -> DirectoryRefusal {
    DirectoryRefusal::Invalid(why.to_owned())
}

fn refused(name: &NodeName, why: String) -> DirectoryRefusal {
    DirectoryRefusal::Node { name: name.clone(), why }
}

fn too_many(what: &str, limit: usize) -> DirectoryRefusal {
    DirectoryRefusal::TooMany { what: what.to_owned(), limit: limit as u64 }
}
