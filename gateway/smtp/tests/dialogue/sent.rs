//! Policy `submission.copy_to_sent`: what ann submits is kept in her Sent mailbox too.

use securanet_gateway::model::{
    AccountId, Command, Epoch, GroupId,
    account::{AccountCommand, AccountRef, AccountRefusal},
    content::NewMessage,
    delivery::Delivered,
    outbound::OutboundCommand,
    request::Execute,
};

use crate::{
    auth::{EHLO, PLAIN},
    server::Server,
    store::Commits,
    submission::WORLD,
};

/// A server whose policy keeps copies.
fn server() -> Server {
    let server = Server::submission();
    server.store.script().policies.insert("submission.copy_to_sent", "true");
    server
}

async fn send(server: &mut Server, recipient: &str, reply: &str) {
    let dialogue = format!(
        "{EHLO}C: AUTH PLAIN {PLAIN}\nS: 235 *\nC: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:{recipient}\nS: 250 *\n\
         C: DATA\nS: 354 *\nC: From: ann@example.org\nC: Bcc: zoe@other.example\nC: Message-ID: <1@example.org>\nC: \nC: text\nC: .\nS: {reply}"
    );
    server.check(&dialogue).await;
}

#[track_caller]
fn kept(command: &Command) -> &NewMessage {
    let Command::Account(account, AccountCommand::KeepSent { message, .. }) = command else { panic!("{command:?}") };
    assert_eq!(*account, AccountRef { id: AccountId::new(1), epoch: Epoch::new(1) });
    message
}

fn executed(server: &Server) -> Vec<Execute> {
    server.store.script().executed.clone()
}

#[tokio::test(start_paused = true)]
async fn no_copy_is_kept_unless_policy_says_so() {
    let mut server = Server::submission();
    send(&mut server, WORLD, "250 2.0.0 *").await;
    let commands = server.store.commands();
    assert!(matches!(commands.as_slice(), [Command::Outbound(_)]), "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_leaves_is_kept_in_the_same_commit() {
    let mut server = server();
    send(&mut server, WORLD, "250 2.0.0 *").await;
    let [request] = executed(&server).try_into().unwrap();
    assert_eq!(request.group, GroupId::new(1));
    let [Command::Outbound(OutboundCommand::Accept(acceptance)), copy] = request.commands.as_slice() else {
        panic!("{request:?}")
    };
    assert_eq!(kept(copy), &acceptance.outbound[0].message, "what is kept is what was sent");
    let text = String::from_utf8(kept(copy).recipe.bytes.clone()).unwrap();
    assert!(!text.contains("zoe") && text.contains("Message-ID: <1@example.org>"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_another_group_gets_is_asked_for_after_that() {
    let mut server = server();
    send(&mut server, "<bob@example.org>", "250 2.0.0 *").await;
    let [first, second] = executed(&server).try_into().unwrap();
    assert!(matches!(first.commands.as_slice(), [Command::Deliver(_)]), "{first:?}");
    assert_eq!((first.group, second.group), (GroupId::new(2), GroupId::new(1)));
    let [copy] = second.commands.as_slice() else { panic!("{second:?}") };
    kept(copy);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_copy_of_what_a_mailbox_refused() {
    let mut server = server();
    server.store.script().commits = Commits::Outcomes(vec![Delivered::Refused(AccountRefusal::OverQuota)]);
    send(&mut server, "<bob@example.org>", "452 4.2.2 *").await;
    assert_eq!(executed(&server).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_is_sent_all_the_same() {
    for refusal in [AccountRefusal::OverQuota, AccountRefusal::NoAccount, AccountRefusal::NoUidsLeft] {
        let mut server = server();
        server.store.script().keep_sent = Some(refusal);
        send(&mut server, WORLD, "250 2.0.0 *").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_has_the_same_key_and_a_copy_is_no_repeat_of_a_delivery() {
    let mut server = server();
    for _ in 0..2 {
        send(&mut server, "<ann@example.org>", "250 2.0.0 *").await;
    }
    let keys = server.store.commands().into_iter().map(|command| match command {
        Command::Account(_, AccountCommand::KeepSent { key, .. }) => key,
        Command::Deliver(deliver) => deliver.to[0].repeat_key.unwrap(),
        other => panic!("{other:?}"),
    });
    let [delivered, copy, again, copy_again] = keys.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((delivered, copy), (again, copy_again));
    assert_ne!(delivered, copy);
}
