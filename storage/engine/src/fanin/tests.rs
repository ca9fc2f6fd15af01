//! The answers of the table, and how many keys are kept.

use securanet_kv::{Direction, Read};
use securanet_model::{
    AccountId, Command, DomainId, Epoch, GroupId, Reply, TenantId,
    account::{AccountCommand, AccountRef, AccountRefusal},
    content::{NewMessage, Sealed},
    delivery::{DeliverTo, QuotaRule},
    directory::Quota,
};

use super::*;
use crate::harness::Group;

/// A shard with account 1.
fn shard() -> Group {
    let mut group = Group::new(2);
    let (tenant, domain, quota) = (TenantId::new(1), DomainId::new(1), Quota::default());
    group.run(Command::Account(account(1), AccountCommand::Provision { tenant, domain, quota }));
    group
}

fn account(id: u64) -> AccountRef {
    AccountRef { id: AccountId::new(id), epoch: Epoch::new(0) }
}

fn send(group: &mut Group, sequence: u64, settled_below: u64, accounts: &[u64]) -> DeliverReply {
    let plain = || Sealed::plain(1, Vec::new());
    let to = |id: &u64| DeliverTo {
        account: account(*id),
        folder: None,
        prefix: plain(),
        prefix_size_bytes: 0,
        repeat_key: None,
    };
    let message = NewMessage {
        size_bytes: 1,
        recipe: plain(),
        blobs: Vec::new(),
        summary: plain(),
        thread_keys: Vec::new(),
        internal_date: None,
    };
    let command = Deliver {
        key: Some(DeliveryKey { queue: GroupId::new(5), sequence, settled_below }),
        message,
        to: accounts.iter().map(to).collect(),
        quota: QuotaRule::Admitted,
    };
    match group.run(Command::Deliver(command)) {
        Reply::Deliver(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn is_stored(reply: &DeliverReply) -> bool {
    matches!(reply, DeliverReply::Outcomes(outcomes) if matches!(outcomes[..], [Delivered::Stored { .. }]))
}

#[test]
fn a_key_is_applied_once() {
    let mut group = shard();
    assert!(is_stored(&send(&mut group, 2, 1, &[1])));
    assert!(is_stored(&send(&mut group, 1, 1, &[1])), "in any order");
    let state = group.truth();
    assert_eq!(send(&mut group, 2, 1, &[1]), DeliverReply::AlreadyApplied);
    assert_eq!(group.truth(), state);
}

#[test]
fn a_repeat_of_a_refusal_gets_it_again() {
    let mut group = shard();
    let first = send(&mut group, 1, 1, &[1, 9]);
    let DeliverReply::Outcomes(outcomes) = &first else { panic!("{first:?}") };
    assert!(matches!(outcomes[..], [Delivered::Stored { .. }, Delivered::Refused(AccountRefusal::NoAccount)]));
    let state = group.truth();
    assert_eq!(send(&mut group, 1, 1, &[1, 9]), first);
    assert_eq!(group.truth(), state);
}

#[test]
fn keys_outside_the_window_are_refused() {
    let mut group = shard();
    for (sequence, settled_below) in [(0, 0), (4, 5), (5 + FANOUT_WINDOW_MAX, 5), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(send(&mut group, sequence, settled_below, &[1]), DeliverReply::KeyRefused, "{sequence}");
    }
    assert!(is_stored(&send(&mut group, 4 + FANOUT_WINDOW_MAX, 5, &[1])), "the last of the window");
    assert_eq!(send(&mut group, 3, 1, &[1]), DeliverReply::KeyRefused, "a zombie with an old watermark");
    assert!(is_stored(&send(&mut group, 5, 5, &[1])));
}

#[test]
fn keys_below_the_watermark_are_forgotten() {
    let mut group = shard();
    for sequence in 1..=3 * COLLECT_EVERY_KEYS {
        assert!(is_stored(&send(&mut group, sequence, sequence, &[1])));
    }
    let range = group.space.key(Table::FanInKey).range();
    let keys = group.store.scan(&range, Direction::Forward, usize::MAX).unwrap();
    assert!(keys.len() as u64 <= COLLECT_EVERY_KEYS, "{} keys", keys.len());
    assert_eq!(send(&mut group, 7, 1, &[1]), DeliverReply::KeyRefused, "forgotten, and refused all the same");
}
