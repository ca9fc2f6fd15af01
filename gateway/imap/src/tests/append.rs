//! RFC 9051 6.3.12, RFC 7888, RFC 3502, RFC 4315, RFC 7889, RFC 9755: APPEND.

use securanet_gateway::model::{StoreError, directory::Quota};

use super::{Server, client::same};
use crate::ImapSettings;

#[tokio::test]
async fn rfc_9051_6_3_12_append_keeps_flags_date_and_octets() {
    let server = Server::new();
    let mut client = server.inbox().await;
    client.begin("APPEND INBOX (\\Seen $Work) \"17-Jul-1996 02:44:25 -0700\" {26}").await;
    assert_eq!(client.line().await, "+ OK");
    client.send("Subject: x\r\n\r\nbare\nLF ok\r\n\r\n").await;
    same(
        &client.answer().await,
        &["* FLAGS...", "* OK [PERMANENTFLAGS...", "* 1 EXISTS", "* 1 RECENT", "OK [APPENDUID 1000 1] Appended"],
        "APPEND",
    );
    client
        .check(
            "FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[TEXT])",
            &[
                "* 1 FETCH (FLAGS (\\Seen $Work \\Recent) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" BODY[TEXT] {12}\r",
                "bare",
                "LF ok\r",
                ")",
                "OK Fetched",
            ],
        )
        .await;
}

#[tokio::test]
async fn rfc_7888_and_3502_several_messages_without_asking_are_one_change() {
    let server = Server::new();
    let mut client = server.login().await;
    client.begin("APPEND Drafts (\\Draft) {3+}\r\na\r\n {3}").await;
    assert_eq!(client.line().await, "+ OK");
    client.send("b\r\n (\\Seen) {3+}\r\nc\r\n\r\n").await;
    same(&client.answer().await, &["OK [APPENDUID 1000 1:3] Appended"], "MULTIAPPEND");
    assert_eq!(server.store.commits(), 1);
}

#[tokio::test]
async fn rfc_9051_6_3_12_a_mailbox_that_could_be_created_is_said_before_the_literal_comes() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("APPEND nowhere {5}", &["NO [TRYCREATE] Mailbox does not exist"]).await;
    client.check("APPEND nowhere {5+}\r\nab\r\nc {3+}\r\nxyz", &["NO [TRYCREATE]..."]).await;
    client.check("NOOP", &["OK Done"]).await;
    client.check("APPEND INBOX {0+}\r\n", &["NO An empty message is not appended"]).await;
}

#[tokio::test]
async fn a_nul_or_a_bare_cr_is_refused_with_a_clear_text_and_nothing_is_kept() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("APPEND INBOX {3+}\r\na\0b", &["NO [CANNOT] Message has a NUL octet"]).await;
    client.check("APPEND INBOX {3+}\r\na\rb", &["NO [CANNOT] Message has a CR without LF"]).await;
    client.check("APPEND INBOX {2+}\r\na\r", &["NO [CANNOT] Message has a CR without LF"]).await;
    client.check("APPEND INBOX {3+}\r\na\r\n {1+}\r\n\r", &["NO [CANNOT] Message has a CR without LF"]).await;
    client.check("STATUS INBOX (MESSAGES)", &["* STATUS INBOX (MESSAGES 0)", "OK..."]).await;
    assert_eq!(server.store.commits(), 0);
}

#[tokio::test]
async fn rfc_7889_and_9208_limits_are_told_before_the_message_comes() {
    let server = Server::with(ImapSettings { message_size_bytes_max: 100, ..ImapSettings::default() });
    let mut client = server.login().await;
    client.check("APPEND INBOX {101}", &["NO [TOOBIG] Message is larger than 100 octets"]).await;
    client.check(&format!("APPEND INBOX {{101+}}\r\n{}", "a".repeat(101)), &["NO [TOOBIG]..."]).await;
    server.store.set_quota(Quota { bytes_max: Some(50), messages_max: None });
    client.check("APPEND INBOX {51}", &["NO [OVERQUOTA] Quota exceeded"]).await;
    server.store.faults.lock().intake = Some(StoreError::DiskFull { reserve_bytes: 1 });
    client.check("APPEND INBOX {5}", &["NO [UNAVAILABLE] Server has no room for mail right now"]).await;
    client.begin("APPEND INBOX {999999999+}").await;
    client.send("a").await;
    assert!(client.line().await.starts_with("* BYE [TOOBIG]"));
}

#[tokio::test]
async fn rfc_9755_4_the_utf8_form_needs_utf8_enabled() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("APPEND INBOX UTF8 (~{4+}\r\nü\r\n)", &["BAD Enable UTF8=ACCEPT first"]).await;
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.check("APPEND INBOX UTF8 (~{4+}\r\nü\r\n)", &["OK [APPENDUID 1000 1] Appended"]).await;
    client.check("APPEND INBOX {3+}\r\na\r\n x", &["BAD..."]).await;
}

#[tokio::test]
async fn a_stranger_appends_nothing() {
    let server = Server::new();
    let mut client = server.connect(true);
    client.line().await;
    client.check("APPEND INBOX {5}", &["BAD Log in first"]).await;
    client.check("APPEND INBOX {5+}\r\nabcde", &["BAD Log in first"]).await;
    client.check("NOOP", &["OK Done"]).await;
}
