//! How fast the engine handles mail on its way out, by itself: no Raft, no disk, no network.
//!
//! ```sh
//! CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p securanet-engine --example outbound_per_second
//! ```
//!
//! 100,000 recipients at 1,000 destinations: as letters of 4 KiB to one recipient each, and as a mailing to 1,000 a
//! message. A worker asks what is due, takes, intends and settles it as delivered, so many recipients a command and
//! one command an entry. Applying is timed by command, per recipient; writing to the memory adapter stands in for
//! the disk's memtable. A fifth of the destinations then fails instead, and a page of what is due is timed with all
//! of that waiting.

use std::time::{Duration, Instant};

use securanet_engine::{Space, answer, apply};
use securanet_kv::{Durability, KeyValue, memory::MemoryStore, port::Change};
use securanet_model::{
    AccountId, Answer, Command, Execute, GroupId, Query, RecipientAddress, Reply, RequestId, ReversePath, UnixMillis,
    content::{NewMessage, Sealed},
    outbound::{
        Acceptance, Attempt, EnvelopeOptions, Notify, Origin, Outbound, OutboundAnswer, OutboundCommand, OutboundQuery,
        OutboundRecipient, OutboundReply, Outcome, Place, Schedule, Settlement, Taken, WorkerId,
    },
    request::Proposal,
};

const RECIPIENTS: usize = 100_000;
const DESTINATIONS: usize = 1000;
const SPACE: Space = Space { group: GroupId::new(1), generation: 0 };
const STAMP: UnixMillis = UnixMillis::new(1_700_000_000_000);

/// What one kind of command cost.
#[derive(Default, Clone, Copy)]
struct Cost {
    apply: Duration,
    write: Duration,
    rows: usize,
    octets: usize,
}

/// A group and its worker.
struct Run {
    store: MemoryStore,
    requests: u128,
}

fn main() {
    println!("{RECIPIENTS} recipients at {DESTINATIONS} destinations, memory adapter; microseconds per recipient");
    println!(
        "{:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7}",
        "to each", "batch", "accept", "due", "take", "intend", "settle", "write", "rows", "octets"
    );
    for recipients_per_item in [1, 1000] {
        for batch in [1, 10, 100] {
            drain(recipients_per_item, batch);
        }
    }
    page_with_much_waiting();
}

fn drain(recipients_per_item: usize, batch: usize) {
    let mut run = Run::new();
    let accept = run.accept_all(recipients_per_item);
    let epoch = run.lease();
    let (mut due, mut take, mut intend, mut settle) = Default::default();
    let mut left = RECIPIENTS;
    while left > 0 {
        for places in run.due(&mut due).chunks(batch) {
            let taken = run.take(epoch, places, &mut take);
            run.intend(epoch, &taken, &mut intend);
            run.settle(&taken, Outcome::Delivered { notifies: false }, &mut settle);
            left -= taken.len();
        }
    }
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / RECIPIENTS as f64;
    let three = [take, intend, settle];
    println!(
        "{:>8} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>6.1} {:>7}",
        recipients_per_item,
        batch,
        each(accept.apply),
        each(due.apply),
        each(take.apply),
        each(intend.apply),
        each(settle.apply),
        each(three.iter().map(|cost| cost.write).sum()),
        three.iter().map(|cost| cost.rows).sum::<usize>() as f64 / RECIPIENTS as f64,
        three.iter().map(|cost| cost.octets).sum::<usize>() / RECIPIENTS,
    );
}

fn page_with_much_waiting() {
    let mut run = Run::new();
    run.accept_all(1000);
    let epoch = run.lease();
    let mut nothing = Cost::default();
    for places in (1..=20).map(|item| (0..1000).map(|position| Place { item, position }).collect::<Vec<_>>()) {
        let taken = run.take(epoch, &places, &mut nothing);
        run.settle(&taken, Outcome::TemporaryConnection, &mut nothing);
    }
    let mut due = Cost::default();
    let places = (0..100).map(|_| run.due(&mut due).len()).sum::<usize>();
    let each = due.apply.as_secs_f64() * 1e6 / 100.0;
    println!("a page of {} recipients with 100,000 waiting, a fifth of them for a retry: {each:.0} us", places / 100);
}

impl Run {
    fn new() -> Self {
        Self { store: MemoryStore::new(), requests: 0 }
    }

    fn enter(&mut self, command: OutboundCommand, cost: &mut Cost) -> OutboundReply {
        self.requests += 1;
        let request = Execute {
            group: SPACE.group,
            request: RequestId::new(self.requests.to_be_bytes()),
            deadline: STAMP.plus_millis(60_000),
            commands: vec![Command::Outbound(command)],
        };
        let proposal = Proposal { stamp: STAMP, requests: vec![request] };
        let begun = Instant::now();
        let mut applied = match apply(&self.store, SPACE, &proposal) {
            Ok(applied) => applied,
            Err(error) => panic!("{error}"),
        };
        cost.apply += begun.elapsed();
        cost.octets += applied.batch.size_bytes();
        cost.rows += applied.batch.changes().iter().filter(|change| matches!(change, Change::Put(..))).count();
        let begun = Instant::now();
        if let Err(error) = self.store.write(applied.batch, Durability::Volatile).and_then(|()| self.store.flush()) {
            panic!("{error}");
        }
        cost.write += begun.elapsed();
        match applied.replies.remove(0).remove(0) {
            Reply::Outbound(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn accept_all(&mut self, recipients_per_item: usize) -> Cost {
        let mut cost = Cost::default();
        for first in (0..RECIPIENTS).step_by(recipients_per_item) {
            let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![message(first, recipients_per_item)] };
            let reply = self.enter(OutboundCommand::Accept(Box::new(acceptance)), &mut cost);
            assert!(matches!(reply, OutboundReply::Accepted(_)), "{reply:?}");
        }
        cost
    }

    fn lease(&mut self) -> u64 {
        let lease = OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None };
        match self.enter(lease, &mut Cost::default()) {
            OutboundReply::Leased { epoch, .. } => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn due(&self, cost: &mut Cost) -> Vec<Place> {
        let query = OutboundQuery::Due { now: STAMP, after: None, destinations_max: 100, rows_max: 10 };
        let begun = Instant::now();
        let found = answer(&self.store, SPACE, &Query::Outbound(query));
        cost.apply += begun.elapsed();
        match found {
            Ok(Answer::Outbound(OutboundAnswer::Due(found, _))) => found.into_iter().flat_map(|d| d.places).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, epoch: u64, places: &[Place], cost: &mut Cost) -> Vec<Taken> {
        match self.enter(OutboundCommand::Take { epoch, places: places.to_vec() }, cost) {
            OutboundReply::Taken(taken) => taken.into_iter().flatten().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn intend(&mut self, epoch: u64, taken: &[Taken], cost: &mut Cost) {
        let places = taken.iter().map(|taken| (taken.place, taken.attempt)).collect();
        let reply = self.enter(OutboundCommand::Intend { epoch, places }, cost);
        assert_eq!(reply, OutboundReply::Intended(vec![true; taken.len()]));
    }

    fn settle(&mut self, taken: &[Taken], outcome: Outcome, cost: &mut Cost) {
        let settlement = |taken: &Taken| Settlement {
            place: taken.place,
            attempt: taken.attempt,
            tried: Attempt {
                at: STAMP,
                took_millis: 200,
                outcome,
                status: (2, 0, 0),
                host: Some("mx1.d0001.example [192.0.2.25]:25".to_owned()),
                tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".to_owned()),
                answer: "250 2.0.0 Ok: queued as 4XyZ1234567890".to_owned(),
                answer_is_remote: true,
            },
            schedule: Schedule::default(),
        };
        let reply = self.enter(OutboundCommand::Settle(taken.iter().map(settlement).collect()), cost);
        assert_eq!(reply, OutboundReply::Done { more: false });
    }
}

fn message(first: usize, recipients: usize) -> Outbound {
    let recipient = |nth: usize| {
        let destination = format!("d{:04}.example", nth % DESTINATIONS);
        match RecipientAddress::parse(&format!("recipient{nth}@{destination}")) {
            Ok(address) => OutboundRecipient { address, destination, notify: Notify::Default, original: None },
            Err(error) => panic!("{error}"),
        }
    };
    Outbound {
        message: NewMessage {
            size_bytes: 4096,
            recipe: Sealed::plain(1, vec![b'x'; 4096]),
            blobs: Vec::new(),
            summary: Sealed::plain(1, vec![b'y'; 600]),
            thread_keys: Vec::new(),
            internal_date: None,
        },
        sender: ReversePath::Null,
        recipients: (first..first + recipients).map(recipient).collect(),
        options: EnvelopeOptions::default(),
        origin: Origin::Account(AccountId::new(first as u64 % 1000)),
        message_id: Some(format!("<{first}@a.example>")),
        trace_id: format!("trace-{first}"),
        hold_until: None,
        repeat_key: None,
    }
}
