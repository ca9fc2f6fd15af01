//! What a recovery changes in a group: no id, number or UIDVALIDITY is given out a second time.

use securanet_model::{
    AccountId, Answer, Command, DomainId, Epoch, GroupId, MailboxId, MailboxName, ModSeq, Query, Reply, TenantId,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply, MailboxInfo},
    delivery::{FanOut, FanOutTarget, QueueAnswer, QueueCommand, QueueQuery},
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply, Quota},
    nodes::{JoinToken, Node, NodeFacts, NodeState},
    outbound::{OutboundCommand, OutboundReply, WorkerId},
    request::Recover,
};

use crate::harness::{Group, START};

fn account(id: u64) -> AccountRef {
    AccountRef { id: AccountId::new(id), epoch: Epoch::new(0) }
}

fn provision(group: &mut Group, id: u64) {
    let provision =
        AccountCommand::Provision { tenant: TenantId::new(7), domain: DomainId::new(1), quota: Quota::default() };
    assert_eq!(group.run(Command::Account(account(id), provision)), Reply::Account(AccountReply::Done));
}

fn mailboxes(group: &Group, id: u64) -> Vec<MailboxInfo> {
    let query = Query::Account(account(id), AccountQuery::Mailboxes);
    match group.ask(&query) {
        Answer::Account(AccountAnswer::Mailboxes(mailboxes)) => mailboxes,
        other => panic!("{other:?}"),
    }
}

fn created(group: &mut Group, id: u64, name: &str) -> MailboxId {
    let create = AccountCommand::CreateMailbox { name: MailboxName::parse(name).unwrap(), special_use: None };
    match group.run(Command::Account(account(id), create)) {
        Reply::Account(AccountReply::Created(mailbox)) => mailbox,
        other => panic!("{other:?}"),
    }
}

fn recover(group: &mut Group, recover: Recover) -> u64 {
    match group.run(Command::Recover(recover)) {
        Reply::Recovered { mailboxes } => mailboxes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_mailbox_of_the_range_gets_a_uidvalidity_above_all_that_its_account_gave_and_ids_jump() {
    let mut group = Group::new(1);
    [3, 4, 5].into_iter().for_each(|id| provision(&mut group, id));
    let last = created(&mut group, 4, "last");
    let (before, untouched) = (mailboxes(&group, 4), mailboxes(&group, 5));
    let highest = before.iter().map(|mailbox| mailbox.uid_validity).max().unwrap();
    group.clock = group.clock.plus_millis(1000);
    let done = recover(&mut group, Recover::Accounts { first: AccountId::new(0), last: AccountId::new(4) });
    let after = mailboxes(&group, 4);
    assert_eq!(done as usize, mailboxes(&group, 3).len() + after.len());
    assert!(after.iter().all(|mailbox| mailbox.uid_validity > highest));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.id, &before.name, before.uid_next), (after.id, &after.name, after.uid_next));
        assert_eq!(before.highest_modseq, after.highest_modseq, "mod-sequences of messages stay");
    }
    assert_eq!(mailboxes(&group, 5), untouched, "behind the range");
    assert!(created(&mut group, 4, "next").get() > last.get() + 60_000);
    // Clients of what is kept by the account's own mod-sequence begin anew, and nothing repeats.
    let info = mailboxes(&group, 4).into_iter().find(|mailbox| mailbox.name.as_str() == "next").unwrap();
    assert!(info.highest_modseq > ModSeq::new(1 << 32), "{:?}", info.highest_modseq);
    assert_eq!(group.truth(), group.replayed().truth());
}

#[test]
fn a_queue_gives_no_number_out_again_also_towards_groups_that_it_does_not_know_of() {
    let mut group = Group::new(1);
    let lease = || Command::Outbound(OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None });
    let epoch = |group: &mut Group| match group.run(lease()) {
        Reply::Outbound(OutboundReply::Leased { epoch, .. }) => epoch,
        other => panic!("{other:?}"),
    };
    let first = epoch(&mut group);
    group.run(fan_out(&[2]));
    recover(&mut group, Recover::Queues { shards: 3 });
    group.run(fan_out(&[3]));
    let pending = match group.ask(&Query::Queue(QueueQuery::Pending { rows_max: 10 })) {
        Answer::Queue(QueueAnswer::Pending(pending)) => pending,
        other => panic!("{other:?}"),
    };
    let keys: Vec<_> = pending.iter().map(|row| (row.target.get(), row.deliver.key.unwrap())).collect();
    let of = |target| keys.iter().find(|(group, _)| *group == target).unwrap().1;
    // What waited keeps its sequence; a target that nothing waits for begins behind the jump, its watermark too.
    assert_eq!((of(2).sequence, of(2).settled_below), (1, 1));
    assert!(of(3).sequence > 1 << 32 && of(3).settled_below == of(3).sequence, "{:?}", of(3));
    assert!(epoch(&mut group) > first + (1 << 32));
    // Towards a group that still has something pending the window is full until that is settled.
    assert!(matches!(group.run(fan_out(&[2])), Reply::Queue(securanet_model::delivery::QueueReply::WindowFull(_))));
    group.run(Command::Queue(QueueCommand::Settle { target: GroupId::new(2), sequence: 1, refused: Vec::new() }));
    assert!(matches!(group.run(fan_out(&[2])), Reply::Queue(securanet_model::delivery::QueueReply::Queued(_))));
}

fn fan_out(targets: &[u32]) -> Command {
    let message = crate::frozen::message();
    let target = |group: &u32| FanOutTarget { group: GroupId::new(*group), to: vec![crate::frozen::to(1)] };
    Command::Queue(QueueCommand::FanOut(FanOut {
        message,
        sender: securanet_model::ReversePath::Null,
        targets: targets.iter().map(target).collect(),
    }))
}

fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.parse().unwrap(),
        site: "north".parse().unwrap(),
        store: true,
        gateway: true,
        address: Some(format!("{name}.example:7025")),
    }
}

fn joined(group: &mut Group, name: &str, secret: u8) -> Node {
    let token = JoinToken { digest: [secret; 32], expires: START.plus_millis(3_600_000), replaces: None };
    group.run(Command::Directory(DirectoryCommand::PutJoinToken(token)));
    let join = DirectoryCommand::Join { token: [secret; 32], key: [secret; 32], facts: facts(name) };
    match group.run(Command::Directory(join)) {
        Reply::Directory(DirectoryReply::Node(node)) => node,
        other => panic!("{other:?}"),
    }
}

fn nodes(group: &Group) -> Vec<Node> {
    match group.ask(&Query::Directory(DirectoryQuery::Nodes)) {
        Answer::Directory(DirectoryAnswer::Nodes(nodes)) => nodes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_removes_who_was_given_up_and_gives_no_replica_id_again() {
    let mut group = Group::new(0);
    let initialise =
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 };
    group.run(Command::Directory(initialise));
    group.run(Command::Directory(DirectoryCommand::FoundCluster(facts("a"))));
    let b = joined(&mut group, "b", 1);
    // One that is not known here any more is no error.
    let lost = ["b", "z"].into_iter().map(|name| name.parse().unwrap()).collect();
    recover(&mut group, Recover::Directory { lost });
    let states: Vec<_> = nodes(&group).into_iter().map(|node| node.state).collect();
    assert_eq!(states, [NodeState::Active, NodeState::Removed]);
    let c = joined(&mut group, "c", 2);
    assert!(c.replica.unwrap().get() > b.replica.unwrap().get() + 60_000);
}

#[test]
fn what_belongs_into_another_kind_of_group_is_refused() {
    let mut shard = Group::new(1);
    assert_eq!(shard.run(Command::Recover(Recover::Directory { lost: Vec::new() })), Reply::WrongGroup);
    let mut directory = Group::new(0);
    assert_eq!(directory.run(Command::Recover(Recover::Queues { shards: 1 })), Reply::WrongGroup);
}
