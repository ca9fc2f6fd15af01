//! RFC 2033: LMTP, the same session with its own greeting and a reply for each recipient.

use std::time::Duration;

use securanet_gateway::model::{
    Command, StoreError,
    account::AccountRefusal,
    delivery::{Delivered, QuotaRule},
};

use crate::{server::Server, store::Commits};

const START: &str = "
    S: 220 mail.example.org LMTP SecuraNET Mail
    C: LHLO a
    S: 250-mail.example.org
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250 *
    C: MAIL FROM:<s@example.net>
    S: 250 2.1.0 *";

#[tokio::test(start_paused = true)]
async fn rfc_2033_4_1_lmtp_greets_with_lhlo_only() {
    let dialogue = "
        S: 220 *
        C: EHLO a
        S: 500 5.5.1 this is LMTP: say LHLO
        C: HELO a
        S: 500 5.5.1 *
        C: MAIL FROM:<>
        S: 503 5.5.1 *";
    Server::lmtp().check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_4_2_each_accepted_recipient_has_a_reply() {
    let mut server = Server::lmtp();
    let dialogue = format!(
        "{START}
        C: RCPT TO:<ann@example.org>
        S: 250 *
        C: RCPT TO:<nobody@example.org>
        S: 550 5.1.1 *
        C: RCPT TO:<bob@example.org>
        S: 250 *
        C: RCPT TO:<all@example.org>
        S: 250 *
        C: DATA
        S: 354 *
        C: text
        C: .
        S: 250 2.0.0 *
        S: 250 2.0.0 *
        S: 250 2.0.0 *
        C: QUIT
        S: 221 *
        S: EOF"
    );
    server.check(&dialogue).await;
    let script = server.store.script();
    let asked: Vec<_> = script.executed.iter().map(|request| (request.group.get(), request.commands.len())).collect();
    assert_eq!(asked, [(1, 1), (2, 1)]);
    assert!(script.puts[0].trace.contains("with LMTP\r\n"));
    for request in &script.executed {
        assert!(matches!(&request.commands[0], Command::Deliver(deliver) if deliver.quota == QuotaRule::Enforced));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_4_2_no_recipient_no_data() {
    let mut server = Server::lmtp();
    server.check(&format!("{START}\nC: DATA\nS: 503 5.5.1 *")).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_4_2_one_full_mailbox_does_not_hold_up_the_other() {
    let mut server = Server::lmtp();
    let kept = Delivered::Repeat;
    server.store.script().commits = Commits::Outcomes(vec![kept, Delivered::Refused(AccountRefusal::OverQuota)]);
    let dialogue = format!(
        "{START}
        C: RCPT TO:<ann@example.org>
        C: RCPT TO:<eve@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 354 *
        C: .
        S: 250 2.0.0 *
        S: 452 4.2.2 *
        C: NOOP
        S: 250 *"
    );
    server.check(&dialogue).await;
    assert_eq!(server.store.script().executed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_groups_are_asked_at_the_same_time() {
    let mut server = Server::lmtp();
    server.store.script().commit_takes = Duration::from_secs(20);
    let begun = tokio::time::Instant::now();
    let dialogue = format!(
        "{START}
        C: RCPT TO:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 354 *
        C: .
        S: 250 2.0.0 *
        S: 250 2.0.0 *"
    );
    server.check(&dialogue).await;
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_4_2_a_refused_message_is_refused_to_each() {
    let mut server = Server::lmtp();
    let recipients = "C: RCPT TO:<ann@example.org>\nC: RCPT TO:<bob@example.org>\nS: 250 *\nS: 250 *";
    let nul = format!(
        "{START}\n{recipients}\nC: DATA\nS: 354 *\nC: a\0b\nC: .\nS: 554 5.6.0 *\nS: 554 5.6.0 *\nC: NOOP\nS: 250 *"
    );
    server.check(&nul).await;
    let cr = format!(
        "{START}\n{recipients}\nC: DATA\nS: 354 *\nC: a\r\u{b}b\nC: .\nS: 550 5.6.11 *\nS: 550 5.6.11 *\nS: EOF"
    );
    server.check(&cr).await;
    server.store.script().commits = Commits::Fail(StoreError::Unavailable("no leader".to_owned()));
    server.store.script().commits = Commits::Hang;
    let hang = format!("{START}\n{recipients}\nC: DATA\nS: 354 *\nC: .\nS: 451 4.3.0 *\nS: 451 4.3.0 *");
    server.check(&hang).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_the_last_chunk_has_a_reply_for_each_recipient() {
    let mut server = Server::lmtp();
    let dialogue = format!(
        "{START}
        C: RCPT TO:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 *
        S: 250 *
        C: BDAT 6
        C: text
        S: 250 2.0.0 6 octets taken
        C: BDAT 0 LAST
        S: 250 2.0.0 kept *
        S: 250 2.0.0 kept *"
    );
    server.check(&dialogue).await;
    assert_eq!(server.store.contents(), [b"text\r\n"]);
}
