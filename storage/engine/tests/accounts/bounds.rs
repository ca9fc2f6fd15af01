//! What grows with time has a bound: tombstones and the change log; and whoever asks from before it is told so.

use securanet_model::{
    EmailId, MailboxId, ModSeq, Uid,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountReply, AppendMessage, Changed, FlagChange, UidSet},
    limits::{CHANGES_PER_ACCOUNT_MAX, TOMBSTONES_PER_MAILBOX_MAX},
};

use crate::world::{World, flags, message};

const INBOX: MailboxId = MailboxId::new(1);

fn append(world: &mut World, count: usize) -> ModSeq {
    let messages = vec![AppendMessage { message: message(1), flags: flags("") }; count];
    let reply = world.change(1, AccountCommand::Append { mailbox: INBOX, messages });
    assert!(matches!(reply, AccountReply::Uids(_)));
    world.mailbox(1, "INBOX").highest_modseq
}

fn expunge(world: &mut World, first: u32, last: u32) -> ModSeq {
    let uids = UidSet::from_ranges([(Uid::new(first), Uid::new(last))]);
    world.change(1, AccountCommand::Expunge { mailbox: INBOX, uids, deleted_only: false });
    world.mailbox(1, "INBOX").highest_modseq
}

fn remembered(world: &World) -> u64 {
    let horizon = world.mailbox(1, "INBOX").horizon;
    let ranges = world.changes(1, INBOX, horizon).vanished;
    ranges.ranges().iter().map(|(first, last)| u64::from(last.get() - first.get()) + 1).sum()
}

#[test]
fn a_mailbox_forgets_its_oldest_tombstones_and_says_so() {
    let mut world = World::with_account();
    let mut expunges = Vec::new();
    for round in 0..53_u32 {
        append(&mut world, 1000);
        // Every other one stays, so that the tombstones are not one range.
        let stays = round * 1000 + 1;
        expunges.push(expunge(&mut world, stays + 1, stays + 999));
        let told = remembered(&world);
        assert!(told <= TOMBSTONES_PER_MAILBOX_MAX, "{told}");
        assert!(
            told + 999 + 256 > TOMBSTONES_PER_MAILBOX_MAX || told == u64::from(round + 1) * 999,
            "{told}: not more than needed"
        );
    }
    let horizon = world.mailbox(1, "INBOX").horizon;
    assert!(horizon > ModSeq::ZERO);
    let all_gone = world.changes(1, INBOX, ModSeq::ZERO).vanished;
    let stay = world.uids(1, "INBOX");
    assert_eq!(stay.len(), 53);
    assert!(stay.iter().all(|uid| !all_gone.contains(Uid::new(*uid))), "what is there did not vanish");
    assert!((1..=53_000).all(|uid| stay.contains(&uid) || all_gone.contains(Uid::new(uid))), "what is gone vanished");
    assert!(!all_gone.contains(Uid::new(53_001)), "nothing beyond UIDNEXT");
    let last = world.changes(1, INBOX, expunges[51]).vanished;
    let round = 52_000 + 1;
    assert_eq!(last.ranges(), [(Uid::new(round + 1), Uid::new(round + 999))], "after the horizon exactly");
}

#[test]
fn one_expunge_larger_than_the_bound_moves_the_horizon_to_itself() {
    let mut world = World::with_account();
    for _ in 0..52 {
        append(&mut world, 1000);
    }
    let before = world.mailbox(1, "INBOX").highest_modseq;
    let expunged = expunge(&mut world, 1, 51_000);
    assert_eq!((world.mailbox(1, "INBOX").horizon, remembered(&world)), (expunged, 0));
    let vanished = world.changes(1, INBOX, before).vanished;
    assert_eq!(vanished.ranges(), [(Uid::FIRST, Uid::new(51_000))]);
}

#[test]
fn the_change_log_forgets_its_oldest_entries_and_says_so() {
    let mut world = World::with_account();
    append(&mut world, 1000);
    let ask = |world: &World, since, rows_max| match world.ask(1, AccountQuery::ChangeLog { since, rows_max }) {
        AccountAnswer::ChangeLog(rows) => rows,
        other => panic!("{other:?}"),
    };
    assert!(ask(&world, ModSeq::ZERO, 10_000).is_some());
    for round in 0..CHANGES_PER_ACCOUNT_MAX / 1000 {
        let change = if round % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
        let store = AccountCommand::StoreFlags {
            mailbox: INBOX,
            uids: UidSet::all(),
            change,
            flags: flags("\\Seen"),
            unchanged_since: None,
        };
        world.change(1, store);
    }
    assert_eq!(ask(&world, ModSeq::ZERO, 10_000), None, "from the beginning it cannot tell any more");
    let mut since = ModSeq::new(2);
    let mut entries = 0;
    loop {
        let rows = ask(&world, since, 2500).expect("the rest is whole");
        let Some((last, _)) = rows.last() else { break };
        assert!(rows.len() <= 2500 && rows.len() % 1000 == 0, "changes are told whole");
        since = *last;
        entries += rows.len() as u64;
    }
    assert!(entries <= CHANGES_PER_ACCOUNT_MAX && entries + 2000 > CHANGES_PER_ACCOUNT_MAX, "{entries}");
    let rows = ask(&world, ModSeq::new(since.get() - 1), 1).expect("the last one");
    assert_eq!(rows.len(), 1000, "a change that is larger than the page comes alone, whole");
    assert_eq!(rows[0], (since, Changed::EmailUpdated(EmailId::new(1))));
}
