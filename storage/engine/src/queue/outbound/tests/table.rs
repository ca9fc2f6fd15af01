//! The state table, pair by pair: every state against every command, with what must change nothing.
//!
//! [`TABLE`] says what a command makes of a state; a pair that it does not name must leave every row as it was.

use std::collections::BTreeSet;

use super::*;

const HERE: Place = Place { item: 1, position: 0 };
const RETRY: &str = "waits 900 s";
const ENDED: [&str; 3] = ["delivered", "failed", "cancelled"];

/// State, command, what the state is afterwards. "kept": the same, but rows changed (something was written down).
const TABLE: &[(&str, &[(&str, &str)])] = &[
    ("none", &[]),
    ("due", &[TAKEN, DEAD, ("hold", "held"), ("cancel", "cancelled"), ("fail", "failed"), ("reroute", "waits 0 s")]),
    (
        "waiting",
        &[
            ("retry", "waits 0 s"),
            ("told of delay", "kept"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "unreached",
        &[
            ("alive", "waits 0 s"),
            ("retry", "waits 0 s"),
            ("told of delay", "kept"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "taken over",
        &[
            TAKEN,
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("uncertain", "waits 660 s"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "in doubt",
        &[
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("retry", "waits 0 s"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "taken",
        &[
            ("intend", "sending"),
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("uncertain", "waits 660 s"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "taken under an ended lease",
        &[
            ("take over", "waits 0 s"),
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("uncertain", "waits 660 s"),
            DEAD,
            ("hold", "held"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    (
        "sending",
        &[
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("uncertain", "waits 660 s"),
            DEAD,
        ],
    ),
    (
        "sending under an ended lease",
        &[
            ("take over", "waits 600 s"),
            ("delivered", "delivered"),
            ("temporary", RETRY),
            ("connection", RETRY),
            ("no domain", "waits 300 s"),
            ("permanent", "failed"),
            ("not tried", "waits 60 s"),
            ("uncertain", "waits 600 s"),
            DEAD,
        ],
    ),
    (
        "held",
        &[
            ("delivered", "delivered"),
            ("temporary", "kept"),
            ("connection", "kept"),
            ("no domain", "kept"),
            ("permanent", "kept"),
            ("not tried", "kept"),
            ("uncertain", "kept"),
            DEAD,
            ("release", "waits 0 s"),
            ("cancel", "cancelled"),
            ("fail", "failed"),
            ("reroute", "waits 0 s"),
        ],
    ),
    ("delivered", &[("told of success", "kept")]),
    ("failed", &[("told of failure", "kept")]),
    ("failed and told", &[]),
    (
        "cancelled",
        &[
            ("delivered", "delivered"),
            ("temporary", "kept"),
            ("connection", "kept"),
            ("no domain", "kept"),
            ("permanent", "kept"),
            ("not tried", "kept"),
            ("uncertain", "kept"),
        ],
    ),
    (
        "failed by an operator",
        &[
            ("delivered", "delivered"),
            ("temporary", "kept"),
            ("connection", "kept"),
            ("no domain", "kept"),
            ("permanent", "kept"),
            ("not tried", "kept"),
            ("uncertain", "kept"),
            ("told of failure", "kept"),
        ],
    ),
    ("closed for a week", &[("forget", "none")]),
];

const TAKEN: (&str, &str) = ("take", "taken");
/// Found dead: the destination's row says so.
const DEAD: (&str, &str) = ("dead", "kept");

const COMMANDS: [&str; 27] = [
    "take",
    "take under an ended lease",
    "intend",
    "intend under another lease",
    "intend another attempt",
    "delivered",
    "temporary",
    "connection",
    "no domain",
    "permanent",
    "not tried",
    "uncertain",
    "delivered by an attempt that never began",
    "take over",
    "told of failure",
    "told of success",
    "told of delay",
    "alive",
    "dead",
    "hold",
    "release",
    "retry",
    "cancel",
    "fail",
    "reroute",
    "forget",
    "renew another worker's lease",
];

/// A recipient in a state, with the leases that commands about it name.
struct Case {
    queue: Queue,
    /// Under which it was last taken.
    holder: u64,
    /// A living one that has nothing.
    fresh: u64,
    /// One that has ended and has nothing.
    ended: u64,
    attempt: u32,
}

fn case(state: &str) -> Case {
    let mut queue = Queue::new();
    let ended = queue.lease();
    queue.pass(MINUTE);
    if state != "none" {
        let mut all = outbound(1, &["bob@b.example"]);
        all.recipients[0].notify = Notify::On { success: true, failure: true, delay: true };
        queue.accept(all);
    }
    let holder = queue.lease();
    if !matches!(state, "none" | "due") {
        assert_eq!(queue.take(holder, HERE), 1);
    }
    reach(&mut queue, state, holder);
    let fresh = queue.lease();
    Case { queue, holder, fresh, ended, attempt: 1 }
}

/// From taken to the state.
fn reach(queue: &mut Queue, state: &str, holder: u64) {
    if matches!(state, "sending" | "sending under an ended lease" | "in doubt") {
        assert!(queue.intend(holder, HERE, 1));
    }
    if state.ends_with("an ended lease") || matches!(state, "in doubt" | "taken over") {
        queue.pass(MINUTE);
    }
    match state {
        "waiting" => queue.settle(HERE, 1, Outcome::TemporaryAnswer),
        "unreached" => queue.settle(HERE, 1, Outcome::TemporaryConnection),
        "delivered" => queue.settle(HERE, 1, DELIVERED),
        "failed" | "failed and told" | "closed for a week" => queue.settle(HERE, 1, Outcome::Permanent),
        "taken over" | "in doubt" => queue.take_over(holder),
        "held" => assert!(queue.operate(HERE, Action::Hold)),
        "cancelled" => assert!(queue.operate(HERE, Action::Cancel)),
        "failed by an operator" => assert!(queue.operate(HERE, Action::Fail)),
        _ => {}
    }
    if matches!(state, "failed and told" | "closed for a week") {
        assert_eq!(queue.report(1, Notice::Failure, &[0]), OutboundReply::Reported);
    }
    if let Some(millis) = [("unreached", MINUTE), ("closed for a week", 7 * DAY)].iter().find(|(of, _)| *of == state) {
        queue.pass(millis.1);
        queue.take_over(holder);
    }
}

fn command(case: &Case, name: &str) -> OutboundCommand {
    let take = |epoch| OutboundCommand::Take { epoch, places: vec![HERE] };
    let intend = |epoch, attempt| OutboundCommand::Intend { epoch, places: vec![(HERE, attempt)] };
    let settle = |outcome| OutboundCommand::Settle(vec![case.queue.settlement(HERE, case.attempt, outcome)]);
    let tell = |notice| OutboundCommand::Report { item: 1, notice, positions: vec![0], message: None };
    let operate = |action| OutboundCommand::Operate { places: vec![HERE], action };
    let found = |alive| OutboundCommand::Destination { destination: "b.example".to_owned(), alive };
    match name {
        "take" => take(case.fresh),
        "take under an ended lease" => take(case.ended),
        "intend" => intend(case.holder, case.attempt),
        "intend under another lease" => intend(case.fresh, case.attempt),
        "intend another attempt" => intend(case.holder, case.attempt + 1),
        "delivered" => settle(DELIVERED),
        "temporary" => settle(Outcome::TemporaryAnswer),
        "connection" => settle(Outcome::TemporaryConnection),
        "no domain" => settle(Outcome::NoSuchDomain),
        "permanent" => settle(Outcome::Permanent),
        "not tried" => settle(Outcome::NotTried { again_after: 60 }),
        "uncertain" => settle(Outcome::Uncertain),
        "delivered by an attempt that never began" => {
            OutboundCommand::Settle(vec![case.queue.settlement(HERE, case.attempt + 1, DELIVERED)])
        }
        "take over" => OutboundCommand::TakeOver { epoch: case.holder },
        "told of failure" => tell(Notice::Failure),
        "told of success" => tell(Notice::Success),
        "told of delay" => tell(Notice::Delay),
        "alive" => found(true),
        "dead" => found(false),
        "hold" => operate(Action::Hold),
        "release" => operate(Action::Release),
        "retry" => operate(Action::RetryNow),
        "cancel" => operate(Action::Cancel),
        "fail" => operate(Action::Fail),
        "reroute" => operate(Action::Reroute("route:else".to_owned())),
        "forget" => OutboundCommand::Forget,
        "renew another worker's lease" => OutboundCommand::Lease { worker: WorkerId([2; 16]), epoch: Some(case.fresh) },
        other => panic!("no such command: {other}"),
    }
}

fn state_of(queue: &Queue) -> String {
    let OutboundAnswer::Item(item) = queue.ask(OutboundQuery::Item(1)) else { panic!("no answer") };
    match item.map(|item| item.recipients[0].state) {
        None => "none".to_owned(),
        Some(State::Waiting { due }) => format!("waits {} s", due.millis_since(queue.now()) / SECOND),
        Some(State::Taken { .. }) => "taken".to_owned(),
        Some(State::Sending { .. }) => "sending".to_owned(),
        Some(State::Held) => "held".to_owned(),
        Some(State::Delivered) => "delivered".to_owned(),
        Some(State::Failed) => "failed".to_owned(),
        Some(State::Cancelled) => "cancelled".to_owned(),
    }
}

#[test]
fn every_command_does_to_every_state_what_the_table_says_or_nothing() {
    let (mut changed, mut nothing) = (0, 0);
    for (state, cells) in TABLE {
        let known: BTreeSet<&str> = cells.iter().map(|(command, _)| *command).collect();
        assert!(known.iter().all(|command| COMMANDS.contains(command)), "{state}: a cell names no command");
        assert_eq!(known.len(), cells.len(), "{state}: a command stands twice");
        for name in COMMANDS {
            let mut case = case(state);
            let (before, state_before) = (case.queue.group.truth(), state_of(&case.queue));
            let command = command(&case, name);
            case.queue.run(command);
            let (after, state_after) = (case.queue.group.truth(), state_of(&case.queue));
            match cells.iter().find(|(command, _)| *command == name) {
                None => {
                    assert!(after == before, "{state} x {name} changes nothing");
                    nothing += 1;
                }
                Some((_, expected)) => {
                    let expected = if *expected == "kept" { &state_before } else { *expected };
                    assert_eq!(state_after, expected, "{state} x {name}");
                    assert!(after != before, "{state} x {name} changes something");
                    changed += 1;
                }
            }
        }
    }
    assert_eq!(changed + nothing, TABLE.len() * COMMANDS.len());
    assert!(changed > 90 && nothing > 250, "{changed} cells, {nothing} empty ones");
}

#[test]
fn the_replies_say_whether_it_was_done() {
    for (state, _) in TABLE {
        for (name, action) in [
            ("hold", Action::Hold),
            ("release", Action::Release),
            ("retry", Action::RetryNow),
            ("cancel", Action::Cancel),
            ("fail", Action::Fail),
            ("reroute", Action::Reroute("c.example".to_owned())),
        ] {
            let mut case = case(state);
            let is_in = |states: &[&str]| states.contains(state);
            let takes_words = !is_in(&["none", "sending", "sending under an ended lease", "closed for a week"])
                && !ENDED.iter().any(|ended| state.starts_with(ended));
            let expected = takes_words
                && match name {
                    "release" => is_in(&["held"]),
                    "retry" => is_in(&["due", "waiting", "unreached", "taken over", "in doubt"]),
                    _ => true,
                };
            assert_eq!(case.queue.operate(HERE, action), expected, "{state} x {name}");
        }
        let mut case = case(state);
        let taken = case.queue.take_all(case.fresh, &[HERE, HERE]);
        assert_eq!(taken[0].is_some(), matches!(*state, "due" | "taken over"), "{state}");
        assert_eq!(taken[1], None, "nobody is taken twice");
        let epoch = case.ended;
        let refused = case.queue.run(OutboundCommand::Take { epoch, places: vec![HERE] });
        assert_eq!(refused, OutboundReply::LeaseEnded);
        let intended = case.queue.intend(case.holder, HERE, 1);
        assert_eq!(intended, matches!(*state, "taken" | "sending"), "{state}: only a living attempt passes the dot");
    }
}
