//! The directory's commands and queries, told as an office that is set up: who may exist, who gets the mail.

mod accounts;
mod addresses;
mod bounds;
mod credentials;
mod dkim;
mod forwarding;
mod grants;
mod invariants;
mod listings;
mod nodes;
mod policies;
mod properties;
mod resolution;
mod sts;
mod tls_reports;

use securanet_model::{
    Address, Answer, Command, DomainName, Query, Reply, TenantId,
    directory::{
        Account, AccountStatus, Alias, Credentials, DirectoryAnswer, DirectoryCommand, DirectoryQuery,
        DirectoryRefusal, DirectoryReply, Forwarding, List, Quota, Resolution, ScramVerifier, Verifiers,
    },
};

use crate::harness::Group;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn verifiers(salt: u8) -> Verifiers {
    let scram =
        ScramVerifier { salt: vec![salt; 16], iterations: 15_000, stored_key: [salt; 32], server_key: [salt; 32] };
    Verifiers { argon2id: format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA${salt}"), scram: Some(scram) }
}

fn initialise(cluster: u8) -> DirectoryCommand {
    DirectoryCommand::Initialise { cluster: [cluster; 16], content_key: [2; 32], login_key: [3; 32], shards: 4 }
}

/// A cluster with the domain `example.org`.
struct Office {
    group: Group,
}

impl Office {
    fn new() -> Self {
        let mut office = Self { group: Group::new(0) };
        office.done(initialise(1));
        office.domain("example.org");
        office
    }

    /// Runs a command and checks every invariant behind it.
    fn run(&mut self, command: DirectoryCommand) -> DirectoryReply {
        let what = format!("{command:?}");
        let Reply::Directory(reply) = self.group.run(Command::Directory(command)) else { panic!("{what}") };
        invariants::check(&self.group.view(), &what);
        reply
    }

    fn done(&mut self, command: DirectoryCommand) {
        let reply = self.run(command);
        assert!(!matches!(reply, DirectoryReply::Refused(_)), "{reply:?}");
    }

    fn refused(&mut self, command: DirectoryCommand) -> DirectoryRefusal {
        match self.run(command) {
            DirectoryReply::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn domain(&mut self, domain: &str) {
        self.done(DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name: name(domain) });
    }

    fn catch_all(&mut self, domain: &str, target: Option<&str>) -> DirectoryReply {
        let catch_all = Some(target.map(address));
        self.run(DirectoryCommand::UpdateDomain { name: name(domain), catch_all, quota: None })
    }

    fn account(&mut self, main: &str) -> Account {
        let reply = self.run(create_account(main));
        let DirectoryReply::Account(account) = reply else { panic!("{reply:?}") };
        account
    }

    fn alias(&mut self, alias: &str, target: &str) {
        self.done(create_alias(alias, target));
    }

    fn list(&mut self, list: &str, members: &[&str]) {
        self.done(put_list(list, members));
    }

    fn suspend(&mut self, account: &Account, status: AccountStatus) {
        let (account, status) = (account.id, Some(status));
        self.done(DirectoryCommand::UpdateAccount { account, display_name: None, status, quota: None });
    }

    fn ask(&self, query: DirectoryQuery) -> DirectoryAnswer {
        match self.group.ask(&Query::Directory(query)) {
            Answer::Directory(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn resolution(&self, query: DirectoryQuery) -> String {
        match self.ask(query) {
            DirectoryAnswer::Resolution(resolution) => show(&resolution),
            other => panic!("{other:?}"),
        }
    }

    /// Who gets mail for an address, as one line.
    fn resolve(&self, text: &str) -> String {
        self.resolution(DirectoryQuery::Resolve(address(text)))
    }

    fn credentials(&self, login: &str) -> Option<Credentials> {
        match self.ask(DirectoryQuery::Credentials(login.to_owned())) {
            DirectoryAnswer::Credentials(credentials) => credentials.map(|credentials| *credentials),
            other => panic!("{other:?}"),
        }
    }

    fn account_of(&self, text: &str) -> Option<Account> {
        match self.ask(DirectoryQuery::AccountByAddress(address(text))) {
            DirectoryAnswer::Account(account) => account,
            other => panic!("{other:?}"),
        }
    }

    fn list_of(&self, text: &str) -> Option<List> {
        match self.ask(DirectoryQuery::List(address(text))) {
            DirectoryAnswer::List(list) => list,
            other => panic!("{other:?}"),
        }
    }
}

fn create_account(main: &str) -> DirectoryCommand {
    DirectoryCommand::CreateAccount {
        address: address(main),
        display_name: String::new(),
        password: Some(verifiers(1)),
        quota: Quota::default(),
    }
}

fn create_alias(alias: &str, target: &str) -> DirectoryCommand {
    DirectoryCommand::CreateAliasAnywhere(Alias { address: address(alias), target: address(target) })
}

fn forward(account: &Account, to: &[&str], keep: bool) -> DirectoryCommand {
    let to = to.iter().map(|target| address(target)).collect();
    DirectoryCommand::SetForwarding { account: account.id, forwarding: Some(Forwarding { to, keep }) }
}

fn put_list(list: &str, members: &[&str]) -> DirectoryCommand {
    let members = members.iter().map(|member| address(member)).collect();
    DirectoryCommand::PutListAnywhere(List { address: address(list), owner: None, members })
}

/// `ann@example.org bob@example.org/work info>x@y.example`: accounts in order, a folder behind a slash, then addresses
/// outside behind the local part of who sends on.
fn show(resolution: &Resolution) -> String {
    let Resolution::Local(recipients) = resolution else { return format!("{resolution:?}").to_lowercase() };
    let folder = |folder: &Option<String>| folder.as_ref().map(|folder| format!("/{folder}")).unwrap_or_default();
    let accounts = recipients.accounts.iter();
    let accounts = accounts.map(|recipient| format!("{}{}", recipient.address, folder(&recipient.folder)));
    let onward = recipients.onward.iter().map(|onward| format!("{}>{}", onward.by.local(), onward.address));
    accounts.chain(onward).collect::<Vec<_>>().join(" ")
}
