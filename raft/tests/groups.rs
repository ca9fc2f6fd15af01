//! One node's groups, from outside: what is acknowledged is there, and who is refused why.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is the failure")]

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use securanet_blob::{
    BlobError, BlobStore, Lease,
    collect::{Collector, Reachability},
};
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, Read, WriteBatch};
use securanet_model::{
    Answer, BlobId, Command, Epoch, Freshness, GroupId, Query, Reply, ReversePath, StoreError, Token, UnixMillis,
    delivery::{
        Deliver, DeliverReply, Delivered, FanOut, FanOutTarget, QueueAnswer, QueueCommand, QueueQuery, QueueReply,
        QuotaRule,
    },
    limits,
    request::Topic,
};
use securanet_raft::{CACHE_BYTES, Groups, RaftError, Stores};
use support::*;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_command_is_answered_and_can_be_read_at_once() {
    let groups = open(settings(2), &Disks::new()).await;
    let (replies, index) =
        groups.execute(execute(1, 1, vec![provision(7), deliver(7, 1, &[]), deliver(7, 2, &[])])).await.unwrap();
    assert_eq!(replies.len(), 3);
    assert!(
        matches!(&replies[2], Reply::Deliver(DeliverReply::Outcomes(to)) if matches!(to[0], Delivered::Stored { .. }))
    );
    assert_eq!(inbox_numbers(&groups, 1, 7).await, [1, 2]);
    let applied = groups.status()[1].applied.unwrap();
    assert!(index <= applied && index > 0);
    let token = Token { group: GroupId::new(1), epoch: Epoch::new(0), index };
    assert!(
        matches!(groups.query(GroupId::new(1), Query::Totals, Freshness::AtLeast(token)).await, Ok((Answer::Totals(totals), _)) if totals.messages == 2)
    );
    groups.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_gets_the_first_replies_and_changes_nothing() {
    let groups = open(settings(1), &Disks::new()).await;
    run(&groups, execute(1, 1, vec![provision(7)])).await.unwrap();
    let request = execute(1, 2, vec![deliver(7, 5, &[])]);
    let first = run(&groups, request.clone()).await.unwrap();
    assert_eq!(run(&groups, request).await.unwrap(), first);
    assert_eq!(inbox_numbers(&groups, 1, 7).await, [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_gather_into_few_entries_and_each_gets_its_own_replies() {
    let groups = open(settings(1), &Disks::new()).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    let before = groups.status()[1].applied.unwrap();
    let all = (1..=200).map(|n| {
        let groups = groups.clone();
        tokio::spawn(async move { run(&groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap() })
    });
    for task in all.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().len(), 1);
    }
    let mut numbers = inbox_numbers(&groups, 1, 7).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    let entries = groups.status()[1].applied.unwrap() - before;
    assert!(entries < 150, "{entries} entries for 200 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_everything_is_there_and_nothing_is_left_to_replay() {
    let disks = Disks::new();
    let groups = open(settings(2), &disks).await;
    run(&groups, execute(2, 1, vec![provision(7), deliver(7, 1, &[])])).await.unwrap();
    groups.shutdown().await.unwrap();
    assert!(matches!(groups.execute(execute(2, 2, vec![])).await, Err(StoreError::Draining)));
    drop(groups);
    let groups = open(settings(2), &disks.crashed(0, 1)).await;
    assert_eq!(inbox_numbers(&groups, 2, 7).await, [1]);
    for group in groups.status() {
        assert!(group.last_log <= group.purged.map(|purged| purged + 2), "{group:?}: more than the new leader's entry");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_state_is_replayed_from_the_log() {
    let disks = Disks::new();
    let groups = open(settings(1), &disks).await;
    run(&groups, execute(1, 1, vec![provision(7), deliver(7, 1, &[])])).await.unwrap();
    let left = disks.crashed(0, 1);
    assert_eq!(
        left.state.scan(&KeyRange { start: Vec::new(), end: None }, Direction::Forward, 10).unwrap(),
        [],
        "nothing was flushed yet"
    );
    let groups = open(settings(1), &left).await;
    assert_eq!(inbox_numbers(&groups, 1, 7).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_disk_restarts_after_a_shutdown_and_keeps_its_log_small() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let stores = Stores::open(directory.path(), CACHE_BYTES).unwrap();
        let groups = Groups::open(settings(2), &stores).await.unwrap();
        groups.ready().await;
        run(&groups, execute(1, round * 100, vec![provision(7)])).await.unwrap();
        for n in 1..=20 {
            let number = round * 100 + n;
            run(&groups, execute(1, number, vec![deliver(7, number, &[])])).await.unwrap();
        }
        assert_eq!(inbox_numbers(&groups, 1, 7).await.len() as u64, 20 * (round + 1));
        groups.shutdown().await.unwrap();
        assert!(groups.status().iter().all(|group| group.log_bytes == 0), "{:?}", groups.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_lets_the_log_shrink_to_nothing() {
    let disks = Disks::new();
    let groups = open(settings(1), &disks).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    for n in 1..=20 {
        run(&groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap();
    }
    let before = groups.status()[1].clone();
    assert!(before.log_bytes > 20 * 60 && before.purged.is_none(), "{before:?}");
    groups.flush().await.unwrap();
    timeout(Duration::from_secs(5), async {
        while groups.status().iter().any(|group| group.log_bytes > 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the logs were purged");
    let after = groups.status()[1].clone();
    assert_eq!((after.flushed, after.purged), (before.applied, before.applied));
    let groups = open(settings(1), &disks.crashed(0, 1)).await;
    assert_eq!(inbox_numbers(&groups, 1, 7).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_by_its_reason() {
    let mut settings = settings(1);
    settings.batch.waiting_requests_max = 1;
    let groups = open(settings, &Disks::new()).await;
    assert_eq!(run(&groups, execute(9, 1, vec![])).await, Err(StoreError::NoGroup(GroupId::new(9))));
    let mut late = execute(1, 2, vec![provision(7)]);
    late.deadline = now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(matches!(run(&groups, late).await, Err(StoreError::Unavailable(_))));
    let mut far = execute(1, 3, vec![provision(7)]);
    far.deadline = now().plus_millis(limits::REQUEST_DEADLINE_MILLIS_MAX + 5000);
    assert!(matches!(run(&groups, far).await, Err(StoreError::Unavailable(_))));
    let wrong = run(
        &groups,
        execute(
            1,
            4,
            vec![Command::Directory(securanet_model::directory::DirectoryCommand::DeleteDomain {
                name: securanet_model::DomainName::parse("example.org").unwrap(),
            })],
        ),
    );
    assert_eq!(wrong.await, Ok(vec![Reply::WrongGroup]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_blob_is_not_here_is_not_proposed() {
    let groups = open(settings(1), &Disks::new()).await;
    run(&groups, execute(1, 1, vec![provision(7)])).await.unwrap();
    let before = groups.status()[1].last_log;
    assert_eq!(run(&groups, execute(1, 2, vec![deliver(7, 1, &[blob(1)])])).await, Err(StoreError::NotFound));
    assert_eq!(groups.status()[1].last_log, before);
}

/// Waits until nothing is in flight: a request is answered a moment before its proposal is taken off.
async fn idle(groups: &Groups) {
    while groups.status()[1].proposals_in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What collection asks of the groups.
struct Names(Groups);

impl Reachability for Names {
    type Position = ();

    fn is_replayed(&self) -> bool {
        self.0.replayed()
    }

    fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, BlobError> {
        self.0.reachable(blobs).map_err(|error| BlobError::Groups(error.to_string()))
    }

    fn position(&self) -> Result<(), BlobError> {
        Ok(())
    }

    /// The disks of these tests lose nothing, and entries of the log are counted as naming their blobs.
    fn is_settled(&self, (): &()) -> Result<bool, BlobError> {
        Ok(true)
    }
}

/// A whole pass over all blobs.
fn collect(groups: &Groups, blobs: &BlobStore) -> u64 {
    assert!(groups.replayed(), "nothing is collected before");
    let (mut collector, names, mut deleted) = (Collector::new(100), Names(groups.clone()), 0);
    loop {
        let collected = collector.step(blobs, &names, now()).unwrap();
        deleted += collected.blobs;
        if collected.pass_ended {
            return deleted;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blob_whose_upload_took_long_is_not_collected_between_the_request_and_its_entry() {
    let disks = Disks::new();
    let stores = disks.stores();
    let (late, unnamed) = (blob(1), blob(2));
    let yesterday = UnixMillis::new(now().get() - 86_400_000);
    for id in [late, unnamed] {
        // Its lease and its grace are long over when the command comes that names it.
        stores.blobs.put(id, &mut &[1_u8; 20_000][..], 20_000, Lease { now: yesterday, until: yesterday }).unwrap();
    }
    let mut one_at_a_time = settings(1);
    one_at_a_time.batch.proposals_in_flight = 1;
    let groups = Groups::open(one_at_a_time, &stores).await.unwrap();
    groups.ready().await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();

    // The first request occupies the log, the second waits: it is in no entry yet.
    idle(&groups).await;
    disks.log.stalled.store(true, Ordering::SeqCst);
    let send = |number, blobs: &[BlobId]| {
        let (groups, request) = (groups.clone(), execute(1, number, vec![deliver(7, number, blobs)]));
        tokio::spawn(async move { run(&groups, request).await })
    };
    let first = send(1, &[]);
    while groups.status()[1].proposals_in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let second = send(2, &[late]);
    while groups.status()[1].waiting_requests == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (named, deleted) = (groups.reachable(&[late]), collect(&groups, &stores.blobs));
    // Before anything can fail: the log's thread waits for its disk.
    disks.log.stalled.store(false, Ordering::SeqCst);
    assert_eq!(named, Ok(vec![false]), "no entry and no row names it yet");
    assert_eq!(deleted, 1, "the one that no request names");
    for sent in [first, second] {
        sent.await.unwrap().unwrap();
    }

    groups.flush().await.unwrap();
    assert_eq!(collect(&groups, &stores.blobs), 0, "its message names it");
    assert_eq!([late, unnamed].map(|id| stores.blobs.contains(id).unwrap()), [true, false]);
    assert_eq!(groups.reachable(&[late]), Ok(vec![true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_wakes_when_the_change_can_be_read() {
    let groups = open(settings(1), &Disks::new()).await;
    run(&groups, execute(1, 1, vec![provision(7), provision(8)])).await.unwrap();
    let mut seven = groups.watch(Topic::Account(account(7).id));
    let mut eight = groups.watch(Topic::Account(account(8).id));
    seven.mark_unchanged();
    eight.mark_unchanged();
    let (_, index) = groups.execute(execute(1, 2, vec![deliver(7, 1, &[])])).await.unwrap();
    timeout(Duration::from_secs(5), seven.changed()).await.unwrap().unwrap();
    assert_eq!(*seven.borrow(), index);
    assert!(!eight.has_changed().unwrap());
    assert_eq!(inbox_numbers(&groups, 1, 7).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_not_opened_as_another_replica_or_without_one_of_its_groups() {
    let disks = Disks::new();
    open(settings(2), &disks).await.shutdown().await.unwrap();
    let mut other = settings(2);
    other.replica = securanet_model::ReplicaId::new(2);
    let refused = Groups::open(other, &disks.stores()).await.err().unwrap();
    assert!(matches!(refused, RaftError::Identity { expected: 2, found: 1, .. }), "{refused}");
    let refused = Groups::open(settings(1), &disks.stores()).await.err().unwrap();
    assert!(matches!(refused, RaftError::UnknownGroup(group) if group == GroupId::new(2)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_do_not_belong_together_are_not_opened() {
    let (disks, others) = (Disks::new(), Disks::new());
    let groups = open(settings(1), &disks).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    groups.shutdown().await.unwrap();
    let (ours, theirs) = (disks.stores(), others.stores());
    for mixed in
        [Stores::over(ours.log, theirs.state, ours.blob.clone()), Stores::over(theirs.log, ours.state, ours.blob)]
    {
        let refused = Groups::open(settings(1), &mixed).await.err().unwrap();
        assert!(matches!(refused, RaftError::Log { .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_process_and_loses_nothing_acknowledged() {
    let disks = Disks::new();
    let (fatal, errors) = collect_fatal();
    let mut settings_full = settings(1);
    settings_full.fatal = fatal;
    let groups = open(settings_full, &disks).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    disks.log.writes_left.store(5, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for n in 1..=20 {
        match timeout(Duration::from_secs(5), run(&groups, execute(1, n, vec![deliver(7, n, &[])]))).await {
            Ok(Ok(_)) => acknowledged.push(n),
            Ok(Err(StoreError::Unavailable(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acknowledged, [1, 2, 3, 4, 5]);
    assert_eq!(errors.lock().unwrap().len(), 1, "the process would have ended once");
    assert!(groups.status()[1].stopped.is_some());
    let groups = open(settings(1), &disks.crashed(0, 1)).await;
    assert_eq!(inbox_numbers(&groups, 1, 7).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_longer_than_the_deadline_for_a_disk_that_does_not_answer() {
    let disks = Disks::new();
    let mut one_at_a_time = settings(1);
    one_at_a_time.batch.proposals_in_flight = 1;
    let groups = open(one_at_a_time, &disks).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    idle(&groups).await;
    disks.log.stalled.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let late = |number| {
        let mut request = execute(1, number, vec![deliver(7, number, &[])]);
        request.deadline = now().plus_millis(300);
        let groups = groups.clone();
        tokio::spawn(async move { run(&groups, request).await })
    };
    let proposed = late(1);
    while groups.status()[1].proposals_in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waiting = late(2);
    for refused in [proposed.await.unwrap(), waiting.await.unwrap()] {
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("no commit")), "{refused:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    disks.log.stalled.store(false, Ordering::SeqCst);
    run(&groups, execute(1, 3, vec![deliver(7, 3, &[])])).await.unwrap();
    let numbers = inbox_numbers(&groups, 1, 7).await;
    assert!(numbers.ends_with(&[3]) && numbers.len() <= 2, "what nobody waited for was not proposed: {numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_state_is_damaged_stops_and_the_others_go_on() {
    let disks = Disks::new();
    let groups = open(settings(2), &disks).await;
    for (group, id) in [(1, 11), (2, 12)] {
        run(&groups, execute(group, 0, vec![provision(id)])).await.unwrap();
    }
    let rows = disks.state.scan(&KeyRange::prefix([0, 0, 0, 1, 0, 0, 0, 0]), Direction::Forward, 1000).unwrap();
    let mut damage = WriteBatch::new();
    rows.into_iter().for_each(|(key, _)| damage.put(key, [0xee]));
    disks.state.write(damage, Durability::Volatile).unwrap();
    let begun = Instant::now();
    for request in 1..=3 {
        let refused = run(&groups, execute(1, request, vec![deliver(11, 1, &[])])).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "it is refused at once");
    let status = groups.status();
    assert!(status[1].stopped.is_some() && status[2].stopped.is_none(), "{status:?}");
    let damaged = groups.query(GroupId::new(1), Query::Totals, Freshness::Now).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(_))), "{damaged:?}");
    run(&groups, execute(2, 1, vec![deliver(12, 1, &[])])).await.unwrap();
}

fn fan_out(number: u64, targets: &[(u32, u64)]) -> Command {
    let targets =
        targets.iter().map(|&(group, id)| FanOutTarget { group: GroupId::new(group), to: vec![deliver_to(id)] });
    let item = FanOut { message: message(number, &[]), sender: ReversePath::Null, targets: targets.collect() };
    Command::Queue(QueueCommand::FanOut(item))
}

async fn pending(groups: &Groups, group: u32) -> u64 {
    match groups.query(GroupId::new(group), Query::Queue(QueueQuery::Depth), Freshness::Now).await.unwrap().0 {
        Answer::Queue(QueueAnswer::Depth { pending, .. }) => pending,
        other => panic!("{other:?}"),
    }
}

async fn settled(groups: &Groups, group: u32) {
    timeout(Duration::from_secs(10), async {
        while pending(groups, group).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the queue was worked off");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_several_groups_is_in_each_of_them_once() {
    let groups = open(settings(3), &Disks::new()).await;
    for (group, id) in [(1, 11), (2, 12), (3, 13)] {
        run(&groups, execute(group, 0, vec![provision(id)])).await.unwrap();
    }
    for n in 1..=40 {
        let replies = run(&groups, execute(1, n, vec![fan_out(n, &[(1, 11), (2, 12), (3, 13)])])).await.unwrap();
        assert!(matches!(replies[0], Reply::Queue(QueueReply::Queued(_))), "{replies:?}");
    }
    settled(&groups, 1).await;
    for (group, id) in [(1, 11), (2, 12), (3, 13)] {
        let mut numbers = inbox_numbers(&groups, group, id).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>(), "group {group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_its_group_refuses_is_held_and_the_delivery_settled() {
    let groups = open(settings(2), &Disks::new()).await;
    run(&groups, execute(1, 0, vec![provision(11)])).await.unwrap();
    run(&groups, execute(1, 1, vec![fan_out(1, &[(1, 11), (2, 99)])])).await.unwrap();
    settled(&groups, 1).await;
    assert_eq!(inbox_numbers(&groups, 1, 11).await, [1]);
    let depth = groups.query(GroupId::new(1), Query::Queue(QueueQuery::Depth), Freshness::Now).await.unwrap().0;
    assert!(matches!(depth, Answer::Queue(QueueAnswer::Depth { held: 1, .. })), "{depth:?}");

    let query = Query::Queue(QueueQuery::Held { after: None, rows_max: 10 });
    let Ok((Answer::Queue(QueueAnswer::Held(held)), _)) = groups.query(GroupId::new(1), query, Freshness::Now).await
    else {
        panic!("no held recipients")
    };
    run(&groups, execute(2, 2, vec![provision(99)])).await.unwrap();
    let release = Command::Queue(QueueCommand::Release { held: held[0].key, to: None });
    let replies = run(&groups, execute(1, 3, vec![release])).await.unwrap();
    assert_eq!(replies, [Reply::Queue(QueueReply::Released(2))]);
    settled(&groups, 1).await;
    assert_eq!(inbox_numbers(&groups, 2, 99).await, [1], "the worker woke and tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_goes_on_after_a_crash_at_any_point_of_it() {
    for seed in 0..20 {
        let disks = Disks::new();
        let groups = open(settings(2), &disks).await;
        for (group, id) in [(1, 11), (2, 12)] {
            run(&groups, execute(group, 0, vec![provision(id)])).await.unwrap();
        }
        for n in 1..=10 {
            run(&groups, execute(1, n, vec![fan_out(n, &[(1, 11), (2, 12)])])).await.unwrap();
        }
        tokio::time::sleep(Duration::from_micros(seed * 300)).await;
        let left = disks.crashed(0, seed);
        drop(groups);
        let groups = open(settings(2), &left).await;
        settled(&groups, 1).await;
        for (group, id) in [(1, 11), (2, 12)] {
            let mut numbers = inbox_numbers(&groups, group, id).await;
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "seed {seed}, group {group}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_delivered_before_is_not_delivered_again() {
    let groups = open(settings(2), &Disks::new()).await;
    run(&groups, execute(2, 0, vec![provision(12)])).await.unwrap();
    let key = securanet_model::delivery::DeliveryKey { queue: GroupId::new(1), sequence: 1, settled_below: 1 };
    let keyed =
        Deliver { key: Some(key), message: message(1, &[]), to: vec![deliver_to(12)], quota: QuotaRule::Admitted };
    run(&groups, execute(2, 1, vec![Command::Deliver(keyed.clone())])).await.unwrap();
    let again = run(&groups, execute(2, 2, vec![Command::Deliver(keyed)])).await.unwrap();
    assert_eq!(again, [Reply::Deliver(DeliverReply::AlreadyApplied)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_waiting_requests_are_told_that_the_store_is_busy() {
    let mut few = settings(1);
    few.batch.waiting_requests_max = 4;
    few.batch.proposals_in_flight = 1;
    few.batch.requests_max = 1;
    let groups = open(few, &Disks::new()).await;
    run(&groups, execute(1, 0, vec![provision(7)])).await.unwrap();
    let groups = Arc::new(groups);
    let all = (1..=100).map(|n| {
        let groups = groups.clone();
        tokio::spawn(async move { run(&groups, execute(1, n, vec![deliver(7, n, &[])])).await })
    });
    let (mut stored, mut busy) = (0, 0);
    for task in all.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => stored += 1,
            Err(StoreError::Busy) => busy += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(busy > 0 && stored > 0, "{stored} stored, {busy} busy");
    assert_eq!(inbox_numbers(&groups, 1, 7).await.len(), stored);
}
