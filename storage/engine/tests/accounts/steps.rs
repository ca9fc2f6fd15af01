//! Random commands, made before it is known which mailboxes will exist.

use proptest::prelude::*;
use securanet_model::{
    MailboxId, ModSeq, SpecialUse, Uid,
    account::{AccountCommand, AppendMessage, FlagChange, UidSet},
    delivery::QuotaRule,
    directory::Quota,
};

use crate::{
    naive::Naive,
    world::{flags, hash, message_with, name},
};

pub(crate) const NAMES: [&str; 10] =
    ["INBOX", "Sent", "Work", "work", "Work/A", "Work/A/B", "Other", "INBOX/sub", "Other/deep/er", "Trash"];
const FLAGS: [&str; 8] = [
    "",
    "\\Seen",
    "\\Deleted",
    "\\Seen \\Deleted \\Flagged",
    "$Forwarded",
    "$FORWARDED \\Draft",
    "one two",
    "\\Answered three",
];

/// A command whose mailboxes are numbers, of those that exist when it runs.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(usize, Option<SpecialUse>),
    Delete(usize),
    Rename(usize, usize),
    Subscribe(usize, bool),
    Append(usize, Vec<(u64, usize, Vec<u8>)>),
    Import(usize, u64, u8),
    KeepSent(u64, u8),
    Store { mailbox: usize, uids: (u32, u32), how: FlagChange, flags: usize, unchanged_since: Option<u64> },
    Copy(usize, (u32, u32), usize),
    Move(usize, (u32, u32), usize),
    Expunge(usize, (u32, u32), bool),
    Deliver { folder: Option<usize>, size: u64, keys: Vec<u8>, repeat: Option<u8>, rule: QuotaRule, both: bool },
    SetQuota(Option<u64>, Option<u64>),
    PassHours(u64),
}

fn uid_range() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![3 => (1..9_u32, 1..9_u32), 1 => Just((1, u32::MAX))]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(FlagChange::Replace), Just(FlagChange::Add), Just(FlagChange::Remove)];
    let special_use = proptest::option::weighted(0.2, proptest::sample::select(SpecialUse::ALL.to_vec()));
    let rule = prop_oneof![Just(QuotaRule::Enforced), Just(QuotaRule::Admitted)];
    let keys = || proptest::collection::vec(0..6_u8, 0..3);
    let sent = (10..500_u64, 0..FLAGS.len(), keys());
    prop_oneof![
        2 => (0..NAMES.len(), special_use).prop_map(|(name, special_use)| Step::Create(name, special_use)),
        2 => (0..NAMES.len()).prop_map(Step::Delete),
        3 => (0..NAMES.len(), 0..NAMES.len()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (0..NAMES.len(), any::<bool>()).prop_map(|(name, on)| Step::Subscribe(name, on)),
        4 => (0..9_usize, proptest::collection::vec(sent, 0..4)).prop_map(|(mailbox, sent)| Step::Append(mailbox, sent)),
        1 => (0..9_usize, 10..500_u64, 0..3_u8).prop_map(|(mailbox, size, key)| Step::Import(mailbox, size, key)),
        1 => (10..500_u64, 0..6_u8).prop_map(|(size, key)| Step::KeepSent(size, key)),
        4 => (0..9_usize, uid_range(), how, 0..FLAGS.len(), proptest::option::weighted(0.3, 0..30_u64)).prop_map(
            |(mailbox, uids, how, flags, unchanged_since)| Step::Store { mailbox, uids, how, flags, unchanged_since }
        ),
        2 => (0..9_usize, uid_range(), 0..9_usize).prop_map(|(from, uids, to)| Step::Copy(from, uids, to)),
        2 => (0..9_usize, uid_range(), 0..9_usize).prop_map(|(from, uids, to)| Step::Move(from, uids, to)),
        3 => (0..9_usize, uid_range(), any::<bool>()).prop_map(|(mailbox, uids, deleted)| Step::Expunge(mailbox, uids, deleted)),
        4 => (proptest::option::of(0..NAMES.len()), 10..500_u64, keys(), proptest::option::of(0..3_u8), rule, any::<bool>())
            .prop_map(|(folder, size, keys, repeat, rule, both)| Step::Deliver { folder, size, keys, repeat, rule, both }),
        1 => (proptest::option::of(0..3000_u64), proptest::option::of(0..12_u64)).prop_map(|(bytes, messages)| Step::SetQuota(bytes, messages)),
        1 => (1..50_u64).prop_map(Step::PassHours),
    ]
}

/// The mailbox that a number means; now and then one that does not exist.
fn mailbox(naive: &Naive, number: usize) -> MailboxId {
    let ids: Vec<u32> = naive.mailboxes.keys().copied().collect();
    MailboxId::new(ids.get(number).copied().unwrap_or(if number == 8 { 99 } else { 1 }))
}

fn uid_set((first, last): (u32, u32)) -> UidSet {
    UidSet::from_ranges([(Uid::new(first), Uid::new(last))])
}

pub(crate) fn appended(size: u64, flag_words: usize, keys: &[u8]) -> AppendMessage {
    // Some messages have blobs, and share them.
    let blobs: Vec<u8> = keys.iter().copied().filter(|key| key % 2 == 1).collect();
    AppendMessage { message: message_with(size, &blobs, keys), flags: flags(FLAGS[flag_words]) }
}

pub(crate) fn command(naive: &Naive, step: &Step) -> AccountCommand {
    match step {
        Step::Create(at, special_use) => {
            AccountCommand::CreateMailbox { name: name(NAMES[*at]), special_use: *special_use }
        }
        Step::Delete(at) => AccountCommand::DeleteMailbox { name: name(NAMES[*at]) },
        Step::Rename(from, to) => AccountCommand::RenameMailbox { from: name(NAMES[*from]), to: name(NAMES[*to]) },
        Step::Subscribe(at, on) => AccountCommand::Subscribe { name: name(NAMES[*at]), subscribed: *on },
        Step::Append(at, sent) => AccountCommand::Append {
            mailbox: mailbox(naive, *at),
            messages: sent.iter().map(|(size, words, keys)| appended(*size, *words, keys)).collect(),
        },
        Step::Import(at, size, key) => AccountCommand::Import {
            mailbox: mailbox(naive, *at),
            message: Box::new(appended(*size, 1, &[*key])),
            key: hash(*key),
        },
        Step::KeepSent(size, key) => AccountCommand::KeepSent {
            message: Box::new(appended(*size, 1, &[*key]).message),
            // Not those of imports: what was imported under a key is no copy of it.
            key: hash(100 + *key),
        },
        Step::Store { mailbox: at, uids, how, flags: words, unchanged_since } => AccountCommand::StoreFlags {
            mailbox: mailbox(naive, *at),
            uids: uid_set(*uids),
            change: *how,
            flags: flags(FLAGS[*words]),
            unchanged_since: unchanged_since.map(ModSeq::new),
        },
        Step::Copy(from, uids, to) => {
            AccountCommand::Copy { mailbox: mailbox(naive, *from), uids: uid_set(*uids), to: mailbox(naive, *to) }
        }
        Step::Move(from, uids, to) => {
            AccountCommand::Move { mailbox: mailbox(naive, *from), uids: uid_set(*uids), to: mailbox(naive, *to) }
        }
        Step::Expunge(at, uids, deleted_only) => {
            AccountCommand::Expunge { mailbox: mailbox(naive, *at), uids: uid_set(*uids), deleted_only: *deleted_only }
        }
        Step::SetQuota(bytes_max, messages_max) => {
            AccountCommand::SetQuota(Quota { bytes_max: *bytes_max, messages_max: *messages_max })
        }
        Step::Deliver { .. } | Step::PassHours(_) => panic!("not a command of an account: {step:?}"),
    }
}
