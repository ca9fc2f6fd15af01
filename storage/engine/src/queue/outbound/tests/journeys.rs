//! Whole journeys: from acceptance to the end, in accelerated time.

use super::*;

const THERE: Place = Place { item: 1, position: 0 };

#[test]
fn a_message_is_delivered_at_the_first_attempt() {
    let mut queue = Queue::new();
    assert_eq!(queue.send(1, &["bob@b.example"]), 1);
    assert!(queue.woke(), "workers hear of new work");
    assert!(queue.reachable(1));
    assert_eq!(queue.due(), [THERE]);
    let epoch = queue.lease();
    let attempt = queue.take(epoch, THERE);
    assert_eq!((attempt, queue.due()), (1, vec![]));
    assert!(queue.intend(epoch, THERE, attempt));
    queue.settle(THERE, attempt, DELIVERED);
    assert_eq!(queue.state(THERE), State::Delivered);
    assert!(!queue.reachable(1), "nobody is to be told, so the content goes");
    assert_eq!(queue.work(), []);
    assert_eq!((queue.depth().items, queue.depth().delivered), (0, 1));
}

#[test]
fn four_retries_at_the_right_times_and_then_exactly_one_bounce() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        queue.attempt(THERE, Outcome::TemporaryAnswer);
        let wait = queue.due_in(THERE);
        waits.push(wait);
        queue.pass(wait - 1);
        assert_eq!(queue.due(), [], "not a millisecond too early");
        queue.pass(1);
        assert_eq!(queue.due(), [THERE]);
    }
    assert_eq!(waits, [15 * MINUTE, 2 * HOUR, DAY, 3 * DAY]);
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }], "the warning of the fourth hour was never sent here");
    queue.attempt(THERE, Outcome::TemporaryAnswer);
    assert_eq!((queue.state(THERE), queue.recipient(THERE).failures), (State::Failed, 5));
    assert_eq!(queue.work(), [], "not told at once: others may end, too");
    queue.pass(5 * SECOND);
    assert_eq!(queue.work(), [Timer::End { item: 1 }]);
    assert!(queue.reachable(1), "the bounce quotes the message");
    assert_eq!(queue.report(1, Notice::Failure, &[0]), OutboundReply::Reported);
    assert_eq!(queue.report(1, Notice::Failure, &[0]), OutboundReply::NoItem, "once");
    assert_eq!((queue.work(), queue.reachable(1)), (vec![], false));
    assert_eq!(queue.depth().failed, 1);
}
