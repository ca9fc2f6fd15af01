//! Who is told of what (RFC 3461 4.1), when, and in which commit.

use securanet_model::{
    Epoch,
    account::AccountRef,
    delivery::{DeliverTo, FanOut, FanOutTarget, QueueAnswer, QueueQuery},
    limits::FANOUT_WINDOW_MAX,
    outbound::AcceptedItem,
};

use super::*;

const HERE: Place = Place { item: 1, position: 0 };

const fn on(success: bool, failure: bool, delay: bool) -> Notify {
    Notify::On { success, failure, delay }
}

/// Whether the sender is told of a delivery, of a failure and of a delay.
fn told(sender: &ReversePath, notify: Notify, notifies: bool) -> (bool, bool, bool) {
    let begin = || {
        let mut queue = Queue::new();
        let mut message = outbound(1, &["bob@b.example"]);
        message.sender = sender.clone();
        message.recipients[0].notify = notify;
        queue.accept(message);
        queue
    };
    let end = |outcome| {
        let mut queue = begin();
        queue.attempt(HERE, outcome);
        queue.pass(5 * SECOND);
        assert_eq!(
            queue.depth().double_bounces,
            u64::from(*sender == ReversePath::Null && outcome == Outcome::Permanent)
        );
        assert_eq!(queue.reachable(1), queue.work() == [Timer::End { item: 1 }]);
        queue.work() == [Timer::End { item: 1 }]
    };
    let mut late = begin();
    late.attempt(HERE, Outcome::TemporaryAnswer);
    late.pass(4 * HOUR - 1);
    assert_eq!(late.work(), []);
    late.pass(1);
    (end(Outcome::Delivered { notifies }), end(Outcome::Permanent), late.work() == [Timer::Delay { item: 1 }])
}

#[test]
fn the_sender_is_told_what_it_asked_for() {
    let ann = ReversePath::Address(address("ann@a.example"));
    let cases = [
        (&ann, Notify::Default, false, (false, true, true)),
        (&ann, Notify::Never, false, (false, false, false)),
        (&ann, on(true, false, false), false, (true, false, false)),
        (&ann, on(true, true, true), true, (false, true, true)),
        (&ann, on(false, true, false), false, (false, true, false)),
        (&ann, on(false, false, true), false, (false, false, true)),
        (&ReversePath::Null, Notify::Default, false, (false, false, false)),
        (&ReversePath::Null, on(true, true, true), false, (false, false, false)),
    ];
    for (sender, notify, notifies, expected) in cases {
        assert_eq!(told(sender, notify, notifies), expected, "{sender} {notify:?}");
    }
}

#[test]
fn one_report_covers_what_ends_within_five_seconds() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example", "joe@d.example"]);
    queue.attempt(HERE, Outcome::Permanent);
    queue.pass(3 * SECOND);
    queue.attempt(place(1, 1), Outcome::Permanent);
    assert_eq!(queue.work(), []);
    queue.pass(2 * SECOND);
    assert_eq!(queue.work(), [Timer::End { item: 1 }], "later ends do not put it off");
    assert_eq!(queue.report(1, Notice::Failure, &[0, 1]), OutboundReply::Reported);
    assert_eq!((queue.work(), queue.reachable(1)), (vec![], true), "one is still on its way");
    queue.attempt(place(1, 2), DELIVERED);
    assert!(!queue.reachable(1));
}

#[test]
fn a_report_is_made_for_all_its_recipients_or_not_at_all() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example"]);
    queue.attempt(HERE, Outcome::Permanent);
    for (notice, positions) in [
        (Notice::Failure, &[][..]),
        (Notice::Failure, &[0, 1]),
        (Notice::Failure, &[0, 0]),
        (Notice::Failure, &[0, 9]),
        (Notice::Success, &[0]),
        (Notice::Delay, &[0]),
    ] {
        assert_eq!(queue.report(1, notice, positions), OutboundReply::NoItem, "{notice:?} {positions:?}");
    }
    assert_eq!(queue.report(7, Notice::Failure, &[0]), OutboundReply::NoItem);
    assert_eq!(queue.report(1, Notice::Failure, &[0]), OutboundReply::Reported);
}

fn to_group(group: u32) -> FanOut {
    let account = AccountRef { id: AccountId::new(1), epoch: Epoch::new(0) };
    let prefix = Sealed::plain(1, Vec::new());
    let to = DeliverTo { account, folder: None, prefix, prefix_size_bytes: 0, repeat_key: None };
    let targets = vec![FanOutTarget { group: GroupId::new(group), to: vec![to] }];
    FanOut { message: message(9), sender: ReversePath::Null, targets }
}

const fn new(item: u64) -> AcceptedItem {
    AcceptedItem { item, repeat: false }
}

fn pending(queue: &Queue) -> u64 {
    match queue.group.ask(&Query::Queue(QueueQuery::Depth)) {
        Answer::Queue(QueueAnswer::Depth { pending, .. }) => pending,
        other => panic!("{other:?}"),
    }
}

#[test]
fn telling_and_having_told_are_one_commit() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    queue.attempt(HERE, Outcome::Permanent);
    let mut bounce = outbound(2, &["ann@elsewhere.example"]);
    (bounce.sender, bounce.origin) = (ReversePath::Null, Origin::Report);
    let report = |fan_out, outbound| OutboundCommand::Report {
        item: 1,
        notice: Notice::Failure,
        positions: vec![0],
        message: Some(Box::new(Acceptance { fan_out, outbound })),
    };
    bounce.recipients.clear();
    assert_eq!(queue.run(report(vec![], vec![bounce.clone()])), OutboundReply::OutOfBounds);
    bounce.recipients.push(to("ann@elsewhere.example"));
    assert_eq!(queue.run(report(vec![to_group(2)], vec![bounce.clone()])), OutboundReply::Reported);
    assert_eq!((pending(&queue), queue.due()), (1, vec![place(2, 0)]));
    assert_eq!((queue.reachable(1), queue.reachable(2), queue.reachable(9)), (false, true, true));
    assert_eq!(queue.run(report(vec![to_group(2)], vec![bounce])), OutboundReply::NoItem, "not told twice");
    assert_eq!(pending(&queue), 1);
    queue.attempt(place(2, 0), Outcome::Permanent);
    assert_eq!((queue.work(), queue.depth().double_bounces), (vec![], 1), "a bounce never bounces");
}

#[test]
fn a_submission_for_both_sides_is_taken_whole_or_not_at_all() {
    let mut queue = Queue::new();
    let acceptance = |group| {
        let both = Acceptance { fan_out: vec![to_group(group)], outbound: vec![outbound(1, &["bob@b.example"])] };
        OutboundCommand::Accept(Box::new(both))
    };
    assert_eq!(queue.run(acceptance(2)), OutboundReply::Accepted(vec![new(1)]));
    assert_eq!((pending(&queue), queue.due()), (1, vec![HERE]));
    let full = (0..FANOUT_WINDOW_MAX).map(|_| {
        let inside = Acceptance { fan_out: vec![to_group(3)], outbound: Vec::new() };
        Command::Outbound(OutboundCommand::Accept(Box::new(inside)))
    });
    let request = queue.group.request(full.collect());
    let replies = queue.group.propose(vec![request]);
    assert_eq!(replies[0][0], Reply::Outbound(OutboundReply::Accepted(Vec::new())));
    assert_eq!(queue.run(acceptance(3)), OutboundReply::WindowFull(GroupId::new(3)));
    assert_eq!(queue.depth().items, 1);
}

#[test]
fn a_late_delivery_takes_back_a_failure_that_was_not_told() {
    for told in [false, true] {
        let mut queue = Queue::new();
        queue.send(1, &["bob@b.example"]);
        let epoch = queue.lease();
        let attempt = queue.take(epoch, HERE);
        assert!(queue.operate(HERE, Action::Fail));
        if told {
            assert_eq!(queue.report(1, Notice::Failure, &[0]), OutboundReply::Reported);
        }
        queue.settle(HERE, attempt, DELIVERED);
        queue.pass(MINUTE);
        assert_eq!((queue.state(HERE), queue.work(), queue.reachable(1)), (State::Delivered, vec![], false));
    }
}

#[test]
fn a_delay_is_told_once_and_only_of_who_still_waits() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example", "joe@d.example"]);
    queue.attempt(HERE, Outcome::TemporaryAnswer);
    queue.pass(HOUR);
    queue.attempt(place(1, 1), Outcome::TemporaryAnswer);
    queue.pass(3 * HOUR);
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }]);
    let delays: Vec<bool> = queue.item(1).recipients.iter().map(|row| row.delay_due.is_some()).collect();
    assert_eq!(delays, [true, true, false], "the third was never tried");
    queue.attempt(HERE, DELIVERED);
    assert_eq!(queue.report(1, Notice::Delay, &[0, 1]), OutboundReply::NoItem, "one of them is there by now");
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }], "the other is still to be told");
    assert_eq!(queue.report(1, Notice::Delay, &[1]), OutboundReply::Reported);
    assert!(queue.recipient(place(1, 1)).delay_told);
    assert_eq!(queue.work(), []);
    queue.attempt(place(1, 1), Outcome::TemporaryAnswer);
    assert_eq!(queue.work(), [], "once");
    queue.attempt(place(1, 2), Outcome::TemporaryAnswer);
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }], "the third has a notice of its own");
}

#[test]
fn the_timer_of_delays_is_that_of_the_next_one() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example", "joe@d.example"]);
    for (position, hours) in [(0, 4), (1, 5), (2, 5)] {
        let epoch = queue.lease();
        let attempt = queue.take(epoch, place(1, position));
        let mut failed = queue.settlement(place(1, position), attempt, Outcome::TemporaryAnswer);
        failed.schedule.warn_after = hours * 3600;
        queue.run(OutboundCommand::Settle(vec![failed]));
    }
    queue.pass(2 * HOUR);
    queue.attempt(HERE, DELIVERED);
    queue.pass(2 * HOUR);
    assert_eq!(queue.work(), [], "the first one does not wait any more");
    queue.pass(HOUR);
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }]);
    assert_eq!(queue.report(1, Notice::Delay, &[2]), OutboundReply::Reported);
    assert_eq!(queue.work(), [Timer::Delay { item: 1 }]);
    assert_eq!(queue.report(1, Notice::Delay, &[1]), OutboundReply::Reported);
    assert_eq!(queue.work(), []);
}

#[test]
fn a_deadline_without_return_is_told_when_it_is_over() {
    let mut queue = Queue::new();
    let mut message = outbound(1, &["bob@b.example"]);
    let by = queue.now().plus_millis(10 * MINUTE);
    message.options.deliver_by = Some(DeliverBy { by, or_return: false, trace: false });
    queue.accept(message);
    queue.pass(10 * MINUTE);
    assert_eq!((queue.work(), queue.due()), (vec![Timer::Delay { item: 1 }], vec![HERE]), "and it goes on");
}
