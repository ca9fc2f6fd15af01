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
        assert_eq!(queue.timers().iter().filter(|timer| matches!(timer, Timer::End { .. })).count(), 0);
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
    assert_eq!(queue.recipient(THERE).history.len(), 5);
}

#[test]
fn ten_days_of_faults_of_ours_cost_nobody_a_retry() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example"]);
    let places = [THERE, place(1, 1)];
    for _ in 0..10 * 24 {
        for place in places {
            queue.attempt(place, Outcome::NotTried { again_after: 3600 });
            assert_eq!(queue.due_in(place), HOUR);
        }
        assert_eq!(queue.work(), [], "nobody is told of anything");
        queue.pass(HOUR);
    }
    for place in places {
        let before = queue.recipient(place);
        assert_eq!((before.failures, before.attempts), (0, 240));
        let attempts: Vec<&str> = before.history.iter().map(|attempt| attempt.answer.as_str()).collect();
        assert_eq!((attempts[0], attempts[1], attempts.len()), ("attempt 1", "attempt 226", 16), "first and last 15");
        queue.attempt(place, DELIVERED);
        assert_eq!(queue.state(place), State::Delivered);
    }
    assert_eq!((queue.depth().failed, queue.depth().delivered, queue.depth().items), (0, 2, 0));
}

#[test]
fn a_fault_of_ours_is_tried_again_within_an_hour_and_not_at_once() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    for (again_after, millis) in [(0, SECOND), (30, 30 * SECOND), (u32::MAX, HOUR)] {
        queue.attempt(THERE, Outcome::NotTried { again_after });
        assert_eq!(queue.due_in(THERE), millis);
        queue.pass(millis);
    }
}

#[test]
fn a_domain_that_does_not_exist_is_tried_for_an_hour() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let mut waits = Vec::new();
    for attempt in 0..4 {
        queue.attempt(THERE, Outcome::NoSuchDomain);
        waits.push(queue.due_in(THERE) / MINUTE);
        let told = if attempt == 0 { OutboundReply::Reported } else { OutboundReply::NoItem };
        assert_eq!(queue.work().contains(&Timer::Delay { item: 1 }), attempt == 0, "told at once, and once");
        assert_eq!(queue.report(1, Notice::Delay, &[0]), told);
        queue.pass(queue.due_in(THERE));
        let epoch = queue.lease();
        let taken = queue.take_all(epoch, &[THERE]).remove(0).unwrap();
        assert_eq!(taken.last, Some(Outcome::NoSuchDomain), "the worker asks past its cache");
        queue.settle(THERE, taken.attempt, Outcome::NotTried { again_after: 1 });
        queue.pass(SECOND);
    }
    assert_eq!(waits, [5, 10, 15, 30]);
    queue.attempt(THERE, Outcome::NoSuchDomain);
    assert_eq!(queue.state(THERE), State::Failed);
}

#[test]
fn kinds_of_failures_are_counted_apart() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let kinds = [
        (Outcome::TemporaryDns, 15),
        (Outcome::NoSuchDomain, 5),
        (Outcome::TemporaryTls, 120),
        (Outcome::NoSuchDomain, 10),
        (Outcome::TemporaryAnswer, 24 * 60),
        (Outcome::NoSuchDomain, 15),
        (Outcome::NoSuchDomain, 30),
        (Outcome::TemporaryConnection, 3 * 24 * 60),
    ];
    for (outcome, minutes) in kinds {
        queue.attempt(THERE, outcome);
        assert_eq!(queue.due_in(THERE), minutes * MINUTE, "{outcome:?}");
        queue.pass(minutes * MINUTE);
    }
    assert_eq!(queue.recipient(THERE).failures, 8);
    queue.attempt(THERE, Outcome::NoSuchDomain);
    assert_eq!(queue.state(THERE), State::Failed);
}

#[test]
fn a_message_for_the_future_waits_and_one_that_is_too_late_is_returned() {
    let mut queue = Queue::new();
    let mut later = outbound(1, &["bob@b.example"]);
    later.hold_until = Some(queue.now().plus_millis(HOUR));
    queue.accept(later);
    assert_eq!((queue.due(), queue.due_in(THERE)), (vec![], HOUR));
    let mut soon = outbound(2, &["bob@b.example"]);
    let deadline = DeliverBy { by: queue.now().plus_millis(10 * MINUTE), or_return: true, trace: false };
    soon.options.deliver_by = Some(deadline);
    queue.accept(soon);
    let there = place(2, 0);
    queue.attempt(there, Outcome::TemporaryAnswer);
    assert_eq!(queue.due_in(there), 10 * MINUTE, "due at the deadline instead of a quarter of an hour from now");
    queue.pass(10 * MINUTE);
    let epoch = queue.lease();
    assert_eq!(queue.take_all(epoch, &[there]), [None], "nobody tries it any more");
    let ended = queue.recipient(there);
    assert_eq!((ended.state, ended.history[1].status), (State::Failed, (5, 4, 7)), "RFC 2852 4.1.4");
    queue.pass(5 * SECOND);
    assert_eq!(queue.work(), [Timer::End { item: 2 }]);
}

#[test]
fn a_delivery_that_lost_its_answer_waits_eleven_minutes_and_is_marked() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let epoch = queue.lease();
    let attempt = queue.take(epoch, THERE);
    assert!(queue.intend(epoch, THERE, attempt));
    queue.pass(4 * SECOND);
    queue.settle(THERE, attempt, Outcome::Uncertain);
    assert_eq!(queue.due_in(THERE), 11 * MINUTE - 4 * SECOND, "from the final dot");
    assert_eq!((queue.recipient(THERE).uncertain, queue.depth().uncertain), (1, 0), "in doubt, not yet repeated");
    assert_eq!(queue.recipient(THERE).failures, 0, "the first time costs no retry");
    queue.pass(11 * MINUTE);
    queue.attempt(THERE, DELIVERED);
    assert_eq!((queue.recipient(THERE).uncertain, queue.depth().uncertain), (1, 1), "the trace shows the repeat");
}

#[test]
fn a_remote_that_never_answers_the_dot_gets_the_message_six_times_at_most() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let mut attempts = 0;
    while queue.state(THERE) != State::Failed {
        queue.attempt(THERE, Outcome::Uncertain);
        attempts += 1;
        if let State::Waiting { .. } = queue.state(THERE) {
            assert!(queue.due_in(THERE) >= 11 * MINUTE);
            queue.pass(queue.due_in(THERE));
        }
    }
    assert_eq!((attempts, queue.depth().uncertain), (6, 5));
    queue.settle(THERE, 6, Outcome::TemporaryAnswer);
    assert_eq!(queue.state(THERE), State::Failed, "an end is an end");
    queue.settle(THERE, 3, DELIVERED);
    assert_eq!((queue.state(THERE), queue.recipient(THERE).uncertain), (State::Delivered, 4));
}

#[test]
fn who_is_dead_gives_back_what_it_had() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@c.example", "joe@d.example"]);
    let epoch = queue.lease();
    for position in 0..3 {
        queue.take(epoch, place(1, position));
    }
    assert!(queue.intend(epoch, place(1, 1), 1));
    queue.settle(place(1, 2), 1, DELIVERED);
    queue.pass(6 * SECOND - 1);
    assert_eq!(queue.timers(), [], "it lives to its last millisecond");
    queue.pass(1);
    assert_eq!(queue.timers(), [Timer::Lease { epoch }]);
    queue.take_over(epoch);
    assert!(queue.woke(), "others may go on at once");
    assert_eq!(queue.timers(), []);
    let (taken, sending) = (queue.recipient(THERE), queue.recipient(place(1, 1)));
    assert_eq!((queue.due(), taken.failures, taken.uncertain), (vec![THERE], 0, 0));
    assert_eq!((queue.due_in(place(1, 1)), sending.uncertain), (11 * MINUTE - 6 * SECOND, 1));
    assert_eq!(sending.history[0].outcome, Outcome::Uncertain, "the trace says why it waits");
    assert_eq!(queue.depth().taken_over, 2);
    assert_eq!(queue.state(place(1, 2)), State::Delivered);
}

#[test]
fn a_late_delivery_settles_and_stops_the_next_attempt_before_its_dot() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let dead = queue.lease();
    let first = queue.take(dead, THERE);
    assert!(queue.intend(dead, THERE, first));
    queue.pass(MINUTE);
    queue.take_over(dead);
    queue.pass(11 * MINUTE);
    let living = queue.lease();
    let second = queue.take(living, THERE);
    assert_eq!(second, 2);
    queue.settle(THERE, first, DELIVERED);
    assert_eq!((queue.state(THERE), queue.recipient(THERE).uncertain), (State::Delivered, 0), "now it is known");
    assert!(!queue.intend(living, THERE, second), "the second worker does not pass the dot");
    queue.settle(THERE, second, Outcome::NotTried { again_after: 1 });
    assert_eq!(queue.state(THERE), State::Delivered);
    assert_eq!(queue.recipient(THERE).history.len(), 2);
}

#[test]
fn a_late_failure_of_an_older_attempt_is_only_written_down() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let dead = queue.lease();
    let first = queue.take(dead, THERE);
    queue.pass(MINUTE);
    queue.take_over(dead);
    let living = queue.lease();
    let second = queue.take(living, THERE);
    queue.settle(THERE, first, Outcome::Permanent);
    assert!(matches!(queue.state(THERE), State::Taken { epoch } if epoch == living));
    assert!(queue.intend(living, THERE, second));
    queue.settle(THERE, second, DELIVERED);
    assert_eq!(queue.state(THERE), State::Delivered);
}

#[test]
fn an_ended_lease_gives_no_right_and_never_comes_back() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    let worker = WorkerId([1; 16]);
    let epoch = queue.lease();
    let attempt = queue.take(epoch, THERE);
    queue.pass(5 * SECOND);
    let renewed = queue.run(OutboundCommand::Lease { worker, epoch: Some(epoch) });
    assert_eq!(renewed, OutboundReply::Leased { epoch, until: queue.now().plus_millis(6 * SECOND) });
    queue.pass(6 * SECOND);
    assert!(!queue.intend(epoch, THERE, attempt));
    assert_eq!(queue.run(OutboundCommand::Lease { worker, epoch: Some(epoch) }), OutboundReply::LeaseEnded);
    assert_eq!(queue.lease(), epoch + 1);
    queue.settle(THERE, attempt, DELIVERED);
    assert_eq!(queue.state(THERE), State::Delivered, "but what happened, happened");
    assert_eq!(queue.timers(), [Timer::Lease { epoch }]);
    queue.take_over(epoch);
    assert_eq!(queue.timers(), []);
}

#[test]
fn a_host_that_answers_again_gets_its_mail_at_once() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@b.example"]);
    queue.attempt(THERE, Outcome::TemporaryConnection);
    let since = queue.now();
    assert_eq!(queue.due_page(None, 1, 1).0[0].failing_since, Some(since));
    queue.pass(30 * MINUTE - 1);
    assert_eq!(queue.work(), []);
    queue.pass(1);
    let probe = Timer::Probe { destination: "b.example".to_owned() };
    assert_eq!(queue.work(), std::slice::from_ref(&probe));
    let found = |alive| OutboundCommand::Destination { destination: "b.example".to_owned(), alive };
    // The retry of the fifteenth minute is still waiting: no worker was there.
    queue.run(found(false));
    assert_eq!(queue.work(), [], "in half an hour again");
    queue.attempt(THERE, Outcome::TemporaryConnection);
    assert_eq!(queue.due_in(THERE), 2 * HOUR);
    queue.pass(30 * MINUTE);
    assert_eq!(queue.work(), [probe]);
    assert_eq!(queue.run(found(true)), OutboundReply::Done { more: false });
    assert_eq!((queue.due_in(THERE), queue.work()), (0, vec![]));
    assert!(queue.woke());
    queue.attempt(THERE, Outcome::TemporaryConnection);
    assert_eq!(queue.due_in(THERE), 90 * MINUTE, "back to its place in the schedule: it was not its turn");
    assert_eq!(queue.recipient(THERE).failures, 2);
    // A delivery to somebody else there is as good as a probe: it is found out at once.
    queue.attempt(place(1, 1), DELIVERED);
    assert_eq!(queue.work(), [Timer::Probe { destination: "b.example".to_owned() }]);
}

#[test]
fn an_attempt_that_an_operator_asked_for_costs_no_retry() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    queue.attempt(THERE, Outcome::TemporaryAnswer);
    for _ in 0..10 {
        assert!(queue.operate(THERE, Action::RetryNow));
        queue.attempt(THERE, Outcome::TemporaryAnswer);
    }
    assert_eq!((queue.due_in(THERE), queue.recipient(THERE).failures), (15 * MINUTE, 1));
    assert!(queue.operate(THERE, Action::RetryNow));
    queue.attempt(THERE, Outcome::Permanent);
    assert_eq!(queue.state(THERE), State::Failed, "but a refusal is one");
}

#[test]
fn whoever_is_rerouted_waits_elsewhere() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example", "eve@b.example"]);
    queue.attempt(THERE, Outcome::TemporaryConnection);
    assert!(queue.operate(THERE, Action::Reroute("route:relay".to_owned())));
    let (found, _) = queue.due_page(None, 10, 10);
    let names: Vec<(&str, &[Place])> = found.iter().map(|d| (d.destination.as_str(), d.places.as_slice())).collect();
    assert_eq!(names, [("b.example", &[place(1, 1)][..]), ("route:relay", &[THERE][..])]);
    let bad = OutboundCommand::Operate { places: vec![THERE], action: Action::Reroute(String::new()) };
    assert_eq!(queue.run(bad), OutboundReply::OutOfBounds);
}

#[test]
fn traces_are_found_for_a_week() {
    let mut queue = Queue::new();
    queue.send(1, &["bob@b.example"]);
    queue.attempt(THERE, DELIVERED);
    queue.pass(HOUR);
    queue.send(1, &["eve@c.example"]);
    let by_id = |queue: &Queue, id: &str| match queue.ask(OutboundQuery::ByMessageId(id.to_owned())) {
        OutboundAnswer::Items(items, None) => items.iter().map(|item| item.item).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(by_id(&queue, "<1@a.example>"), [2, 1], "newest first");
    assert_eq!(by_id(&queue, "<1@a.exampl"), []);
    queue.pass(7 * DAY - HOUR - 1);
    assert!(!queue.work().contains(&Timer::Forget));
    queue.pass(1);
    assert!(queue.work().contains(&Timer::Forget));
    assert_eq!(queue.run(OutboundCommand::Forget), OutboundReply::Done { more: false });
    assert_eq!(by_id(&queue, "<1@a.example>"), [2], "what is open is never forgotten");
    queue.settle(THERE, 1, DELIVERED);
    assert_eq!(queue.ask(OutboundQuery::Item(1)), OutboundAnswer::Item(None));
}
