//! The schedule by itself: a table of what was counted, an outcome, and what comes next.

use super::{
    super::{
        rows::{Class, Recipient},
        schedule::{Next, next, warn_at},
    },
    *,
};

const NOW: UnixMillis = UnixMillis::new(1_000_000_000);
const FAILED: Option<u64> = None;

fn recipient(failures: u32, no_such_domain: u32) -> Recipient {
    Recipient {
        to: to("bob@b.example"),
        class: Class::Letter,
        state: State::Held,
        unreached: false,
        return_by: None,
        attempts: 9,
        deciding: None,
        begun: Vec::new(),
        resume: None,
        failures,
        no_such_domain,
        uncertain: 0,
        delay_due: None,
        delay_told: false,
        end_told: false,
        last: None,
    }
}

/// Seconds from now until the next try.
fn seconds(next: Next) -> Option<u64> {
    match next {
        Next::Again(due) => Some(due.millis_since(NOW) / SECOND),
        Next::Failed => None,
        Next::Delivered { .. } => panic!("delivered"),
    }
}

#[test]
fn each_kind_of_failure_has_its_own_pauses() {
    use Outcome::{
        NoSuchDomain, NotTried, Permanent, TemporaryAnswer, TemporaryConnection, TemporaryDns, TemporaryTls,
    };
    let cases = [
        ((0, 0), TemporaryAnswer, Some(900), (1, 0)),
        ((1, 0), TemporaryConnection, Some(7200), (2, 0)),
        ((2, 4), TemporaryDns, Some(86_400), (3, 4)),
        ((3, 0), TemporaryTls, Some(259_200), (4, 0)),
        ((4, 0), TemporaryAnswer, FAILED, (5, 0)),
        ((9, 0), TemporaryAnswer, FAILED, (10, 0)),
        ((4, 0), NoSuchDomain, Some(300), (4, 1)),
        ((0, 3), NoSuchDomain, Some(1800), (0, 4)),
        ((0, 4), NoSuchDomain, FAILED, (0, 5)),
        ((0, 4), TemporaryAnswer, Some(900), (1, 4)),
        ((4, 4), NotTried { again_after: 60 }, Some(60), (4, 4)),
        ((0, 0), Permanent, FAILED, (0, 0)),
    ];
    for ((failures, no_such_domain), outcome, expected, counted) in cases {
        let mut row = recipient(failures, no_such_domain);
        let next = next(&mut row, outcome, &Schedule::default(), NOW, NOW);
        assert_eq!(seconds(next), expected, "{failures} {no_such_domain} {outcome:?}");
        assert_eq!((row.failures, row.no_such_domain), counted);
    }
}

#[test]
fn a_schedule_without_pauses_gives_one_attempt_and_a_long_one_ends_after_32() {
    let mut schedule = Schedule { retry_after: Vec::new(), no_such_domain_retry_after: Vec::new(), warn_after: 0 };
    for outcome in [Outcome::TemporaryAnswer, Outcome::NoSuchDomain] {
        assert_eq!(next(&mut recipient(0, 0), outcome, &schedule, NOW, NOW), Next::Failed);
    }
    schedule.retry_after = vec![1; 100];
    assert_eq!(seconds(next(&mut recipient(31, 0), Outcome::TemporaryAnswer, &schedule, NOW, NOW)), Some(1));
    assert_eq!(seconds(next(&mut recipient(32, 0), Outcome::TemporaryAnswer, &schedule, NOW, NOW)), FAILED);
    schedule.retry_after = vec![u32::MAX];
    let far = next(&mut recipient(0, 0), Outcome::TemporaryAnswer, &schedule, UnixMillis::new(u64::MAX), NOW);
    assert_eq!(far, Next::Again(UnixMillis::new(u64::MAX)), "no overflow");
}

#[test]
fn an_attempt_outside_the_schedule_goes_back_into_it() {
    let resume = NOW.plus_millis(HOUR);
    let cases = [
        (Outcome::TemporaryAnswer, Some(3600), 2, None),
        (Outcome::NoSuchDomain, Some(3600), 2, None),
        (Outcome::NotTried { again_after: 5 }, Some(5), 2, Some(resume)),
        (Outcome::Permanent, FAILED, 2, None),
    ];
    for (outcome, expected, failures, left) in cases {
        let mut row = Recipient { resume: Some(resume), ..recipient(2, 0) };
        assert_eq!(seconds(next(&mut row, outcome, &Schedule::default(), NOW, NOW)), expected, "{outcome:?}");
        assert_eq!((row.failures, row.resume), (failures, left));
    }
    let mut late = Recipient { resume: Some(NOW), ..recipient(2, 0) };
    let next = next(&mut late, Outcome::TemporaryAnswer, &Schedule::default(), NOW, NOW);
    assert_eq!((seconds(next), late.failures), (Some(86_400), 3), "its time had come: it counts");
}

#[test]
fn an_unknown_fate_waits_from_the_dot_and_counts_from_the_second_time_on() {
    let sent = UnixMillis::new(NOW.get() - 30 * SECOND);
    let cases = [(1, 0, Some(630), 0), (2, 0, Some(900), 1), (2, 1, Some(7200), 2), (2, 4, FAILED, 5)];
    for (uncertain, failures, expected, counted) in cases {
        let mut row = Recipient { uncertain, ..recipient(failures, 0) };
        let next = next(&mut row, Outcome::Uncertain, &Schedule::default(), NOW, sent);
        assert_eq!((seconds(next), row.failures), (expected, counted), "{uncertain} {failures}");
    }
}

#[test]
fn nothing_waits_beyond_a_deadline() {
    let by = NOW.plus_millis(MINUTE);
    for outcome in [Outcome::TemporaryAnswer, Outcome::NotTried { again_after: 3600 }, Outcome::Uncertain] {
        let mut row = Recipient { return_by: Some(by), ..recipient(0, 0) };
        assert_eq!(next(&mut row, outcome, &Schedule::default(), NOW, NOW), Next::Again(by), "{outcome:?}");
    }
}

#[test]
fn the_warning_comes_after_the_time_that_the_schedule_says() {
    let queued = UnixMillis::new(NOW.get() - HOUR);
    let with = |warn_after| Schedule { warn_after, ..Schedule::default() };
    let at = |outcome, warn_after| warn_at(outcome, &with(warn_after), queued, NOW);
    assert_eq!(at(Outcome::TemporaryAnswer, 4 * 3600), Some(NOW.plus_millis(3 * HOUR)));
    assert_eq!(at(Outcome::TemporaryAnswer, 60), Some(NOW), "not in the past");
    assert_eq!(at(Outcome::NoSuchDomain, 4 * 3600), Some(NOW));
    assert_eq!((at(Outcome::TemporaryAnswer, 0), at(Outcome::NoSuchDomain, 0)), (None, None));
}
