//! Who is accepted at RCPT, and with which reply not.

use std::time::Duration;

use securanet_gateway::model::{
    AccountId, Address, DomainId, StoreError, TenantId,
    account::QuotaUsage,
    directory::{Quota, Resolution},
    request::DomainUsage,
};

use crate::{
    server::Server,
    store::{account, domain},
};

/// Asks for one recipient in a transaction of its own.
async fn check(server: &mut Server, rcpt: &str, reply: &str) {
    let dialogue =
        format!("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<> SIZE=100\nS: 250 *\nC: RCPT TO:{rcpt}\nS: {reply}");
    server.check(&dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_ours_or_refused() {
    let mut server = Server::smtp();
    for (rcpt, reply) in [
        ("<ann@example.org>", "250 2.1.5 *"),
        ("<ANN@Example.ORG>", "250 2.1.5 *"),
        ("<@relay.example:ann@example.org>", "250 2.1.5 *"),
        ("<all@example.org>", "250 2.1.5 *"),
        ("<nobody@example.org>", "550 5.1.1 *"),
        ("<sue@example.org>", "550 5.2.1 *"),
        ("<ann@elsewhere.example>", "550 5.7.1 *"),
        ("<ann@[192.0.2.1]>", "550 5.7.1 *"),
        ("<ann%elsewhere.example@example.org>", "550 5.1.1 *"),
        ("<@example.org:ann@elsewhere.example>", "550 5.7.1 *"),
        ("ann@example.org", "501 5.1.3 *"),
        ("<ann>", "501 5.1.3 *"),
    ] {
        check(&mut server, rcpt, reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_1_postmaster_and_abuse_are_always_there() {
    let mut server = Server::smtp();
    let full = QuotaUsage { bytes: 9, messages: 9, quota: Quota { bytes_max: Some(9), messages_max: None } };
    server.store.script().usage.insert(9, full);
    server.store.script().addresses.insert("abuse@example.org".to_owned(), Resolution::Suspended);
    for rcpt in ["<postmaster>", "<PostMaster>", "<postmaster@example.org>", "<Abuse@example.org>"] {
        check(&mut server, rcpt, "250 2.1.5 *").await;
    }
    check(&mut server, "<postmaster@elsewhere.example>", "550 5.7.1 *").await;
    server.store.script().postmaster = None;
    check(&mut server, "<postmaster>", "451 4.3.5 *").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_250_for_members_who_would_get_nothing() {
    let mut server = Server::smtp();
    let at = Address::parse("inner@example.org").unwrap();
    let too_many = Resolution::TooMany(at);
    server.store.script().addresses.insert("huge@example.org".to_owned(), too_many.clone());
    server.store.script().addresses.insert("postmaster@example.org".to_owned(), too_many.clone());
    check(&mut server, "<huge@example.org>", "451 4.3.5 this address leads to too many recipients*").await;
    check(&mut server, "<postmaster@example.org>", "451 4.3.5 *").await;
    server.store.script().postmaster = Some(too_many);
    check(&mut server, "<postmaster>", "451 4.3.5 this address leads to too many recipients*").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_account_is_refused_as_policy_says() {
    let mut server = Server::smtp();
    let usage = |bytes, messages| QuotaUsage {
        bytes,
        messages,
        quota: Quota { bytes_max: Some(1000), messages_max: Some(10) },
    };
    for (used, policy, reply) in [
        (usage(900, 9), None, "250 2.1.5 *"),
        (usage(901, 9), None, "452 4.2.2 mailbox is full"),
        (usage(0, 10), Some("452"), "452 4.2.2 *"),
        (usage(2000, 0), Some("552"), "552 5.2.2 *"),
    ] {
        server.store.script().usage.insert(1, used);
        server.store.script().over_quota_reply = policy;
        check(&mut server, "<ann@example.org>", reply).await;
    }
    // Of a full member of a list the sender could not be told.
    check(&mut server, "<all@example.org>", "250 2.1.5 *").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_domain_is_refused_ten_seconds_later() {
    let mut server = Server::smtp();
    server.store.script().domains =
        vec![domain(1, Quota { bytes_max: Some(1000), messages_max: None }), domain(2, Quota::default())];
    check(&mut server, "<ann@example.org>", "250 2.1.5 *").await;
    server.store.script().domain_usage = vec![DomainUsage { domain: DomainId::new(1), bytes: 950, messages: 1 }];
    tokio::time::sleep(Duration::from_secs(11)).await;
    check(&mut server, "<ann@example.org>", "452 4.2.2 *").await;
    server.store.script().domains[0].quota = Quota::default();
    server.store.directory_changed();
    tokio::time::sleep(Duration::from_secs(11)).await;
    check(&mut server, "<ann@example.org>", "250 2.1.5 *").await;
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_asked_once_until_it_changes() {
    let mut server = Server::smtp();
    check(&mut server, "<ann@example.org>", "250 2.1.5 *").await;
    let asked = server.asked();
    check(&mut server, "<Ann@example.org>", "250 2.1.5 *").await;
    assert_eq!(server.asked(), asked);
    server.store.script().addresses.remove("ann@example.org");
    server.store.directory_changed();
    check(&mut server, "<ann@example.org>", "550 5.1.1 *").await;
}

#[tokio::test(start_paused = true)]
async fn a_limited_account_is_asked_each_time() {
    let mut server = Server::smtp();
    let quota = Quota { bytes_max: Some(1000), messages_max: None };
    server.store.script().usage.insert(1, QuotaUsage { bytes: 0, messages: 0, quota });
    check(&mut server, "<ann@example.org>", "250 2.1.5 *").await;
    server.store.script().usage.insert(1, QuotaUsage { bytes: 1000, messages: 1, quota });
    check(&mut server, "<ann@example.org>", "452 4.2.2 *").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_temporary_failure() {
    let mut server = Server::smtp();
    server.store.script().directory_fails = Some(StoreError::Unavailable("no leader".to_owned()));
    check(&mut server, "<ann@example.org>", "451 4.3.0 *").await;
    server.store.script().directory_fails = Some(StoreError::Draining);
    check(&mut server, "<ann@example.org>", "421 4.3.2 *\nS: EOF").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_3_1_10_too_many_recipients_are_refused_one_by_one() {
    let mut server = Server::smtp();
    // Less than the RFC's hundred cannot be configured.
    server.settings.recipients_max = 3;
    let batch = "C: RCPT TO:<ann@example.org>\n".repeat(101) + &"S: 250 2.1.5 *\n".repeat(100) + "S: 452 4.5.3 *\n";
    let dialogue = format!(
        "S: 220 *\nC: HELO a\nC: MAIL FROM:<>\nS: 250 *\nS: 250 *\n{batch}C: DATA\nS: 354 *\nC: .\nS: 250 2.0.0 *"
    );
    server.check(&dialogue).await;
    assert_eq!(server.store.commands().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_for_a_bounded_number_of_accounts_and_tenants() {
    let mut server = Server::smtp();
    let many = |from: u64, count: u64| {
        Resolution::Local((from..from + count).map(|id| account(id, 1)).collect::<Vec<_>>().into())
    };
    let of_tenant = |tenant: u32| {
        let mut account = account(100 + u64::from(tenant), 1);
        account.tenant = TenantId::new(tenant);
        account.account = AccountId::new(100 + u64::from(tenant));
        Resolution::Local(vec![account].into())
    };
    {
        let mut script = server.store.script();
        script.addresses.insert("big@example.org".to_owned(), many(1000, 9_999));
        (1..=9).for_each(|tenant| drop(script.addresses.insert(format!("t{tenant}@example.org"), of_tenant(tenant))));
    }
    let mut accounts = "S: 220 *\nC: HELO a\nC: MAIL FROM:<>\nS: 250 *\nS: 250 *\n".to_owned();
    let mut tenants = accounts.clone();
    accounts += "C: RCPT TO:<big@example.org>\nS: 250 *\nC: RCPT TO:<all@example.org>\nS: 452 4.5.3 *\nC: RCPT TO:<ann@example.org>\nS: 250 *";
    server.check(&accounts).await;
    (1..=8).for_each(|tenant| tenants += &format!("C: RCPT TO:<t{tenant}@example.org>\nS: 250 *\n"));
    tenants += "C: RCPT TO:<t9@example.org>\nS: 452 4.5.3 *";
    server.check(&tenants).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_refused_by_a_replica_that_is_behind() {
    let mut server = Server::smtp();
    let usage = QuotaUsage { bytes: 9, messages: 9, quota: Quota { bytes_max: Some(90_000), messages_max: None } };
    server.store.script().usage.insert(7, usage);
    server.store.script().behind = true;
    check(&mut server, "<ann@example.org>", "250 2.1.5 *").await;
    check(&mut server, "<postmaster>", "250 2.1.5 *").await;
    check(&mut server, "<nobody@example.org>", "550 5.1.1 *").await;
}
