//! A sender's repeat of what is in the queue.

use securanet_kv::{Direction, Read};
use securanet_model::{
    KeyedHash,
    limits::{ACCEPTED_OUTBOUND_MAX, RECIPIENTS_MAX, SUPPRESSION_MILLIS},
    outbound::AcceptedItem,
};

use super::*;
use crate::keys::Table;

fn keyed(n: u8, key: u8) -> Outbound {
    Outbound { repeat_key: Some(KeyedHash([key; 16])), ..outbound(n, &["bob@b.example"]) }
}

fn take_in(queue: &mut Queue, outbound: Vec<Outbound>) -> Vec<(u64, bool)> {
    let acceptance = Acceptance { fan_out: Vec::new(), outbound };
    match queue.run(OutboundCommand::Accept(Box::new(acceptance))) {
        OutboundReply::Accepted(items) => items.iter().map(|AcceptedItem { item, repeat }| (*item, *repeat)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeat_is_the_item_that_there_is_for_three_days() {
    let mut queue = Queue::new();
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(1, false)]);
    queue.pass(SECOND);
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(1, true)]);
    assert_eq!(
        take_in(&mut queue, vec![keyed(1, 2), keyed(1, 1), outbound(1, &["bob@b.example"])]),
        [(2, false), (1, true), (3, false),]
    );
    assert_eq!((queue.depth().items, queue.depth().repeats), (3, 2));
    queue.pass(SUPPRESSION_MILLIS - SECOND - 1);
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(1, true)], "to the last moment");
    queue.pass(1);
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(4, false)]);
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(4, true)]);
    assert_eq!(queue.group.replayed().rows(), queue.group.rows());
}

#[test]
fn an_item_that_has_ended_is_still_the_answer() {
    let mut queue = Queue::new();
    take_in(&mut queue, vec![keyed(1, 1)]);
    queue.attempt(place(1, 0), Outcome::Delivered { notifies: true });
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(1, true)]);
    assert_eq!(queue.work(), vec![], "nothing goes out twice");
}

#[test]
fn what_somebody_did_not_get_may_be_sent_again() {
    let mut queue = Queue::new();
    take_in(&mut queue, vec![keyed(1, 1)]);
    queue.attempt(place(1, 0), Outcome::Permanent);
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(2, false)], "after its bounce");
    assert!(queue.operate(place(2, 0), Action::Cancel));
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(3, false)], "after an operator gave it up");
    assert_eq!(take_in(&mut queue, vec![keyed(1, 1)]), [(3, true)]);
}

#[test]
fn days_that_nobody_asks_for_are_forgotten() {
    let mut queue = Queue::new();
    let rows = |queue: &Queue| {
        let range = queue.group.space.key(Table::OutboundRepeat).range();
        queue.group.store.scan(&range, Direction::Forward, usize::MAX).unwrap().len()
    };
    for n in 0..20 {
        take_in(&mut queue, vec![keyed(1, n)]);
        queue.pass(24 * 3600 * 1000);
        assert!(rows(&queue) <= 4, "{}", rows(&queue));
    }
    assert_eq!(rows(&queue), 4);
}

#[test]
fn what_comes_in_together_has_bounds() {
    let mut queue = Queue::new();
    let of = |count: usize, recipients: usize| {
        let texts: Vec<String> = (0..recipients).map(|n| format!("r{n}@b.example")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound(1, &texts); count] };
        OutboundCommand::Accept(Box::new(acceptance))
    };
    for refused in [of(ACCEPTED_OUTBOUND_MAX + 1, 1), of(2, RECIPIENTS_MAX / 2 + 1), of(1, 0)] {
        assert_eq!(queue.run(refused), OutboundReply::OutOfBounds);
    }
    assert_eq!(queue.depth().items, 0);
    assert!(matches!(queue.run(of(2, RECIPIENTS_MAX / 2)), OutboundReply::Accepted(items) if items.len() == 2));
}
