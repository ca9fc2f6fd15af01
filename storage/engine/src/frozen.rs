//! Logs and states as the first release wrote them: a later release reads the same log and makes the same rows.
//!
//! `frozen/*.txt` hold, in hexadecimal, the proposals of a small log and then every row that applying them left. A
//! line that comes out otherwise is a format, or a meaning, that changed without a new version: replicas of two
//! releases would differ, and old data directories would not open.

mod nodes;
mod outbound;
mod sts;
mod tls_reports;

use securanet_model::{
    AccountId, Address, BlobId, Command, DomainId, DomainName, Epoch, Flags, GroupId, KeyedHash, Keyword, MailboxId,
    MailboxName, RecipientAddress, RequestId, ReversePath, SystemFlags, TenantId, Uid,
    account::{AccountCommand, AccountRef, AccountRefusal, AppendMessage, FlagChange, UidSet},
    content::{BlobRef, NewMessage, Sealed},
    delivery::{Deliver, DeliverTo, DeliveryKey, FanOut, FanOutTarget, QueueCommand, QuotaRule},
    directory::{Alias, DirectoryCommand, Forwarding, List, Quota, ScramVerifier, Verifiers},
    dkim::{DkimAlgorithm, DkimState, PrivateKey, Selector},
    policy::Scope,
    record,
    request::Proposal,
    sending::{CertificateDigest, Grant, GrantKind, RelayGrant, RelayRecipients},
};

use crate::harness::{Group, START};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn domain() -> DomainName {
    DomainName::parse("a.example").unwrap()
}

fn directory() -> Vec<Command> {
    let ann = AccountId::new(1);
    let verifiers = |scram: bool| Verifiers {
        argon2id: "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            .to_owned(),
        scram: scram.then(|| ScramVerifier {
            salt: vec![1; 16],
            iterations: 32_768,
            stored_key: [2; 32],
            server_key: [3; 32],
        }),
    };
    let create = |local: &str, password| DirectoryCommand::CreateAccount {
        address: address(&format!("{local}@a.example")),
        display_name: local.to_owned(),
        password,
        quota: Quota { bytes_max: Some(1_000_000), messages_max: None },
    };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CreateDomain { tenant: TenantId::new(7), name: domain() },
        create("ann", Some(verifiers(true))),
        create("bob", None),
        DirectoryCommand::AddAppPassword { account: ann, label: "phone".to_owned(), verifiers: verifiers(false) },
        DirectoryCommand::CreateAlias(Alias { address: address("x@a.example"), target: address("ann@a.example") }),
        DirectoryCommand::PutList(List {
            address: address("all@a.example"),
            owner: Some(address("ann@a.example")),
            members: vec![address("x@a.example"), address("bob+y@a.example")],
        }),
        DirectoryCommand::UpdateDomain {
            name: domain(),
            catch_all: Some(Some(address("ann@a.example"))),
            quota: Some(Quota { bytes_max: None, messages_max: Some(5) }),
        },
        DirectoryCommand::SetPolicy {
            key: "login.scram".to_owned(),
            scope: Scope::Domain(DomainId::new(1)),
            value: Some("false".to_owned()),
        },
    ];
    commands.into_iter().map(Command::Directory).collect()
}

fn account(id: u64) -> AccountRef {
    AccountRef { id: AccountId::new(id), epoch: Epoch::new(0) }
}

pub(crate) fn message() -> NewMessage {
    NewMessage {
        size_bytes: 300,
        recipe: Sealed::plain(1, vec![7; 10]),
        blobs: vec![BlobRef { id: BlobId { tenant: TenantId::new(7), hash: [8; 32] }, size_bytes: 20_000 }],
        summary: Sealed::plain(1, vec![9; 3]),
        thread_keys: vec![KeyedHash([10; 16]), KeyedHash([11; 16])],
        internal_date: None,
    }
}

pub(crate) fn to(id: u64) -> DeliverTo {
    DeliverTo {
        account: account(id),
        folder: Some("work".to_owned()),
        prefix: Sealed::plain(1, vec![12; 4]),
        prefix_size_bytes: 4,
        repeat_key: Some(KeyedHash([13; 16])),
    }
}

fn mail() -> Vec<Command> {
    let key = DeliveryKey { queue: GroupId::new(2), sequence: 1, settled_below: 1 };
    let deliver = |sequence, recipients| {
        let key = Some(DeliveryKey { sequence, ..key });
        Command::Deliver(Deliver { key, message: message(), to: recipients, quota: QuotaRule::Admitted })
    };
    let fan_out = |group| FanOut {
        message: message(),
        sender: ReversePath::Address(address("s@remote.example")),
        targets: vec![FanOutTarget { group: GroupId::new(group), to: vec![to(1), to(2)] }],
    };
    let settle = |sequence, refused| QueueCommand::Settle { target: GroupId::new(2), sequence, refused };
    vec![
        deliver(1, vec![to(1)]),
        deliver(2, vec![to(1), to(99)]),
        Command::Queue(QueueCommand::FanOut(fan_out(2))),
        Command::Queue(QueueCommand::FanOut(fan_out(2))),
        Command::Queue(settle(1, vec![(1, AccountRefusal::OverQuota)])),
    ]
}

fn shard() -> Vec<Command> {
    let (inbox, all) = (MailboxId::new(1), UidSet::all());
    let name = |text: &str| MailboxName::parse(text).unwrap();
    let flags = |system| Flags::new(system, Keyword::parse("$Forwarded"));
    let append = AppendMessage { message: message(), flags: flags(SystemFlags::SEEN) };
    let first = [
        AccountCommand::Provision { tenant: TenantId::new(7), domain: DomainId::new(1), quota: Quota::default() },
        AccountCommand::CreateMailbox { name: name("Work/Old"), special_use: None },
        AccountCommand::Subscribe { name: name("Work"), subscribed: true },
    ];
    let last = [
        AccountCommand::Append { mailbox: inbox, messages: vec![append.clone(), append.clone()] },
        AccountCommand::Import { mailbox: inbox, message: Box::new(append), key: KeyedHash([14; 16]) },
        AccountCommand::StoreFlags {
            mailbox: inbox,
            uids: all.clone(),
            change: FlagChange::Add,
            flags: flags(SystemFlags::DELETED),
            unchanged_since: None,
        },
        AccountCommand::Copy { mailbox: inbox, uids: all.clone(), to: MailboxId::new(7) },
        AccountCommand::Expunge { mailbox: inbox, uids: UidSet::from_uids([Uid::FIRST]), deleted_only: true },
        AccountCommand::LockMaildrop { session: RequestId::new([15; 16]), until: START.plus_millis(60_000) },
    ];
    let of_account = |command| Command::Account(account(1), command);
    first.into_iter().map(of_account).chain(mail()).chain(last.into_iter().map(of_account)).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The proposals and rows of a group, as the files have them.
fn written(group: &Group) -> String {
    let entry = |proposal: &Proposal| format!("entry {}\n", hex(&record::encode(proposal)));
    let row = |(key, value): &(Vec<u8>, Vec<u8>)| format!("row {} {}\n", hex(key), hex(value));
    group.log.iter().map(entry).chain(group.rows().iter().map(row)).collect()
}

fn check(group: u32, commands: Vec<Command>, frozen: &str) {
    let mut today = Group::new(group);
    for command in commands {
        let reply = today.run(command.clone());
        assert!(!crate::changed_nothing(&reply), "{command:?}: {reply:?}");
    }
    for (now, then) in written(&today).lines().zip(frozen.lines()) {
        assert_eq!(now, then, "this release writes otherwise than the first one");
    }
    assert_eq!(written(&today), frozen);
    let mut old = Group::new(group);
    for entry in frozen.lines().filter_map(|line| line.strip_prefix("entry ")) {
        let proposal: Proposal = record::decode(&octets(entry)).unwrap();
        old.clock = proposal.stamp;
        old.propose(proposal.requests);
    }
    assert_eq!(written(&old), frozen, "the first release's log makes the first release's rows");
}

#[test]
fn the_directory_is_what_the_first_release_wrote() {
    check(0, directory(), include_str!("frozen/directory.txt"));
}

fn dkim() -> Vec<Command> {
    let (old, new): (Selector, Selector) = ("r1".parse().unwrap(), "r2".parse().unwrap());
    let put = |selector: &Selector, algorithm| DirectoryCommand::PutDkimKey {
        domain: domain(),
        selector: selector.clone(),
        algorithm,
        private: PrivateKey::new(vec![16; 5]),
    };
    let set = |selector: &Selector, state| DirectoryCommand::SetDkimState {
        domain: domain(),
        selector: selector.clone(),
        state,
    };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CreateDomain { tenant: TenantId::new(7), name: domain() },
        put(&old, DkimAlgorithm::RsaSha256),
        set(&old, DkimState::Active),
        put(&new, DkimAlgorithm::RsaSha256),
        set(&new, DkimState::Active),
        put(&"e1".parse().unwrap(), DkimAlgorithm::Ed25519Sha256),
        put(&"e2".parse().unwrap(), DkimAlgorithm::Ed25519Sha256),
        DirectoryCommand::DeleteDkimKey { domain: domain(), selector: "e2".parse().unwrap() },
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn keys_that_sign_are_what_the_first_release_with_them_wrote() {
    check(0, dkim(), include_str!("frozen/dkim.txt"));
}

/// Two accounts of a domain, a grant of each kind, and a device.
fn sending() -> Vec<Command> {
    let create = |local: &str| DirectoryCommand::CreateAccount {
        address: address(&format!("{local}@a.example")),
        display_name: String::new(),
        password: None,
        quota: Quota::default(),
    };
    let grant = |text: &str, kind| {
        DirectoryCommand::GrantSending(Grant { account: AccountId::new(1), address: address(text), kind })
    };
    let relay = |name: &str, recipients| {
        DirectoryCommand::PutRelay(RelayGrant {
            name: name.to_owned(),
            networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            certificates: vec![CertificateDigest([9; 32])],
            senders: vec![address("scan@a.example"), address("*@a.example")],
            recipients,
            recipients_per_hour: 100,
        })
    };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CreateDomain { tenant: TenantId::new(7), name: domain() },
        create("ann"),
        create("bob"),
        grant("bob@a.example", GrantKind::OnBehalf),
        grant("*@a.example", GrantKind::SendAs),
        grant("ann+x@a.example", GrantKind::SendAs),
        DirectoryCommand::RevokeSending(Grant {
            account: AccountId::new(1),
            address: address("ann+x@a.example"),
            kind: GrantKind::SendAs,
        }),
        relay("printers", RelayRecipients::Domains(vec![DomainName::parse("b.example").unwrap()])),
        relay("alarms", RelayRecipients::Anybody),
        relay("gone", RelayRecipients::Anybody),
        DirectoryCommand::DeleteRelay { name: "gone".to_owned() },
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn grants_are_what_the_first_release_with_them_wrote() {
    check(0, sending(), include_str!("frozen/sending.txt"));
}

/// A copy in Sent, its sender's repeat, and the client's upload of it together with something else.
fn sent() -> Vec<Command> {
    let sent = MailboxId::new(5);
    let flagged = AppendMessage { message: message(), flags: Flags::new(SystemFlags::FLAGGED, []) };
    let other = NewMessage { thread_keys: vec![KeyedHash([17; 16])], ..message() };
    let other = AppendMessage { message: other, flags: Flags::default() };
    let keep = AccountCommand::KeepSent { message: Box::new(message()), key: KeyedHash([18; 16]) };
    let commands = [
        AccountCommand::Provision { tenant: TenantId::new(7), domain: DomainId::new(1), quota: Quota::default() },
        keep.clone(),
        keep,
        AccountCommand::Append { mailbox: sent, messages: vec![flagged, other] },
    ];
    commands.into_iter().map(|command| Command::Account(account(1), command)).collect()
}

#[test]
fn copies_in_sent_are_what_the_first_release_with_them_wrote() {
    check(1, sent(), include_str!("frozen/sent.txt"));
}

/// An account that forwards, one that did, an alias and a list that lead outside.
fn forwarding() -> Vec<Command> {
    let create = |local: &str| DirectoryCommand::CreateAccount {
        address: address(&format!("{local}@a.example")),
        display_name: String::new(),
        password: None,
        quota: Quota::default(),
    };
    let forward =
        |account, forwarding| DirectoryCommand::SetForwarding { account: AccountId::new(account), forwarding };
    let to = |to: &[&str], keep| Some(Forwarding { to: to.iter().map(|to| address(to)).collect(), keep });
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CreateDomain { tenant: TenantId::new(7), name: domain() },
        create("ann"),
        create("bob"),
        forward(1, to(&["bob@a.example", "ann@b.example"], true)),
        forward(2, to(&["bob@b.example"], false)),
        forward(2, None),
        DirectoryCommand::CreateAliasAnywhere(Alias {
            address: address("x@a.example"),
            target: address("x@b.example"),
        }),
        DirectoryCommand::PutListAnywhere(List {
            address: address("all@a.example"),
            owner: Some(address("bob@a.example")),
            members: vec![address("ann@a.example"), address("y@b.example")],
        }),
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn forwarding_is_what_the_first_release_with_it_wrote() {
    check(0, forwarding(), include_str!("frozen/forwarding.txt"));
}

#[test]
fn a_shard_is_what_the_first_release_wrote() {
    check(1, shard(), include_str!("frozen/shard.txt"));
}
