//! Random commands against the naive account: after each, the engine and it agree on everything that can be asked,
//! the rows hold together, and whoever knew an earlier state learns the present one from `Changes` alone.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{
    prelude::*,
    test_runner::{TestRng, TestRunner},
};
use securanet_engine::Space;
use securanet_model::{
    Answer, DomainId, EmailId, GroupId, MailboxId, ModSeq, Query, TenantId, ThreadId, Uid,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRefusal, AccountReply, MessageState},
    delivery::{DeliverTo, Delivered, QuotaRule},
    directory::Quota,
    request::{DomainUsage, Proposal, Totals},
};

use crate::{
    naive::Naive,
    rows,
    steps::{NAMES, Step, appended, command, step},
    world::{World, delivery, hash, to},
};

const ACCOUNTS: [u64; 2] = [1, 2];
/// Step lists of each property: enough to reach everything in [`OUTCOMES`], in some two seconds.
const CASES: u32 = 160;

/// What must have happened at least once while a property ran.
const OUTCOMES: [&str; 16] = [
    "mailbox exists already",
    "mailbox does not exist",
    "mailbox has children: delete or rename them first",
    "a mailbox cannot move below itself",
    "INBOX cannot be deleted or replaced",
    "another mailbox has that special use",
    "quota exceeded",
    "MODIFIED",
    "repeat",
    "over quota at delivery",
    "expunged",
    "renamed under a fresh UIDVALIDITY",
    "an email in two places",
    "a thread of two",
    "some emails gone, some not",
    "an upload of what is in Sent",
];

fn outcome_of(reply: &AccountReply) -> &'static str {
    match reply {
        AccountReply::Refused(refusal) => {
            let text = refusal.to_string();
            OUTCOMES.into_iter().find(|outcome| *outcome == text).unwrap_or("refused otherwise")
        }
        AccountReply::Stored { modified, .. } if !modified.is_empty() => "MODIFIED",
        AccountReply::Expunged(uids) if !uids.is_empty() => "expunged",
        _ => "done",
    }
}

fn outcome_of_delivery(outcome: &Delivered) -> &'static str {
    match outcome {
        Delivered::Repeat => "repeat",
        Delivered::Refused(AccountRefusal::OverQuota) => "over quota at delivery",
        _ => "done",
    }
}

/// The engine, the naive accounts, and what a client that never loses anything remembers of account 1.
struct Pair {
    world: World,
    naive: BTreeMap<u64, Naive>,
    history: Vec<Naive>,
    /// By name: the mailbox and the greatest UIDVALIDITY that a client saw under it.
    validities: BTreeMap<String, (u32, u32)>,
    /// By mailbox: the least UID that it may still give.
    uid_floors: BTreeMap<u32, u32>,
    /// Those of [`OUTCOMES`] and others that happened.
    outcomes: Vec<&'static str>,
}

impl Pair {
    fn new() -> Self {
        let mut world = World::new();
        let mut naive = BTreeMap::new();
        for account in ACCOUNTS {
            let (tenant, domain) = (TenantId::new(1), DomainId::new(u32::try_from(account).unwrap()));
            let provision = AccountCommand::Provision { tenant, domain, quota: Quota::default() };
            assert_eq!(world.change(account, provision), AccountReply::Done);
            naive.insert(account, Naive::new(world.now, Quota::default()));
        }
        let history = vec![naive[&1].clone()];
        Self { world, naive, history, validities: BTreeMap::new(), uid_floors: BTreeMap::new(), outcomes: Vec::new() }
    }

    fn run(&mut self, step: &Step) {
        let rows_before = self.world.rows();
        let naive_before = self.naive.clone();
        match step {
            Step::PassHours(hours) => self.world.pass_millis(hours * 3_600_000),
            Step::Deliver { folder, size, keys, repeat, rule, both } => {
                let folder = folder.map(|at| NAMES[at].to_owned());
                let accounts = if *both { &ACCOUNTS[..] } else { &ACCOUNTS[..1] };
                let recipient =
                    |&account: &u64| DeliverTo { folder: folder.clone(), repeat_key: repeat.map(hash), ..to(account) };
                let mut deliver = delivery(appended(*size, 0, keys).message, accounts.iter().map(recipient));
                deliver.quota = *rule;
                let outcomes = self.world.deliver(deliver.clone());
                for (to, outcome) in deliver.to.iter().zip(outcomes) {
                    let naive = self.naive.get_mut(&to.account.id.get()).unwrap();
                    assert_eq!(outcome, naive.deliver(self.world.now, &deliver, to));
                    self.outcomes.push(outcome_of_delivery(&outcome));
                }
            }
            _ => {
                let command = command(&self.naive[&1], step);
                let reply = self.world.change(1, command.clone());
                assert_eq!(reply, self.naive.get_mut(&1).unwrap().change(self.world.now, &command), "{command:?}");
                self.outcomes.push(outcome_of(&reply));
                if let (AccountCommand::Append { mailbox, .. }, AccountReply::Uids(map)) = (&command, &reply) {
                    let was_there =
                        |uid: &Uid| naive_before[&1].mailboxes[&mailbox.get()].messages.contains_key(&uid.get());
                    if map.to.iter().any(was_there) {
                        self.outcomes.push("an upload of what is in Sent");
                    }
                }
                if matches!(reply, AccountReply::Refused(_)) {
                    assert_eq!(self.world.rows(), rows_before, "a refused command changes nothing");
                }
            }
        }
        self.note_outcomes(&naive_before[&1]);
        for account in ACCOUNTS {
            self.check_account(account, &naive_before[&account]);
        }
        self.check_sums();
        rows::check(&self.world, &ACCOUNTS);
        self.check_promise_3(&naive_before[&1]);
        self.check_changes();
        self.history.push(self.naive[&1].clone());
    }

    fn note_outcomes(&mut self, before: &Naive) {
        let now = &self.naive[&1];
        let renewed = |id: &u32, old: &crate::naive::Mailbox| {
            now.mailboxes.get(id).is_some_and(|new| new.name != old.name && new.validity != old.validity)
        };
        if before.mailboxes.iter().any(|(id, old)| renewed(id, old)) {
            self.outcomes.push("renamed under a fresh UIDVALIDITY");
        }
        if now.instances().count() > now.emails.len() {
            self.outcomes.push("an email in two places");
        }
        if now.emails.iter().any(|(id, email)| email.thread != *id) {
            self.outcomes.push("a thread of two");
        }
        if now.emails.len() < before.emails.len()
            && now.instances().any(|(_, _, each)| before.emails.contains_key(&each.email))
        {
            self.outcomes.push("some emails gone, some not");
        }
    }

    fn check_account(&self, account: u64, before: &Naive) {
        let (world, naive) = (&self.world, &self.naive[&account]);
        assert_eq!(world.mailboxes(account), naive.infos());
        for (&id, mailbox) in &naive.mailboxes {
            assert_eq!(world.states(account, MailboxId::new(id)), naive.states(id), "{}", mailbox.name);
            for (message, instance) in
                world.messages(account, MailboxId::new(id), true).iter().zip(mailbox.messages.values())
            {
                let email = &naive.emails[&instance.email];
                let told = (message.thread, message.size_bytes, message.saved_date);
                assert_eq!(told, (ThreadId::new(email.thread), email.size, instance.saved), "{}", mailbox.name);
            }
        }
        let usage = world.quota(account);
        assert_eq!((usage.bytes, usage.messages), (naive.used_bytes(), naive.emails.len() as u64), "quota is the sum");
        assert_eq!(usage.quota, naive.quota);
        let since = ModSeq::new(before.modseq);
        let log = world.ask(account, AccountQuery::ChangeLog { since, rows_max: 10_000 });
        let told =
            naive.changed_since(before).into_iter().map(|changed| (ModSeq::new(naive.modseq), changed)).collect();
        assert_eq!(log, AccountAnswer::ChangeLog(Some(told)), "the change log tells the difference");
    }

    fn check_sums(&self) {
        let domain = |(&account, naive): (&u64, &Naive)| DomainUsage {
            domain: DomainId::new(u32::try_from(account).unwrap()),
            bytes: naive.used_bytes(),
            messages: naive.emails.len() as u64,
        };
        let domains: Vec<_> = self.naive.iter().map(domain).collect();
        let Answer::Totals(totals) = self.world.answer(&Query::Totals) else { panic!("no totals") };
        let sums = Totals {
            accounts: 2,
            messages: domains.iter().map(|each| each.messages).sum(),
            bytes: domains.iter().map(|each| each.bytes).sum(),
            repeats_suppressed: totals.repeats_suppressed,
        };
        assert_eq!(totals, sums);
        assert_eq!(self.world.answer(&Query::DomainUsage), Answer::DomainUsage(domains));
    }

    /// P3: UIDs, UIDVALIDITY and MODSEQ never go back, never repeat.
    fn check_promise_3(&mut self, before: &Naive) {
        for info in self.world.mailboxes(1) {
            let (id, validity) = (info.id.get(), info.uid_validity.get());
            if let Some((known, known_validity)) = self.validities.insert(info.name.to_string(), (id, validity)) {
                assert!(validity >= known_validity, "P3: UIDVALIDITY of {} went back", info.name);
                assert!(id == known || validity > known_validity, "P3: {} is new under an old UIDVALIDITY", info.name);
            }
            let floor = self.uid_floors.entry(id).or_insert(1);
            for state in self.world.states(1, info.id) {
                let is_new = !before.mailboxes.get(&id).is_some_and(|old| old.messages.contains_key(&state.uid.get()));
                assert!(!is_new || state.uid.get() >= *floor, "P3: a UID of {} was given again", info.name);
                assert!(state.modseq <= info.highest_modseq, "P3: HIGHESTMODSEQ of {} is too low", info.name);
            }
            assert!(info.uid_next.get() >= *floor, "P3: UIDNEXT of {} went back", info.name);
            *floor = info.uid_next.get();
            let old = before.mailboxes.get(&id).map_or(0, |old| old.highest);
            assert!(info.highest_modseq.get() >= old, "P3: HIGHESTMODSEQ of {} went back", info.name);
        }
    }

    /// QRESYNC equals a full read, from the first, a middle and the last state that a client may know.
    fn check_changes(&self) {
        let known = [0, self.history.len() / 2, self.history.len() - 1].map(|at| &self.history[at]);
        for known in known {
            for &id in self.naive[&1].mailboxes.keys().filter(|id| known.mailboxes.contains_key(id)) {
                let changes = self.world.changes(1, MailboxId::new(id), ModSeq::new(known.mailboxes[&id].highest));
                let ascending = changes.messages.windows(2).all(|pair| pair[0].uid < pair[1].uid);
                assert!(ascending, "messages are told by ascending UID");
                let mut copy: BTreeMap<Uid, MessageState> =
                    known.states(id).into_iter().map(|state| (state.uid, state)).collect();
                copy.retain(|uid, _| !changes.vanished.contains(*uid));
                copy.extend(changes.messages.into_iter().map(|state| (state.uid, state)));
                assert_eq!(
                    copy.into_values().collect::<Vec<_>>(),
                    self.naive[&1].states(id),
                    "QRESYNC equals a full read"
                );
            }
        }
    }
}

/// Runs a property on step lists that are the same in each run; `PROPTEST_CASES` asks for more of them.
fn check(property: impl Fn(&[Step])) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let run = TestRunner::new_with_rng(config, rng).run(&proptest::collection::vec(step(), 1..60), |steps| {
        property(&steps);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_engine_does_what_the_naive_account_does() {
    let seen = RefCell::new(BTreeMap::new());
    check(|steps| {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.run(step));
        let log = std::mem::take(&mut pair.world.log);
        let mut replica = World::new();
        replica.space = Space { group: GroupId::new(3), generation: 8 };
        log.iter().for_each(|proposal| drop(replica.replay(proposal)));
        assert_eq!(replica.rows(), pair.world.rows(), "two replicas of one log are equal, byte by byte");
        pair.outcomes.into_iter().for_each(|outcome| *seen.borrow_mut().entry(outcome).or_insert(0_u32) += 1);
    });
    // What the steps never reach is not tested.
    let unseen: Vec<_> = OUTCOMES.iter().filter(|outcome| !seen.borrow().contains_key(**outcome)).collect();
    assert!(unseen.is_empty(), "never reached: {unseen:?}");
}

#[test]
fn commands_of_one_entry_do_what_they_do_in_entries_of_their_own() {
    check(|steps| {
        let mut pair = Pair::new();
        steps.iter().filter(|step| !matches!(step, Step::PassHours(_))).for_each(|step| pair.run(step));
        let log = std::mem::take(&mut pair.world.log);
        let stamp = log[0].stamp;
        let requests = log.into_iter().flat_map(|proposal| proposal.requests).collect();
        let mut at_once = World::new();
        at_once.replay(&Proposal { stamp, requests });
        assert_eq!(at_once.rows(), pair.world.rows());
    });
}

#[test]
fn removing_an_account_leaves_nothing_of_it_and_all_of_the_others() {
    let mut pair = Pair::new();
    let without_account_1 = {
        let mut world = World::new();
        let mut log = std::mem::take(&mut pair.world.log);
        log.drain(..1);
        log.iter().for_each(|proposal| drop(world.replay(proposal)));
        world
    };
    let steps = [
        Step::Append(0, vec![(10, 2, vec![1, 3]), (20, 5, vec![1])]),
        Step::Expunge(0, (1, 1), false),
        Step::Import(1, 30, 2),
        Step::KeepSent(50, 3),
        Step::Create(4, None),
        Step::Subscribe(6, true),
        Step::Deliver {
            folder: None,
            size: 40,
            keys: vec![5],
            repeat: Some(1),
            rule: QuotaRule::Enforced,
            both: false,
        },
    ];
    steps.iter().for_each(|step| pair.run(step));
    assert_eq!(pair.world.change(1, AccountCommand::Remove), AccountReply::Done);
    let mut left = pair.world.rows();
    // The group's own row says up to which day repeats are collected.
    left.retain(|key, _| key[0] != securanet_engine::keys::Table::AccountsGroup as u8);
    assert_eq!(left, without_account_1.rows());
    let asked = pair.world.ask(1, AccountQuery::Content(EmailId::new(1)));
    assert_eq!(asked, AccountAnswer::Refused(AccountRefusal::NoAccount));
}
