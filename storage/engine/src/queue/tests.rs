//! The state table, row by row; then a worker that repeats, reorders and forgets, and still each recipient has
//! each message once.

mod carnage;

use securanet_model::{
    AccountId, Answer, BlobId, Command, DomainId, Epoch, GroupId, Query, Reply, ReversePath, TenantId,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply, UidSet},
    content::{BlobRef, NewMessage, Sealed},
    delivery::{
        Deliver, DeliverReply, DeliverTo, Delivered, DeliveryKey, FanOut, FanOutTarget, PendingDelivery, QueueAnswer,
        QueueCommand, QueueQuery, QueueReply, QuotaRule,
    },
    directory::Quota,
    limits::FANOUT_WINDOW_MAX,
};

use crate::harness::Group;

fn blob(n: u8) -> BlobId {
    BlobId { tenant: TenantId::new(1), hash: [n; 32] }
}

fn message(n: u8) -> NewMessage {
    NewMessage {
        size_bytes: 100,
        recipe: Sealed::plain(1, vec![n; 100]),
        blobs: vec![BlobRef { id: blob(n), size_bytes: 20_000 }],
        summary: Sealed::plain(1, Vec::new()),
        thread_keys: Vec::new(),
        internal_date: None,
    }
}

fn to(account: u64) -> DeliverTo {
    let account = AccountRef { id: AccountId::new(account), epoch: Epoch::new(0) };
    DeliverTo { account, folder: None, prefix: Sealed::plain(1, Vec::new()), prefix_size_bytes: 0, repeat_key: None }
}

fn fan_out(message: NewMessage, targets: &[(u32, &[u64])]) -> QueueCommand {
    let target = |(group, accounts): &(u32, &[u64])| FanOutTarget {
        group: GroupId::new(*group),
        to: accounts.iter().map(|&account| to(account)).collect(),
    };
    QueueCommand::FanOut(FanOut { message, sender: ReversePath::Null, targets: targets.iter().map(target).collect() })
}

fn settle(target: u32, sequence: u64, refused: Vec<(u32, AccountRefusal)>) -> QueueCommand {
    QueueCommand::Settle { target: GroupId::new(target), sequence, refused }
}

fn queue(group: &mut Group, command: QueueCommand) -> QueueReply {
    match group.run(Command::Queue(command)) {
        Reply::Queue(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn pending(group: &Group, rows_max: u32) -> Vec<PendingDelivery> {
    match group.ask(&Query::Queue(QueueQuery::Pending { rows_max })) {
        Answer::Queue(QueueAnswer::Pending(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

/// Target group, sequence and watermark of what is pending, in order.
fn keys(group: &Group) -> Vec<(u32, u64, u64)> {
    let key = |row: &PendingDelivery| {
        let key = row.deliver.key.unwrap();
        assert_eq!(key.queue, group.space.group);
        (row.target.get(), key.sequence, key.settled_below)
    };
    pending(group, 1000).iter().map(key).collect()
}

/// Pending and held counts.
fn depth(group: &Group) -> (u64, u64) {
    match group.ask(&Query::Queue(QueueQuery::Depth)) {
        Answer::Queue(QueueAnswer::Depth { pending, held, .. }) => (pending, held),
        other => panic!("{other:?}"),
    }
}

fn reachable(group: &Group, n: u8) -> bool {
    group.ask(&Query::BlobsReachable(vec![blob(n)])) == Answer::BlobsReachable(vec![true])
}

#[test]
fn each_pair_counts_its_own_sequences_from_one() {
    let mut group = Group::new(1);
    assert_eq!(queue(&mut group, fan_out(message(1), &[(2, &[1]), (3, &[2])])), QueueReply::Queued(1));
    assert_eq!(queue(&mut group, fan_out(message(2), &[(3, &[2]), (1, &[3])])), QueueReply::Queued(2));
    assert_eq!(keys(&group), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (3, 2, 1)], "each target in turn");
    let rows = pending(&group, 1000);
    assert_eq!(rows[0].deliver.message, message(2));
    assert_eq!(
        rows[2].deliver,
        Deliver {
            key: Some(DeliveryKey { queue: GroupId::new(1), sequence: 1, settled_below: 1 }),
            message: message(1),
            to: vec![to(2)],
            quota: QuotaRule::Admitted,
        }
    );
    assert_eq!(depth(&group), (4, 0));
}

#[test]
fn an_item_stays_until_its_last_delivery_is_settled() {
    let mut group = Group::new(1);
    queue(&mut group, fan_out(message(1), &[(2, &[1]), (3, &[2])]));
    assert!(reachable(&group, 1), "queued content must not be collected");
    assert_eq!(queue(&mut group, settle(2, 1, Vec::new())), QueueReply::Settled);
    assert_eq!((depth(&group), reachable(&group, 1)), ((1, 0), true));
    let state = group.truth();
    assert_eq!(queue(&mut group, settle(2, 1, Vec::new())), QueueReply::Settled, "settled twice is settled");
    assert_eq!(queue(&mut group, settle(3, 7, Vec::new())), QueueReply::Settled, "never given is not pending");
    assert_eq!(queue(&mut group, settle(9, 1, Vec::new())), QueueReply::Settled);
    assert_eq!(group.truth(), state);
    queue(&mut group, settle(3, 1, Vec::new()));
    assert_eq!((depth(&group), reachable(&group, 1)), ((0, 0), false));
    assert_eq!(queue(&mut group, fan_out(message(1), &[(2, &[1])])), QueueReply::Queued(2));
    assert_eq!(keys(&group), [(2, 2, 2)], "a sequence is never given twice");
}

#[test]
fn the_watermark_is_the_lowest_unsettled_sequence() {
    let mut group = Group::new(1);
    for _ in 0..4 {
        queue(&mut group, fan_out(message(1), &[(2, &[1])]));
    }
    let watermark = |group: &Group| keys(group).first().map(|key| key.2);
    for (settled, expected) in [(2, Some(1)), (1, Some(3)), (4, Some(3)), (3, None)] {
        queue(&mut group, settle(2, settled, Vec::new()));
        assert_eq!(watermark(&group), expected, "after {settled}");
    }
    queue(&mut group, fan_out(message(1), &[(2, &[1])]));
    assert_eq!(keys(&group), [(2, 5, 5)]);
}

#[test]
fn refused_recipients_are_held_with_the_item() {
    let mut group = Group::new(1);
    queue(&mut group, fan_out(message(1), &[(2, &[1, 2, 3])]));
    let refused = vec![
        (1, AccountRefusal::NoAccount),
        (1, AccountRefusal::NoAccount),
        (2, AccountRefusal::OverQuota),
        (9, AccountRefusal::NoAccount),
    ];
    queue(&mut group, settle(2, 1, refused));
    assert_eq!(depth(&group), (0, 2), "a position counts once, and only when it is one");
    assert!(reachable(&group, 1), "whoever is held still has the message here");
}

#[test]
fn a_full_window_refuses_the_whole_item() {
    let mut group = Group::new(1);
    let many = (0..FANOUT_WINDOW_MAX).map(|_| Command::Queue(fan_out(message(1), &[(2, &[1])]))).collect();
    let request = group.request(many);
    group.propose(vec![request]);
    assert_eq!(
        queue(&mut group, fan_out(message(2), &[(3, &[1]), (2, &[1])])),
        QueueReply::WindowFull(GroupId::new(2))
    );
    assert_eq!(depth(&group), (FANOUT_WINDOW_MAX, 0));
    assert!(!reachable(&group, 2));
    assert_eq!(queue(&mut group, fan_out(message(2), &[(3, &[1])])), QueueReply::Queued(FANOUT_WINDOW_MAX + 1));
    assert!(keys(&group)[..3].contains(&(3, 1, 1)), "a target that answers does not wait behind one that does not");
    queue(&mut group, settle(2, 2, Vec::new()));
    let full = queue(&mut group, fan_out(message(2), &[(2, &[1])]));
    assert_eq!(full, QueueReply::WindowFull(GroupId::new(2)), "the window begins at the lowest unsettled sequence");
    queue(&mut group, settle(2, 1, Vec::new()));
    assert!(matches!(queue(&mut group, fan_out(message(2), &[(2, &[1])])), QueueReply::Queued(_)));
}

#[test]
fn what_one_answer_holds_is_bounded() {
    let mut group = Group::new(1);
    let mut large = message(1);
    large.recipe = Sealed::plain(1, vec![1; 3 * 1024 * 1024]);
    for _ in 0..5 {
        queue(&mut group, fan_out(large.clone(), &[(2, &[1])]));
    }
    assert_eq!(pending(&group, 1000).len(), 3, "three of three megabytes reach eight");
    assert_eq!(pending(&group, 1).len(), 1);
    assert_eq!(pending(&group, 0).len(), 1);
}

#[test]
fn the_depth_tells_since_when_the_oldest_waits() {
    let mut group = Group::new(1);
    let oldest = |group: &Group| match group.ask(&Query::Queue(QueueQuery::Depth)) {
        Answer::Queue(QueueAnswer::Depth { oldest, .. }) => oldest,
        other => panic!("{other:?}"),
    };
    assert_eq!(oldest(&group), None);
    let first = group.clock;
    queue(&mut group, fan_out(message(1), &[(3, &[1])]));
    group.clock = first.plus_millis(5000);
    queue(&mut group, fan_out(message(1), &[(2, &[1])]));
    assert_eq!(oldest(&group), Some(first));
    assert_eq!(pending(&group, 10)[1].queued, first);
    queue(&mut group, settle(3, 1, Vec::new()));
    assert_eq!(oldest(&group), Some(first.plus_millis(5000)));
}
