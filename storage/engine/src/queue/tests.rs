//! The state table, row by row; then a worker that repeats, reorders and forgets, and still each recipient has
//! each message once.

mod carnage;

use securanet_model::{
    AccountId, Answer, BlobId, Command, DomainId, Epoch, GroupId, Query, Reply, ReversePath, TenantId,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply, UidSet},
    content::{BlobRef, NewMessage, Sealed},
    delivery::{
        Deliver, DeliverReply, DeliverTo, Delivered, DeliveryKey, FanOut, FanOutTarget, HeldKey, HeldRecipient, HeldTo,
        PendingDelivery, QueueAnswer, QueueCommand, QueueQuery, QueueReply, QuotaRule,
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

fn held(group: &Group, after: Option<HeldKey>, rows_max: u32) -> Vec<HeldRecipient> {
    match group.ask(&Query::Queue(QueueQuery::Held { after, rows_max })) {
        Answer::Queue(QueueAnswer::Held(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

fn release(held: HeldKey) -> QueueCommand {
    QueueCommand::Release { held, to: None }
}

/// One item whose recipients 1, 2 and 3 in group 2 are all held.
fn three_held() -> (Group, Vec<HeldKey>) {
    let mut group = Group::new(1);
    queue(&mut group, fan_out(message(1), &[(2, &[1, 2, 3])]));
    let refused = (0..3).map(|position| (position, AccountRefusal::NoAccount)).collect();
    queue(&mut group, settle(2, 1, refused));
    let keys = held(&group, None, 10).iter().map(|held| held.key).collect();
    (group, keys)
}

#[test]
fn held_recipients_are_shown_a_page_at_a_time_with_who_why_and_since_when() {
    let mut group = Group::new(1);
    let queued = group.clock;
    queue(&mut group, fan_out(message(1), &[(3, &[7]), (2, &[1, 2])]));
    queue(&mut group, fan_out(message(2), &[(2, &[9])]));
    group.clock = queued.plus_millis(60_000);
    let since = group.clock;
    queue(&mut group, settle(2, 1, vec![(1, AccountRefusal::NoAccount)]));
    queue(&mut group, settle(3, 1, vec![(0, AccountRefusal::OverQuota)]));
    queue(&mut group, settle(2, 2, vec![(0, AccountRefusal::NoAccount)]));
    let all = held(&group, None, 1000);
    let who = |held: &HeldRecipient| (held.key.item, held.key.target.get(), held.key.position, held.key.account.get());
    assert_eq!(all.iter().map(who).collect::<Vec<_>>(), [(1, 2, 1, 2), (1, 3, 0, 7), (2, 2, 0, 9)]);
    let key = HeldKey { item: 1, target: GroupId::new(3), position: 0, account: AccountId::new(7) };
    let (refusal, sender) = (AccountRefusal::OverQuota, ReversePath::Null);
    assert_eq!(all[1], HeldRecipient { key, refusal, since, queued, sender, size_bytes: 100 });
    let mut paged = Vec::new();
    while let [one] = held(&group, paged.last().map(|held: &HeldRecipient| held.key), 1).as_slice() {
        paged.push(one.clone());
    }
    assert_eq!(paged, all);
    assert_eq!(held(&group, None, 0).len(), 1, "a page has at least one row");
}

#[test]
fn a_released_recipient_is_pending_again_under_a_new_sequence() {
    let (mut group, keys) = three_held();
    group.clock = group.clock.plus_millis(5000);
    assert_eq!(queue(&mut group, release(keys[1])), QueueReply::Released(2));
    assert_eq!((depth(&group), held(&group, None, 10).len()), ((1, 2), 2));
    let rows = pending(&group, 10);
    assert_eq!((&rows[0].deliver.to, &rows[0].deliver.message), (&vec![to(2)], &message(1)));
    assert_eq!((rows[0].deliver.key.unwrap().sequence, rows[0].queued), (2, group.clock));
    let state = group.truth();
    assert_eq!(queue(&mut group, release(keys[1])), QueueReply::NotHeld, "twice is once");
    assert_eq!(group.truth(), state);
    queue(&mut group, settle(2, 2, Vec::new()));
    assert!(reachable(&group, 1), "two are held still");
    for key in [keys[0], keys[2]] {
        queue(&mut group, release(key));
    }
    assert!(reachable(&group, 1), "two are pending");
    queue(&mut group, settle(2, 3, Vec::new()));
    queue(&mut group, settle(2, 4, Vec::new()));
    assert_eq!((depth(&group), reachable(&group, 1)), ((0, 0), false), "all have it, and the item is gone");
}

#[test]
fn released_recipients_that_are_refused_again_are_all_held_again() {
    let (mut group, keys) = three_held();
    // Each is at the first position of a delivery of its own now.
    assert_eq!(queue(&mut group, release(keys[2])), QueueReply::Released(2));
    assert_eq!(queue(&mut group, release(keys[1])), QueueReply::Released(3));
    for sequence in [3, 2] {
        queue(&mut group, settle(2, sequence, vec![(0, AccountRefusal::NoAccount)]));
    }
    let mut accounts: Vec<u64> = held(&group, None, 10).iter().map(|held| held.key.account.get()).collect();
    accounts.sort_unstable();
    assert_eq!((accounts, depth(&group)), (vec![1, 2, 3], (0, 3)));
    // Where 2 stood, there is somebody, and it is not 3.
    let stale = HeldKey { position: keys[1].position, ..keys[2] };
    assert_eq!(queue(&mut group, QueueCommand::Discard(stale)), QueueReply::NotHeld);
    assert_eq!(depth(&group), (0, 3));
}

#[test]
fn a_discarded_recipient_is_gone_and_the_last_one_takes_the_item() {
    let (mut group, keys) = three_held();
    for (at, key) in keys.iter().enumerate() {
        assert!(reachable(&group, 1));
        assert_eq!(queue(&mut group, QueueCommand::Discard(*key)), QueueReply::Discarded);
        assert_eq!(depth(&group), (0, 2 - at as u64));
    }
    assert!(!reachable(&group, 1));
    assert_eq!(queue(&mut group, QueueCommand::Discard(keys[0])), QueueReply::NotHeld);
    assert_eq!((pending(&group, 10), held(&group, None, 10)), (Vec::new(), Vec::new()));
    assert_eq!(group.replayed().rows(), group.rows());
}

#[test]
fn a_held_recipients_mail_may_go_to_another_account() {
    let (mut group, keys) = three_held();
    let instead = HeldTo { group: GroupId::new(3), account: to(8).account };
    let redirect = QueueCommand::Release { held: keys[0], to: Some(instead) };
    assert_eq!(queue(&mut group, redirect), QueueReply::Released(1), "the first to group 3");
    let row = &pending(&group, 10)[0];
    assert_eq!((row.target, &row.deliver.to), (GroupId::new(3), &vec![to(8)]));
    queue(&mut group, settle(3, 1, vec![(0, AccountRefusal::OverQuota)]));
    let again: Vec<_> = held(&group, None, 10).iter().map(|held| (held.key.target.get(), held.key.account)).collect();
    assert_eq!(again.last(), Some(&(3, AccountId::new(8))));
}

#[test]
fn a_release_into_a_full_window_changes_nothing() {
    let (mut group, keys) = three_held();
    let many = (0..FANOUT_WINDOW_MAX).map(|_| Command::Queue(fan_out(message(2), &[(2, &[1])]))).collect();
    let request = group.request(many);
    group.propose(vec![request]);
    let held_before = held(&group, None, 10);
    assert_eq!(queue(&mut group, release(keys[0])), QueueReply::WindowFull(GroupId::new(2)));
    assert_eq!((depth(&group), held(&group, None, 10)), ((FANOUT_WINDOW_MAX, 3), held_before));
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
