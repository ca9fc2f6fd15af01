//! Who comes into the cluster: founded once, by a token once, under a replica id that nobody had.

use std::collections::BTreeSet;

use securanet_model::{
    ReplicaId,
    dkim::PrivateKey,
    nodes::{Authority, JoinToken, Node, NodeFacts, NodeState},
};

use super::*;
use crate::harness::START;

fn store(name: &str, site: &str) -> NodeFacts {
    NodeFacts {
        name: name.parse().unwrap(),
        site: site.parse().unwrap(),
        store: true,
        gateway: true,
        address: Some(format!("{name}.example.org:7025")),
    }
}

fn gateway(name: &str) -> NodeFacts {
    NodeFacts { store: false, address: None, ..store(name, "north") }
}

fn token(secret: u8, minutes: u64, replaces: Option<&str>) -> DirectoryCommand {
    let expires = START.plus_millis(minutes * 60_000);
    let replaces = replaces.map(|name| name.parse().unwrap());
    DirectoryCommand::PutJoinToken(JoinToken { digest: [secret; 32], expires, replaces })
}

fn join(secret: u8, facts: NodeFacts) -> DirectoryCommand {
    DirectoryCommand::Join { token: [secret; 32], key: [secret; 32], facts }
}

fn set(name: &str, state: NodeState) -> DirectoryCommand {
    DirectoryCommand::SetNodeState { name: name.parse().unwrap(), state }
}

fn nodes(office: &Office) -> Vec<Node> {
    match office.ask(DirectoryQuery::Nodes) {
        DirectoryAnswer::Nodes(nodes) => nodes,
        other => panic!("{other:?}"),
    }
}

fn node(office: &mut Office, command: DirectoryCommand) -> Node {
    match office.run(command) {
        DirectoryReply::Node(node) => node,
        other => panic!("{other:?}"),
    }
}

/// A cluster of one store.
fn founded() -> Office {
    let mut office = Office::new();
    let first = node(&mut office, DirectoryCommand::FoundCluster(store("a", "north")));
    assert_eq!(first.replica, Some(ReplicaId::new(1)), "that of a node that was alone until now");
    office
}

#[test]
fn a_cluster_is_founded_once() {
    let mut office = founded();
    let again = node(&mut office, DirectoryCommand::FoundCluster(store("a", "south")));
    assert_eq!((again.replica, again.facts.site.as_str()), (Some(ReplicaId::new(1)), "south"));
    let other = office.refused(DirectoryCommand::FoundCluster(store("b", "north")));
    assert!(other.to_string().contains("founded already"), "{other}");
}

#[test]
fn a_token_lets_one_node_in_and_the_same_node_may_ask_again() {
    let mut office = founded();
    office.done(token(7, 60, None));
    assert_eq!(office.refused(join(8, store("b", "south"))), DirectoryRefusal::Token, "another secret");
    let taken = office.refused(join(7, store("a", "south")));
    assert_eq!(taken, DirectoryRefusal::NodeExists("a".parse().unwrap()));
    let b = node(&mut office, join(7, store("b", "south")));
    assert_eq!((b.replica, b.state), (Some(ReplicaId::new(2)), NodeState::Active));
    assert_eq!(node(&mut office, join(7, store("b", "south"))), b, "its answer was lost");
    assert_eq!(office.refused(join(7, store("c", "south"))), DirectoryRefusal::Token, "used already");
    let stolen = DirectoryCommand::Join { token: [7; 32], key: [9; 32], facts: store("b", "south") };
    assert_eq!(office.refused(stolen), DirectoryRefusal::Token, "another key is another node");
    office.done(token(9, 60, None));
    assert_eq!(node(&mut office, join(9, gateway("g"))).replica, None, "a gateway has no replicas");
    assert_eq!(nodes(&office).iter().map(|node| node.facts.name.as_str()).collect::<Vec<_>>(), ["a", "b", "g"]);
}

#[test]
fn a_tokens_time_ends() {
    let mut office = founded();
    office.done(token(1, 1, None));
    office.group.clock = START.plus_millis(60_000);
    assert_eq!(office.refused(join(1, store("b", "south"))), DirectoryRefusal::Token);
    for minutes in [0, 8 * 24 * 60] {
        assert!(matches!(office.refused(token(2, minutes, None)), DirectoryRefusal::Invalid(_)));
    }
    office.done(token(3, 60, None));
    let DirectoryAnswer::JoinTokens(left) = office.ask(DirectoryQuery::JoinTokens) else { panic!("tokens") };
    assert_eq!(left.iter().map(|token| token.digest[0]).collect::<Vec<_>>(), [3], "what has ended is dropped");
}

#[test]
fn a_store_that_lost_its_disk_comes_back_under_another_replica_id() {
    let mut office = founded();
    office.done(token(1, 60, None));
    node(&mut office, join(1, store("b", "south")));
    office.done(token(2, 60, Some("b")));
    let wrong = office.refused(join(2, store("c", "south")));
    assert!(wrong.to_string().contains("is for node b"), "{wrong}");
    let b = node(&mut office, join(2, store("b", "east")));
    assert_eq!((b.replica, b.facts.site.as_str()), (Some(ReplicaId::new(3)), "east"));
    assert!(matches!(office.refused(token(3, 60, Some("x"))), DirectoryRefusal::NotFound(_)));
}

#[test]
fn a_removed_node_stays_out_and_the_last_store_stays_in() {
    let mut office = founded();
    for state in [NodeState::Draining, NodeState::Removed] {
        let last = office.refused(set("a", state));
        assert!(last.to_string().contains("last active store"), "{last}");
    }
    office.done(token(1, 60, None));
    node(&mut office, join(1, store("b", "south")));
    assert_eq!(node(&mut office, set("b", NodeState::Draining)).state, NodeState::Draining);
    assert_eq!(node(&mut office, set("b", NodeState::Active)).state, NodeState::Active);
    assert_eq!(node(&mut office, set("b", NodeState::Removed)).state, NodeState::Removed);
    let back = office.refused(set("b", NodeState::Active));
    assert!(back.to_string().contains("node replace b"), "{back}");
    let says = office.refused(DirectoryCommand::UpdateNode(store("b", "south")));
    assert!(says.to_string().contains("was removed"), "{says}");
    office.done(token(2, 60, Some("b")));
    assert_eq!(node(&mut office, join(2, store("b", "south"))).replica, Some(ReplicaId::new(3)));
}

#[test]
fn what_a_node_says_of_itself_must_fit() {
    let mut office = founded();
    let moved = node(&mut office, DirectoryCommand::UpdateNode(store("a", "south")));
    assert_eq!(moved.facts.site.as_str(), "south");
    let mut wrong = vec![gateway("a")];
    wrong.push(NodeFacts { store: false, gateway: false, ..store("a", "north") });
    wrong.push(NodeFacts { address: None, ..store("a", "north") });
    for address in ["", "a", ":1", "a:", "a:0", "a:65536", "a b:1", &format!("{}:1", "a".repeat(300))] {
        wrong.push(NodeFacts { address: Some(address.to_owned()), ..store("a", "north") });
    }
    for facts in wrong {
        let refusal = office.refused(DirectoryCommand::UpdateNode(facts));
        assert!(matches!(refusal, DirectoryRefusal::Node { .. }), "{refusal}");
    }
    assert!(matches!(office.refused(DirectoryCommand::UpdateNode(store("z", "north"))), DirectoryRefusal::NotFound(_)));
}

#[test]
fn the_authority_is_set_once() {
    let mut office = Office::new();
    let authority = |octet: u8| Authority { certificate: "PEM".to_owned(), key: PrivateKey::new(vec![octet]) };
    assert_eq!(office.ask(DirectoryQuery::Authority), DirectoryAnswer::Authority(None));
    office.done(DirectoryCommand::SetAuthority(authority(1)));
    office.done(DirectoryCommand::SetAuthority(authority(1)));
    assert!(matches!(office.refused(DirectoryCommand::SetAuthority(authority(2))), DirectoryRefusal::Invalid(_)));
    assert_eq!(office.ask(DirectoryQuery::Authority), DirectoryAnswer::Authority(Some(authority(1))));
}

#[test]
fn an_account_starts_in_a_shard_that_is_at_home_in_its_site() {
    let mut office = founded();
    office.run(token(7, 60, None));
    office.run(join(7, store("b", "south")));
    let create = |local: &str, site: &str| DirectoryCommand::CreateAccountIn {
        site: site.parse().unwrap(),
        address: address(&format!("{local}@example.org")),
        display_name: String::new(),
        password: None,
        quota: Quota::default(),
    };
    let mut shards = BTreeSet::new();
    for number in 0..20 {
        match office.run(create(&format!("u{number}"), "south")) {
            DirectoryReply::Account(account) => shards.insert(account.group.get()),
            other => panic!("{other:?}"),
        };
    }
    // Of four; group 0 is at home in the first site, and they take turns.
    assert_eq!(shards.into_iter().collect::<Vec<_>>(), [1, 3]);
    let refused = office.refused(create("ann", "west")).to_string();
    assert!(
        refused.contains("no shard is at home in site west: sites with active stores are north, south"),
        "{refused}"
    );
    office.run(set("b", NodeState::Draining));
    let refused = office.refused(create("ann", "south")).to_string();
    assert!(refused.contains("sites with active stores are north"), "{refused}");
}
