//! CREATE, DELETE, RENAME, SUBSCRIBE and provisioning (RFC 9051 6.3.4 to 6.3.8, RFC 6154).

use securanet_model::{
    Epoch, MailboxId, SpecialUse,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply},
    directory::Quota,
    limits::MAILBOXES_MAX,
    request::Topic,
};

use crate::world::{World, account_ref, flags, name, provision};

fn create(name_: &str, special_use: Option<SpecialUse>) -> AccountCommand {
    AccountCommand::CreateMailbox { name: name(name_), special_use }
}

fn delete(name_: &str) -> AccountCommand {
    AccountCommand::DeleteMailbox { name: name(name_) }
}

fn rename(from: &str, to: &str) -> AccountCommand {
    AccountCommand::RenameMailbox { from: name(from), to: name(to) }
}

fn subscribe(name_: &str, subscribed: bool) -> AccountCommand {
    AccountCommand::Subscribe { name: name(name_), subscribed }
}

#[test]
fn a_new_account_has_inbox_and_special_use_mailboxes_all_subscribed() {
    let world = World::with_account();
    let told: Vec<_> = world
        .mailboxes(1)
        .into_iter()
        .map(|mailbox| (mailbox.name.to_string(), mailbox.special_use, mailbox.subscribed, mailbox.messages))
        .collect();
    let expected = [
        ("Archive", Some(SpecialUse::Archive)),
        ("Drafts", Some(SpecialUse::Drafts)),
        ("INBOX", None),
        ("Junk", Some(SpecialUse::Junk)),
        ("Sent", Some(SpecialUse::Sent)),
        ("Trash", Some(SpecialUse::Trash)),
    ];
    assert_eq!(told, expected.map(|(name, special_use)| (name.to_owned(), special_use, true, 0)));
    assert_eq!(world.touched, [Topic::Account(account_ref(1).id)]);
}

#[test]
fn provisioning_again_changes_only_the_quota() {
    let mut world = World::with_account();
    world.append(1, "INBOX", flags(""));
    let before = world.mailboxes(1);
    let quota = Quota { bytes_max: Some(5000), messages_max: Some(7) };
    assert_eq!(world.change(1, provision(quota)), AccountReply::Done);
    assert_eq!(world.mailboxes(1), before);
    assert_eq!((world.quota(1).quota, world.quota(1).bytes), (quota, 100));
}

#[test]
fn an_account_that_is_not_here_or_has_moved_answers_nothing_else() {
    let mut world = World::with_account();
    let commands = [
        AccountCommand::Remove,
        AccountCommand::SetQuota(Quota::default()),
        create("New", None),
        subscribe("New", true),
        AccountCommand::UnlockMaildrop { session: securanet_model::RequestId::new([1; 16]) },
    ];
    for command in commands {
        assert_eq!(world.change(2, command.clone()), AccountReply::Refused(AccountRefusal::NoAccount), "{command:?}");
        let moved = AccountRef { epoch: Epoch::new(2), ..account_ref(1) };
        let reply = world.run(securanet_model::Command::Account(moved, command.clone()));
        let refusal = AccountReply::Refused(AccountRefusal::WrongEpoch(Epoch::new(1)));
        assert_eq!(reply, securanet_model::Reply::Account(refusal), "{command:?}");
    }
    assert_eq!(world.ask(2, AccountQuery::Mailboxes), AccountAnswer::Refused(AccountRefusal::NoAccount));
    assert_eq!(world.mailboxes(1).len(), 6, "nothing was done");
}

/// Each command on an account with `A`, `A/B` and `C` besides the usual; then what LIST shows besides the usual.
fn check(command: AccountCommand, expected: Result<&[&str], AccountRefusal>) {
    let mut world = World::with_account();
    for name in ["A/B", "C"] {
        assert!(matches!(world.change(1, create(name, None)), AccountReply::Created(_)));
    }
    let before = world.rows();
    let reply = world.change(1, command.clone());
    match expected {
        Err(refusal) => {
            assert_eq!(reply, AccountReply::Refused(refusal), "{command:?}");
            assert_eq!(world.rows(), before, "a refused command changes nothing: {command:?}");
            assert_eq!(world.touched, [], "and wakes nobody: {command:?}");
        }
        Ok(names) => {
            let usual = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"];
            let mut all = world.names(1);
            all.retain(|name| !usual.contains(&name.as_str()));
            assert_eq!(all, names, "{command:?} answered {reply:?}");
        }
    }
}

#[test]
fn create_makes_missing_parents_and_refuses_what_is_taken() {
    check(create("D", None), Ok(&["A", "A/B", "C", "D"]));
    check(create("A/X/Y", None), Ok(&["A", "A/B", "A/X", "A/X/Y", "C"]));
    check(create("a", None), Ok(&["A", "A/B", "C", "a"]));
    check(create("inbox/x", None), Ok(&["A", "A/B", "C", "INBOX/x"]));
    check(create("C", None), Err(AccountRefusal::MailboxExists));
    check(create("Inbox", None), Err(AccountRefusal::MailboxExists));
    check(create("Sent2", Some(SpecialUse::Sent)), Err(AccountRefusal::SpecialUseTaken));
}

#[test]
fn delete_refuses_inbox_and_parents() {
    check(delete("C"), Ok(&["A", "A/B"]));
    check(delete("A/B"), Ok(&["A", "C"]));
    check(delete("A"), Err(AccountRefusal::HasChildren));
    check(delete("INBOX"), Err(AccountRefusal::Inbox));
    check(delete("c"), Err(AccountRefusal::NoMailbox));
}

#[test]
fn rename_moves_children_and_refuses_loops() {
    check(rename("A", "Z"), Ok(&["C", "Z", "Z/B"]));
    check(rename("A", "C/D/E"), Ok(&["C", "C/D", "C/D/E", "C/D/E/B"]));
    check(rename("A/B", "B"), Ok(&["A", "B", "C"]));
    check(rename("A", "a"), Ok(&["C", "a", "a/B"]));
    check(rename("A", "Archive2/A"), Ok(&["Archive2", "Archive2/A", "Archive2/A/B", "C"]));
    check(rename("A", "AA"), Ok(&["AA", "AA/B", "C"]));
    check(rename("A", "C"), Err(AccountRefusal::MailboxExists));
    check(rename("A", "A"), Err(AccountRefusal::MailboxExists));
    check(rename("A", "A/B/C"), Err(AccountRefusal::BelowItself));
    check(rename("A", "INBOX"), Err(AccountRefusal::Inbox));
    check(rename("X", "Y"), Err(AccountRefusal::NoMailbox));
    check(rename("INBOX", "Old/2024"), Ok(&["A", "A/B", "C", "Old", "Old/2024"]));
    check(rename("INBOX", "INBOX/old"), Ok(&["A", "A/B", "C", "INBOX/old"]));
    check(rename("A", &"x".repeat(512)), Err(AccountRefusal::TooMany(512)));
}

#[test]
fn a_special_use_is_free_again_once_its_mailbox_is_gone() {
    let mut world = World::with_account();
    assert_eq!(world.change(1, rename("Sent", "Gesendet")), AccountReply::Done);
    assert_eq!(world.mailbox(1, "Gesendet").special_use, Some(SpecialUse::Sent), "RENAME keeps the special use");
    assert_eq!(world.change(1, delete("Gesendet")), AccountReply::Done);
    assert!(matches!(world.change(1, create("Out", Some(SpecialUse::Sent))), AccountReply::Created(_)));
}

#[test]
fn renaming_inbox_moves_its_messages_under_new_uids_and_leaves_its_children() {
    let mut world = World::with_account();
    world.change(1, create("INBOX/child", None));
    for _ in 0..3 {
        world.append(1, "INBOX", flags("\\Seen kw"));
    }
    world.change(
        1,
        AccountCommand::Expunge { mailbox: MailboxId::new(1), uids: crate::world::uids([1]), deleted_only: false },
    );
    let used = world.quota(1);
    assert_eq!(world.change(1, rename("INBOX", "Old")), AccountReply::Done);
    assert_eq!((world.uids(1, "INBOX"), world.uids(1, "Old")), (vec![], vec![1, 2]));
    assert_eq!(world.mailbox(1, "Old").keywords, flags("kw").keywords(), "its keywords are listed there");
    assert_eq!((world.id(1, "INBOX"), world.mailbox(1, "INBOX").uid_next.get()), (MailboxId::new(1), 4));
    assert!(world.names(1).contains(&"INBOX/child".to_owned()));
    assert_eq!(world.quota(1), used);
    assert_eq!(world.append(1, "INBOX", flags("")), 4, "P3: INBOX goes on counting");
}

#[test]
fn a_name_that_comes_again_has_a_greater_uidvalidity() {
    let mut world = World::with_account();
    let mut last = 0;
    for _ in 0..3 {
        world.change(1, create("X", None));
        let validity = world.mailbox(1, "X").uid_validity.get();
        assert!(validity > last, "P3: deleted and made again within a second");
        last = validity;
        world.change(1, delete("X"));
    }
    world.change(1, create("Elder", None));
    world.change(1, create("X", None));
    let younger = world.mailbox(1, "X").uid_validity;
    world.change(1, delete("X"));
    world.change(1, rename("Elder", "X"));
    assert!(world.mailbox(1, "X").uid_validity > younger, "P3: an older mailbox under the name of a younger one");
}

#[test]
fn a_rename_keeps_id_uids_and_uidvalidity() {
    let mut world = World::with_account();
    world.change(1, create("A/B", None));
    world.append(1, "A/B", flags(""));
    let before = world.mailbox(1, "A/B");
    world.change(1, rename("A", "Z"));
    let after = world.mailbox(1, "Z/B");
    assert_eq!((after.id, after.uid_validity, after.uid_next), (before.id, before.uid_validity, before.uid_next));
    assert_eq!(after.highest_modseq, before.highest_modseq, "no message changed");
    world.change(1, rename("Z", "A"));
    let back = world.mailbox(1, "A/B");
    assert_eq!(back, before, "and back");
}

#[test]
fn subscriptions_go_by_name() {
    let mut world = World::with_account();
    world.change(1, subscribe("Later", true));
    assert_eq!(world.ask(1, AccountQuery::DanglingSubscriptions), AccountAnswer::Names(vec![name("Later")]));
    world.change(1, create("Later", None));
    assert!(world.mailbox(1, "Later").subscribed, "the name was subscribed before it existed");
    assert_eq!(world.ask(1, AccountQuery::DanglingSubscriptions), AccountAnswer::Names(vec![]));
    world.change(1, delete("Later"));
    assert_eq!(world.ask(1, AccountQuery::DanglingSubscriptions), AccountAnswer::Names(vec![name("Later")]));
    world.change(1, subscribe("Later", false));
    let before = world.rows();
    assert_eq!(world.change(1, subscribe("Later", false)), AccountReply::Done);
    assert_eq!(world.rows(), before, "once is enough");
    world.change(1, create("Unseen", None));
    assert!(!world.mailbox(1, "Unseen").subscribed, "CREATE does not subscribe");
}

#[test]
fn an_account_has_a_bounded_number_of_mailboxes_and_subscriptions() {
    let mut world = World::with_account();
    // Names of 64 levels, so that each command makes many mailboxes.
    let deep = |n: usize| format!("{n}{}", "/x".repeat(63));
    let mut made = 0;
    while world.change(1, create(&deep(made), None))
        != AccountReply::Refused(AccountRefusal::TooMany(MAILBOXES_MAX as u64))
    {
        made += 1;
    }
    assert_eq!(world.mailboxes(1).len(), 6 + made * 64, "all parents or none");
    assert!(MAILBOXES_MAX - world.mailboxes(1).len() < 64);
    for n in 0..MAILBOXES_MAX - 6 {
        assert_eq!(world.change(1, subscribe(&n.to_string(), true)), AccountReply::Done);
    }
    let one_more = world.change(1, subscribe("one more", true));
    assert_eq!(one_more, AccountReply::Refused(AccountRefusal::TooMany(MAILBOXES_MAX as u64)));
}
