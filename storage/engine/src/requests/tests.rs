//! A request is applied once, however often it comes, until its deadline; after it, it is not applied any more.

use securanet_kv::{KeyValue, Read};
use securanet_model::{
    Answer, Command, DomainName, GroupId, Query, TenantId,
    delivery::QueueQuery,
    directory::{DirectoryCommand, DirectoryRefusal, DirectoryReply},
};

use super::*;
use crate::harness::Group;

fn initialise() -> Command {
    let (cluster, content_key, login_key) = ([1; 16], [2; 32], [3; 32]);
    Command::Directory(DirectoryCommand::Initialise { cluster, content_key, login_key, shards: 2 })
}

fn domain(name: &str) -> Command {
    let name = DomainName::parse(name).unwrap();
    Command::Directory(DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name })
}

fn directory() -> Group {
    let mut group = Group::new(0);
    assert_eq!(group.run(initialise()), Reply::Directory(DirectoryReply::Done));
    group
}

fn is_created(reply: &Reply) -> bool {
    matches!(reply, Reply::Directory(DirectoryReply::Domain(_)))
}

fn rows_of(group: &Group, table: Table) -> usize {
    group.store.scan(&group.space.key(table).range(), Direction::Forward, usize::MAX).unwrap().len()
}

#[test]
fn a_repeat_gets_the_first_reply_and_changes_nothing() {
    let mut group = directory();
    let request = group.request(vec![domain("a.example"), domain("a.example")]);
    let first = group.propose(vec![request.clone()]);
    assert!(is_created(&first[0][0]));
    let refusal = DirectoryRefusal::Exists("a.example".to_owned());
    assert_eq!(first[0][1], Reply::Directory(DirectoryReply::Refused(refusal)), "a refusal does not undo the others");
    let state = group.truth();
    group.clock = group.clock.plus_millis(29_999);
    assert_eq!(group.propose(vec![request.clone()]), first);
    assert_eq!(group.truth(), state);
    assert_eq!(group.touched, [], "a repeat wakes nobody");
    let twice_in_one_entry = group.request(vec![domain("b.example")]);
    let replies = group.propose(vec![twice_in_one_entry.clone(), twice_in_one_entry]);
    assert!(is_created(&replies[0][0]));
    assert_eq!(replies[0], replies[1]);
}

#[test]
fn a_refused_request_stays_refused_on_repeat() {
    let mut group = directory();
    let delete = Command::Directory(DirectoryCommand::DeleteDomain { name: DomainName::parse("a.example").unwrap() });
    let request = group.request(vec![delete]);
    let first = group.propose(vec![request.clone()]);
    group.run(domain("a.example"));
    assert_eq!(group.propose(vec![request]), first, "what was told to be refused does not happen later");
}

#[test]
fn a_deadline_behind_the_clock_is_unknown_and_not_applied() {
    let mut group = directory();
    let late = group.request(vec![domain("a.example"), domain("b.example")]);
    group.clock = late.deadline.plus_millis(1);
    let state = group.truth();
    assert_eq!(group.propose(vec![late.clone()]), [[Reply::Unknown, Reply::Unknown]]);
    assert_eq!(group.truth(), state);
    let mut just_in_time = late;
    just_in_time.deadline = group.clock;
    assert!(is_created(&group.propose(vec![just_in_time])[0][0]));
}

#[test]
fn the_clock_never_goes_back() {
    let mut group = directory();
    let request = group.request(vec![domain("a.example")]);
    group.clock = request.deadline.plus_millis(1);
    group.propose(Vec::new());
    group.clock = UnixMillis::new(request.deadline.get() - 20_000);
    assert_eq!(group.propose(vec![request]), [[Reply::Unknown]], "a leader with an older clock changes nothing");
}

#[test]
fn a_retry_after_a_crash_and_replay_gets_the_same_reply() {
    let mut group = directory();
    group.store.flush().unwrap();
    let request = group.request(vec![domain("a.example")]);
    let first = group.propose(vec![request.clone()]);
    group.store.crash();
    let entry = group.log.pop().unwrap();
    assert_eq!(group.propose(entry.requests), first, "the log is replayed");
    assert_eq!(group.propose(vec![request]), first, "and the client tries again");
    assert_eq!(rows_of(&group, Table::Domain), 1);
}

#[test]
fn requests_past_their_deadline_are_collected() {
    let mut group = directory();
    for second in 0..300_u64 {
        group.clock = crate::harness::START.plus_millis(second * 1000);
        let request = group.request(Vec::new());
        group.propose(vec![request]);
        assert!(rows_of(&group, Table::Requests) <= 30 + 10 + 2, "the memory is bounded: half a minute and a cadence");
    }
}

#[test]
fn a_distant_deadline_is_remembered_for_the_maximum_and_then_collected() {
    let mut group = directory();
    let year = 365 * 24 * 3600 * 1000;
    let mut request = group.request(vec![domain("a.example")]);
    request.deadline = group.clock.plus_millis(year);
    let first = group.propose(vec![request.clone()]);
    group.clock = group.clock.plus_millis(REQUEST_DEADLINE_MILLIS_MAX - 1);
    assert_eq!(group.propose(vec![request]), first);
    for _ in 0..1000 {
        let mut request = group.request(Vec::new());
        request.deadline = group.clock.plus_millis(year);
        group.propose(vec![request]);
    }
    assert_eq!(rows_of(&group, Table::Requests), 1001);
    group.clock = group.clock.plus_millis(REQUEST_DEADLINE_MILLIS_MAX);
    for entries in 1..=4 {
        let before = rows_of(&group, Table::Requests);
        let request = group.request(Vec::new());
        group.propose(vec![request]);
        assert!(before - rows_of(&group, Table::Requests) <= FAR_ROWS_PER_ENTRY, "entry {entries} collects its share");
    }
    assert_eq!((rows_of(&group, Table::RequestsFar), rows_of(&group, Table::Requests)), (0, 4));
}

#[test]
fn commands_of_another_kind_or_group_are_answered_and_change_nothing() {
    let mut shard = Group::new(1);
    assert_eq!(shard.run(initialise()), Reply::WrongGroup);
    let mut elsewhere = shard.request(vec![initialise()]);
    elsewhere.group = GroupId::DIRECTORY;
    assert_eq!(shard.propose(vec![elsewhere]), [[Reply::WrongGroup]]);
    assert_eq!(Group::new(0).ask(&Query::Queue(QueueQuery::Depth)), Answer::WrongGroup);
}
