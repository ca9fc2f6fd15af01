//! The fan-out against a worker that does everything twice, late, or in another order, with crashes in between.
//!
//! Promise P2: what was queued is in each mailbox exactly once, or held, whatever the worker does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Accounts 1 and 2 live in group 2, account 3 in group 3. Account 9 lives nowhere.
const HOMES: [(u64, u32); 3] = [(1, 2), (2, 2), (3, 3)];

#[derive(Clone, Debug)]
enum Step {
    /// A message for some of the targets.
    Queue(u8),
    /// The worker reads what is pending.
    Look,
    /// It executes one of all deliveries that it ever saw.
    Deliver(usize),
    /// It settles one of all answers that it ever got.
    Settle(usize),
    /// The queue's group crashes and replays its log.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..8_u8).prop_map(Step::Queue),
        3 => Just(Step::Look),
        5 => any::<usize>().prop_map(Step::Deliver),
        4 => any::<usize>().prop_map(Step::Settle),
        1 => Just(Step::Crash),
    ]
}

struct World {
    queue: Group,
    shards: BTreeMap<u32, Group>,
    seen: Vec<PendingDelivery>,
    answered: Vec<QueueCommand>,
    /// How many messages each account must have in the end, and how many recipients be held.
    expected: BTreeMap<u64, usize>,
    held: u64,
    /// All sequences ever seen, by target.
    sequences: BTreeMap<u32, BTreeSet<u64>>,
}

impl World {
    fn new() -> Self {
        let mut shards = BTreeMap::from([(2, Group::new(2)), (3, Group::new(3))]);
        for (account, home) in HOMES {
            let command = AccountCommand::Provision {
                tenant: TenantId::new(1),
                domain: DomainId::new(1),
                quota: Quota::default(),
            };
            let shard = shards.get_mut(&home).unwrap();
            let reply = shard.run(Command::Account(to(account).account, command));
            assert_eq!(reply, Reply::Account(AccountReply::Done));
        }
        Self {
            queue: Group::new(1),
            shards,
            seen: Vec::new(),
            answered: Vec::new(),
            expected: BTreeMap::new(),
            held: 0,
            sequences: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Queue(targets) => self.queue_message(targets),
            Step::Look => self.look(),
            Step::Deliver(nth) if !self.seen.is_empty() => {
                let delivery = self.seen[nth % self.seen.len()].clone();
                self.deliver(&delivery);
            }
            Step::Settle(nth) if !self.answered.is_empty() => {
                let settle = self.answered[nth % self.answered.len()].clone();
                queue(&mut self.queue, settle);
            }
            Step::Crash => self.queue = self.queue.crashed(),
            Step::Deliver(_) | Step::Settle(_) => {}
        }
    }

    fn queue_message(&mut self, targets: u8) {
        let all: [(u32, &[u64]); 3] = [(2, &[1, 2]), (3, &[3, 9]), (2, &[2])];
        let chosen: Vec<_> = (0..3).filter(|bit| targets & (1 << bit) != 0).map(|bit| all[bit]).collect();
        for account in chosen.iter().flat_map(|(_, accounts)| accounts.iter()) {
            if *account == 9 {
                self.held += 1;
            } else {
                *self.expected.entry(*account).or_default() += 1;
            }
        }
        assert!(matches!(queue(&mut self.queue, fan_out(message(1), &chosen)), QueueReply::Queued(_)));
    }

    fn look(&mut self) {
        for delivery in pending(&self.queue, 1000) {
            let sequence = delivery.deliver.key.unwrap().sequence;
            self.sequences.entry(delivery.target.get()).or_default().insert(sequence);
            self.seen.push(delivery);
        }
    }

    fn deliver(&mut self, delivery: &PendingDelivery) {
        let key = delivery.deliver.key.unwrap();
        let shard = self.shards.get_mut(&delivery.target.get()).unwrap();
        let Reply::Deliver(reply) = shard.run(Command::Deliver(delivery.deliver.clone())) else { panic!("no reply") };
        let refused = match reply {
            DeliverReply::Outcomes(outcomes) => (0..)
                .zip(outcomes)
                .filter_map(|(position, outcome)| match outcome {
                    Delivered::Refused(refusal) => Some((position, refusal)),
                    Delivered::Stored { .. } | Delivered::Repeat => None,
                })
                .collect(),
            DeliverReply::AlreadyApplied => Vec::new(),
            // Settled at the queue, as a later look showed the target: there is nothing to settle.
            DeliverReply::KeyRefused => return,
        };
        self.answered.push(settle(delivery.target.get(), key.sequence, refused));
    }

    /// A worker in good order finishes what is left.
    fn finish(&mut self) {
        while depth(&self.queue).0 > 0 {
            let answers_before = self.answered.len();
            for delivery in pending(&self.queue, 1000) {
                let sequence = delivery.deliver.key.unwrap().sequence;
                self.sequences.entry(delivery.target.get()).or_default().insert(sequence);
                self.deliver(&delivery);
            }
            assert!(self.answered.len() > answers_before, "a pending delivery is never refused by its target");
            for settle in self.answered.split_off(answers_before) {
                queue(&mut self.queue, settle);
            }
        }
    }

    fn messages(&self, account: u64, home: u32) -> usize {
        let inbox = securanet_model::MailboxName::inbox();
        let ask = |query| match self.shards[&home].ask(&Query::Account(to(account).account, query)) {
            Answer::Account(answer) => answer,
            other => panic!("{other:?}"),
        };
        let AccountAnswer::Mailbox(Some(inbox)) = ask(AccountQuery::MailboxByName(inbox)) else { panic!("no INBOX") };
        let query = AccountQuery::States { mailbox: inbox.id, uids: UidSet::all(), rows_max: 10_000 };
        let AccountAnswer::States(states) = ask(query) else { panic!("no states") };
        states.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn each_recipient_has_each_message_once_or_is_held(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            let (pending, _) = depth(&world.queue);
            prop_assert_eq!(keys(&world.queue).len() as u64, pending, "the counter is the number of rows");
        }
        world.finish();
        for (account, home) in HOMES {
            let expected = world.expected.get(&account).copied().unwrap_or(0);
            prop_assert_eq!(world.messages(account, home), expected, "account {}", account);
        }
        prop_assert_eq!(depth(&world.queue), (0, world.held));
        for sequences in world.sequences.values() {
            let gapless: BTreeSet<u64> = (1..=sequences.len() as u64).collect();
            prop_assert_eq!(sequences, &gapless);
        }
        for group in world.shards.values().chain([&world.queue]) {
            prop_assert_eq!(group.replayed().rows(), group.rows());
        }
    }
}
