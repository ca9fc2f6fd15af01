//! Copies in Sent: kept once, found by the client's own upload for ten minutes, bounded.

use securanet_model::{
    Command, MailboxId, Reply, Uid,
    account::{AccountCommand, AccountRefusal, AccountReply, AppendMessage, UidMap},
    delivery::{DeliverReply, Delivered, QuotaRule},
    directory::Quota,
    limits::SUPPRESSION_MILLIS,
    request::{Execute, Proposal},
};

use crate::world::{World, account_ref, delivery, flags, hash, message, message_with, name, provision, to};

const MINUTE: u64 = 60_000;

fn keep(thread_key: u8, key: u8) -> AccountCommand {
    AccountCommand::KeepSent { message: Box::new(message_with(300, &[], &[thread_key])), key: hash(key) }
}

fn upload(mailbox: MailboxId, messages: &[(u8, &str)]) -> AccountCommand {
    let message =
        |(key, words): &(u8, &str)| AppendMessage { message: message_with(400, &[], &[*key]), flags: flags(words) };
    AccountCommand::Append { mailbox, messages: messages.iter().map(message).collect() }
}

fn made(reply: &AccountReply) -> Vec<u32> {
    match reply {
        AccountReply::Uids(map) => map.to.iter().map(|uid| uid.get()).collect(),
        other => panic!("{other:?}"),
    }
}

fn sent(world: &World) -> Vec<(u32, securanet_model::Flags)> {
    let states = world.states(1, world.id(1, "Sent"));
    states.into_iter().map(|state| (state.uid.get(), state.flags)).collect()
}

#[test]
fn a_copy_is_seen_and_kept_once_per_key() {
    let mut world = World::with_account();
    let uid_validity = Some(world.mailbox(1, "Sent").uid_validity);
    let expected = AccountReply::Uids(UidMap { uid_validity, from: Vec::new(), to: vec![Uid::FIRST] });
    assert_eq!(world.change(1, keep(1, 1)), expected);
    assert_eq!(world.change(1, keep(1, 1)), AccountReply::Uids(UidMap::default()), "the sender's repeat");
    assert_eq!(sent(&world), [(1, flags("\\Seen"))]);
    world.pass_millis(SUPPRESSION_MILLIS);
    assert_eq!(made(&world.change(1, keep(1, 1))), [2], "after that it is another message");
}

#[test]
fn an_upload_within_ten_minutes_finds_the_copy_and_adds_its_flags() {
    let mut world = World::with_account();
    world.change(1, keep(1, 1));
    let mailbox = world.id(1, "Sent");
    let before = (world.mailbox(1, "Sent"), world.quota(1));
    world.pass_millis(10 * MINUTE - 1);
    assert_eq!(made(&world.change(1, upload(mailbox, &[(1, "\\Seen")]))), [1]);
    assert_eq!((world.mailbox(1, "Sent"), world.quota(1)), before, "nothing was stored and nothing changed");
    assert!(world.touched.is_empty());
    assert_eq!(made(&world.change(1, upload(mailbox, &[(1, "\\Flagged work")]))), [1]);
    assert_eq!(sent(&world), [(1, flags("\\Seen \\Flagged work"))]);
    assert!(world.mailbox(1, "Sent").highest_modseq > before.0.highest_modseq, "other sessions hear of the flags");
    assert_eq!(made(&world.change(1, upload(mailbox, &[(2, "")]))), [2], "another message");
    world.pass_millis(1);
    assert_eq!(made(&world.change(1, upload(mailbox, &[(1, "")]))), [3], "ten minutes are over");
}

#[test]
fn several_uploads_at_once_find_their_copies_among_what_is_new() {
    let mut world = World::with_account();
    (1..=2).for_each(|key| drop(world.change(1, keep(key, key))));
    let mailbox = world.id(1, "Sent");
    let quota = Quota { bytes_max: Some(world.quota(1).bytes + 400), messages_max: None };
    world.change(1, AccountCommand::SetQuota(quota));
    let uploads = [(2, "\\Flagged"), (7, ""), (1, ""), (2, "more")];
    assert_eq!(made(&world.change(1, upload(mailbox, &uploads))), [2, 3, 1, 2], "only what is new needs room");
    assert_eq!(sent(&world), [(1, flags("\\Seen")), (2, flags("\\Seen \\Flagged more")), (3, flags(""))],);
    let refused = world.change(1, upload(mailbox, &[(1, "\\Draft"), (8, "")]));
    assert_eq!(refused, AccountReply::Refused(AccountRefusal::OverQuota));
    assert_eq!(sent(&world)[0].1, flags("\\Seen"), "all or none");
}

#[test]
fn a_copy_that_is_elsewhere_or_gone_is_not_found() {
    let mut world = World::with_account();
    world.change(1, keep(1, 1));
    let (inbox, mailbox) = (world.id(1, "INBOX"), world.id(1, "Sent"));
    assert_eq!(made(&world.change(1, upload(inbox, &[(1, "")]))), [1], "an APPEND elsewhere is an APPEND");
    world.change(1, AccountCommand::Expunge { mailbox, uids: crate::world::uids([1]), deleted_only: false });
    assert_eq!(made(&world.change(1, upload(mailbox, &[(1, "")]))), [2]);
    assert_eq!(world.uids(1, "Sent"), [2]);
}

#[test]
fn a_message_without_ids_of_its_own_is_never_taken_for_a_copy() {
    let mut world = World::with_account();
    let nameless = AccountCommand::KeepSent { message: Box::new(message(300)), key: hash(1) };
    world.change(1, nameless);
    let mailbox = world.id(1, "Sent");
    let append = AppendMessage { message: message(300), flags: flags("") };
    assert_eq!(made(&world.change(1, AccountCommand::Append { mailbox, messages: vec![append] })), [2]);
    // A reply names the id of what it answers, but its own stands first.
    world.change(1, keep(3, 3));
    let reply = AppendMessage { message: message_with(300, &[], &[9, 3]), flags: flags("") };
    assert_eq!(made(&world.change(1, AccountCommand::Append { mailbox, messages: vec![reply] })), [4]);
}

#[test]
fn the_mailbox_is_the_one_of_the_use_then_of_the_name_then_a_new_one() {
    let mut world = World::with_account();
    let delete = |text: &str| AccountCommand::DeleteMailbox { name: name(text) };
    world.change(1, AccountCommand::RenameMailbox { from: name("Sent"), to: name("Gesendet") });
    world.change(1, AccountCommand::CreateMailbox { name: name("Sent"), special_use: None });
    world.change(1, keep(1, 1));
    assert_eq!((world.uids(1, "Gesendet"), world.uids(1, "Sent")), (vec![1], vec![]));
    world.change(1, delete("Gesendet"));
    world.change(1, keep(2, 2));
    assert_eq!(world.uids(1, "Sent"), [1]);
    world.change(1, delete("Sent"));
    world.change(1, keep(3, 3));
    assert_eq!(world.uids(1, "Sent"), [1]);
    assert_eq!(world.mailbox(1, "Sent").special_use, Some(securanet_model::SpecialUse::Sent));
    crate::rows::check(&world, &[1]);
}

#[test]
fn a_full_account_keeps_no_copy_and_may_try_again() {
    let mut world = World::new();
    world.change(1, provision(Quota { bytes_max: Some(100), messages_max: None }));
    assert_eq!(world.change(1, keep(1, 1)), AccountReply::Refused(AccountRefusal::OverQuota));
    world.change(1, AccountCommand::SetQuota(Quota::default()));
    assert_eq!(made(&world.change(1, keep(1, 1))), [1]);
}

/// Runs both in one request and answers what they said.
fn together(world: &mut World, first: Command, second: Command) -> Vec<Reply> {
    let request = securanet_model::RequestId::new([0xee; 16]);
    let deadline = world.now.plus_millis(60_000);
    let execute = Execute { group: world.space.group, request, deadline, commands: vec![first, second] };
    world.replay(&Proposal { stamp: world.now, requests: vec![execute] }).remove(0)
}

#[test]
fn there_is_no_copy_of_what_was_not_taken_in() {
    let mut world = World::with_account();
    world.change(2, provision(Quota { bytes_max: Some(1), messages_max: None }));
    let keep = Command::Account(account_ref(1), keep(1, 1));
    let deliver = delivery(message(300), [to(1), to(2)]);
    let replies = together(&mut world, Command::Deliver(deliver.clone()), keep.clone());
    let not_sent = Reply::Account(AccountReply::Refused(AccountRefusal::NotSent));
    assert!(
        matches!(&replies[0], Reply::Deliver(DeliverReply::Outcomes(outcomes)) if
        matches!(outcomes.as_slice(), [Delivered::Stored { .. }, Delivered::Refused(_)])),
        "{replies:?}"
    );
    assert_eq!((&replies[1], sent(&world)), (&not_sent, vec![]));
    world.pass_millis(3 * MINUTE);
    let admitted = securanet_model::delivery::Deliver { quota: QuotaRule::Admitted, ..deliver };
    let replies = together(&mut world, Command::Deliver(admitted), keep);
    assert!(matches!(&replies[1], Reply::Account(AccountReply::Uids(_))), "{replies:?}");
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn what_is_remembered_is_bounded_and_goes_with_its_time() {
    let mut world = World::with_account();
    let remembered = |world: &World| {
        world.rows().keys().filter(|key| key[0] == securanet_engine::keys::Table::SentCopy as u8).count()
    };
    for copy in 0..257_u32 {
        let mut message = message_with(10, &[], &[0]);
        message.thread_keys[0].0[..4].copy_from_slice(&copy.to_be_bytes());
        let key = message.thread_keys[0];
        assert_eq!(made(&world.change(1, AccountCommand::KeepSent { message: Box::new(message), key })), [copy + 1]);
        world.pass_millis(1);
    }
    assert_eq!(remembered(&world), 256);
    let mailbox = world.id(1, "Sent");
    let mut again =
        |copy: u32| {
            let mut message = message_with(10, &[], &[0]);
            message.thread_keys[0].0[..4].copy_from_slice(&copy.to_be_bytes());
            made(&world.change(
                1,
                AccountCommand::Append { mailbox, messages: vec![AppendMessage { message, flags: flags("") }] },
            ))
        };
    assert_eq!((again(1), again(0)), (vec![2], vec![258]), "the oldest is forgotten first");
    world.pass_millis(10 * MINUTE);
    world.change(1, keep(9, 9));
    assert_eq!(remembered(&world), 1);
    world.change(1, AccountCommand::Remove);
    assert_eq!(remembered(&world), 0);
}
