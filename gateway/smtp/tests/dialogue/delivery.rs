//! From the end of a message to its reply: what is committed, and that a refusal keeps nothing.

use securanet_gateway::model::{
    AccountId, Command, Epoch, GroupId, Reply, StoreError, TenantId,
    account::AccountRefusal,
    delivery::{Delivered, QueueCommand, QueueReply, QuotaRule},
    directory::Resolution,
};

use crate::{
    server::Server,
    store::{Commits, account},
};

/// Sends one message to the recipients, and expects the last reply.
async fn check(server: &mut Server, recipients: &[&str], reply: &str) {
    let mut dialogue = "S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<s@example.net>\nS: 250 *\n".to_owned();
    for recipient in recipients {
        dialogue += &format!("C: RCPT TO:<{recipient}>\nS: 250 2.1.5 *\n");
    }
    dialogue += &format!("C: DATA\nS: 354 *\nC: Message-ID: <1@a>\nC:\nC: text\nC: .\nS: {reply}");
    server.check(&dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn several_groups_are_one_fan_out_in_the_first_ones_group() {
    let mut server = Server::smtp();
    check(&mut server, &["bob@example.org", "all@example.org"], "250 2.0.0 *").await;
    let script = server.store.script();
    let [request] = script.executed.as_slice() else { panic!("{:?}", script.executed) };
    assert_eq!(request.group, GroupId::new(2));
    let [Command::Queue(QueueCommand::FanOut(fan_out))] = request.commands.as_slice() else { panic!("{request:?}") };
    let targets: Vec<_> = fan_out.targets.iter().map(|target| (target.group.get(), target.to.len())).collect();
    assert_eq!(targets, [(2, 1), (1, 1)]);
    let delivered_to = |target: usize| String::from_utf8(fan_out.targets[target].to[0].prefix.bytes.clone()).unwrap();
    assert!(delivered_to(0).ends_with("Delivered-To: bob@example.org\r\n"));
    assert!(delivered_to(1).ends_with("Delivered-To: all@example.org\r\n"));
}

#[tokio::test(start_paused = true)]
async fn each_tenant_gets_content_of_its_own() {
    let mut server = Server::smtp();
    let mut other = account(7, 1);
    other.tenant = TenantId::new(2);
    server.store.script().addresses.insert("other@example.org".to_owned(), Resolution::Local(vec![other].into()));
    check(&mut server, &["ann@example.org", "other@example.org"], "250 2.0.0 *").await;
    let script = server.store.script();
    let tenants: Vec<_> = script.puts.iter().map(|put| put.tenant.get()).collect();
    assert_eq!(tenants, [1, 2]);
    assert_eq!(script.puts[0].content, script.puts[1].content);
    let [request] = script.executed.as_slice() else { panic!("{:?}", script.executed) };
    assert_eq!(request.commands.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_a_subaddress_goes_with_the_delivery() {
    let mut server = Server::smtp();
    let mut tagged = account(1, 1);
    tagged.folder = Some("lists".to_owned());
    server.store.script().addresses.insert("ann+lists@example.org".to_owned(), Resolution::Local(vec![tagged].into()));
    check(&mut server, &["ann+lists@example.org", "ann@example.org"], "250 2.0.0 *").await;
    let commands = server.store.commands();
    let [Command::Deliver(deliver)] = commands.as_slice() else { panic!("{commands:?}") };
    let [to] = deliver.to.as_slice() else { panic!("{deliver:?}") };
    assert_eq!((to.folder.as_deref(), deliver.quota), (Some("lists"), QuotaRule::Admitted));
    assert_eq!(to.account.id, AccountId::new(1));
}

#[tokio::test(start_paused = true)]
async fn each_outcome_of_a_commit_has_its_reply() {
    let refused = |refusal| Commits::Outcomes(vec![Delivered::Refused(refusal)]);
    for (commits, reply) in [
        (Commits::Outcomes(vec![Delivered::Repeat]), "250 2.0.0 *"),
        (refused(AccountRefusal::OverQuota), "452 4.2.2 *"),
        (refused(AccountRefusal::NoAccount), "451 4.3.0 *"),
        (refused(AccountRefusal::WrongEpoch(Epoch::new(2))), "451 4.3.0 *"),
        (refused(AccountRefusal::NoUidsLeft), "451 4.3.0 *"),
        (Commits::Reply(Reply::Unknown), "451 4.3.0 *"),
        (Commits::Reply(Reply::WrongGroup), "451 4.3.0 *"),
        (Commits::Reply(Reply::Queue(QueueReply::WindowFull(GroupId::new(2)))), "451 4.3.0 *"),
        (Commits::Fail(StoreError::Internal("bug".to_owned())), "451 4.3.0 *"),
        (Commits::Fail(StoreError::DiskFull { reserve_bytes: 1 }), "452 4.3.1 *"),
        (Commits::Fail(StoreError::Draining), "421 4.3.2 *\nS: EOF"),
    ] {
        let mut server = Server::smtp();
        server.store.script().commits = commits;
        check(&mut server, &["ann@example.org"], reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_defers_the_message() {
    let mut server = Server::smtp();
    server.store.script().commits = Commits::Reply(Reply::Queue(QueueReply::WindowFull(GroupId::new(2))));
    check(&mut server, &["all@example.org"], "451 4.3.0 too much mail is on its way").await;
}

#[tokio::test(start_paused = true)]
async fn no_commit_within_thirty_seconds_is_451() {
    let mut server = Server::smtp();
    server.store.script().commits = Commits::Hang;
    let begun = tokio::time::Instant::now();
    check(&mut server, &["ann@example.org"], "451 4.3.0 *").await;
    let took = begun.elapsed().as_secs();
    assert!((30..=32).contains(&took), "{took}");
    // What the store is asked to keep it may keep only until then.
    let script = server.store.script();
    let now = securanet_gateway::clock::now();
    assert!(script.executed[0].deadline.millis_since(now) <= 30_000);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_moved_is_looked_up_again_the_next_time() {
    let mut server = Server::smtp();
    server.store.script().commits =
        Commits::Outcomes(vec![Delivered::Refused(AccountRefusal::WrongEpoch(Epoch::new(2)))]);
    check(&mut server, &["ann@example.org"], "451 4.3.0 *").await;
    server.store.script().commits = Commits::Keep;
    server.store.script().addresses.insert("ann@example.org".to_owned(), Resolution::Local(vec![account(1, 4)].into()));
    check(&mut server, &["ann@example.org"], "250 2.0.0 *").await;
    assert_eq!(server.store.script().executed[1].group, GroupId::new(4));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_has_the_same_key_and_another_message_has_not() {
    let mut server = Server::smtp();
    check(&mut server, &["ann@example.org"], "250 2.0.0 *").await;
    check(&mut server, &["ann@example.org"], "250 2.0.0 *").await;
    check(&mut server, &["bob@example.org"], "250 2.0.0 *").await;
    let keys: Vec<_> = server
        .store
        .commands()
        .iter()
        .map(|command| match command {
            Command::Deliver(deliver) => deliver.to[0].repeat_key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    let requests: Vec<_> = server.store.script().executed.iter().map(|request| request.request).collect();
    assert_ne!(requests[0], requests[1]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_take_mail_refuses_at_the_earliest_moment() {
    let mail = "S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<>\nS: ";
    let mut server = Server::smtp();
    server.store.script().not_accepting = Some(StoreError::DiskFull { reserve_bytes: 1 });
    server.check(&format!("{mail}452 4.3.1 *\nC: NOOP\nS: 250 2.0.0 ok")).await;
    server.store.script().not_accepting = Some(StoreError::Draining);
    server.check(&format!("{mail}421 4.3.2 *\nS: EOF")).await;
    server.store.script().not_accepting = None;
    let data = format!("{mail}250 *\nC: RCPT TO:<ann@example.org>\nS: 250 *\nC: DATA\nS: ");
    server.store.script().put_fails = Some(StoreError::DiskFull { reserve_bytes: 1 });
    server.check(&format!("{data}452 4.3.1 *\nC: NOOP\nS: 250 2.0.0 ok")).await;
    server.store.script().put_fails = None;
    let text = format!("{data}354 *\nC: NOOP\nC: NOOP\nC: .\nC: NOOP\nS: ");
    server.store.script().write_fails = Some(StoreError::TooLarge { limit_bytes: 1 });
    server.check(&format!("{text}552 5.3.4 *\nS: 250 2.0.0 ok")).await;
    server.store.script().write_fails = Some(StoreError::Busy);
    server.check(&format!("{text}451 4.3.2 *\nS: 250 2.0.0 ok")).await;
    server.store.script().write_fails = None;
    server.store.script().finish_fails = Some(StoreError::Unavailable("no blob".to_owned()));
    server.check(&format!("{text}451 4.3.0 *\nS: 250 2.0.0 ok")).await;
    assert!(server.store.script().executed.is_empty());
    assert!(server.store.script().puts.is_empty());
}
