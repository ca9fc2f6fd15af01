//! RFC 9051 6.3.1 to 6.3.3, 6.4.1, 6.4.2: SELECT, EXAMINE, CLOSE, UNSELECT, ENABLE; RFC 3501 `\Recent`.

use super::Server;
use crate::mailbox::STATE_ROWS_MAX;

#[tokio::test]
async fn rfc_9051_6_3_2_select_tells_the_mailbox() {
    let server = Server::new();
    server.store.deliver("Subject: one\r\n\r\nx\r\n");
    server.store.deliver("Subject: two\r\n\r\ny\r\n");
    let mut client = server.login().await;
    client
        .check(
            "SELECT INBOX",
            &[
                "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)",
                "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags permitted",
                "* 2 EXISTS",
                "* 2 RECENT",
                "* OK [UNSEEN 1] First unseen",
                "* OK [UIDVALIDITY 1000] UIDs are valid",
                "* OK [UIDNEXT 3] Next UID",
                "* OK [HIGHESTMODSEQ 3] Highest",
                "* OK [MAILBOXID (F7-1)] Mailbox id",
                "OK [READ-WRITE] Mailbox is open",
            ],
        )
        .await;
    client
        .check("SELECT nowhere", &["* OK [CLOSED] Mailbox is closed", "NO [NONEXISTENT] Mailbox does not exist"])
        .await;
    client.check("CLOSE", &["BAD Select a mailbox first"]).await;
    let examined = client.ok("EXAMINE inbox").await;
    assert!(examined.contains("[PERMANENTFLAGS ()]") && examined.contains("OK [READ-ONLY]"), "{examined}");
    client.check("STORE 1 +FLAGS (\\Seen)", &["NO [READ-ONLY]..."]).await;
    client.check("EXPUNGE", &["NO [READ-ONLY]..."]).await;
}

#[tokio::test]
async fn rfc_3501_2_3_2_recent_is_told_once_and_costs_no_commit() {
    let server = Server::new();
    server.store.deliver("Subject: one\r\n\r\nx\r\n");
    let mut reader = server.login().await;
    assert!(reader.ok("EXAMINE INBOX").await.contains("* 1 RECENT"));
    let mut first = server.login().await;
    assert!(first.ok("SELECT INBOX").await.contains("* 1 RECENT"));
    assert_eq!(first.ok("FETCH 1 FLAGS").await, "* 1 FETCH (FLAGS (\\Recent))\nOK Fetched");
    let mut second = server.login().await;
    assert!(second.ok("SELECT INBOX").await.contains("* 0 RECENT"));
    second.check("FETCH 1 FLAGS", &["* 1 FETCH (FLAGS ())", "OK Fetched"]).await;
    second.check("STATUS INBOX (RECENT)", &["* STATUS INBOX (RECENT 0)", "OK..."]).await;
    server.store.deliver("Subject: two\r\n\r\ny\r\n");
    second.check("NOOP", &["* 2 EXISTS", "* 1 RECENT", "OK Done"]).await;
    first.check("NOOP", &["* 2 EXISTS", "* 1 RECENT", "OK Done"]).await;
    assert_eq!(server.store.commits(), 0);
}

#[tokio::test]
async fn rfc_3501_6_3_10_recent_of_status_counts_beyond_a_page() {
    let server = Server::new();
    server.store.deliver("Subject: one\r\n\r\nx\r\n");
    let mut client = server.login().await;
    client.ok("SELECT INBOX").await;
    client.ok("CLOSE").await;
    server.store.fill(STATE_ROWS_MAX as usize + 2);
    let expected = format!("* STATUS INBOX (RECENT {})", STATE_ROWS_MAX + 2);
    client.check("STATUS INBOX (RECENT)", &[&expected, "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_4_1_close_expunges_silently_and_unselect_does_not() {
    let server = Server::new();
    server.store.deliver("Subject: one\r\n\r\nx\r\n");
    server.store.deliver("Subject: two\r\n\r\ny\r\n");
    let mut client = server.inbox().await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    client.check("UNSELECT", &["OK Mailbox is closed"]).await;
    client.check("STATUS INBOX (MESSAGES DELETED)", &["* STATUS INBOX (MESSAGES 2 DELETED 1)", "OK..."]).await;
    client.ok("SELECT INBOX").await;
    client.check("CLOSE", &["OK Mailbox is closed"]).await;
    client.check("STATUS INBOX (MESSAGES)", &["* STATUS INBOX (MESSAGES 1)", "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_3_1_enable_tells_what_is_new() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("ENABLE FOO", &["* ENABLED", "OK Enabled"]).await;
    client.check("ENABLE CONDSTORE X-Y", &["* ENABLED CONDSTORE", "OK Enabled"]).await;
    client.check("ENABLE QRESYNC CONDSTORE", &["* ENABLED QRESYNC", "OK Enabled"]).await;
    client.check("ENABLE IMAP4rev2", &["* ENABLED IMAP4rev2", "OK Enabled"]).await;
    server.store.deliver("Subject: one\r\n\r\nx\r\n");
    let answer = client.ok("SELECT INBOX").await;
    assert!(!answer.contains("RECENT") && answer.contains("* LIST () \"/\" INBOX"), "{answer}");
}

#[tokio::test]
async fn a_mailbox_that_another_session_deletes_ends_this_one() {
    let server = Server::new();
    let mut client = server.login().await;
    client.ok("CREATE gone").await;
    client.ok("SELECT gone").await;
    let mut other = server.login().await;
    other.ok("DELETE gone").await;
    client.begin("NOOP").await;
    assert_eq!(client.line().await, "* BYE Selected mailbox was deleted");
    let mut own = server.login().await;
    own.ok("CREATE own").await;
    own.ok("SELECT own").await;
    own.check("DELETE own", &["* OK [CLOSED] Mailbox is closed", "OK Deleted"]).await;
    own.check("FETCH 1 FLAGS", &["BAD Select a mailbox first"]).await;
}
