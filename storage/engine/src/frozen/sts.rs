//! MTA-STS policies of strangers, as the first release with them wrote them.

use securanet_model::{Command, DomainName, directory::DirectoryCommand, sts::StsPolicyRow};

use super::check;
use crate::harness::START;

/// A policy that was replaced, one that ended, and one that lives.
fn commands() -> Vec<Command> {
    let put = |domain: &str, id: &str, max_age_seconds| {
        let domain = DomainName::parse(domain).unwrap();
        let (id, text) = (id.to_owned(), "version: STSv1\r\n".to_owned());
        DirectoryCommand::PutStsPolicy(StsPolicyRow { domain, id, text, fetched: START, max_age_seconds })
    };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        put("a.example", "1", 60),
        put("a.example", "2", 86_400),
        put("b.example", "1", 0),
        put("c.example", "1", 86_400),
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn policies_of_strangers_are_what_the_first_release_with_them_wrote() {
    check(0, commands(), include_str!("sts.txt"));
}
