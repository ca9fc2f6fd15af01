//! Random commands of workers that die, repeat and come late, against a ledger of what really happened.
//!
//! The ledger knows nothing of states or schedules. It notes facts (who was delivered, what was told, which final dots
//! were allowed) and holds the queue to its promises; at the end a good worker finishes what is left.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use proptest::{
    prelude::*,
    test_runner::{TestRng, TestRunner},
};

use super::*;

/// Lists of steps: enough to reach everything in [`HAPPENED`], in some seconds.
const CASES: u32 = 500;

/// What must have happened at least once while the property ran.
const HAPPENED: [&str; 14] = [
    "taken",
    "allowed to pass the dot",
    "not allowed to pass the dot",
    "delivered",
    "delivered late, by an older attempt",
    "delivered after it had failed",
    "delivered after it was cancelled",
    "failed",
    "taken over",
    "in doubt",
    "repeated in doubt",
    "told",
    "revived",
    "forgotten",
];

#[derive(Clone, Debug)]
enum Step {
    Accept { recipients: usize, notify: u8, null: bool },
    Lease,
    Renew(usize),
    Take { lease: usize, after: usize },
    Intend(usize),
    Settle(usize, u8),
    TakeOver(usize),
    Tell,
    Found(usize, bool),
    Operate(usize, u8),
    Forget,
    Pass(u8),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..4_usize, 0..3_u8, any::<bool>())
            .prop_map(|(recipients, notify, null)| Step::Accept { recipients, notify, null }),
        2 => Just(Step::Lease),
        2 => any::<usize>().prop_map(Step::Renew),
        8 => (0..2_usize, any::<usize>()).prop_map(|(lease, after)| Step::Take { lease, after }),
        6 => (0..6_usize).prop_map(Step::Intend),
        8 => (0..8_usize, 0..20_u8).prop_map(|(nth, outcome)| Step::Settle(nth, outcome)),
        3 => any::<usize>().prop_map(Step::TakeOver),
        2 => Just(Step::Tell),
        2 => (0..3_usize, any::<bool>()).prop_map(|(nth, alive)| Step::Found(nth, alive)),
        3 => (any::<usize>(), 0..6_u8).prop_map(|(nth, action)| Step::Operate(nth, action)),
        1 => Just(Step::Forget),
        6 => (0..6_u8).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

const NAMES: [&str; 3] = ["b.example", "c.example", "d.example"];

struct World {
    queue: Queue,
    leases: Vec<u64>,
    /// Attempts begun, newest last.
    attempts: Vec<(u64, Place, u32)>,
    /// Final dots that were allowed, when, and of which no outcome was told.
    dots: BTreeMap<(Place, u32), UnixMillis>,
    /// Who a remote server has, as far as anybody told.
    delivered: BTreeSet<Place>,
    /// Outcomes told, by attempt.
    outcomes: BTreeSet<(Place, u32)>,
    /// Recipients about which an operator said something: it may shorten the time of doubt.
    operated: BTreeSet<Place>,
    told: BTreeMap<(Place, &'static str), u32>,
    happened: BTreeSet<&'static str>,
}

impl World {
    fn new() -> Self {
        Self {
            queue: Queue::new(),
            leases: Vec::new(),
            attempts: Vec::new(),
            dots: BTreeMap::new(),
            delivered: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            operated: BTreeSet::new(),
            told: BTreeMap::new(),
            happened: BTreeSet::new(),
        }
    }

    fn note(&mut self, what: &'static str) {
        assert!(HAPPENED.contains(&what));
        self.happened.insert(what);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Accept { recipients, notify, null } => self.accept(recipients, notify, null),
            Step::Lease => self.leases.push(self.queue.lease()),
            Step::Renew(nth) if !self.leases.is_empty() => {
                let epoch = Some(self.leases[nth % self.leases.len()]);
                self.queue.run(OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch });
            }
            Step::Take { lease, after } if !self.leases.is_empty() => {
                let epoch = self.leases[self.leases.len().saturating_sub(lease + 1)];
                self.take(epoch, after);
            }
            Step::Intend(nth) => self.intend(nth),
            Step::Settle(nth, outcome) => self.settle(nth, outcome),
            Step::TakeOver(nth) if !self.leases.is_empty() => {
                let before = self.queue.depth().taken_over;
                self.queue.run(OutboundCommand::TakeOver { epoch: self.leases[nth % self.leases.len()] });
                if self.queue.depth().taken_over > before {
                    self.note("taken over");
                }
            }
            Step::Tell => self.tell(),
            Step::Found(nth, alive) => self.found(nth, alive),
            Step::Operate(nth, action) => self.operate(nth, action),
            Step::Forget => self.forget(),
            Step::Pass(which) => {
                let millis = [SECOND, 3 * SECOND, 7 * SECOND, 11 * MINUTE, 2 * HOUR, 3 * DAY][usize::from(which)];
                self.queue.pass(millis);
            }
            Step::Crash => self.queue.group = self.queue.group.crashed(),
            Step::Renew(_) | Step::Take { .. } | Step::TakeOver(_) => {}
        }
    }

    fn accept(&mut self, recipients: usize, notify: u8, null: bool) {
        let texts: Vec<String> = NAMES.iter().take(recipients).map(|name| format!("bob@{name}")).collect();
        let mut message = outbound(1, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let notify = [Notify::Default, Notify::Never, Notify::On { success: true, failure: true, delay: true }]
            [usize::from(notify)];
        message.recipients.iter_mut().for_each(|to| to.notify = notify);
        if null {
            message.sender = ReversePath::Null;
        }
        self.queue.accept(message);
    }

    fn take(&mut self, epoch: u64, after: usize) {
        let mut due = self.queue.due();
        if due.is_empty() {
            return;
        }
        let rotated = after % due.len();
        due.rotate_left(rotated);
        due.truncate(3);
        let repeats = self.queue.depth().uncertain;
        let command = OutboundCommand::Take { epoch, places: due };
        if let OutboundReply::Taken(taken) = self.queue.run(command) {
            for taken in taken.into_iter().flatten() {
                self.attempts.push((epoch, taken.place, taken.attempt));
                self.note("taken");
            }
        }
        if self.queue.depth().uncertain > repeats {
            self.note("repeated in doubt");
        }
    }

    fn recent(&self, nth: usize) -> Option<(u64, Place, u32)> {
        self.attempts.iter().rev().nth(nth).copied()
    }

    fn intend(&mut self, nth: usize) {
        let Some((epoch, place, attempt)) = self.recent(nth) else { return };
        if !self.queue.intend(epoch, place, attempt) {
            self.note("not allowed to pass the dot");
            return;
        }
        let now = self.queue.now();
        for ((other, of), since) in &self.dots {
            if *other == place && *of != attempt && !self.operated.contains(&place) {
                assert!(now >= since.plus_millis(11 * MINUTE), "{place:?}: {of} may still be under way");
            }
        }
        assert!(!self.outcomes.contains(&(place, attempt)), "an attempt that ended passes no dot");
        assert!(!self.delivered.contains(&place), "what is delivered is not sent again");
        self.dots.entry((place, attempt)).or_insert(now);
        self.note("allowed to pass the dot");
    }

    fn settle(&mut self, nth: usize, outcome: u8) {
        let Some((_, place, attempt)) = self.recent(nth) else { return };
        let outcome = match outcome {
            0..=4 => DELIVERED,
            5..=8 => Outcome::TemporaryAnswer,
            9..=12 => Outcome::TemporaryConnection,
            13 => Outcome::NoSuchDomain,
            14 | 15 => Outcome::Permanent,
            16 => Outcome::NotTried { again_after: 600 },
            _ => Outcome::Uncertain,
        };
        let before = self.find(place);
        self.queue.settle(place, attempt, outcome);
        let (Some(before), Some(after)) = (before, self.find(place)) else { return };
        if outcome == Outcome::Uncertain {
            if after.uncertain > before.uncertain {
                self.note("in doubt");
            }
            return;
        }
        let is_first = self.outcomes.insert((place, attempt));
        self.dots.remove(&(place, attempt));
        if outcome == DELIVERED && is_first {
            self.delivered.insert(place);
            self.note(match before.state {
                State::Failed => "delivered after it had failed",
                State::Cancelled => "delivered after it was cancelled",
                _ if before.attempts > attempt => "delivered late, by an older attempt",
                _ => "delivered",
            });
        }
        if after.state == State::Failed {
            self.note("failed");
        }
    }

    fn find(&self, place: Place) -> Option<RecipientView> {
        match self.queue.ask(OutboundQuery::Item(place.item)) {
            OutboundAnswer::Item(Some(mut item)) => Some(item.recipients.remove(place.position as usize)),
            _ => None,
        }
    }

    /// A worker tells what the timers say.
    fn tell(&mut self) {
        let now = self.queue.now();
        for timer in self.queue.timers() {
            let (Timer::End { item } | Timer::Delay { item }) = timer else { continue };
            let is_end = matches!(timer, Timer::End { .. });
            for notice in [Notice::Failure, Notice::Success, Notice::Delay] {
                let is_meant = |row: &RecipientView| match notice {
                    Notice::Failure => is_end && row.state == State::Failed && !row.end_told,
                    Notice::Success => is_end && row.state == State::Delivered && !row.end_told,
                    Notice::Delay => !is_end && row.delay_due.is_some_and(|due| due <= now),
                };
                let rows = self.queue.item(item).recipients;
                let positions: Vec<u32> = rows.iter().filter(|row| is_meant(row)).map(|row| row.position).collect();
                if positions.is_empty() {
                    continue;
                }
                assert_eq!(self.queue.report(item, notice, &positions), OutboundReply::Reported);
                for position in positions {
                    let kind = if is_end { "end" } else { "delay" };
                    *self.told.entry((place(item, position), kind)).or_default() += 1;
                }
                self.note("told");
            }
        }
    }

    fn found(&mut self, nth: usize, alive: bool) {
        let before = self.queue.due().len();
        self.queue.run(OutboundCommand::Destination { destination: NAMES[nth].to_owned(), alive });
        if self.queue.due().len() > before {
            self.note("revived");
        }
    }

    fn operate(&mut self, nth: usize, action: u8) {
        let OutboundAnswer::Items(items, _) =
            self.queue.ask(OutboundQuery::Items { filter: Filter::default(), before: None, rows_max: 1000 })
        else {
            panic!("no items")
        };
        let places: Vec<Place> =
            items.iter().flat_map(|item| (0..item.recipients.len()).map(|at| place(item.item, at as u32))).collect();
        if places.is_empty() {
            return;
        }
        // Half of the words are about somebody whom a worker had just now.
        let recent = self.attempts.last().map(|(_, place, _)| *place).filter(|_| nth.is_multiple_of(2));
        let place = recent.unwrap_or(places[nth % places.len()]);
        let action = match action {
            0 => Action::Hold,
            1 => Action::Release,
            2 => Action::RetryNow,
            3 => Action::Cancel,
            4 => Action::Fail,
            _ => Action::Reroute(NAMES[nth % 3].to_owned()),
        };
        if self.queue.operate(place, action) {
            self.operated.insert(place);
        }
    }

    fn forget(&mut self) {
        let rows = self.queue.group.truth().len();
        self.queue.run(OutboundCommand::Forget);
        if self.queue.group.truth().len() < rows {
            self.note("forgotten");
        }
    }

    /// What is delivered is shown as delivered, and nothing else is.
    fn check(&self) {
        let filter = Filter { ended: true, ..Filter::default() };
        let query = OutboundQuery::Items { filter, before: None, rows_max: 1000 };
        let OutboundAnswer::Items(items, None) = self.queue.ask(query) else { panic!("one page is enough") };
        for item in items {
            for row in &item.recipients {
                let place = place(item.item, row.position);
                assert_eq!(row.state == State::Delivered, self.delivered.contains(&place), "{place:?}: {row:?}");
                assert!(row.uncertain as usize <= self.attempts.len());
            }
        }
        assert!(self.told.values().all(|times| *times == 1), "nobody is told the same twice");
    }

    /// A good worker does what is left, until nothing is.
    fn finish(&mut self) {
        for _ in 0..200 {
            self.tell();
            for timer in self.queue.timers() {
                match timer {
                    Timer::Lease { epoch } => self.queue.take_over(epoch),
                    Timer::Forget => self.forget(),
                    Timer::Probe { destination } => {
                        self.queue.run(OutboundCommand::Destination { destination, alive: true });
                    }
                    Timer::End { .. } | Timer::Delay { .. } => panic!("told above"),
                }
            }
            self.deliver_all();
            self.check();
            match self.queue.depth().next_due {
                Some(due) => self.queue.group.clock = self.queue.now().max(due),
                None if self.queue.depth().held > 0 => self.release_all(),
                None => break,
            }
        }
        let kinds: BTreeSet<u8> = self.queue.group.truth().iter().map(|(key, _)| key[8]).collect();
        let left: Vec<u8> = kinds.into_iter().collect();
        assert!(left.is_empty() || left == [0x70], "everybody ended, was told and is forgotten: {left:02x?}");
    }

    fn deliver_all(&mut self) {
        let due = self.queue.due();
        if due.is_empty() {
            return;
        }
        let epoch = self.queue.lease();
        for taken in self.queue.take_all(epoch, &due).into_iter().flatten() {
            assert!(self.queue.intend(epoch, taken.place, taken.attempt));
            self.queue.settle(taken.place, taken.attempt, DELIVERED);
            self.delivered.insert(taken.place);
        }
    }

    fn release_all(&mut self) {
        let query = OutboundQuery::Items { filter: Filter::default(), before: None, rows_max: 1000 };
        let OutboundAnswer::Items(items, _) = self.queue.ask(query) else { panic!("no items") };
        for item in items {
            for row in item.recipients.iter().filter(|row| row.state == State::Held) {
                assert!(self.queue.operate(place(item.item, row.position), Action::Release));
            }
        }
    }
}

#[test]
fn whatever_workers_do_the_queue_keeps_its_promises() {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let happened = RefCell::new(BTreeSet::new());
    let result = TestRunner::new_with_rng(config, rng).run(&proptest::collection::vec(step(), 1..80), |steps| {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        let replica = world.queue.group.replayed();
        prop_assert_eq!(replica.rows(), world.queue.group.rows(), "two replicas of one log are the same bytes");
        world.finish();
        happened.borrow_mut().extend(world.happened);
        Ok(())
    });
    result.unwrap();
    let missed: Vec<_> = HAPPENED.iter().filter(|what| !happened.borrow().contains(*what)).collect();
    assert!(missed.is_empty(), "never happened: {missed:?}");
}
