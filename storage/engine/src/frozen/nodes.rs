//! The rows of nodes, tokens and the authority, as the first release with them wrote them.

use securanet_model::{
    Command,
    directory::DirectoryCommand,
    dkim::PrivateKey,
    nodes::{Authority, JoinToken, NodeFacts, NodeState},
};

use super::check;
use crate::harness::START;

fn facts(name: &str, address: Option<&str>) -> NodeFacts {
    NodeFacts {
        name: name.parse().unwrap(),
        site: "north".parse().unwrap(),
        store: address.is_some(),
        gateway: true,
        address: address.map(str::to_owned),
    }
}

/// Two stores and a gateway; one store is replaced, one token waits.
fn nodes() -> Vec<Command> {
    let token = |secret: u8, replaces: Option<&str>| {
        DirectoryCommand::PutJoinToken(JoinToken {
            digest: [secret; 32],
            expires: START.plus_millis(3_600_000),
            replaces: replaces.map(|name| name.parse().unwrap()),
        })
    };
    let join = |secret: u8, facts| DirectoryCommand::Join { token: [secret; 32], key: [secret; 32], facts };
    let set = |name: &str, state| DirectoryCommand::SetNodeState { name: name.parse().unwrap(), state };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::SetAuthority(Authority { certificate: "PEM".to_owned(), key: PrivateKey::new(vec![4; 5]) }),
        DirectoryCommand::FoundCluster(facts("a", Some("a.example:7025"))),
        token(1, None),
        join(1, facts("b", Some("b.example:7025"))),
        token(2, None),
        join(2, facts("g", None)),
        token(3, Some("b")),
        join(3, facts("b", Some("192.0.2.1:7025"))),
        DirectoryCommand::UpdateNode(facts("a", Some("[2001:db8::1]:7025"))),
        set("g", NodeState::Removed),
        set("b", NodeState::Draining),
        token(4, None),
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn nodes_are_what_the_first_release_with_them_wrote() {
    check(0, nodes(), include_str!("nodes.txt"));
}
