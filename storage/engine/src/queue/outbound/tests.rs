//! The outbound queue: its state table pair by pair, time, leases, fairness, bounds; then random commands.
//!
//! Every command of these tests goes through [`Queue::run`], which checks the invariants of all rows behind it.

mod fairness;
mod invariants;
mod journeys;
mod ledger;
mod repeats;
mod reports;
mod schedules;
mod table;

use securanet_model::{
    AccountId, Address, Answer, BlobId, Command, GroupId, Query, Reply, ReversePath, TenantId, UnixMillis,
    content::{BlobRef, NewMessage, Sealed},
    outbound::{
        Acceptance, Action, Attempt, DeliverBy, DueCursor, DueDestination, EnvelopeOptions, Filter, ItemView, Notice,
        Notify, Origin, Outbound, OutboundAnswer, OutboundCommand, OutboundDepth, OutboundQuery, OutboundRecipient,
        OutboundReply, Outcome, Place, RecipientView, Schedule, Settlement, State, Taken, Timer, WorkerId,
    },
    request::Topic,
};

use crate::harness::Group;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const DELIVERED: Outcome = Outcome::Delivered { notifies: false };

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

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn to(text: &str) -> OutboundRecipient {
    let address = address(text);
    let destination = address.domain().as_str().to_owned();
    OutboundRecipient { address: address.into(), destination, notify: Notify::Default, original: None }
}

/// A message with the content `n` from ann.
fn outbound(n: u8, recipients: &[&str]) -> Outbound {
    Outbound {
        message: message(n),
        sender: ReversePath::Address(address("ann@a.example")),
        recipients: recipients.iter().map(|text| to(text)).collect(),
        options: EnvelopeOptions::default(),
        origin: Origin::Account(AccountId::new(1)),
        message_id: Some(format!("<{n}@a.example>")),
        trace_id: format!("trace-{n}"),
        hold_until: None,
        repeat_key: None,
    }
}

fn place(item: u64, position: u32) -> Place {
    Place { item, position }
}

/// The outbound queue of one group.
struct Queue {
    group: Group,
}

impl Queue {
    fn new() -> Self {
        Self { group: Group::new(1) }
    }

    fn run(&mut self, command: OutboundCommand) -> OutboundReply {
        let reply = match self.group.run(Command::Outbound(command)) {
            Reply::Outbound(reply) => reply,
            other => panic!("{other:?}"),
        };
        invariants::check(&self.group);
        reply
    }

    fn ask(&self, query: OutboundQuery) -> OutboundAnswer {
        match self.group.ask(&Query::Outbound(query)) {
            Answer::Outbound(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, millis: u64) {
        self.group.clock = self.group.clock.plus_millis(millis);
    }

    fn now(&self) -> UnixMillis {
        self.group.clock
    }

    fn woke(&self) -> bool {
        self.group.touched == [Topic::Outbound(GroupId::new(1))]
    }

    fn accept(&mut self, outbound: Outbound) -> u64 {
        let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound] };
        match self.run(OutboundCommand::Accept(Box::new(acceptance))) {
            OutboundReply::Accepted(items) => items[0].item,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, n: u8, recipients: &[&str]) -> u64 {
        self.accept(outbound(n, recipients))
    }

    fn lease(&mut self) -> u64 {
        match self.run(OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None }) {
            OutboundReply::Leased { epoch, until } => {
                assert_eq!(until, self.now().plus_millis(6 * SECOND));
                epoch
            }
            other => panic!("{other:?}"),
        }
    }

    fn take_all(&mut self, epoch: u64, places: &[Place]) -> Vec<Option<Taken>> {
        match self.run(OutboundCommand::Take { epoch, places: places.to_vec() }) {
            OutboundReply::Taken(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    /// Takes one recipient that must be due, and answers the attempt's number.
    fn take(&mut self, epoch: u64, place: Place) -> u32 {
        let taken = self.take_all(epoch, &[place]).remove(0).expect("it is due");
        assert_eq!(taken.place, place);
        taken.attempt
    }

    fn intend(&mut self, epoch: u64, place: Place, attempt: u32) -> bool {
        match self.run(OutboundCommand::Intend { epoch, places: vec![(place, attempt)] }) {
            OutboundReply::Intended(intended) => intended == [true],
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self, place: Place, attempt: u32, outcome: Outcome) {
        let settlement = self.settlement(place, attempt, outcome);
        assert_eq!(self.run(OutboundCommand::Settle(vec![settlement])), OutboundReply::Done { more: false });
    }

    fn settlement(&self, place: Place, attempt: u32, outcome: Outcome) -> Settlement {
        let answer_is_remote =
            matches!(outcome, Outcome::Delivered { .. } | Outcome::TemporaryAnswer | Outcome::Permanent);
        let tried = Attempt {
            at: self.now(),
            took_millis: 10,
            outcome,
            status: (2, 0, 0),
            host: None,
            tls: None,
            answer: format!("attempt {attempt}"),
            answer_is_remote,
        };
        Settlement { place, attempt, tried, schedule: Schedule::default() }
    }

    /// A whole attempt under a lease of its own.
    fn attempt(&mut self, place: Place, outcome: Outcome) {
        let epoch = self.lease();
        let attempt = self.take(epoch, place);
        if matches!(outcome, Outcome::Delivered { .. } | Outcome::Uncertain) {
            assert!(self.intend(epoch, place, attempt));
        }
        self.settle(place, attempt, outcome);
    }

    fn take_over(&mut self, epoch: u64) {
        assert_eq!(self.run(OutboundCommand::TakeOver { epoch }), OutboundReply::Done { more: false });
    }

    fn operate(&mut self, place: Place, action: Action) -> bool {
        match self.run(OutboundCommand::Operate { places: vec![place], action }) {
            OutboundReply::Operated(done) => done == [true],
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, item: u64, notice: Notice, positions: &[u32]) -> OutboundReply {
        self.run(OutboundCommand::Report { item, notice, positions: positions.to_vec(), message: None })
    }

    fn item(&self, item: u64) -> ItemView {
        match self.ask(OutboundQuery::Item(item)) {
            OutboundAnswer::Item(Some(item)) => *item,
            other => panic!("{other:?}"),
        }
    }

    fn recipient(&self, place: Place) -> RecipientView {
        self.item(place.item).recipients.remove(place.position as usize)
    }

    fn state(&self, place: Place) -> State {
        self.recipient(place).state
    }

    /// Milliseconds until it is due.
    fn due_in(&self, place: Place) -> u64 {
        match self.state(place) {
            State::Waiting { due } => due.millis_since(self.now()),
            other => panic!("{other:?}"),
        }
    }

    fn due_page(
        &self,
        after: Option<DueCursor>,
        destinations_max: u32,
        rows_max: u32,
    ) -> (Vec<DueDestination>, Option<DueCursor>) {
        match self.ask(OutboundQuery::Due { now: self.now(), after, destinations_max, rows_max }) {
            OutboundAnswer::Due(found, cursor) => (found, cursor),
            other => panic!("{other:?}"),
        }
    }

    /// All that is due.
    fn due(&self) -> Vec<Place> {
        let (found, cursor) = self.due_page(None, 1000, 1000);
        assert_eq!(cursor, None, "one page is enough here");
        found.into_iter().flat_map(|destination| destination.places).collect()
    }

    fn timers(&self) -> Vec<Timer> {
        match self.ask(OutboundQuery::Timers { now: self.now(), rows_max: 1000 }) {
            OutboundAnswer::Timers(timers) => timers,
            other => panic!("{other:?}"),
        }
    }

    /// The timers that are not of leases, which tests leave behind.
    fn work(&self) -> Vec<Timer> {
        self.timers().into_iter().filter(|timer| !matches!(timer, Timer::Lease { .. })).collect()
    }

    fn depth(&self) -> OutboundDepth {
        match self.ask(OutboundQuery::Depth) {
            OutboundAnswer::Depth(depth) => depth,
            other => panic!("{other:?}"),
        }
    }

    fn reachable(&self, n: u8) -> bool {
        self.group.ask(&Query::BlobsReachable(vec![blob(n)])) == Answer::BlobsReachable(vec![true])
    }
}
