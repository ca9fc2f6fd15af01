//! Nobody stands before others, and nothing costs more because much is waiting.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use securanet_kv::{Direction, KeyRange, KvError, Read};

use super::*;

/// A mailing to `count` recipients of each of these destinations.
fn mailing(n: u8, destinations: &[String], count: usize) -> Outbound {
    let addresses = destinations.iter().flat_map(|name| (0..count).map(move |nth| format!("r{nth}@{name}")));
    let texts: Vec<String> = addresses.collect();
    Outbound { message_id: None, ..outbound(n, &texts.iter().map(String::as_str).collect::<Vec<_>>()) }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("d{nth:04}.example")).collect()
}

impl Queue {
    /// Takes messages in without looking at all rows behind each.
    fn load(&mut self, messages: Vec<Outbound>) {
        let accept = |outbound| {
            let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound] };
            Command::Outbound(OutboundCommand::Accept(Box::new(acceptance)))
        };
        let request = self.group.request(messages.into_iter().map(accept).collect());
        for reply in self.group.propose(vec![request]).remove(0) {
            assert!(matches!(reply, Reply::Outbound(OutboundReply::Accepted(_))), "{reply:?}");
        }
    }
}

#[test]
fn a_full_destination_takes_one_place_of_a_page() {
    let mut queue = Queue::new();
    queue.load((1..=5).map(|n| mailing(n, &["big.example".to_owned()], 1000)).collect());
    queue.pass(SECOND);
    let small = names(50);
    queue.load(small.iter().map(|name| mailing(9, std::slice::from_ref(name), 1)).collect());
    let (page, cursor) = queue.due_page(None, 100, 10);
    assert_eq!((page.len(), cursor), (51, None));
    let big = page.iter().find(|found| found.destination == "big.example").unwrap();
    assert_eq!((big.places.len(), big.letters), (10, 0));
}

#[test]
fn a_letter_does_not_wait_for_a_mailing() {
    let mut queue = Queue::new();
    queue.load((1..=5).map(|n| mailing(n, &names(200), 5)).collect());
    queue.pass(SECOND);
    let mut letter = outbound(9, &["eve@zzz.example"]);
    letter.origin = Origin::Account(AccountId::new(2));
    let letter = queue.accept(letter);
    let (page, _) = queue.due_page(None, 5, 100);
    assert_eq!((page[0].destination.as_str(), page[0].letters), ("zzz.example", 1));
    assert_eq!(page[0].places, [place(letter, 0)]);
    assert_eq!(page.len(), 5, "the rest is the mailing's");
}

#[test]
fn letters_do_not_stop_a_mailing() {
    let mut queue = Queue::new();
    queue.load(vec![mailing(1, &["bulk.example".to_owned(), "both.example".to_owned()], 50)]);
    let letters = |name: &String| Outbound { origin: Origin::Report, ..mailing(2, std::slice::from_ref(name), 1) };
    queue.load(names(20).iter().map(letters).collect());
    let both = Outbound { origin: Origin::Relay("erp".to_owned()), ..mailing(3, &["both.example".to_owned()], 20) };
    queue.load(vec![both]);
    let (page, _) = queue.due_page(None, 10, 10);
    let is_bulk: Vec<bool> = page.iter().map(|found| found.letters == 0).collect();
    let bulk = is_bulk.iter().filter(|bulk| **bulk).count();
    assert!((1..=2).contains(&bulk), "one turn of five: {is_bulk:?}");
    let (all, _) = queue.due_page(None, 100, 10);
    let both = all.iter().find(|found| found.destination == "both.example").unwrap();
    let items: Vec<u64> = both.places.iter().map(|place| place.item).collect();
    assert_eq!(items, [22, 22, 22, 22, 1, 22, 22, 22, 22, 1], "and so within a destination");
    assert_eq!(both.letters, 8);
}

#[test]
fn a_sender_with_much_on_its_way_sends_a_mailing() {
    let mut queue = Queue::new();
    let one_by_one = |n: u64| Outbound { origin: Origin::Account(AccountId::new(n)), ..outbound(1, &["x@b.example"]) };
    for _ in 0..102 {
        queue.accept(one_by_one(1));
    }
    let letters = |queue: &Queue| queue.due_page(None, 1, 1000).0[0].letters;
    assert_eq!(letters(&queue), 101, "the hundred-and-second is bulk");
    queue.accept(one_by_one(2));
    assert_eq!(letters(&queue), 102, "another sender's is not");
    assert_eq!(queue.due_page(None, 1, 5).0[0].places[4], place(102, 0), "and has the mailing's turn");
    queue.attempt(place(1, 0), DELIVERED);
    queue.attempt(place(2, 0), DELIVERED);
    queue.accept(one_by_one(1));
    assert_eq!(letters(&queue), 101, "less on its way: a letter again");
    let many: Vec<String> = (0..21).map(|nth| format!("r{nth}@c.example")).collect();
    queue.accept(Outbound {
        origin: Origin::Account(AccountId::new(3)),
        ..outbound(1, &many.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let (page, _) = queue.due_page(None, 10, 1000);
    let mailing = page.iter().find(|found| found.destination == "c.example").unwrap();
    assert_eq!(mailing.letters, 0, "twenty-one recipients are a mailing");
}

#[test]
fn destinations_take_turns_from_page_to_page() {
    let mut queue = Queue::new();
    queue.load(
        names(95)
            .iter()
            .map(|name| Outbound { origin: Origin::Report, ..mailing(1, std::slice::from_ref(name), 2) })
            .collect(),
    );
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let (page, cursor) = queue.due_page(after, 10, 1);
        seen.extend(page.into_iter().map(|found| found.destination));
        pages += 1;
        after = cursor;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (95, 10));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 95, "each has its turn before any has a second");
}

#[test]
fn a_worker_that_cannot_take_from_the_first_gets_to_the_others() {
    let mut queue = Queue::new();
    queue.load(names(40).iter().map(|name| mailing(1, std::slice::from_ref(name), 1)).collect());
    let (first, cursor) = queue.due_page(None, 10, 1);
    let epoch = queue.lease();
    // It takes from one and leaves nine at their limit of connections.
    queue.take(epoch, first[9].places[0]);
    let (second, _) = queue.due_page(cursor, 10, 1);
    let overlap = second.iter().filter(|found| first.iter().any(|seen| seen.destination == found.destination));
    assert_eq!((second.len(), overlap.count()), (10, 0));
}

/// Counts the rows that are read.
struct Counted<'g> {
    group: &'g Group,
    rows: AtomicUsize,
}

impl Read for Counted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.rows.fetch_add(1, Ordering::Relaxed);
        self.group.store.get(key)
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.group.store.visit(range, direction, &mut |key, value| {
            self.rows.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })
    }
}

/// Rows read by a question.
fn rows_of_query(queue: &Queue, query: OutboundQuery) -> usize {
    let counted = Counted { group: &queue.group, rows: AtomicUsize::new(0) };
    crate::answer(&counted, queue.group.space, &Query::Outbound(query)).unwrap();
    counted.rows.into_inner()
}

/// Rows read by a command, which is not carried out.
fn rows_of_command(queue: &mut Queue, command: OutboundCommand) -> usize {
    let request = queue.group.request(vec![Command::Outbound(command)]);
    let proposal = securanet_model::request::Proposal { stamp: queue.now(), requests: vec![request] };
    let counted = Counted { group: &queue.group, rows: AtomicUsize::new(0) };
    let applied = crate::apply(&counted, queue.group.space, &proposal).unwrap();
    assert!(matches!(applied.replies[0][0], Reply::Outbound(_)));
    counted.rows.into_inner()
}

#[test]
fn nothing_costs_more_because_a_hundred_thousand_wait() {
    let mut costs = Vec::new();
    for mailings in [1, 100] {
        let mut queue = Queue::new();
        queue.load((0..mailings).map(|n| mailing(n, &["big.example".to_owned()], 500)).collect());
        queue.load((0..mailings).map(|n| mailing(n, &names(500), 1)).collect());
        let epoch =
            match queue.group.run(Command::Outbound(OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None }))
            {
                Reply::Outbound(OutboundReply::Leased { epoch, .. }) => epoch,
                other => panic!("{other:?}"),
            };
        assert_eq!(queue.depth().waiting, u64::from(mailings) * 1000);
        let now = queue.now();
        let due = OutboundQuery::Due { now, after: None, destinations_max: 10, rows_max: 10 };
        let take = OutboundCommand::Take { epoch, places: vec![place(1, 0)] };
        let costs_now = (
            rows_of_query(&queue, due),
            rows_of_query(&queue, OutboundQuery::Depth),
            rows_of_query(&queue, OutboundQuery::Timers { now, rows_max: 1000 }),
            rows_of_command(&mut queue, take.clone()),
        );
        queue.group.run(Command::Outbound(take));
        let intend = OutboundCommand::Intend { epoch, places: vec![(place(1, 0), 1)] };
        let settle = OutboundCommand::Settle(vec![queue.settlement(place(1, 0), 1, DELIVERED)]);
        costs.push((costs_now, rows_of_command(&mut queue, intend), rows_of_command(&mut queue, settle)));
    }
    let ((due, depth, timers, take), intend, settle) = costs[1];
    assert!(due <= 150 && depth <= 2 && timers <= 2, "{due} {depth} {timers}");
    assert!(take <= 10 && intend <= 8 && settle <= 12, "{take} {intend} {settle}");
    let ((due_of_few, ..), ..) = costs[0];
    assert!(due <= due_of_few + 100, "{due} rows against {due_of_few}");
}

#[test]
fn what_is_more_than_a_thousand_is_refused_or_done_in_parts() {
    let mut queue = Queue::new();
    queue.load((1..=3).map(|n| mailing(n, &["big.example".to_owned()], 1000)).collect());
    let epoch = queue.lease();
    let all: Vec<Place> = (1..=3).flat_map(|item| (0..1000).map(move |position| place(item, position))).collect();
    let take = |places: &[Place]| OutboundCommand::Take { epoch, places: places.to_vec() };
    let operate = OutboundCommand::Operate { places: all.clone(), action: Action::Hold };
    let intend = OutboundCommand::Intend { epoch, places: all.iter().map(|place| (*place, 1)).collect() };
    for command in [take(&all), operate, intend] {
        assert_eq!(queue.run(command), OutboundReply::OutOfBounds);
    }
    for places in all.chunks(1000) {
        queue.run(take(places));
    }
    queue.pass(MINUTE);
    let over = OutboundCommand::TakeOver { epoch };
    let parts: Vec<OutboundReply> = (0..4).map(|_| queue.run(over.clone())).collect();
    assert_eq!(parts, [true, true, false, false].map(|more| OutboundReply::Done { more }));
    let epoch = queue.lease();
    let failed = |place: &Place| queue_settlement(*place, 2, Outcome::TemporaryConnection);
    for places in all.chunks(1000) {
        queue.run(OutboundCommand::Take { epoch, places: places.to_vec() });
        queue.run(OutboundCommand::Settle(places.iter().map(failed).collect()));
    }
    let alive = OutboundCommand::Destination { destination: "big.example".to_owned(), alive: true };
    let parts: Vec<OutboundReply> = (0..3).map(|_| queue.run(alive.clone())).collect();
    assert_eq!(parts, [true, true, false].map(|more| OutboundReply::Done { more }));
    assert_eq!(queue.due().len(), 1000, "a page of one destination");
    let cancel = |places: &[Place]| OutboundCommand::Operate { places: places.to_vec(), action: Action::Cancel };
    for places in all.chunks(1000) {
        queue.run(cancel(places));
    }
    queue.pass(7 * DAY);
    let parts: Vec<OutboundReply> = (0..3).map(|_| queue.run(OutboundCommand::Forget)).collect();
    assert_eq!(parts, [true, true, false].map(|more| OutboundReply::Done { more }));
}

fn queue_settlement(place: Place, attempt: u32, outcome: Outcome) -> Settlement {
    Queue::new().settlement(place, attempt, outcome)
}

#[test]
fn a_message_that_breaks_a_bound_is_refused() {
    let mut queue = Queue::new();
    let long = "x".repeat(1000);
    let breaks: [fn(&mut Outbound, &str); 9] = [
        |message, _| message.recipients.clear(),
        |message, _| message.recipients = vec![to("b@b.example"); 1001],
        |message, long| message.recipients[0].destination = long.to_owned(),
        |message, _| message.recipients[0].destination = "b\0.example".to_owned(),
        |message, _| message.recipients[0].destination.clear(),
        |message, long| message.recipients[0].original = Some(long.to_owned()),
        |message, long| message.options.envelope_id = Some(long.to_owned()),
        |message, long| message.message_id = Some(long.to_owned()),
        |message, long| message.origin = Origin::Relay(long.to_owned()),
    ];
    for (nth, breaks) in breaks.into_iter().enumerate() {
        let mut message = outbound(1, &["bob@b.example"]);
        breaks(&mut message, &long);
        let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![message] };
        let reply = queue.run(OutboundCommand::Accept(Box::new(acceptance)));
        assert_eq!(reply, OutboundReply::OutOfBounds, "case {nth}");
    }
}

#[test]
fn a_listing_goes_on_where_it_ended_and_shows_what_the_filter_means() {
    let mut queue = Queue::new();
    for n in 1..=30 {
        queue.send(n, &[if n % 3 == 0 { "bob@b.example" } else { "eve@c.example" }]);
    }
    queue.attempt(place(3, 0), DELIVERED);
    let listed = |filter: Filter| {
        let (mut before, mut found) = (None, Vec::new());
        loop {
            let query = OutboundQuery::Items { filter: filter.clone(), before, rows_max: 4 };
            let OutboundAnswer::Items(page, next) = queue.ask(query) else { panic!("no items") };
            assert!(page.len() <= 4);
            found.extend(page.into_iter().map(|item| item.item));
            before = next;
            if before.is_none() {
                return found;
            }
        }
    };
    let thirds = || (1..=10).rev().map(|n| 3 * n);
    let all: Vec<u64> = (1..=30).rev().collect();
    let open: Vec<u64> = (1..=30).rev().filter(|n| *n != 3).collect();
    assert_eq!(listed(Filter { ended: true, ..Filter::default() }), all);
    assert_eq!(listed(Filter::default()), open);
    let to_bob = Filter { recipient: Some(address("BOB@b.example").into()), ..Filter::default() };
    assert_eq!(listed(to_bob), thirds().filter(|n| *n != 3).collect::<Vec<_>>());
    let there = Filter { destination: Some("b.example".to_owned()), ended: true, ..Filter::default() };
    assert_eq!(listed(there), thirds().collect::<Vec<_>>());
    assert_eq!(listed(Filter { sender: Some(ReversePath::Null), ..Filter::default() }), [0_u64; 0]);
}

#[test]
fn a_listing_looks_at_no_more_than_it_says() {
    let mut queue = Queue::new();
    queue.load((0..25).map(|n| mailing(n, &["big.example".to_owned()], 1000)).collect());
    let nobody = Filter { destination: Some("no.example".to_owned()), ..Filter::default() };
    let query = |before| OutboundQuery::Items { filter: nobody.clone(), before, rows_max: 1000 };
    assert!(rows_of_query(&queue, query(None)) < 11_100);
    let mut pages = Vec::new();
    let mut before = None;
    while let OutboundAnswer::Items(found, Some(next)) = queue.ask(query(before)) {
        assert_eq!(found, []);
        pages.push(next);
        before = Some(next);
    }
    assert_eq!(pages, [16, 6]);
}
