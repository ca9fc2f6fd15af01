//! APPEND, STORE, COPY, MOVE, EXPUNGE and the maildrop's lock.

use securanet_model::{
    EmailId, Flags, MailboxId, ModSeq, RequestId, SystemFlags, Uid, UnixMillis,
    account::{
        AccountAnswer, AccountCommand, AccountQuery, AccountRefusal, AccountReply, AppendMessage, Changed, FlagChange,
        UidMap, UidSet,
    },
    content::Sealed,
    directory::Quota,
};

use crate::world::{World, blob, flags, message, message_with, uids};

const INBOX: MailboxId = MailboxId::new(1);

fn appended(sizes: &[u64]) -> Vec<AppendMessage> {
    sizes.iter().map(|&size| AppendMessage { message: message(size), flags: Flags::default() }).collect()
}

fn store(how: FlagChange, uids: UidSet, words: &str, unchanged_since: Option<u64>) -> AccountCommand {
    let (mailbox, flags) = (INBOX, flags(words));
    AccountCommand::StoreFlags { mailbox, uids, change: how, flags, unchanged_since: unchanged_since.map(ModSeq::new) }
}

/// INBOX with three messages: seen, deleted, and one with a keyword. Mod-sequences 2, 3 and 4.
fn three() -> World {
    let mut world = World::with_account();
    for words in ["\\Seen", "\\Deleted", "$Label1"] {
        world.append(1, "INBOX", flags(words));
    }
    world
}

#[test]
fn append_takes_several_messages_or_none() {
    let mut world = World::with_account();
    let validity = world.mailbox(1, "INBOX").uid_validity;
    let append = |sizes: &[u64]| AccountCommand::Append { mailbox: INBOX, messages: appended(sizes) };
    let map = UidMap { uid_validity: Some(validity), from: vec![], to: vec![Uid::new(1), Uid::new(2)] };
    assert_eq!(world.change(1, append(&[10, 20])), AccountReply::Uids(map));
    world.change(1, AccountCommand::SetQuota(Quota { bytes_max: Some(100), messages_max: Some(4) }));
    let before = world.rows();
    for too_much in [&[60, 11][..], &[1, 1, 1][..], &[71][..]] {
        assert_eq!(world.change(1, append(too_much)), AccountReply::Refused(AccountRefusal::OverQuota), "{too_much:?}");
        assert_eq!(world.rows(), before, "all or none (RFC 3502)");
    }
    assert!(matches!(world.change(1, append(&[60, 10])), AccountReply::Uids(_)), "exactly full is not over");
    let nowhere = AccountCommand::Append { mailbox: MailboxId::new(99), messages: appended(&[1]) };
    assert_eq!(world.change(1, nowhere), AccountReply::Refused(AccountRefusal::NoMailbox));
}

#[test]
fn what_was_appended_can_be_fetched() {
    let mut world = World::with_account();
    let mut sent = message_with(5000, &[7, 9], &[1]);
    sent.internal_date = Some(UnixMillis::new(86_400_000));
    let messages = vec![AppendMessage { message: sent.clone(), flags: flags("\\Draft") }];
    world.change(1, AccountCommand::Append { mailbox: INBOX, messages });
    let fetched = world.messages(1, INBOX, true).remove(0);
    assert_eq!((fetched.size_bytes, fetched.prefix_size_bytes), (5000, 0));
    assert_eq!((fetched.internal_date, fetched.saved_date), (UnixMillis::new(86_400_000), world.now));
    assert_eq!((fetched.summary, fetched.state.flags), (Some(sent.summary), flags("\\Draft")));
    assert_eq!(world.messages(1, INBOX, false)[0].summary, None);
    let AccountAnswer::Content(Some(content)) = world.ask(1, AccountQuery::Content(fetched.state.email)) else {
        panic!("no content")
    };
    assert_eq!((content.size_bytes, content.prefix), (5000, Sealed::plain(1, vec![])));
    assert_eq!((content.recipe, content.blobs), (sent.recipe, vec![blob(7), blob(9)]));
    assert_eq!(world.ask(1, AccountQuery::Content(EmailId::new(9))), AccountAnswer::Content(None));
}

/// A message's UID, flags and mod-sequence.
type Reported = (u32, &'static str, u64);

#[test]
fn store_changes_reports_and_counts() {
    // The command on the three messages; flags and mod-sequences of those reported; unseen and deleted then.
    let cases: [(AccountCommand, &[Reported], (u64, u64)); 6] = [
        (
            store(FlagChange::Add, UidSet::all(), "\\Seen", None),
            &[(1, "\\Seen", 2), (2, "\\Seen \\Deleted", 5), (3, "\\Seen $Label1", 5)],
            (0, 1),
        ),
        (
            store(FlagChange::Remove, UidSet::all(), "\\Deleted $LABEL1", None),
            &[(1, "\\Seen", 2), (2, "", 5), (3, "", 5)],
            (2, 0),
        ),
        (
            store(FlagChange::Replace, uids([1, 3]), "\\Deleted", None),
            &[(1, "\\Deleted", 5), (3, "\\Deleted", 5)],
            (3, 3),
        ),
        (store(FlagChange::Replace, uids([3]), "$label1", None), &[(3, "$Label1", 4)], (2, 1)),
        (store(FlagChange::Add, uids([7]), "\\Seen", None), &[], (2, 1)),
        (store(FlagChange::Add, uids([2]), "$LABEL1 new", None), &[(2, "\\Deleted $Label1 new", 5)], (2, 1)),
    ];
    for (command, reported, counts) in cases {
        let mut world = three();
        let AccountReply::Stored { messages, modified } = world.change(1, command.clone()) else {
            panic!("{command:?}")
        };
        let told: Vec<_> = messages.into_iter().map(|each| (each.uid.get(), each.flags, each.modseq.get())).collect();
        let expected: Vec<_> = reported.iter().map(|&(uid, words, modseq)| (uid, flags(words), modseq)).collect();
        assert_eq!((told, modified), (expected, vec![]), "{command:?}");
        let inbox = world.mailbox(1, "INBOX");
        assert_eq!((inbox.unseen, inbox.deleted), counts, "{command:?}");
        assert_eq!(inbox.deleted_size_bytes, counts.1 * 100, "{command:?}");
        let changed = reported.iter().any(|(_, _, modseq)| *modseq == 5);
        assert_eq!(inbox.highest_modseq.get(), if changed { 5 } else { 4 }, "{command:?}");
        assert_eq!(world.touched.len(), usize::from(changed), "{command:?}");
    }
}

#[test]
fn store_leaves_alone_what_changed_since() {
    let mut world = three();
    let reply = world.change(1, store(FlagChange::Add, UidSet::all(), "\\Flagged", Some(3)));
    let AccountReply::Stored { messages, modified } = reply else { panic!("{reply:?}") };
    assert_eq!(messages.iter().map(|each| each.uid.get()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(modified, [Uid::new(3)], "RFC 7162 MODIFIED");
    let reply = world.change(1, store(FlagChange::Add, uids([3]), "\\Flagged", Some(0)));
    assert_eq!(reply, AccountReply::Stored { messages: vec![], modified: vec![Uid::new(3)] });
}

#[test]
fn a_keyword_keeps_its_first_spelling_and_the_list_its_order() {
    let mut world = three();
    world.append(1, "INBOX", flags("zebra $LABEL1"));
    world.append(1, "INBOX", flags("apple Zebra"));
    let listed: Vec<_> = world.mailbox(1, "INBOX").keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect();
    assert_eq!(listed, ["$Label1", "zebra", "apple"]);
    assert_eq!(world.states(1, INBOX)[4].flags, flags("apple zebra"));
    world.change(1, AccountCommand::Expunge { mailbox: INBOX, uids: UidSet::all(), deleted_only: false });
    assert_eq!(world.mailbox(1, "INBOX").keywords.len(), 3, "once used");
}

#[test]
fn a_message_has_at_most_64_keywords_and_a_mailbox_lists_256() {
    let words = |from: usize, count: usize| (from..from + count).map(|n| format!("k{n} ")).collect::<String>();
    let mut world = World::with_account();
    world.append(1, "INBOX", flags(&words(0, 64)));
    let before = world.rows();
    let too_many = AccountReply::Refused(AccountRefusal::TooMany(64));
    assert_eq!(world.change(1, store(FlagChange::Add, UidSet::all(), "one-more", None)), too_many);
    let messages = vec![AppendMessage { message: message(1), flags: flags(&words(0, 65)) }];
    assert_eq!(world.change(1, AccountCommand::Append { mailbox: INBOX, messages }), too_many);
    assert_eq!(world.rows(), before);
    for from in [60, 120, 180, 240] {
        world.append(1, "INBOX", flags(&words(from, 64)));
    }
    assert_eq!(world.mailbox(1, "INBOX").keywords.len(), 256);
    assert_eq!(world.states(1, INBOX)[4].flags, flags(&words(240, 64)), "what is not listed is set all the same");
}

#[test]
fn copy_makes_instances_and_uses_no_quota() {
    let mut world = three();
    let (archive, used) = (world.id(1, "Archive"), world.quota(1));
    world.change(1, AccountCommand::SetQuota(Quota { bytes_max: Some(300), messages_max: Some(3) }));
    world.pass_millis(5000);
    let copy = AccountCommand::Copy { mailbox: INBOX, uids: uids([1, 3, 9]), to: archive };
    let uid_validity = Some(world.mailbox(1, "Archive").uid_validity);
    let map = UidMap { uid_validity, from: vec![Uid::new(1), Uid::new(3)], to: vec![Uid::new(1), Uid::new(2)] };
    assert_eq!(world.change(1, copy), AccountReply::Uids(map));
    assert_eq!((world.quota(1).bytes, world.quota(1).messages), (used.bytes, used.messages));
    let (original, copied) = (&world.messages(1, INBOX, false)[2], &world.messages(1, archive, false)[1]);
    assert_eq!((copied.state.email, &copied.state.flags), (original.state.email, &original.state.flags));
    assert_eq!((copied.internal_date, copied.thread), (original.internal_date, original.thread));
    assert_eq!(copied.saved_date, world.now, "RFC 8514: the copy is saved now");
    assert_eq!(world.mailbox(1, "Archive").keywords, flags("$Label1").keywords());
    let places = vec![(INBOX, Uid::new(3)), (archive, Uid::new(2))];
    assert_eq!(world.ask(1, AccountQuery::Instances(copied.state.email)), AccountAnswer::Instances(places));
    let into_itself = AccountCommand::Copy { mailbox: archive, uids: uids([2]), to: archive };
    assert!(matches!(world.change(1, into_itself), AccountReply::Uids(map) if map.to == [Uid::new(3)]));
    assert_eq!(world.uids(1, "Archive"), [1, 2, 3], "another instance of the same message");
}

#[test]
fn move_gives_new_uids_and_leaves_tombstones() {
    let mut world = three();
    let archive = world.id(1, "Archive");
    let since = world.mailbox(1, "INBOX").highest_modseq;
    let moved = AccountCommand::Move { mailbox: INBOX, uids: uids([1, 3]), to: archive };
    assert!(matches!(world.change(1, moved), AccountReply::Uids(map) if map.to == [Uid::new(1), Uid::new(2)]));
    assert_eq!((world.uids(1, "INBOX"), world.uids(1, "Archive")), (vec![2], vec![1, 2]));
    assert_eq!(world.changes(1, INBOX, since).vanished, uids([1, 3]));
    let log = world.ask(1, AccountQuery::ChangeLog { since, rows_max: 100 });
    let modseq = since.next();
    let updated = [1, 3].map(|email| (modseq, Changed::EmailUpdated(EmailId::new(email))));
    assert_eq!(log, AccountAnswer::ChangeLog(Some(updated.to_vec())), "not destroyed and made again");
    let within = AccountCommand::Move { mailbox: archive, uids: UidSet::all(), to: archive };
    assert!(matches!(world.change(1, within), AccountReply::Uids(map) if map.to == [Uid::new(3), Uid::new(4)]));
    assert_eq!(world.uids(1, "Archive"), [3, 4]);
    let nowhere = AccountCommand::Move { mailbox: INBOX, uids: UidSet::all(), to: MailboxId::new(99) };
    assert_eq!(world.change(1, nowhere), AccountReply::Refused(AccountRefusal::NoMailbox));
    let nothing = AccountCommand::Move { mailbox: INBOX, uids: uids([99]), to: archive };
    let before = world.rows();
    assert_eq!(world.change(1, nothing), AccountReply::Uids(UidMap::default()));
    assert_eq!((world.rows(), world.touched.len()), (before, 0), "nothing named, nothing changed");
}

#[test]
fn expunge_removes_the_message_with_its_last_instance() {
    let mut world = World::with_account();
    let messages = vec![AppendMessage { message: message_with(700, &[7], &[]), flags: flags("\\Deleted") }];
    world.change(1, AccountCommand::Append { mailbox: INBOX, messages });
    let archive = world.id(1, "Archive");
    world.change(1, AccountCommand::Copy { mailbox: INBOX, uids: uids([1]), to: archive });
    let expunge = |mailbox| AccountCommand::Expunge { mailbox, uids: UidSet::all(), deleted_only: true };
    assert_eq!(world.change(1, expunge(INBOX)), AccountReply::Expunged(vec![Uid::new(1)]));
    let reachable = |world: &World| world.answer(&securanet_model::Query::BlobsReachable(vec![blob(7), blob(8)]));
    assert_eq!(reachable(&world), securanet_model::Answer::BlobsReachable(vec![true, false]));
    assert_eq!(world.quota(1).bytes, 700);
    assert_eq!(world.change(1, expunge(archive)), AccountReply::Expunged(vec![Uid::new(1)]));
    assert_eq!(reachable(&world), securanet_model::Answer::BlobsReachable(vec![false, false]));
    assert_eq!((world.quota(1).bytes, world.quota(1).messages), (0, 0));
    assert_eq!(world.ask(1, AccountQuery::Content(EmailId::new(1))), AccountAnswer::Content(None));
}

#[test]
fn expunge_takes_only_deleted_messages_or_all_that_are_named() {
    for (named, deleted_only, gone) in
        [(UidSet::all(), true, vec![2]), (uids([1, 3]), true, vec![]), (uids([1, 3]), false, vec![1, 3])]
    {
        let mut world = three();
        let reply = world.change(1, AccountCommand::Expunge { mailbox: INBOX, uids: named.clone(), deleted_only });
        assert_eq!(reply, AccountReply::Expunged(gone.into_iter().map(Uid::new).collect()), "{named:?} {deleted_only}");
    }
}

#[test]
fn a_uid_is_not_given_again_after_the_highest_one_is_gone() {
    let mut world = three();
    world.change(1, AccountCommand::Expunge { mailbox: INBOX, uids: UidSet::all(), deleted_only: false });
    assert_eq!(world.append(1, "INBOX", flags("")), 4, "P3");
}

#[test]
fn an_import_is_taken_once_per_key() {
    let mut world = World::with_account();
    let import = |n: u8| AccountCommand::Import {
        mailbox: INBOX,
        message: Box::new(AppendMessage { message: message(30), flags: flags("\\Seen") }),
        key: crate::world::hash(n),
    };
    let first = world.change(1, import(1));
    assert!(matches!(first, AccountReply::Uids(map) if map.to == [Uid::new(1)]));
    assert_eq!(world.change(1, import(1)), AccountReply::Uids(UidMap::default()));
    world.change(1, import(2));
    assert_eq!(world.uids(1, "INBOX"), [1, 2]);
    assert!(world.states(1, INBOX)[0].flags.system.contains(SystemFlags::SEEN));
}

#[test]
fn the_maildrop_lock_is_a_lease() {
    let mut world = World::with_account();
    let start = world.now;
    let (ann, bob) = (RequestId::new([1; 16]), RequestId::new([2; 16]));
    let lock =
        |session, now: UnixMillis, millis| AccountCommand::LockMaildrop { session, until: now.plus_millis(millis) };
    let holder = |world: &World, now| world.ask(1, AccountQuery::MaildropLock { now });
    assert_eq!(world.change(1, lock(ann, start, 60_000)), AccountReply::Done);
    let before = world.rows();
    assert_eq!(world.change(1, lock(bob, start, 60_000)), AccountReply::Refused(AccountRefusal::Locked));
    assert_eq!(world.change(1, AccountCommand::UnlockMaildrop { session: bob }), AccountReply::Done);
    assert_eq!(world.rows(), before, "who does not hold it cannot give it back");
    assert_eq!(world.change(1, lock(ann, start, 3_600_000)), AccountReply::Done, "the holder renews");
    assert_eq!(holder(&world, start.plus_millis(599_999)), AccountAnswer::MaildropLock(Some(ann)));
    assert_eq!(holder(&world, start.plus_millis(600_000)), AccountAnswer::MaildropLock(None), "ten minutes at most");
    world.pass_millis(600_000);
    let now = world.now;
    assert_eq!(world.change(1, lock(bob, now, 1000)), AccountReply::Done, "a dead session cannot keep it");
    assert_eq!(world.change(1, AccountCommand::UnlockMaildrop { session: bob }), AccountReply::Done);
    assert_eq!(holder(&world, now), AccountAnswer::MaildropLock(None));
}
