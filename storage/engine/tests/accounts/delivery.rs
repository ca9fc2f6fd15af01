//! Delivery: folders, quotas, repeats, threads, and what it costs.

use securanet_engine::apply;
use securanet_kv::port::Change;
use securanet_model::{
    Answer, BlobId, Command, EmailId, Execute, MailboxId, Query, RequestId, ThreadId, Uid,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRefusal, AccountReply, UidSet},
    delivery::{DeliverTo, Delivered, QuotaRule},
    directory::Quota,
    limits::SUPPRESSION_MILLIS,
    request::{Proposal, Totals},
};

use crate::world::{World, blob, delivery, flags, hash, message, message_with, name, provision, to};

const INBOX: MailboxId = MailboxId::new(1);

fn stored(mailbox: MailboxId, uid: u32, email: u64) -> Delivered {
    Delivered::Stored { mailbox, uid: Uid::new(uid), email: EmailId::new(email) }
}

#[test]
fn a_message_comes_unflagged_with_the_recipients_own_prefix() {
    let mut world = World::with_account();
    assert_eq!(world.deliver(delivery(message(500), [to(1)])), [stored(INBOX, 1, 1)]);
    let got = world.messages(1, INBOX, true).remove(0);
    assert_eq!((got.size_bytes, got.prefix_size_bytes), (510, 10));
    assert_eq!((got.internal_date, got.saved_date), (world.now, world.now));
    assert_eq!((got.state.flags, got.summary), (flags(""), Some(message(500).summary)));
    let AccountAnswer::Content(Some(content)) = world.ask(1, AccountQuery::Content(EmailId::new(1))) else {
        panic!("no content")
    };
    assert_eq!((content.prefix, content.prefix_size_bytes), (to(1).prefix, 10));
    assert_eq!(world.quota(1).bytes, 510);
}

#[test]
fn a_subaddress_finds_its_folder_in_any_case_by_its_whole_path() {
    let mut world = World::with_account();
    for mailbox in ["Lists/Rust", "work", "Work", "Äpfel"] {
        world.change(1, AccountCommand::CreateMailbox { name: name(mailbox), special_use: None });
    }
    let cases = [
        ("lists/rust", "Lists/Rust"),
        ("LISTS", "Lists"),
        ("rust", "INBOX"),
        ("work", "work"),
        ("WORK", "Work"),
        ("Äpfel", "Äpfel"),
        ("äpfel", "INBOX"),
        ("iNbOx", "INBOX"),
        ("", "INBOX"),
        ("a*b", "INBOX"),
        ("sent", "Sent"),
        ("//", "INBOX"),
    ];
    for (folder, expected) in cases {
        let outcome = world.deliver(delivery(message(1), [DeliverTo { folder: Some(folder.to_owned()), ..to(1) }]));
        let mailbox = world.id(1, expected);
        assert!(
            matches!(outcome[0], Delivered::Stored { mailbox: got, .. } if got == mailbox),
            "{folder}: {outcome:?}"
        );
    }
}

#[test]
fn each_recipient_has_an_outcome_of_its_own() {
    let mut world = World::with_account();
    let quota = Quota { bytes_max: Some(100), messages_max: None };
    world.change(2, provision(quota));
    world.change(4, provision(quota));
    let mut deliver = delivery(message_with(200, &[5], &[3]), [1, 2, 3, 4].map(to));
    deliver.to[3].folder = Some("Junk".to_owned());
    let refused = |refusal| Delivered::Refused(refusal);
    let (full, absent) = (refused(AccountRefusal::OverQuota), refused(AccountRefusal::NoAccount));
    assert_eq!(world.deliver(deliver.clone()), [stored(INBOX, 1, 1), full.clone(), absent.clone(), full]);
    crate::rows::check(&world, &[1, 2, 4]);
    deliver.quota = QuotaRule::Admitted;
    let junk = world.id(4, "Junk");
    let outcomes = world.deliver(deliver);
    assert_eq!(
        outcomes,
        [stored(INBOX, 2, 2), stored(INBOX, 1, 1), absent, stored(junk, 1, 1)],
        "admitted mail is kept"
    );
    crate::rows::check(&world, &[1, 2, 4]);
    assert_eq!(world.quota(2).bytes, 210);
}

#[test]
fn a_senders_repeat_is_counted_and_not_stored_for_three_days() {
    let mut world = World::with_account();
    world.change(2, provision(Quota::default()));
    let once = |account, n| delivery(message(10), [DeliverTo { repeat_key: Some(hash(n)), ..to(account) }]);
    let is_repeat = |world: &mut World, deliver| world.deliver(deliver) == [Delivered::Repeat];
    assert!(!is_repeat(&mut world, once(1, 7)));
    assert!(is_repeat(&mut world, once(1, 7)));
    assert!(!is_repeat(&mut world, once(1, 8)), "another key");
    assert!(!is_repeat(&mut world, once(2, 7)), "another account");
    assert!(!is_repeat(&mut world, delivery(message(10), [to(1)])), "no key");
    world.pass_millis(SUPPRESSION_MILLIS - 1);
    assert!(is_repeat(&mut world, once(1, 7)));
    world.pass_millis(1);
    assert!(!is_repeat(&mut world, once(1, 7)), "the window is over");
    assert!(is_repeat(&mut world, once(1, 7)), "and begins anew");
    let Answer::Totals(totals) = world.answer(&Query::Totals) else { panic!("no totals") };
    assert_eq!(totals, Totals { accounts: 2, messages: 5, bytes: 100, repeats_suppressed: 3 });
}

#[test]
fn a_refused_delivery_is_not_a_repeat_later() {
    let mut world = World::with_account();
    world.change(1, AccountCommand::SetQuota(Quota { bytes_max: Some(0), messages_max: None }));
    let deliver = delivery(message(10), [DeliverTo { repeat_key: Some(hash(7)), ..to(1) }]);
    assert_eq!(world.deliver(deliver.clone()), [Delivered::Refused(AccountRefusal::OverQuota)]);
    world.change(1, AccountCommand::SetQuota(Quota::default()));
    assert_eq!(world.deliver(deliver), [stored(INBOX, 1, 1)]);
}

#[test]
fn repeat_rows_of_days_that_are_over_are_collected() {
    let mut world = World::with_account();
    let repeats = |world: &World| {
        let table = securanet_engine::keys::Table::Repeat as u8;
        world.rows().into_keys().filter(|key| key[0] == table).count()
    };
    for n in 0..20 {
        world.deliver(delivery(message(10), [DeliverTo { repeat_key: Some(hash(n)), ..to(1) }]));
        world.pass_millis(12 * 3_600_000);
        assert!(repeats(&world) <= 8, "four days at two deliveries a day");
    }
}

/// The threads of messages that come one after the other, each with its keys (own id first).
fn threads(messages: &[&[u8]]) -> Vec<u64> {
    let mut world = World::with_account();
    for keys in messages {
        world.deliver(delivery(message_with(10, &[], keys), [to(1)]));
    }
    world.messages(1, INBOX, false).iter().map(|message| message.thread.get()).collect()
}

#[test]
fn a_message_joins_the_thread_of_the_first_key_that_is_known() {
    assert_eq!(threads(&[&[1], &[2, 1], &[3, 2, 1]]), [1, 1, 1]);
    assert_eq!(threads(&[&[1], &[2]]), [1, 2]);
    assert_eq!(threads(&[&[], &[]]), [1, 2], "nothing to join by");
    assert_eq!(threads(&[&[2, 1], &[3, 1]]), [1, 1], "two replies to a message that never came");
    assert_eq!(threads(&[&[2, 1], &[1]]), [1, 1], "the parent comes late");
    assert_eq!(threads(&[&[1], &[2], &[3, 2, 1]]), [1, 2, 2], "the parent before the root; threads do not merge");
    assert_eq!(threads(&[&[1, 1, 1], &[2, 1, 1]]), [1, 1], "repeated references");
    let long: Vec<u8> = (10..60).collect();
    assert_eq!(threads(&[&[59], &long]), [1, 1], "found far behind");
    let attack: Vec<u8> = (0..200).collect();
    assert_eq!(threads(&[&[199], &attack]), [1, 2], "not looked for for ever");
}

#[test]
fn a_thread_key_goes_with_the_last_message_that_names_it() {
    let mut world = World::with_account();
    for keys in [&[1][..], &[2, 1][..]] {
        world.deliver(delivery(message_with(10, &[], keys), [to(1)]));
    }
    let expunge =
        |uid| AccountCommand::Expunge { mailbox: INBOX, uids: crate::world::uids([uid]), deleted_only: false };
    world.change(1, expunge(1));
    world.deliver(delivery(message_with(10, &[], &[3, 1]), [to(1)]));
    assert_eq!(world.messages(1, INBOX, false)[1].thread, ThreadId::new(1), "the reply still names the root");
    world.change(1, AccountCommand::Expunge { mailbox: INBOX, uids: UidSet::all(), deleted_only: false });
    let table = securanet_engine::keys::Table::ThreadKey as u8;
    assert!(!world.rows().keys().any(|key| key[0] == table), "no message, no row");
}

#[test]
fn blobs_are_listed_once_however_many_messages_name_them() {
    let mut world = World::with_account();
    world.change(2, provision(Quota::default()));
    for blobs in [&[1, 2, 3][..], &[2, 3][..], &[3, 9][..]] {
        world.deliver(delivery(message_with(10, blobs, &[]), [1, 2].map(to)));
    }
    let page = |after: Option<BlobId>, rows_max| world.answer(&Query::Blobs { after, rows_max });
    assert_eq!(page(None, 3), Answer::Blobs([1, 2, 3].map(blob).to_vec()));
    assert_eq!(page(Some(blob(3)), 3), Answer::Blobs(vec![blob(9)]));
    assert_eq!(page(Some(blob(9)), 3), Answer::Blobs(vec![]));
    assert_eq!(page(Some(blob(4)), 0), Answer::Blobs(vec![blob(9)]), "a page has at least one row");
}

/// The hot path: what it costs is counted, so that nobody makes it dearer unseen.
#[test]
fn a_small_delivery_writes_eleven_rows_and_few_octets_beside_the_message() {
    let mut world = World::with_account();
    let first = DeliverTo { repeat_key: Some(hash(1)), ..to(1) };
    world.deliver(delivery(message_with(4096, &[], &[1]), [first]));
    let recipient = DeliverTo { repeat_key: Some(hash(2)), ..to(1) };
    let deliver = delivery(message_with(4096, &[], &[2]), [recipient]);
    let message_octets = deliver.message.recipe.bytes.len() + deliver.message.summary.bytes.len();
    let request = Execute {
        group: world.space.group,
        request: RequestId::new([9; 16]),
        deadline: world.now.plus_millis(1000),
        commands: vec![Command::Deliver(deliver)],
    };
    let proposal = Proposal { stamp: world.now, requests: vec![request] };
    let batch = apply(&world.store, world.space, &proposal).unwrap().batch;
    let own: Vec<(usize, usize)> = batch
        .changes()
        .iter()
        .filter_map(|change| match change {
            Change::Put(key, value) if key[8] >= 0x40 => Some((key.len(), value.len())),
            Change::Put(..) => None,
            other => panic!("a delivery only puts: {other:?}"),
        })
        .collect();
    assert_eq!(own.len(), 11);
    let keys: usize = own.iter().map(|(key, _)| key).sum();
    let values: usize = own.iter().map(|(_, value)| value).sum();
    assert!(values - message_octets < 200, "{} octets of values beside the message", values - message_octets);
    assert!(keys < 320, "{keys} octets of keys");
}

#[test]
fn an_account_that_was_removed_takes_no_mail() {
    let mut world = World::with_account();
    assert_eq!(world.change(1, AccountCommand::Remove), AccountReply::Done);
    assert_eq!(world.deliver(delivery(message(1), [to(1)])), [Delivered::Refused(AccountRefusal::NoAccount)]);
}
